"""The report of an import, row by row: for machines, and as a sheet to correct by."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import openpyxl
from openpyxl import Workbook
from openpyxl.comments import Comment
from openpyxl.styles import PatternFill
from openpyxl.worksheet.worksheet import Worksheet

from survey.forms.intake import ImportReport
from survey.forms.questionnaires import QUESTIONS
from survey.forms.records import OUTER, ParsedFile, Problem, Submission, entry_places

__all__ = ["XLSX_TYPE", "report_json", "report_workbook"]

XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

_COLUMNS = ("file", "sheet", "row", "field", "value", "problem", "remedy", "refused")
_WRONG = PatternFill("solid", fgColor="FFF2A8")
_LEADING = ("instanceID", "form_id", "form_version")


def report_json(report: ImportReport) -> dict[str, Any]:
    """The report as plain values, each problem with its message.

    Returns
    -------
    dict
        The attributes of `ImportReport`; every problem also as one sentence in `message`.
    """
    problems = [{**asdict(problem), "message": str(problem)} for problem in report.problems]
    return {**asdict(report), "problems": problems}


def report_workbook(files: Sequence[tuple[Sequence[Problem], ParsedFile | None]]) -> bytes:
    """An .xlsx with the problems, and the refused rows to correct and send back as they are.

    Every cell is text: what a field team typed is never run as a formula.

    Parameters
    ----------
    files : sequence of (problems, ParsedFile or None)
        For each file its problems and, where it was refused, what it holds: each form gets a
        sheet with all their rows, the wrong cells coloured and explained. Corrected, it is
        imported like any other file.
    """
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "problems"
    _line(sheet, 1, _COLUMNS)
    for number, problem in enumerate((p for problems, _ in files for p in problems), start=2):
        row = "" if problem.row is None else str(problem.row)
        refused = "yes" if problem.is_refused else "no"
        where = (problem.file, problem.sheet, row, problem.field, problem.value)
        _line(sheet, number, (*where, problem.problem, problem.remedy, refused))
    sheet.freeze_panes = "A2"
    by_form: dict[str, list[tuple[Submission, dict[str, str]]]] = defaultdict(list)
    for _, parsed in files:
        for submission, faults in _with_faults(parsed) if parsed else ():
            by_form[submission.form_id].append((submission, faults))
    for form_id, rows in by_form.items():
        _form_sheet(book, form_id, rows)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _with_faults(parsed: ParsedFile) -> Iterator[tuple[Submission, dict[str, str]]]:
    faults: dict[tuple[str, int | None], dict[str, str]] = defaultdict(dict)
    for problem in parsed.problems:
        told = f"{problem.problem}; {problem.remedy}"
        faults[problem.sheet, problem.row].setdefault(problem.field, told)
    for number, (place, each) in enumerate(zip(parsed.places, parsed.submissions, strict=True)):
        # What the file did not say is not said for it.
        as_told = replace(each, form_version="") if number in parsed.unversioned else each
        yield as_told, faults.get(place, {})


def _form_sheet(
    book: Workbook, form_id: str, rows: Sequence[tuple[Submission, Mapping[str, str]]]
) -> None:
    """All rows of one form, repeats in columns like ``plot[1]/plot_crop[2]/crop_name``."""
    cells = [_row(submission) for submission, _ in rows]
    outside = [q.name for q in QUESTIONS.get(form_id, ()) if not q.repeat]
    entries = dict.fromkeys(name for row in cells for name in row if "[" in name)
    columns = [*_LEADING, *(outside or dict.fromkeys(n for s, _ in rows for n in s.answers))]
    columns += entries
    # A name for each form, and none that a spreadsheet program refuses.
    sheet = book.create_sheet(re.sub(r"[^A-Za-z0-9_-]", "_", form_id)[:31] or "rows")
    _line(sheet, 1, columns)
    for number, (row, (_, faults)) in enumerate(zip(cells, rows, strict=True), start=2):
        _line(sheet, number, [row.get(column, "") for column in columns])
        for name, told in faults.items():
            if name in columns:
                cell = sheet.cell(row=number, column=columns.index(name) + 1)
                cell.fill = _WRONG
                cell.comment = Comment(told, "ad-survey")
    sheet.freeze_panes = "B2"


def _row(submission: Submission) -> dict[str, str]:
    leading = (submission.instance_id, submission.form_id, submission.form_version)
    row = dict(zip(_LEADING, leading, strict=True)) | dict(submission.answers)
    for place, answers in entry_places(submission):
        row |= {f"{place}{n}": answer for n, answer in answers.items() if n != OUTER}
    return row


def _line(sheet: Worksheet, number: int, texts: Sequence[str]) -> None:
    for column, text in enumerate(texts, start=1):
        clean = "".join(sign for sign in text if sign.isprintable() or sign in "\n\t")
        cell = sheet.cell(row=number, column=column, value=clean[:32_000])
        cell.data_type = "s"
        cell.number_format = "@"
