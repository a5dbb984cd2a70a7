from __future__ import annotations

import hashlib
import json
import multiprocessing
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from survey.errors import FormError
from survey.forms import Delivery, SubmissionStore

NOW = datetime(2026, 2, 4, tzinfo=UTC)
LATER = datetime(2026, 3, 1, tzinfo=UTC)


def visit(instance: str, poppy: str = "1.3") -> bytes:
    return (
        '<data id="segment_visit" version="2026011501"><segment_id>S-1</segment_id>'
        "<visit_date>2026-02-03</visit_date><observer_code>T1</observer_code>"
        "<observed_percent>80</observed_percent><area_unit>rai</area_unit>"
        f"<poppy_area>{poppy}</poppy_area><cannabis_area>0</cannabis_area>"
        f"<meta><instanceID>{instance}</instanceID></meta></data>"
    ).encode()


def table(*instances: str) -> bytes:
    header = "instanceID,segment_id,visit_date,observer_code,observed_percent,area_unit,"
    rows = [f"{one},S-1,2026-02-03,T1,80,rai,1.3,0" for one in instances]
    return "\n".join([header + "poppy_area,cannabis_area", *rows]).encode()


def state(folder: Path) -> dict[str, str]:
    """What the store answers, and the bytes it keeps, by name."""
    answers = {
        s.instance_id: s.sha256 for s in SubmissionStore(folder).submissions("segment_visit")
    }
    return answers | {path.name: "raw" for path in (folder / "raw").iterdir()}


