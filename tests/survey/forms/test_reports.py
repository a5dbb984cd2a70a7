from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import openpyxl

from survey.forms import SubmissionStore, parse_submissions, report_json, report_workbook

HEADER = "instanceID;segment_id;visit_date;observer_code;observed_percent;area_unit;"
NOW = datetime(2026, 2, 4, tzinfo=UTC)


def test_each_problem_is_a_line_to_correct_and_no_formula(tmp_path: Path) -> None:
    rows = ["a;S-1;2026-02-03;T1;80;rai;-1;0", "b;=1+1;2026-02-03;T1;80;rai;1;0"]
    data = "\n".join([HEADER + "poppy_area;cannabis_area", *rows]).encode()
    report = SubmissionStore(tmp_path).import_file("v.csv", data, received_at=NOW)
    book = openpyxl.load_workbook(io.BytesIO(report_workbook([(report.problems, None)])))
    lines = list(book["problems"].iter_rows(values_only=True, min_row=2))
    assert [line[:5] for line in lines] == [
        ("v.csv", None, "1", "poppy_area", "-1"),
        ("v.csv", None, "2", "segment_id", "=1+1"),
    ]
    kinds = {cell.data_type for row in book["problems"].iter_rows() for cell in row}
    assert kinds <= {"s", "inlineStr"}
    told = json.loads(json.dumps(report_json(report)))
    assert told["accepted"] is False
    assert told["problems"][0]["message"].startswith("v.csv, row 1: poppy_area '-1'")


FARMER = (
    "consent,consent_version,consent_language,visit_date,district_pcode,village_id,sample_type,"
    "household_size,area_unit,plot[1]/plot_area,plot[1]/plot_crop[1]/crop_name,instanceID\n"
)
RIGHT = "yes,2026-11,my,2026-02-03,MR0101,V01,probability,5,rai,2,maize,uuid:1\n"
WRONG = "yes,2026-11,my,2026-02-03,MR0101,V01,probability,5,rai,2,mais,uuid:2\n"
UNREAD = "yes,2026-11,my,46056,MR0101,V01,probability,five,rai,,,uuid:3\n"


def test_the_sheet_of_refused_rows_is_taken_as_it_is_once_corrected(tmp_path: Path) -> None:
    data = (FARMER + RIGHT + WRONG + UNREAD).encode()
    store = SubmissionStore(tmp_path)
    report = store.import_file("f.csv", data, received_at=NOW)
    assert not report.accepted
    sheet = report_workbook([(report.problems, parse_submissions("f.csv", data))])
    again = store.import_file("report.xlsx", sheet, received_at=NOW)
    assert not again.accepted
    # Nothing but what was wrong before: the sheet of problems itself is no problem.
    before = {(problem.field, problem.value) for problem in report.problems}
    assert {(problem.field, problem.value) for problem in again.problems} == before
    assert len(before) == 3

    book = openpyxl.load_workbook(io.BytesIO(sheet))
    rows = book["farmer_survey"]
    columns = {cell.value: cell.column for cell in rows[1]}
    coloured = {c.coordinate for row in rows for c in row if c.comment is not None}
    right = {"uuid:2": {"plot[1]/plot_crop[1]/crop_name": "maize"}}
    right["uuid:3"] = {"visit_date": "2026-02-03", "household_size": "5"}
    for number in range(2, rows.max_row + 1):
        instance = rows.cell(number, columns["instanceID"]).value
        for name, answer in right.get(instance, {}).items():
            cell = rows.cell(number, columns[name])
            assert cell.coordinate in coloured
            cell.value = answer
    out = io.BytesIO()
    book.save(out)
    taken = store.import_file("report.xlsx", out.getvalue(), received_at=NOW)
    assert taken.problems == ()
    assert (taken.accepted, taken.n_new) == (True, 3)
    # The row that was right from the beginning is the same submission as in the first file.
    first = store.import_file("right.csv", (FARMER + RIGHT).encode(), received_at=NOW)
    assert (first.n_new, first.n_known) == (0, 1)
