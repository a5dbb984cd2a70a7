from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import openpyxl

from survey.forms import SubmissionStore, report_json, report_workbook

HEADER = "instanceID;segment_id;visit_date;observer_code;observed_percent;area_unit;"
NOW = datetime(2026, 2, 4, tzinfo=UTC)


def test_each_problem_is_a_line_to_correct_and_no_formula(tmp_path: Path) -> None:
    rows = ["a;S-1;2026-02-03;T1;80;rai;-1;0", "b;=1+1;2026-02-03;T1;80;rai;1;0"]
    data = "\n".join([HEADER + "poppy_area;cannabis_area", *rows]).encode()
    report = SubmissionStore(tmp_path).import_file("v.csv", data, received_at=NOW)
    book = openpyxl.load_workbook(io.BytesIO(report_workbook([report])))
    lines = list(book["problems"].iter_rows(values_only=True, min_row=2))
    assert [line[:4] for line in lines] == [
        ("v.csv", "1", "poppy_area", "-1"),
        ("v.csv", "2", "segment_id", "=1+1"),
    ]
    assert {cell.data_type for row in book["problems"].iter_rows() for cell in row} == {"s"}
    told = json.loads(json.dumps(report_json(report)))
    assert told["accepted"] is False
    assert told["problems"][0]["message"].startswith("v.csv, row 1: poppy_area '-1'")
