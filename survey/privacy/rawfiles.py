"""Raw files without submissions that were removed: whole files, or their rows."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from survey.errors import ConfigError, FormError
from survey.forms import Problem, Submission, SubmissionStore, TableMapping, read_mapping
from survey.forms.contents import ContentsIndex, contents_file, raw_of_records
from survey.forms.durable import instance_key, remove_file, remove_tree, to_json, write_once
from survey.forms.redaction import redact
from survey.forms.submissions import MAX_BYTES, parse_submissions
from survey.forms.tombstones import WITHDRAWAL_CODE, Pending, code_digest

__all__ = ["erase_raw", "raw_in_use", "raw_submissions"]

_MAX_MAPPING = 100_000


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is looked for.

    Attributes
    ----------
    keys, codes : set of str
        Digests of instanceIDs, and of codes.
    texts : list of str
        Both as they were written, for files that cannot be read otherwise.
    others : set of str
        Keys of submissions that stay: theirs is not removed for a code that two people share.
    """

    keys: set[str]
    codes: set[str]
    texts: list[str]
    others: set[str]

    def has_code(self, submission: Submission) -> bool:
        code = submission.answers.get(WITHDRAWAL_CODE, "")
        return (
            bool(code)
            and code_digest(code) in self.codes
            and instance_key(submission.instance_id) not in self.others
        )


def erase_raw(
    root: Path, gone: Sequence[Pending], counts: Counter[str]
) -> tuple[list[str], list[str]]:
    """Remove submissions from the raw files of a store, before their records go.

    Only files are read that can hold one: records and notes (`survey.forms.contents`) name what
    lies in the others.

    Returns
    -------
    list of str
        Digests of the files that are gone or stand without some rows.
    list of str
        Digests of those that nothing here can read.
    """
    keys = {instance_key(each.instance_id) for each in gone}
    named, notes = raw_of_records(root), ContentsIndex(root)
    wanted = _Wanted(
        keys=keys,
        codes={code_digest(each.code) for each in gone if each.code},
        texts=[text for each in gone for text in (each.instance_id, each.code) if text],
        others=set().union(*named.values()) - keys,
    )
    refused = {path.stem for path in root.glob("refused/*.json")}
    to_read = [
        path
        for path in sorted((root / "raw").glob("*"))
        if path.name in refused
        or _can_hold(path, keys, named.get(path.name, set()), notes.keys(path.name))
    ]
    mappings = _mappings(to_read)
    changed, unread = [], []
    for path in to_read:
        if _as_mapping(path) is not None:
            continue
        data = path.read_bytes()
        met: set[str] = set()
        try:
            left, taken = _redacted(data, wanted, met, mappings)
        except (FormError, ConfigError):
            left, taken = _cut(data, wanted.texts)
            met.clear()
            if not taken and data[:2] == b"PK":
                unread.append(path.name)
        if not taken:
            if met and path.name not in refused:
                for note in notes.files(path.name):  # damaged, or it would not have been read
                    remove_file(note)
                _note(root, path.name, met | named.get(path.name, set()))
            continue
        counts["raw files"] += left is None
        counts["raw files without some rows"] += left is not None
        changed.append(path.name)
        if left is not None:
            _replace_raw(root, path.name, left, taken)
        for note in notes.files(path.name):
            remove_file(note)
        for record in root.glob(f"refused/{path.name}.json"):
            remove_file(record)
        for folder in root.glob(f"attachments/{path.name[:40]}*"):
            counts["photos and other files"] += remove_tree(folder)
        remove_file(path)
    return changed, unread


def _can_hold(path: Path, keys: set[str], named: set[str], noted: frozenset[str] | None) -> bool:
    """Whether a raw file may hold one of some submissions, by what is on record about it."""
    if named & keys:
        return True
    if noted is not None:
        return bool(noted & keys)
    return not (named and _is_xml(path))


def _is_xml(path: Path) -> bool:
    """XML holds one submission, which is that of its record."""
    with path.open("rb") as handle:
        return handle.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"


def _note(root: Path, name: str, keys: set[str]) -> None:
    path, content = contents_file(root, name, keys)
    write_once(path, content, root=root)


def raw_in_use(root: Path) -> set[str]:
    """Digests of the raw files of stored submissions, and of files that stand for one of these."""
    used = set(raw_of_records(root))
    stand_ins = {
        path.stem: str(json.loads(path.read_bytes())["now"])
        for path in root.glob("rewritten/*.json")
    }
    waiting = list(used)
    while waiting:
        now = stand_ins.get(waiting.pop())
        if now is not None and now not in used:
            used.add(now)
            waiting.append(now)
    return used


def raw_submissions(store: SubmissionStore) -> Iterator[Submission]:
    """Submissions of the files that were refused; they were never stored one by one."""
    refused = sorted(store.folder.glob("refused/*.json"))
    if not refused:
        return
    named = raw_of_records(store.folder)
    mappings = _mappings(
        path for path in sorted((store.folder / "raw").glob("*")) if path.name not in named
    )
    for record in refused:
        path = store.folder / "raw" / record.stem
        if path.is_file() and path.stat().st_size <= MAX_BYTES:
            for how in (None, *mappings):
                yield from parse_submissions("", path.read_bytes(), mapping=how).submissions


def _redacted(
    data: bytes, wanted: _Wanted, met: set[str], mappings: Sequence[TableMapping]
) -> tuple[bytes | None, int]:
    """What `redact` leaves; keys of all submissions in the file are added to `met`."""

    def is_gone(instance_id: str) -> bool:
        met.add(key := instance_key(instance_id))
        return key in wanted.keys

    if len(data) > MAX_BYTES:
        raise FormError("is too large to be read")
    failure: Exception = FormError("cannot be read")
    is_readable = False
    # Which mapping a plain table came with is not on record: each that fits is tried.
    for how in (None, *mappings):
        try:
            left, taken = redact(data, is_gone, mapping=how, also=wanted.has_code)
        except (FormError, ConfigError) as error:
            failure = error
            continue
        is_readable = True
        if taken:
            return left, taken
    if is_readable:
        return data, 0
    raise failure


def _mappings(raw: Iterable[Path]) -> list[TableMapping]:
    """Mappings that lie among raw files."""
    found = (_as_mapping(path) for path in raw)
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