FILES = (
    visit("uuid:a"),
    visit("uuid:b"),
    table("uuid:a", "uuid:b", "uuid:c"),
    b"<broken",
    b"\x00",
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_order_and_repetition_gives_the_same_store(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    more = data.draw(st.lists(st.sampled_from(FILES), max_size=5))
    order = data.draw(st.permutations([*FILES, *more]))
    folder = tmp_path_factory.mktemp("store")
    reports = [
        SubmissionStore(folder).import_file("f", content, received_at=NOW) for content in order
    ]
    assert sum(report.n_new for report in reports) == 3
    assert sum(report.n_conflict for report in reports) == 0
    expected = tmp_path_factory.mktemp("expected")
    for content in FILES:
        SubmissionStore(expected).import_file("f", content, received_at=LATER)
    assert state(folder) == state(expected)


def test_a_file_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    store = SubmissionStore(tmp_path / "inbox")
    bad = table("uuid:a", "uuid:b") + b"\nuuid:c,S-1,2026-02-03,T1,80,rai,-4,0\n"
    report = store.import_file("bad.csv", bad, received_at=NOW)
    assert not report.accepted
    assert (report.n_new, report.problems[0].row, report.problems[0].field) == (0, 3, "poppy_area")
    assert store.submissions("segment_visit") == []
    assert (tmp_path / "inbox" / "raw" / report.sha256).read_bytes() == bad
    why = json.loads((tmp_path / "inbox" / "refused" / f"{report.sha256}.json").read_text())
    assert why["problems"][0]["row"] == 3
    assert (why["received_at"], why["sender"]) == (NOW.isoformat(), "")


def test_it_is_known_when_and_from_whom_everything_came(tmp_path: Path) -> None:
    store = SubmissionStore(tmp_path)
    odd = visit("uuid:a").replace(b"2026011501", b"1999")
    store.import_file("a.xml", odd, received_at=NOW, sender="phone ab")
    store.import_file("b.xml", visit("uuid:a", "7"), received_at=LATER, sender="phone cd")
    (stored,) = store.iter_stored("segment_visit")
    assert (stored.received_at, stored.sender) == (NOW.isoformat(), "phone ab")
    assert store.raw(stored.raw_sha256) == odd
    assert stored.remarks == ("form_version is not a known version",)
    (other,) = store.iter_conflicts()
    assert (other.received_at, other.sender) == (LATER.isoformat(), "phone cd")
    assert store.sent_bytes() == {"phone ab": len(odd), "phone cd": len(visit("uuid:a", "7"))}


def test_many_files_are_taken_together_as_they_are_one_by_one(tmp_path: Path) -> None:
    """One flush for all: known ones, conflicts and refused ones among them."""
    contents = [visit("uuid:a"), visit("uuid:a", "7"), visit("uuid:a"), visit("uuid:b", "-1")]
    together, alone = SubmissionStore(tmp_path / "1"), SubmissionStore(tmp_path / "2")
    deliveries = [Delivery(name="f", data=data, received_at=NOW) for data in contents]
    reports = together.import_all(deliveries)
    assert reports == [alone.import_file("f", data, received_at=NOW) for data in contents]
    assert [(r.n_new, r.n_known, r.n_conflict, r.accepted) for r in reports] == [
        (1, 0, 0, True), (0, 0, 1, True), (0, 1, 0, True), (0, 0, 0, False)
    ]  # fmt: skip
    found = [sorted(str(path.relative_to(root)) for path in root.rglob("*"))
             for root in (tmp_path / "1", tmp_path / "2")]  # fmt: skip
    assert found[0] == found[1]


def test_files_join_the_submission_of_the_phone_that_sent_it(tmp_path: Path) -> None:
    store = SubmissionStore(tmp_path)

    def send(sender: str, xml: bytes, photo: bytes, *, part: bool = False) -> None:
        received = store.receive("../a photo.jpg")
        received.write(photo[:2])
        received.write(photo[2:])
        received.finish()
        store.import_all([
            Delivery(name="f", data=xml, received_at=NOW, sender=sender, files=[received],
                     is_incomplete=part)
        ])  # fmt: skip
        received.discard()

    send("phone ab", visit("uuid:a"), b"first", part=True)
    assert store.n_waiting() == 1
    send("phone ab", visit("uuid:a"), b"second")
    send("phone ab", visit("uuid:a"), b"second")
    assert store.n_waiting() == 0
    send("phone cd", visit("uuid:a"), b"not theirs")
    send("phone cd", visit("uuid:a", "9"), b"other answers")
    send("phone ef", visit("uuid:a", "-4"), b"refused")
    mine, *others = store.attachment_folders("uuid:a")
    assert {path.read_bytes() for path in mine.glob("*.jpg")} == {b"first", b"second"}
    assert sorted(path.read_bytes() for each in others for path in each.glob("*.jpg")) == [
        b"not theirs", b"other answers"
    ]  # fmt: skip
    # Of a submission that was refused nothing joins anybody's: it lies by the refused bytes.
    apart = tmp_path / "attachments" / hashlib.sha256(visit("uuid:a", "-4")).hexdigest()[:40]
    assert [path.read_bytes() for path in apart.glob("*.jpg")] == [b"refused"]
    rows = [json.loads(path.read_text()) for path in (mine / "deliveries").iterdir()]
    assert [(row["sender"], len(row["files"])) for row in rows] == [("phone ab", 1)] * 2
    assert store.sent_bytes()["phone cd"] == len(b"not theirsother answers") + len(
        visit("uuid:a", "9")
    )
    assert list((tmp_path / "incoming").iterdir()) == []


def test_other_content_under_a_known_instance_is_kept_aside(tmp_path: Path) -> None:
    store = SubmissionStore(tmp_path)
    store.import_file("first.xml", visit("uuid:a", "1"), received_at=NOW)
    report = store.import_file("second.xml", visit("uuid:a", "2"), received_at=LATER)
    assert (report.accepted, report.n_conflict) == (True, 1)
    assert "stored already with other answers" in str(report.problems[0])
    (kept,) = store.submissions("segment_visit")
    assert kept.answers["poppy_area"] == "1"
    (aside,) = (tmp_path / "conflicts").iterdir()
    assert json.loads(aside.read_text())["submission"]["answers"]["poppy_area"] == "2"
    assert len(list((tmp_path / "raw").iterdir())) == 2


@pytest.mark.parametrize("instance", ["../../outside", "/etc/x", "a/../../b", "x" * 200, "နာမ"])
def test_no_instance_name_leaves_the_folder(tmp_path: Path, instance: str) -> None:
    folder = tmp_path / "inbox"
    SubmissionStore(folder).import_file("../../name.xml", visit(instance), received_at=NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["inbox"]
    (kept,) = SubmissionStore(folder).submissions("segment_visit")
    assert kept.instance_id == instance


def test_only_the_owner_reads_the_store(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "inbox"
    SubmissionStore(folder).import_file("a.xml", visit("uuid:a"), received_at=NOW)
    for path in (folder, *folder.rglob("*")):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path
    assert not list(folder.rglob(".*"))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    store = SubmissionStore(tmp_path)
    store.import_file("a.xml", visit("uuid:a"), received_at=NOW)
    (path,) = (tmp_path / "submissions" / "segment_visit").iterdir()
    path.write_text("{")
    with pytest.raises(FormError, match="import the raw file again"):
        store.submissions("segment_visit")


def _import_all(folder: Path, counts: multiprocessing.Queue[int]) -> None:
    store = SubmissionStore(folder)
    new = sum(
        store.import_file("f.xml", visit(f"uuid:{i}"), received_at=NOW).n_new for i in range(60)
    )
    counts.put(new)


def test_two_processes_take_each_submission_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    counts: multiprocessing.Queue[int] = context.Queue()
    folder = tmp_path / "inbox"
    importers = [context.Process(target=_import_all, args=(folder, counts)) for _ in range(2)]
    for importer in importers:
        importer.start()
    new = [counts.get(timeout=60) for _ in importers]
    for importer in importers:
        importer.join(timeout=60)
        assert importer.exitcode == 0
    assert sum(new) == 60
    assert len(SubmissionStore(folder).submissions("segment_visit")) == 60
    assert not list(folder.rglob(".*"))


def _send_own(folder: Path, sender: str, together: threading.Barrier) -> None:
    store = SubmissionStore(folder)
    for number in range(40):
        photo = store.receive("a.jpg")
        photo.write(f"{sender} {number}".encode())
        photo.finish()
        xml = visit(f"uuid:{number}", poppy=str(len(sender)))
        together.wait(timeout=60)
        store.import_all(
            [Delivery(name="f", data=xml, received_at=NOW, sender=sender, files=[photo])]
        )


def test_of_two_processes_with_one_identifier_each_keeps_its_photo(tmp_path: Path) -> None:
    """Nobody's picture gets under the answers of another, however close they come."""
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(2)
    senders = [
        context.Process(target=_send_own, args=(tmp_path, name, together))
        for name in ("phone a", "phone bb")
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(timeout=120)
        assert sender.exitcode == 0
    store = SubmissionStore(tmp_path)
    stored = store.stored("segment_visit")
    assert len(stored) == 40
    for each in stored:
        number = each.submission.instance_id.removeprefix("uuid:")
        mine, *others = store.attachment_folders(each.submission.instance_id)
        assert [p.read_text() for p in mine.glob("*.jpg")] == [f"{each.sender} {number}"]
        (other,) = (p.read_text() for folder in others for p in folder.glob("*.jpg"))
        assert not other.startswith(f"{each.sender} ")
    assert len({each.sender for each in stored}) == 2, "one of them always came first"


def test_records_of_older_stores_are_read_as_of_an_unknown_sender(tmp_path: Path) -> None:
    store = SubmissionStore(tmp_path)
    store.import_file("a.xml", visit("uuid:a"), received_at=NOW, sender="phone ab")
    (record,) = (tmp_path / "submissions" / "segment_visit").iterdir()
    content = json.loads(record.read_bytes())
    del content["sender"], content["remarks"]
    record.write_text(json.dumps(content))
    (stored,) = store.iter_stored("segment_visit")
    assert (stored.submission.instance_id, stored.sender, stored.remarks) == ("uuid:a", "", ())
    assert store.import_file("b.xml", visit("uuid:a"), received_at=LATER).n_known == 1
