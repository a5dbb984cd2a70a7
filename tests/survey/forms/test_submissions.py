from __future__ import annotations

import pytest

from survey.forms import parse_submissions
from survey.forms.questions import parse_date, parse_number

VISIT = {
    "segment_id": "MR0101-0007",
    "visit_date": "2026-02-03",
    "observer_code": "T1-04",
    "observed_percent": "80",
    "area_unit": "rai",
    "poppy_area": "1.3",
    "cannabis_area": "0",
}
FARMER = {
    "consent": "yes",
    "consent_version": "2026-01",
    "consent_language": "my",
    "visit_date": "2026-02-03",
    "district_pcode": "MR0101",
    "village_id": "V01",
    "sample_type": "probability",
    "household_size": "5",
    "area_unit": "acre",
}


def xml(
    answers: dict[str, str],
    *,
    form: str = "segment_visit",
    instance: str = "uuid:1",
    version: str = "2026011501",
    attributes: str = "",
    extra: str = "",
) -> bytes:
    leaves = "".join(f"<{name}>{value}</{name}>" for name, value in answers.items())
    meta = f"<meta><instanceID>{instance}</instanceID></meta>"
    body = f'<data {attributes} id="{form}" version="{version}">{leaves}{extra}{meta}</data>'
    return body.encode()


def table(rows: list[dict[str, str]], *, mark: str = ",") -> str:
    header = list(rows[0])
    return "\n".join([mark.join(header), *(mark.join(row.values()) for row in rows)])


def only_problem(data: bytes) -> str:
    (problem,) = parse_submissions("f", data).problems
    return str(problem)


def test_xml_is_read_with_and_without_namespace_and_in_groups() -> None:
    plain = parse_submissions("a.xml", xml(VISIT))
    assert plain.problems == ()
    (submission,) = plain.submissions
    assert (submission.instance_id, submission.form_id) == ("uuid:1", "segment_visit")
    assert dict(submission.answers) == VISIT
    spaced = xml(VISIT, attributes='xmlns="http://opendatakit.org/submissions"')
    nested = b'<data id="segment_visit" version="2026011501"><start>1</start><g><start>2</start>'
    nested += b"".join(f"<{k}>{v}</{k}>".encode() for k, v in VISIT.items())
    nested += b"</g><meta><instanceID>uuid:1</instanceID></meta></data>"
    for data in (spaced, nested):
        (again,) = parse_submissions("b.xml", data).submissions
        assert again.sha256 == submission.sha256


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("column", ["instanceID", "KEY", "_uuid", "meta/instanceID"])
def test_csv_dialects_read_alike_and_equal_the_xml(mark: str, encoding: str, column: str) -> None:
    row = {**VISIT, "remarks": "", column: "uuid:1"}
    parsed = parse_submissions("v.csv", table([row], mark=mark).encode(encoding))
    assert parsed.problems == ()
    (from_csv,) = parsed.submissions
    (from_xml,) = parse_submissions("v.xml", xml(VISIT)).submissions
    assert from_csv.sha256 == from_xml.sha256  # an empty cell is a question not answered


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("poppy_area", "-1", "at least 0"),
        ("poppy_area", "1,5", "with a point"),
        ("poppy_area", "abc", "digits only"),
        ("poppy_area", "nan", "digits only"),
        ("poppy_area", "1e300", "digits only"),
        ("poppy_area", "", "fill it in"),
        ("observed_percent", "101", "between 0 and 100"),
        ("observed_percent", "12.5", "round it"),
        ("area_unit", "furlong", "choose from ha"),
        ("visit_date", "2569-02-03", "write the year 2026 for 2569"),
        ("visit_date", "2026-02-30", "2026-02-28"),
        ("visit_date", "03/02/2026", "2026-02-28"),
        ("visit_date", "1026-02-03", "plausible"),
        ("segment_id", "../../etc/passwd", "letters"),
        ("segment_id", "=HYPERLINK(1)", "paste the values"),
    ],
)
def test_a_wrong_answer_is_named_with_its_remedy(name: str, value: str, told: str) -> None:
    good = {**VISIT, "instanceID": "uuid:1"}
    bad = {**VISIT, name: value, "instanceID": "uuid:2"}
    parsed = parse_submissions("v.csv", table([good, bad], mark=";").encode())
    (problem,) = parsed.problems
    assert (problem.file, problem.row, problem.field, problem.value) == ("v.csv", 2, name, value)
    assert told in problem.remedy + problem.problem
    assert problem.is_refused


