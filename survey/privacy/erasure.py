"""Submissions removed from everything that holds them: store, exports, results of runs.

Every step may be repeated: a removal that was killed is finished by doing it again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import secrets
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from survey.errors import ConfigError, FormError
from survey.forms import Problem, Submission, SubmissionStore, TableMapping, read_mapping
from survey.forms.durable import flush_folder, instance_key, to_json, write_once
from survey.forms.redaction import redact
from survey.forms.submissions import MAX_BYTES, parse_submissions
from survey.forms.tombstones import WITHDRAWAL_CODE, Pending, code_digest
from survey.privacy.exports import ExportLog

__all__ = ["Erased", "erase", "raw_submissions", "remove_file"]

_MAX_MAPPING = 100_000
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
    codes = {code_digest(each.code) for each in gone if each.code}
    texts = [text for each in gone for text in (each.instance_id, each.code) if text]

    def is_gone(instance_id: str) -> bool:
        return instance_key(instance_id) in keys

    def has_code(submission: Submission) -> bool:
        code = submission.answers.get(WITHDRAWAL_CODE, "")
        return bool(code) and code_digest(code) in codes

    raw, unread = _erase_raw(store.folder, is_gone, has_code, texts, counts)
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
            counts["photos and other files"] += _remove_tree(folder)
    # They may hold anybody; whoever sends one begins again.
    for folder in store.folder.glob("uploads/*"):
        counts["uploads in pieces"] += _remove_tree(folder)
    for path in derived:
        if path.suffix.lower() not in _RASTERS:
            _erase_derived(path, is_gone, texts, counts)
    for path, _, of in ExportLog(store.folder).files():
        if of == "*" or of.partition("-")[0] in keys:
            remove_file(path)
            counts["derived files"] += 1
    return Erased(counts=counts, raw_sha256=tuple(raw), unread=tuple(unread))


def raw_submissions(store: SubmissionStore) -> Iterator[Submission]:
    """Submissions of the files that were refused; they were never stored one by one."""
    mappings = _mappings(store.folder)
    for record in sorted(store.folder.glob("refused/*.json")):
        path = store.folder / "raw" / record.stem
        if path.is_file() and path.stat().st_size <= MAX_BYTES:
            for how in (None, *mappings):
                yield from parse_submissions("", path.read_bytes(), mapping=how).submissions


def remove_file(path: Path) -> None:
    """Remove a file, on disk before it returns; it may be gone already."""
    path.unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        flush_folder(path.parent)


def _remove_tree(folder: Path) -> int:
    n = sum(path.is_file() for path in folder.iterdir())
    shutil.rmtree(folder)
    flush_folder(folder.parent)
    return n


def _erase_raw(
    root: Path,
    is_gone: Callable[[str], bool],
    has_code: Callable[[Submission], bool],
    texts: Sequence[str],
    counts: Counter[str],
) -> tuple[list[str], list[str]]:
    """Raw files whole, or without the rows; digests of those changed and those unreadable."""
    changed, unread = [], []
    mappings = _mappings(root)
    for path in sorted((root / "raw").glob("*")):
        if _as_mapping(path) is not None:
            continue
        data = path.read_bytes()
        try:
            left, taken = _redacted(data, is_gone, has_code, mappings)
        except (FormError, ConfigError):
            left, taken = _cut(data, texts)
            if not taken and data[:2] == b"PK":
                unread.append(path.name)
        if not taken:
            continue
        counts["raw files"] += left is None
        counts["raw files without some rows"] += left is not None
        changed.append(path.name)
        if left is not None:
            _replace_raw(root, path.name, left, taken)
        for record in root.glob(f"refused/{path.name}.json"):
            remove_file(record)
        for folder in root.glob(f"attachments/{path.name[:40]}*"):
            counts["photos and other files"] += _remove_tree(folder)
        remove_file(path)
    return changed, unread


def _redacted(
    data: bytes,
    is_gone: Callable[[str], bool],
    has_code: Callable[[Submission], bool],
    mappings: Sequence[TableMapping],
) -> tuple[bytes | None, int]:
    if len(data) > MAX_BYTES:
        raise FormError("is too large to be read")
    failure: Exception = FormError("cannot be read")
    is_readable = False
    # Which mapping a plain table came with is not on record: each that fits is tried.
    for how in (None, *mappings):
        try:
            left, taken = redact(data, is_gone, mapping=how, also=has_code)
        except (FormError, ConfigError) as error:
            failure = error
            continue
        is_readable = True
        if taken:
            return left, taken
    if is_readable:
        return data, 0
    raise failure


def _mappings(root: Path) -> list[TableMapping]:
    """Mappings that lie among the raw files."""
    found = (_as_mapping(path) for path in sorted((root / "raw").glob("*")))
    return [how for how in found if how is not None]


def _as_mapping(path: Path) -> TableMapping | None:
    if path.stat().st_size > _MAX_MAPPING:
        return None
    data = path.read_bytes()
    if b"form_id" not in data or data.lstrip()[:1] in (b"<", b"{", b"[{"):
        return None
    try:
        return read_mapping(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, FormError, ConfigError):
        return None


def _cut(data: bytes, texts: Sequence[str]) -> tuple[bytes | None, int]:
    """Of a file that cannot be read: without the lines, or all of it where it is no table."""
    needles = [text.encode(how) for text in texts for how in ("utf-8", "utf-16-le")]
    if not any(needle in data for needle in needles):
        return data, 0
    is_text = b"\x00" not in data and data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in b"<{["
    lines = data.splitlines(keepends=True)
    kept = [line for line in lines if not any(needle in line for needle in needles)]
    # A line break inside a quoted text would leave the rest of the row behind.
    if not is_text or b'"' in data or len(kept) < 2:
        return None, 1
    return b"".join(kept), len(lines) - len(kept)


def _replace_raw(root: Path, old: str, left: bytes, taken: int) -> None:
    """Write what is left of a raw file, and that it stands for the old one."""
    new = hashlib.sha256(left).hexdigest()
    write_once(root / "raw" / new, left, root=root)
    write_once(
        root / "rewritten" / f"{old}.json", to_json({"now": new, "taken_out": taken}), root=root
    )
    record = root / "refused" / f"{old}.json"
    if not record.is_file():
        return
    content = json.loads(record.read_text("utf-8"))
    problems = list(parse_submissions(content.get("file", ""), left).problems)
    if not any(problem.is_refused for problem in problems):
        again = Problem(
            file=content.get("file", ""),
            row=None,
            field="",
            value="",
            problem="was refused for a row that has been removed since",
            remedy="import it again",
        )
        problems = [again]
    content |= {"raw_sha256": new, "instance_id": "", "problems": [asdict(p) for p in problems]}
    write_once(root / "refused" / f"{new}.json", to_json(content), root=root)


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
