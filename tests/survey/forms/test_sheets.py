"""Spreadsheets of a working day, and files that are something else."""

from __future__ import annotations

import io
import zipfile

import openpyxl
import pytest

from survey.forms import parse_submissions

VISIT = {
    "instanceID": "uuid:1",
    "segment_id": "S-1",
    "visit_date": "2026-02-03",
    "observer_code": "T1",
    "observed_percent": "80",
    "area_unit": "rai",
    "poppy_area": "1.3",
    "cannabis_area": "0",
}


def workbook(sheets: dict[str, list[list[object]]]) -> bytes:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def csv_with(**answers: str) -> bytes:
    row = VISIT | answers
    return f"{','.join(row)}\n{','.join(row.values())}\n".encode()


def told(data: bytes) -> list[str]:
    return [str(problem) for problem in parse_submissions("f", data).problems]


def test_a_title_above_the_header_and_a_sheet_of_notes_do_no_harm() -> None:
    rows: list[list[object]] = [
        ["Visits of team 1", None, None],
        [None],
        list(VISIT),
        list(VISIT.values()),
    ]
    data = workbook({"notes": [["call the office"], ["on Monday"]], "visits": rows})
    parsed = parse_submissions("f.xlsx", data)
    assert [submission.instance_id for submission in parsed.submissions] == ["uuid:1"]
    (remark,) = parsed.problems
    assert not remark.is_refused
    assert "sheet notes was not read; it has no instanceID column" in str(remark)


def test_submissions_of_every_sheet_are_taken_and_a_fault_names_its_sheet() -> None:
    second = dict(VISIT, instanceID="uuid:2", poppy_area="1,3")
    sheets = {"north": [list(VISIT), list(VISIT.values())]}
    sheets["south"] = [list(second), list(second.values())]
    parsed = parse_submissions("f.xlsx", workbook(sheets))
    assert len(parsed.submissions) == 2
    (problem,) = parsed.problems
    assert str(problem).startswith("f.xlsx, sheet south, row 1: poppy_area '1,3' has a comma")
    twice = dict(sheets, south=sheets["north"])
    assert "was used in row 1 of sheet north already" in told(workbook(twice))[0]


@pytest.mark.parametrize(
    ("answers", "part"),
    [
        ({"visit_date": "46056"}, "counts days; write 2026-02-03"),
        ({"visit_date": "46056.0"}, "counts days; write 2026-02-03"),
        ({"visit_date": "2569-02-03"}, "write the year 2026 for 2569"),
        ({"poppy_area": "#REF!"}, "is the error of a formula"),
        ({"poppy_area": "#DIV/0!"}, "is the error of a formula"),
        ({"poppy_area": "=A1*2"}, "is a formula without its result"),
        ({"segment_id": "#N/A"}, "is the error of a formula"),
        ({"segment_point": "97.5 20.5 900 8"}, "latitude and longitude exchanged"),
    ],
)
def test_what_spreadsheets_do_to_answers_is_told_with_a_remedy(
    answers: dict[str, str], part: str
) -> None:
    (problem,) = told(csv_with(**answers))
    assert part in problem


@pytest.mark.parametrize("number", ["၁.၃", "๑.๓", "໑.໓", "႑.႓"])
def test_digits_of_the_region_are_numbers(number: str) -> None:
    parsed = parse_submissions("f.csv", csv_with(poppy_area=number))
    assert parsed.problems == ()
    plain = parse_submissions("f.csv", csv_with()).submissions[0]
    assert parsed.submissions[0].sha256 == plain.sha256


def test_dates_and_codes_in_digits_of_the_region_are_those_of_all_others() -> None:
    told_so = csv_with(segment_id="S-၁", visit_date="၂၀၂၆-၀၂-၀၃", observer_code="T၁")
    (found,) = parse_submissions("f.csv", told_so).submissions
    plain = parse_submissions("f.csv", csv_with()).submissions[0]
    assert dict(found.answers) == dict(plain.answers)
    assert found.sha256 == plain.sha256
    with_time = parse_submissions("f.csv", csv_with(visit_date="2026-02-03T00:00:00+07:00"))
    assert with_time.submissions[0].answers["visit_date"] == "2026-02-03"
    (problem,) = told(csv_with(visit_date="၂၅၆၉-၀၂-၀၃"))
    assert "visit_date '၂၅၆၉-၀၂-၀၃' lies in the Buddhist calendar" in problem


