"""What was withdrawn does not come back, in whatever file it is sent again."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import openpyxl
import pytest

from survey.forms import Delivery, SubmissionStore
from survey.forms.redaction import redact
from survey.forms.submissions import parse_submissions
from survey.forms.tombstones import Tombstones, code_digest

NOW = datetime(2026, 2, 4, tzinfo=UTC)
NAMES = ["segment_id", "visit_date", "observer_code", "observed_percent", "area_unit"]
NAMES += ["poppy_area", "cannabis_area", "remarks"]


def answers(number: int) -> list[str]:
    remark = f"first line {number}\nsecond, \u2028 line {number}"
    return [f"S-{number}", "2026-02-03", "T1", "80", "rai", "1.3", "0", remark]


def csv_file(*numbers: int) -> bytes:
    rows = [
        ";".join([f"uuid:{n}", *answers(n)[:-1], f'"{answers(n)[-1]}"']) + "\r\n" for n in numbers
    ]
    return ("sep=;\r\n" + ";".join(["instanceID", *NAMES]) + "\r\n\r\n" + "".join(rows)).encode()


def xlsx_file(*numbers: int) -> bytes:
    book = openpyxl.Workbook()
    book.active.append(["instanceID", *NAMES])
    plots = book.create_sheet("plots")
    plots.append(["KEY", "plot_remark"])
    for n in numbers:
        book.active.append([f"uuid:{n}", *answers(n)])
        plots.append([f"uuid:{n}/plots[1]", f"plot of {n}"])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def json_file(*numbers: int) -> bytes:
    rows = [
        {"meta": {"instanceID": f"uuid:{n}"}, **dict(zip(NAMES, answers(n), strict=True))}
        for n in numbers
    ]
    return json.dumps({"count": len(rows), "results": rows}).encode()


def xml_file(number: int) -> bytes:
    inside = "".join(f"<{n}>{a}</{n}>" for n, a in zip(NAMES, answers(number), strict=True))
    return (
        f'<data id="segment_visit" version="2026011501">{inside}'
        f"<meta><instanceID>uuid:{number}</instanceID></meta></data>"
    ).encode()


def plain(data: bytes) -> bytes:
    """Everything that can be read in a file, packed or not."""
    if data[:2] != b"PK":
        return data
    book = openpyxl.load_workbook(io.BytesIO(data))
    return json.dumps([list(s.values) for s in book], default=str, ensure_ascii=False).encode()


@pytest.mark.parametrize("make", [csv_file, xlsx_file, json_file])
def test_the_other_rows_survive(make) -> None:
    data = make(1, 2, 3)
    assert redact(data, lambda instance: instance == "uuid:9") == (data, 0)
    left, taken = redact(data, lambda instance: instance == "uuid:2")
    assert taken == 1
    assert left is not None
    before = parse_submissions("f", data).submissions
    after = parse_submissions("f", left).submissions
    assert [s.sha256 for s in after] == [s.sha256 for s in (before[0], before[2])]
    for trace in (b"uuid:2", b"S-2", b"line 2", b"plot of 2"):
        assert trace not in plain(left)
    assert redact(make(2), lambda instance: instance == "uuid:2") == (None, 1)


def lay(folder: Path, number: int) -> None:
    stones = Tombstones(folder)
    stones.lay(
        f"uuid:{number}",
        form_id="segment_visit",
        reason="withdrawn",
        code="AB12-CD34",
        was_used=False,
        now=NOW,
        by="coordinator",
    )
    stones.finish(f"uuid:{number}")


def test_nothing_withdrawn_is_kept_again(tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    store = SubmissionStore(folder)
    lay(folder, 2)
    for data in (csv_file(1, 2), xlsx_file(1, 2), json_file(1, 2)):
        report = store.import_file("f", data, received_at=NOW)
        assert (report.accepted, report.n_withdrawn) == (True, 1)
    alone = store.import_file("phone", xml_file(2), received_at=NOW)
    assert (alone.accepted, alone.n_new, alone.n_withdrawn) == (True, 0, 1)
    photo = store.receive("photo.jpg")
    photo.write(b"a photo of S-2")
    photo.finish()
    late = Delivery(name="late.xml", data=xml_file(2), received_at=NOW, files=[photo])
    assert store.import_all([late])[0].n_withdrawn == 1
    photo.discard()
    assert store.attachment_folders("uuid:2") == []
    assert [s.instance_id for s in store.submissions("segment_visit")] == ["uuid:1"]
    for path in folder.rglob("*"):
        if path.is_file():
            assert b"S-2" not in plain(path.read_bytes()), path


def test_a_tombstone_tells_nothing_and_is_found_by_its_code(tmp_path: Path) -> None:
    lay(tmp_path, 2)
    (stone,) = (tmp_path / "withdrawn").iterdir()
    for trace in ("uuid:2", "AB12", "S-2"):
        assert trace not in stone.read_text()
    stones = Tombstones(tmp_path)
    for code in ("ab12cd34", " AB12-CD34 ", "uuid:2"):
        assert len(stones.of_code(code)) == 1
    assert stones.of_code("AB12") == []
    assert stones.stands_for("uuid:2")
    assert code_digest("AB 12") == code_digest("ab-12")
