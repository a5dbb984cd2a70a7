from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import openpyxl
import pytest

from survey.forms import SubmissionStore, parse_submissions, repeat_rows, sheets

NOW = datetime(2026, 2, 4, tzinfo=UTC)
VISIT = {
    "segment_id": "S-1",
    "visit_date": "2026-02-03",
    "observer_code": "T1",
    "observed_percent": "80",
    "area_unit": "rai",
    "poppy_area": "1.3",
    "cannabis_area": "0",
}
PLOT = {
    "plot_id": "P-1",
    "segment_id": "S-1",
    "visit_date": "2026-02-03",
    "observer_code": "T1",
    "sample_type": "probability",
    "plot_area_m2": "1",
    "n_flower": "3",
    "n_bud": "2",
    "n_immature": "10",
    "n_mature": "20",
    "n_lanced": "5",
}
CAPSULES = [
    {"height_mm": "31.5", "diameter_mm": "28"},
    {"height_mm": "30", "diameter_mm": "27"},
]


def leaves(answers: dict[str, str]) -> str:
    return "".join(f"<{name}>{value}</{name}>" for name, value in answers.items())


def plot_xml(capsules: list[dict[str, str]]) -> bytes:
    entries = "".join(f"<capsule>{leaves(entry)}</capsule>" for entry in capsules)
    return (
        f'<data id="yield_plot" version="2026011501">{leaves(PLOT)}{entries}'
        "<meta><instanceID>uuid:1</instanceID></meta></data>"
    ).encode()


def workbook(rows: list[list[object]]) -> bytes:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in rows:
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def message(data: bytes) -> str:
    (problem,) = parse_submissions("f", data).problems
    return str(problem)


def test_every_way_of_sending_a_visit_is_the_same_submission() -> None:
    row: dict[str, object] = {
        **VISIT,
        "visit_date": date(2026, 2, 3),
        "observed_percent": 80,
        "poppy_area": 1.3,
        "cannabis_area": 0.0,
        "instanceID": "uuid:1",
    }
    kobo = {
        "count": 1,
        "results": [
            {
                "_id": 7,
                "_uuid": "1",
                "_xform_id_string": "segment_visit",
                "__version__": "2026011501",
                "_geolocation": [None, None],
                **{f"visit/{name}": value for name, value in VISIT.items()},
            }
        ],
    }
    central = {
        "value": [
            {
                "__id": "uuid:1",
                "__system": {"submissionDate": "2026-02-04"},
                "visit": {**VISIT, "observed_percent": 80, "poppy_area": 1.3, "cannabis_area": 0},
                "remarks": None,
            }
        ]
    }
    files = [
        f'<data id="segment_visit" version="2026011501">{leaves(VISIT)}'
        "<meta><instanceID>uuid:1</instanceID></meta></data>".encode(),
        workbook([list(row), list(row.values()), [None] * 9]),
        f'<data id="segment_visit" version="2026011501">{leaves(VISIT | {"poppy_area": "1.30"})}'
        "<meta><instanceID>uuid:1</instanceID></meta></data>".encode(),
        json.dumps(kobo).encode(),
        json.dumps(central).encode(),
    ]
    digests = set()
    for data in files:
        parsed = parse_submissions("f", data)
        assert parsed.problems == ()
        (submission,) = parsed.submissions
        assert submission.instance_id == "uuid:1"
        digests.add(submission.sha256)
    assert len(digests) == 1


