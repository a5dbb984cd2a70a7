"""The report of an import, row by row: for machines, and as a sheet to correct by."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import openpyxl

from survey.forms.store import ImportReport

__all__ = ["report_json", "report_workbook"]

_COLUMNS = ("file", "row", "field", "value", "problem", "remedy", "refused")


def report_json(report: ImportReport) -> dict[str, Any]:
    """The report as plain values, each problem with its message.

    Returns
    -------
    dict
        The attributes of `ImportReport`; every problem also as one sentence in `message`.
    """
    problems = [{**asdict(problem), "message": str(problem)} for problem in report.problems]
    return {**asdict(report), "problems": problems}


def report_workbook(reports: Sequence[ImportReport]) -> bytes:
    """An .xlsx with one line for each problem, in the order of files and rows.

    Cells are text: what a field team typed is never run as a formula.
    """
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "problems"
    sheet.append(list(_COLUMNS))
    for number, problem in enumerate((p for r in reports for p in r.problems), start=2):
        row = "" if problem.row is None else str(problem.row)
        refused = "yes" if problem.is_refused else "no"
        texts = (problem.file, row, problem.field, problem.value, problem.problem, problem.remedy)
        for column, text in enumerate((*texts, refused), start=1):
            clean = "".join(sign for sign in text if sign.isprintable() or sign in "\n\t")
            cell = sheet.cell(row=number, column=column, value=clean[:32_000])
            cell.data_type = "s"
    sheet.freeze_panes = "A2"
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()
