from __future__ import annotations

import json
import multiprocessing
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from survey.errors import FormError
from survey.forms import SubmissionStore

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
    assert why[0]["row"] == 3


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