def archive(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name.replace("__", "."), content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "old Excel workbook (.xls)"),
        (b"%PDF-1.7 ...", "is a PDF"),
        (b"\xff\xd8\xff\xe0 JFIF", "is a photo"),
        (b"\x1f\x8b\x08 ...", "packed with gzip"),
        (b"SQLite format 3\x00", "is a database"),
        (b"<!DOCTYPE html><html><body/></html>", "declares a DTD"),
        (b"<html><body>Sign in</body></html>", "is a web page; your sign-in"),
        (archive(content__xml=b"<x/>"), "is an OpenDocument sheet"),
        (archive(photo__jpg=b"x"), "is an archive without CSV"),
        (archive(visits__csv=b"a,b\n1,2\n"), "has no instanceID column"),
        (archive(visits__csv=csv_with())[:200], "is cut off or damaged"),
        (workbook({"empty": []}), "holds no row"),
    ],
)
def test_files_of_another_kind_are_named_as_what_they_are(data: bytes, part: str) -> None:
    (problem,) = told(data)
    assert part in problem


def test_archives_that_unpack_to_far_more_than_they_weigh_are_not_unpacked() -> None:
    bomb = archive(visits__csv=bytes(201_000_000))
    assert len(bomb) < 1_000_000
    assert "unpacks to 201 MB" in told(bomb)[0]
    many = archive(**{f"t{number}__csv": b"x" for number in range(501)})
    assert "in 501 parts" in told(many)[0]


def hidden(what: str) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (list(VISIT), list(VISIT.values()), [*(VISIT | {"instanceID": "uuid:2"}).values()]):
        sheet.append(row)
    if what == "row":
        sheet.auto_filter.ref = "A1:H3"
        sheet.row_dimensions[3].hidden = True
    elif what == "column":
        sheet.column_dimensions["G"].hidden = True
    elif what == "sheet":
        book.create_sheet("old").sheet_state = "hidden"
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


@pytest.mark.parametrize("what", ["row", "column", "sheet"])
def test_what_is_hidden_is_read_and_told(what: str) -> None:
    parsed = parse_submissions("f.xlsx", hidden(what))
    assert len(parsed.submissions) == 2
    assert [p.problem for p in parsed.problems if "hidden" in p.problem] == [
        "has hidden sheets, rows or columns, which were read like all others"
    ]
    assert not any(problem.is_refused for problem in parsed.problems)
    assert told(hidden("nothing")) == []


def test_pictures_in_an_export_are_told_to_be_left_out() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("segment_visit.csv", csv_with())
        packed.writestr("media/a.jpg", b"picture")
    (remark,) = told(out.getvalue())
    assert "other files than tables (1), which were not read; pictures come with" in remark


def test_a_damaged_table_of_an_export_is_named() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("segment_visit.csv", csv_with() + "caf\xe9".encode("cp1252"))
    (problem,) = told(out.getvalue())
    assert "file segment_visit in it is not UTF-8 text (line 3, byte " in problem


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"instanceID": "#REF!"}, "instanceID '#REF!' is the error of a formula; correct"),
        ({"poppy_area": "=1+0.3"}, "is a formula without its result; open and save"),
        ({"observed_percent": "0.8"}, "'0.8' is a share; write the percent, 80"),
        ({"observed_percent": "80.5"}, "is not a whole number"),
    ],
)
def test_cells_that_are_no_answers_are_named_for_what_they_are(
    answer: dict[str, str], problem: str
) -> None:
    (only,) = told(csv_with(**answer))
    assert problem in only


def test_an_empty_workbook_and_a_locked_one_say_so() -> None:
    assert "holds no row" in told(workbook({"a": []}))[0]
    locked = b"\xd0\xcf\x11\xe0" + bytes(500) + "EncryptedPackage".encode("utf-16-le")
    assert "protected by a password; save it without one" in told(locked)[0]