def test_what_spreadsheets_do_to_a_csv_is_no_error() -> None:
    columns = ["instanceID", *VISIT]
    row = ["uuid:1", *VISIT.values()]
    plain = f"{','.join(columns)}\n{','.join(row)}\n".encode()
    variants = {
        "separator line": f"sep=;\r\n{';'.join(columns)}\r\n{';'.join(row)}\r\n".encode(),
        "quoted separator line": f'"sep=;"\n{";".join(columns)}\n{";".join(row)}\n'.encode(),
        "other case": f"{','.join(columns).upper()}\n{','.join(row)}\n".encode(),
        "empty columns": f"{','.join(columns)},,\n{','.join(row)},,\n,,,,,,,,,\n".encode(),
        "row longer than header": f"{','.join(columns)}\n{','.join(row)},,,\n".encode(),
    }
    (expected,) = parse_submissions("f", plain).submissions
    for what, data in variants.items():
        parsed = parse_submissions("f", data)
        assert parsed.problems == (), what
        assert parsed.submissions[0].sha256 == expected.sha256, what
    # A value beyond the header is no leftover: nobody knows which question it answers.
    stray = f"{','.join(columns)}\n{','.join(row)},1.3\n".encode()
    assert "row 1 has 9 cells, the header has 8" in message(stray)
    cut = f"{','.join(columns)}\n{','.join(row[:-2])}\n".encode()
    assert "row 1 has 6 cells, the header has 8" in message(cut)


def test_a_percent_sign_is_named() -> None:
    answers = VISIT | {"observed_percent": "95%"}
    csv = f"instanceID,{','.join(answers)}\nuuid:1,{','.join(answers.values())}\n"
    assert "95%" in message(csv.encode())
    assert "without the % sign" in message(csv.encode())


def test_capsules_arrive_by_xml_csv_and_json(tmp_path: Path) -> None:
    header = [*PLOT, "instanceID", *(f"capsule[{i}]/{n}" for i in (1, 2) for n in CAPSULES[0])]
    cells = [*PLOT.values(), "uuid:1", *CAPSULES[0].values(), *CAPSULES[1].values()]
    record = {**PLOT, "instanceID": "uuid:1", "capsule": CAPSULES}
    store = SubmissionStore(tmp_path)
    files = [
        plot_xml(CAPSULES),
        f"{','.join(header)}\n{','.join(cells)}\n".encode(),
        json.dumps([record]).encode(),
    ]
    reports = [store.import_file("f", data, received_at=NOW) for data in files]
    assert [report.problems for report in reports] == [(), (), ()]
    assert [(r.n_new, r.n_known, r.n_conflict) for r in reports] == [
        (1, 0, 0),
        (0, 1, 0),
        (0, 1, 0),
    ]
    rows = repeat_rows(store.submissions("yield_plot"), "capsule")
    assert list(rows["row_key"]) == ["uuid:1/capsule[1]", "uuid:1/capsule[2]"]
    assert list(rows["height_mm"]) == ["31.5", "30"]
    assert repeat_rows([], "capsule").empty
    less = store.import_file("f", plot_xml(CAPSULES[:1]), received_at=NOW)
    assert less.n_conflict == 1


def test_a_wrong_capsule_is_named_by_its_number() -> None:
    parsed = parse_submissions("f", plot_xml([CAPSULES[0], {**CAPSULES[1], "height_mm": "900"}]))
    (problem,) = parsed.problems
    assert problem.field == "capsule[2]/height_mm"
    assert "between 0 and 120" in problem.problem + problem.remedy


def test_a_formula_has_no_value_and_is_refused() -> None:
    row: dict[str, object] = {**VISIT, "poppy_area": "=1+1", "instanceID": "uuid:1"}
    parsed = parse_submissions("f.xlsx", workbook([list(row), list(row.values())]))
    (problem,) = parsed.problems
    assert (problem.row, problem.field) == (1, "poppy_area")


def test_unreadable_workbooks_and_json_give_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cut off or damaged" in message(b"PK\x03\x04 cut off")
    assert "not JSON" in message(b'{"value": [')
    assert "not JSON" in message(b"[" * 100_000)
    assert "not JSON" in message(rb'[{"_uuid": "1", "remarks": "half a sign \ud83d"}]')
    assert "not JSON" in message(rb'[{"_uuid": "1", "half \uDE00": "in a name"}]')
    assert "not JSON" not in message(rb'[{"a": "\ud83d\ude00"}]')
    assert "no list of submissions" in message(b"[1, 2]")
    assert "holds no submission" in message(b"[]")
    assert "matches no form" in message(b'[{"a": 1}]')
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("xl/worksheets/sheet1.xml", b" " * 2_000_000)
    monkeypatch.setattr(sheets, "_MAX_UNPACKED", 1_000_000)
    assert "unpacks to 2 MB" in message(bomb.getvalue())
