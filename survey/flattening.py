"""All submissions of a store as flat tables, made again from what arrived at any time.

Nothing is kept but the rows: the same store and layers give the same bytes. Memory does not grow
with the number of submissions.
"""

from __future__ import annotations

import csv
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from survey.digests import file_digest
from survey.errors import SurveyError
from survey.forms import SubmissionStore, form_ids
from survey.forms.durable import store_lock
from survey.forms.located import Locator
from survey.forms.typed import COLUMNS, POINT_COLUMNS, Cell, typed_rows
from survey.review import ReviewLog
from survey.spreadsheets import spreadsheet_text

__all__ = ["FlatTable", "csv_text", "flatten_store"]

#: Submissions whose positions are looked up at once.
_BATCH = 2_000
_STATE = "review_state"
_PLACE = ("found_district_pcode", "found_segment_id", "place")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatTable:
    """One table that was written."""

    name: str
    path: Path
    n_rows: int
    sha256: str


def csv_text(cell: Cell) -> str:
    """A cell of a CSV file, which no spreadsheet program runs as a formula."""
    if cell is None:
        return ""
    return str(spreadsheet_text(cell)) if isinstance(cell, str) else repr(cell)


def flatten_store(
    store: SubmissionStore,
    folder: Path,
    *,
    districts: Locator | None = None,
    segments: Locator | None = None,
) -> list[FlatTable]:
    """Write the restricted tables of all submissions, with corrections and review states.

    Parameters
    ----------
    folder : Path
        Replaced as a whole when everything is written; mode 0700, files 0600.
    districts, segments : Locator, optional
        Where positions are looked up. Without them no place is found.

    Returns
    -------
    list of FlatTable
        In order of name. Tables without rows have a header all the same.

    Raises
    ------
    SurveyError
        The folder cannot be written; what was there before stays.
    """
    # Nobody is withdrawn between the reading and the renaming.
    with store_lock(store.folder):
        return _flatten(store, folder, districts, segments)


def _flatten(
    store: SubmissionStore, folder: Path, districts: Locator | None, segments: Locator | None
) -> list[FlatTable]:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(mode=0o700, parents=True)
        counts = _write(store, partial, districts, segments)
        before = folder.with_name(f".{folder.name}.before")
        shutil.rmtree(before, ignore_errors=True)
        if folder.exists():
            folder.rename(before)
        partial.rename(folder)
        shutil.rmtree(before, ignore_errors=True)
    except OSError as error:
        raise SurveyError(
            f"{folder} cannot be written ({error.strerror}); free space or choose another folder"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [
        FlatTable(name=name, path=path, n_rows=counts[name], sha256=file_digest(path))
        for name in sorted(COLUMNS)
        for path in (folder / f"{name}.csv",)
    ]


def _write(
    store: SubmissionStore, folder: Path, districts: Locator | None, segments: Locator | None
) -> dict[str, int]:
    counts = dict.fromkeys(COLUMNS, 0)
    headers = {
        name: (*columns, *(_PLACE if POINT_COLUMNS[0] in columns else ()), _STATE)
        for name, columns in COLUMNS.items()
    }
    with ExitStack() as open_files:
        writers = {}
        for name, header in headers.items():
            out = open_files.enter_context(_private(folder / f"{name}.csv"))
            writers[name] = csv.writer(out, lineterminator="\n")
            writers[name].writerow(header)
        rows = _rows(store)
        while batch := list(itertools.islice(rows, _BATCH)):
            _locate([row for _, row in batch], districts, segments)
            for table, row in batch:
                writers[table].writerow([csv_text(row.get(name)) for name in headers[table]])
                counts[table] += 1
    return counts


def _rows(store: SubmissionStore) -> Iterator[tuple[str, dict[str, Cell]]]:
    log = ReviewLog(store)
    for form_id in form_ids():
        for review in log.iter_reviews(form_id):
            for table, row in typed_rows(review.submission):
                yield table, row | {_STATE: review.state.value}


def _locate(
    rows: Iterable[dict[str, Cell]], districts: Locator | None, segments: Locator | None
) -> None:
    """Add the places in which the positions of rows lie, and whether they are those declared."""
    placed = [row for row in rows if row.get("longitude") is not None]
    longitude = [float(row["longitude"] or 0.0) for row in placed]
    latitude = [float(row["latitude"] or 0.0) for row in placed]
    if not placed or districts is None:
        return
    found = districts.find(longitude, latitude)
    inside = [""] * len(placed) if segments is None else segments.find(longitude, latitude)
    for row, district, segment in zip(placed, found, inside, strict=True):
        row["found_district_pcode"], row["found_segment_id"] = district, segment
        if not district:
            row["place"] = "outside_all_districts"
        elif row.get("district_pcode") not in (None, "", district):
            row["place"] = "outside_declared_district"
        elif segments is not None and row.get("segment_id") not in (None, "", segment):
            row["place"] = "outside_declared_segment"
        else:
            row["place"] = "inside"


def _private(path: Path) -> TextIO:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return os.fdopen(handle, "w", encoding="utf-8", newline="")
