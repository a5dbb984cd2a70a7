"""A crash while storing, and files too large or in another encoding."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from survey.forms import SubmissionStore, parse_submissions

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DATA = (
    "instanceID,segment_id,visit_date,observer_code,observed_percent,area_unit,poppy_area,"
    "cannabis_area,remarks\nuuid:1,MR01-1,2026-02-28,OB1,100,rai,2.5,0,café"
)


@pytest.mark.parametrize(
    ("data", "told"),
    [(b"x" * 51_000_000, "51 MB"), (DATA.encode("latin-1"), "UTF-8")],
)
def test_large_and_foreign_files_are_refused_with_a_remedy(data: bytes, told: str) -> None:
    parsed = parse_submissions("a.csv", data)
    assert not parsed.submissions
    assert told in str(parsed.problems[0])


def test_a_crash_before_the_link_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*args: object, **options: object) -> None:
        raise OSError("power lost")

    store = SubmissionStore(tmp_path / "s")
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", crash)
        with pytest.raises(OSError, match="power lost"):
            store.import_file("a.csv", DATA.encode(), received_at=NOW)
    assert [path.name for path in (tmp_path / "s").rglob("*") if path.is_file()] == ["lock"]
    assert store.import_file("a.csv", DATA.encode(), received_at=NOW).n_new == 1