def test_digits_of_the_region_are_numbers() -> None:
    assert parse_number("၁၂.၅") == parse_number("๑๒.๕") == parse_number("໑໒.໕") == 12.5
    assert parse_date("၂၀၂၆-၀၂-၀၃").isoformat() == "2026-02-03"


def test_skipped_questions_are_not_missed() -> None:
    asked = {"household_size", "area_unit"}
    refusal = {k: v for k, v in FARMER.items() if k not in asked} | {"consent": "no"}
    assert parse_submissions("f.xml", xml(refusal, form="farmer_survey")).problems == ()
    agreed = refusal | {"consent": "yes"}
    parsed = parse_submissions("f.xml", xml(agreed, form="farmer_survey"))
    assert {problem.field for problem in parsed.problems} == asked


def test_unknown_version_is_kept_and_flagged() -> None:
    parsed = parse_submissions("v.xml", xml(VISIT, version="1999"))
    (problem,) = parsed.problems
    assert len(parsed.submissions) == 1
    assert problem.field == "form_version"
    assert not problem.is_refused


def test_wrong_form_and_missing_instance_are_refused() -> None:
    assert "known forms" in only_problem(xml(VISIT, form=""))
    assert "known forms" in only_problem(xml(VISIT, form="../census"))
    assert "instanceID" in only_problem(xml(VISIT, instance=""))
    assert "no instanceID column" in only_problem(table([VISIT]).encode())
    assert "also needs the columns" in only_problem(b"instanceID,poppy_area\n1,2\n")


def test_an_instance_twice_in_a_file_names_the_first_row() -> None:
    row = {**VISIT, "instanceID": "uuid:1"}
    assert "used in row 1 already" in only_problem(table([row, row]).encode())


BILLION = b"""<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<data id="segment_visit"><remarks>&b;</remarks></data>"""
EXTERNAL = b"""<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<data id="segment_visit"><remarks>&x;</remarks></data>"""


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (BILLION, "DTD or entities"),
        (EXTERNAL, "DTD or entities"),
        (b"<data><a>", "not complete XML"),
        (b'<?xml version="1.0" encoding="none"?><data/>', "XML"),
        (b"\x00\x01\x02", "holds zero bytes"),
        (b"a,b\x00\n1,2", "holds zero bytes"),
        (b"instanceID,n\n1,caf\xe9\n", "save it as 'CSV UTF-8'"),
        (b"instanceID,instanceID\n1,2\n", "keep one of them"),
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\xff\xfe", "is empty"),
        (b" " * 50_000_001, "at most 50 MB"),
        (b'<data id="segment_visit"><remarks>1</remarks><remarks>2</remarks></data>', "twice"),
    ],
)
def test_hostile_files_are_refused_with_one_message(data: bytes, told: str) -> None:
    assert told in only_problem(data)


def test_ragged_and_broken_csv_is_refused() -> None:
    text = table([{**VISIT, "instanceID": "uuid:1"}])
    assert "cells, the header has" in only_problem((text + ",extra").encode())
    assert "not valid CSV" in only_problem((text + '\n"open').encode())


@pytest.mark.parametrize(
    ("point", "is_fine"),
    [
        ("20.5 97.5 900 8", True),
        ("97.5 20.5 900 8", False),
        ("20.5 197.5 900 8", False),
        ("20.5 97.5", False),
        ("here", False),
    ],
)
def test_a_position_has_four_numbers(point: str, is_fine: bool) -> None:
    village = {name: FARMER[name] for name in FARMER if name not in ("sample_type",)}
    village |= {"households": "40", "poppy_status": "never", "village_point": point}
    parsed = parse_submissions("h.xml", xml(village, form="village_headman"))
    assert [problem.field for problem in parsed.problems] == ([] if is_fine else ["village_point"])
