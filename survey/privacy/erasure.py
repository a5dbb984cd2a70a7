"""Submissions removed from everything that holds them: store, exports, results of runs.

Every step may be repeated: a removal that was killed is finished by doing it again.
"""

from __future__ import annotations

import csv
import io
import os
import secrets
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from survey.forms import SubmissionStore
from survey.forms.durable import flush_folder, instance_key, remove_file, remove_tree
from survey.forms.tombstones import Pending
from survey.privacy.exports import ExportLog
from survey.privacy.rawfiles import erase_raw

__all__ = ["Erased", "erase"]

#: Large, and made of pixels: no identifier is in them.
_RASTERS = frozenset({".tif", ".tiff"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What a removal removed: counts and digests, nothing of a person.

    Attributes
    ----------
    counts : mapping of what to how many
    raw_sha256 : tuple of str
        Raw files that are gone, or stand there without some rows under another digest.
    unread : tuple of str
        Raw files that no program here can read, so that nobody knows what they hold.
    """

    counts: Counter[str] = field(default_factory=Counter)
    raw_sha256: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def erase(store: SubmissionStore, gone: Sequence[Pending], derived: Iterable[Path]) -> Erased:
    """Remove submissions from the store and from derived files.

    The caller holds the store's lock alone, and their tombstones stand.

    Parameters
    ----------
    gone : sequence of Pending
        Identifiers and codes to look for.
    derived : iterable of Path
        Files made from submissions: rows that name one are taken out of tables; any other file
        that names one is removed, since it can be made again.
    """
    counts: Counter[str] = Counter()
    # Half-written files of a writer that was killed; no other is at work now.
    for path in store.folder.rglob(".*"):
        if path.is_file():
            remove_file(path)
    keys = {instance_key(each.instance_id) for each in gone}
    texts = [text for each in gone for text in (each.instance_id, each.code) if text]

    def is_gone(instance_id: str) -> bool:
        return instance_key(instance_id) in keys

    raw, unread = erase_raw(store.folder, gone, counts)
    for pattern, what in (
        ("submissions/*/*.json", "submissions"),
        ("sealed/*/*.json", "encrypted submissions"),
        ("conflicts/*.json", "other answers"),
        ("review/*/*.json", "decisions"),
    ):
        for path in store.folder.glob(pattern):
            if path.stem.partition("-")[0] in keys:
                remove_file(path)
                counts[what] += 1
    for folder in store.folder.glob("attachments/*"):
        if folder.name.partition("-")[0] in keys:
            counts["photos and other files"] += remove_tree(folder)
    # They may hold anybody; whoever sends one begins again.
    for folder in store.folder.glob("uploads/*"):
        counts["uploads in pieces"] += remove_tree(folder)
    for path in derived:
        if path.suffix.lower() not in _RASTERS:
            _erase_derived(path, is_gone, texts, counts)
    for path, _, of in ExportLog(store.folder).files():
        if of == "*" or of.partition("-")[0] in keys:
            remove_file(path)
            counts["derived files"] += 1
    return Erased(counts=counts, raw_sha256=tuple(raw), unread=tuple(unread))


def _erase_derived(
    path: Path, is_gone: Callable[[str], bool], texts: Sequence[str], counts: Counter[str]
) -> None:
    if not path.is_file() or not _names_one(path, texts):
        return
    if path.suffix.lower() != ".csv":
        remove_file(path)
        counts["derived files"] += 1
        return
    rows = list(csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    kept = [row for row in rows if not any(is_gone(cell.partition("/")[0]) for cell in row)]
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(kept)
    counts["derived rows"] += len(rows) - len(kept)
    _overwrite(path, out.getvalue().encode())
    if _names_one(path, texts):  # in some other way than as a row of its own
        remove_file(path)
        counts["derived files"] += 1


def _names_one(path: Path, texts: Sequence[str]) -> bool:
    needles = [text.encode() for text in texts]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            return any(_holds(packed.open(name), needles) for name in packed.namelist())
    with path.open("rb") as handle:
        return _holds(handle, needles)


def _holds(handle: IO[bytes], needles: Sequence[bytes]) -> bool:
    """Whether a stream holds one of some short texts; rasters are read in pieces."""
    longest = max(map(len, needles), default=0)
    before = b""
    while piece := handle.read(1 << 20):
        if any(needle in before + piece for needle in needles):
            return True
        before = piece[-longest:]
    return False


def _overwrite(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    partial.chmod(path.stat().st_mode & 0o777)
    partial.replace(path)
    flush_folder(path.parent)
