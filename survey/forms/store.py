"""The submission store: a folder that loses nothing and takes everything once.

```
raw/<sha256>                     bytes exactly as they arrived, refused files included
submissions/<form>/<key>.json    one file per instanceID, written once
conflicts/<key>-<content>.json   another content under a known instanceID
sealed/<form>/<key>.json         encrypted submissions, whose answers this program cannot read
refused/<sha256>.json            why a file was refused
attachments/<key>/<sha256>-<name>          files of a submission, byte for byte
attachments/<key>/deliveries/<digest>.json which files came when, from whom
incoming/                        files that are being received
withdrawn/<key>.json             what must not be kept (`survey.forms.tombstones`)
rewritten/<sha256>.json          raw file that stands for one from which rows were withdrawn
```

`key` is a digest of the instanceID, so none can reach outside the folder. Every record says when
and from whom its bytes came. Files are written by `survey.forms.durable`, so that two importers
at once cannot write one instance twice and a crash leaves no half file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from survey.errors import ConfigError, FormError
from survey.forms.deliveries import Delivery, IncomingFile
from survey.forms.durable import instance_key, make_private, store_lock, to_json, write_all
from survey.forms.encryption import SealedSubmission
from survey.forms.mapping import read_mapping
from survey.forms.questionnaires import QUESTIONS
from survey.forms.records import ParsedFile, Problem, Submission
from survey.forms.redaction import redact
from survey.forms.submissions import MAX_BYTES, parse_submissions
from survey.forms.tombstones import Tombstones
from survey.forms.training import is_training_store, store_mismatches

__all__ = ["ImportReport", "Stored", "StoredSealed", "SubmissionStore", "safe_name"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What became of one file.

    Attributes
    ----------
    sha256 : str
        Digest of the bytes; they lie in the store under this name.
    n_new, n_known, n_conflict : int
        Submissions stored now, stored before with equal content, and stored before with other
        content (the first stays, the other is kept aside).
    n_withdrawn : int
        Submissions that were withdrawn or have expired: they are not kept, nor their bytes.
    accepted : bool
        False where a problem refused the whole file; then none of its rows were taken.
    """

    file: str
    sha256: str
    n_new: int
    n_known: int
    n_conflict: int
    problems: tuple[Problem, ...]
    accepted: bool
    n_withdrawn: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A submission, and how it came.

    Attributes
    ----------
    received_at : str
        ISO 8601, with the zone.
    sender : str
        ``phone <device_id>``, or who uploaded it; empty for an import on the server itself.
    raw_sha256 : str
        Digest of the bytes it came in.
    remarks : tuple of str
        What was odd and did not refuse it, such as an unknown form version.
    """

    submission: Submission
    received_at: str
    sender: str
    raw_sha256: str
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSealed:
    """An encrypted submission, and where its files lie; None where one has not arrived."""

    instance_id: str
    raw_sha256: str
    received_at: datetime
    sender: str
    files: Mapping[str, Path | None]


class SubmissionStore:
    """Submissions of one survey round in a folder of mode 0700.

    Parameters
    ----------
    folder : Path
        Made on the first import.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.tombstones = Tombstones(folder)

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._folder

    def import_file(
        self,
        name: str,
        data: bytes,
        *,
        received_at: datetime,
        sender: str = "",
        mapping: str | None = None,
    ) -> ImportReport:
        """Take one file, all or nothing; the same file or instance again changes nothing.

        Parameters
        ----------
        name, data, received_at, sender, mapping
            As in `Delivery`.

        Raises
        ------
        ConfigError
            The mapping is malformed.
        """
        return self.import_all(
            [
                Delivery(
                    name=name, data=data, received_at=received_at, sender=sender, mapping=mapping
                )
            ]
        )[0]

    def import_all(self, deliveries: Sequence[Delivery]) -> list[ImportReport]:
        """Take several files, each as `import_file` does, all with one flush.

        Raises
        ------
        ConfigError
            A mapping is malformed.
        OSError
            The disk is full or fails: nothing was taken, unless it happened while names were
            given; sending everything again is right in any case.
        """
        with store_lock(self._folder):
            return self._import(deliveries)

    def _import(self, deliveries: Sequence[Delivery]) -> list[ImportReport]:
        work = [
            _Work(delivery, self._without_withdrawn(delivery), is_training_store(self._folder))
            for delivery in deliveries
        ]
        claims: dict[str, tuple[str, str]] = {}
        writes: list[tuple[Path, bytes | Path]] = []
        owners: list[_Owner | None] = []
        for item in work:
            if item.is_empty:
                continue
            plain = self._plain_writes(item)
            writes += plain
            owners += [None] * len(plain)
            for record in self._owned(item):
                writes.append((record.path, record.record))
                owners.append(record)
            if item.delivery.files:
                attached = self._attachment_writes(item, claims)
                writes += attached
                owners += [None] * len(attached)
            if (mine := item.claim()) is not None:
                claims.setdefault(mine[0], mine[1:])
        made = write_all(writes, root=self._folder)
        aside: list[tuple[Path, bytes | Path]] = []
        for each, is_new in zip(owners, made, strict=True):
            if each is None:
                continue
            owner = each
            if is_new:
                owner.item.count["new"] += 1
            elif _stored_sha256(owner.path)[0] == owner.sha256:
                owner.item.count["known"] += 1
            else:
                owner.item.count["conflict"] += 1
                owner.item.problems.append(_conflict(owner.item.delivery.name, owner.instance_id))
                aside.append((owner.aside, owner.record))
        if aside:
            write_all(aside, root=self._folder)
        return [item.report() for item in work]

    def receive(self, name: str) -> IncomingFile:
        """Begin to receive a file of a submission."""
        folder = self._folder / "incoming"
        make_private(folder, root=self._folder)
        return IncomingFile(folder, name)

    def clear_incoming(self) -> None:
        """Forget files whose receiving was cut; only when nobody receives."""
        for path in (self._folder / "incoming").glob("*"):
            path.unlink(missing_ok=True)

    def form_ids(self) -> tuple[str, ...]:
        """Forms of this program, sorted, then those of others of which submissions are stored."""
        try:
            there = {entry.name for entry in os.scandir(self._folder / "submissions")}
        except FileNotFoundError:
            there = set()
        return (*sorted(QUESTIONS), *sorted(there - set(QUESTIONS)))

    def submissions(self, form_id: str) -> list[Submission]:
        """Stored submissions of a form, in order of instanceID.

        Raises
        ------
        FormError
            A file of the store is damaged.
        """
        return [stored.submission for stored in self.stored(form_id)]

    def stored(self, form_id: str) -> list[Stored]:
        """Stored submissions of a form and how they came, in order of instanceID.

        Raises
        ------
        FormError
            A file of the store is damaged.
        """
        return sorted(self.iter_stored(form_id), key=lambda stored: stored.submission.instance_id)

    def iter_submissions(self, form_id: str) -> Iterator[Submission]:
        """Stored submissions of a form one by one, in the order of their keys.

        Raises
        ------
        FormError
            A file of the store is damaged.
        """
        for stored in self.iter_stored(form_id):
            yield stored.submission

    def iter_stored(self, form_id: str) -> Iterator[Stored]:
        """Stored submissions of a form and how they came, one by one, in the order of their keys.

        Raises
        ------
        FormError
            A file of the store is damaged.
        """
        folder = self._folder / "submissions" / form_id
        for name in _names(folder):
            yield _read_record(folder / name)

    def iter_conflicts(self) -> Iterator[Stored]:
        """Other contents under known instanceIDs, one by one."""
        folder = self._folder / "conflicts"
        for name in _names(folder):
            if "sealed" not in json.loads((folder / name).read_bytes()):
                yield _read_record(folder / name)

    def other_answers(self, instance_id: str) -> list[Stored]:
        """Other contents that came under an instanceID."""
        key, folder = instance_key(instance_id), self._folder / "conflicts"
        return [
            _read_record(path)
            for path in sorted(folder.glob(f"{key}-*.json"))
            if "sealed" not in json.loads(path.read_bytes())
        ]

    def iter_sealed(self) -> Iterator[StoredSealed]:
        """Encrypted submissions that are not decrypted yet, one by one."""
        for path in sorted(self._folder.glob("sealed/*/*.json")):
            found = json.loads(path.read_bytes())
            about = found["sealed"]
            if (self._folder / "submissions" / about["form_id"] / path.name).exists():
                continue
            mine = self._folder / "attachments" / path.stem
            stored = {
                each["name"]: mine / f"{each['sha256'][:16]}-{safe_name(each['name'])}"
                for row in sorted(mine.glob("deliveries/*.json"))
                for each in json.loads(row.read_bytes())["files"]
            }
            yield StoredSealed(
                instance_id=about["instance_id"],
                raw_sha256=found["raw_sha256"],
                received_at=datetime.fromisoformat(found["received_at"]),
                sender=found.get("sender", ""),
                files={name: stored.get(name) for name in about["files"]},
            )

    def raw(self, sha256: str) -> bytes:
        """Bytes as they arrived.

        Raises
        ------
        FormError
            They are not there, or are not what they were.
        """
        path = self._folder / "raw" / sha256
        stand_in = self._folder / "rewritten" / f"{sha256}.json"
        if not path.exists() and stand_in.is_file():  # rows were withdrawn from it
            return self.raw(json.loads(stand_in.read_bytes())["now"])
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise FormError(f"{path} is missing; restore it from a backup") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise FormError(f"{path} is damaged; restore it from a backup")
        return data

    def attachment_folders(self, instance_id: str) -> list[Path]:
        """Folders with files that came with an instanceID.

        The first holds those of the phone whose submission is stored; others hold what came with
        other answers or from another phone.
        """
        folder = self._folder / "attachments"
        key = instance_key(instance_id)
        return sorted(path for path in folder.glob(f"{key}*") if path.is_dir())

    def n_submissions(self, form_id: str) -> int:
        """How many submissions of a form are stored."""
        return len(_names(self._folder / "submissions" / form_id))

    def n_waiting(self) -> int:
        """Submissions of which a phone announced more files and has not sent the last."""
        waiting = 0
        for folder in (self._folder / "attachments").glob("*"):
            names = _names(folder / "deliveries")
            waiting += bool(names) and all(name.endswith("-part.json") for name in names)
        return waiting

    def conflicting_keys(self) -> frozenset[str]:
        """Keys of the submissions that came again with other answers."""
        return frozenset(
            path.name.partition("-")[0] for path in (self._folder / "conflicts").glob("*.json")
        )

    def kept_for_review(self) -> tuple[int, int]:
        """Submissions with other answers under a known identifier, and refused files."""
        conflicts, refused = (self._folder / name for name in ("conflicts", "refused"))
        return len(_names(conflicts)), len(_names(refused))

    def sent_bytes(self) -> Counter[str]:
        """Bytes that each sender has in the store: submissions and their files."""
        total: Counter[str] = Counter()
        sizes = {path.name: path.stat().st_size for path in (self._folder / "raw").glob("*")}
        seen: set[tuple[str, str]] = set()
        for path in (
            *self._folder.glob("submissions/*/*.json"),
            *self._folder.glob("sealed/*/*.json"),
            *self._folder.glob("conflicts/*.json"),
            *self._folder.glob("refused/*.json"),
        ):
            found = json.loads(path.read_bytes())
            raw = found.get("raw_sha256", "")
            pair = (found.get("sender", ""), raw)
            if pair not in seen:
                seen.add(pair)
                total[pair[0]] += sizes.get(raw, 0)
        for path in self._folder.glob("attachments/*/deliveries/*.json"):
            found = json.loads(path.read_bytes())
            total[found["sender"]] += sum(each["n_bytes"] for each in found["files"])
        return total

    def _without_withdrawn(self, delivery: Delivery) -> tuple[bytes | None, int]:
        """The file without submissions that must not be kept; as it is if it cannot be read."""
        data = delivery.data
        if not (self._folder / "withdrawn").is_dir() or len(data) > MAX_BYTES:
            return data, 0
        how = None if delivery.mapping is None else read_mapping(delivery.mapping)
        try:
            return redact(data, self.tombstones.stands_for, mapping=how)
        except (FormError, ConfigError):
            return data, 0  # it is refused, and kept with the reason

    def _owned(self, item: _Work) -> Iterator[_Owner]:
        """Records of the submissions of a delivery."""
        if not item.is_accepted:
            return
        if item.sealed is not None:
            key = instance_key(item.sealed.instance_id)
            folder = self._folder / "sealed" / form_folder(item.sealed.form_id)
            yield _Owner(
                item=item,
                instance_id=item.sealed.instance_id,
                sha256=item.digest,
                record=_sealed_record(item.sealed, item),
                path=folder / f"{key}.json",
                aside=self._folder / "conflicts" / f"{key}-{item.digest[:16]}.json",
            )
        for submission in item.parsed.submissions:
            key = instance_key(submission.instance_id)
            yield _Owner(
                item=item,
                instance_id=submission.instance_id,
                sha256=submission.sha256,
                record=_record(submission, item),
                path=self._folder / "submissions" / submission.form_id / f"{key}.json",
                aside=self._folder / "conflicts" / f"{key}-{submission.sha256[:16]}.json",
            )

    def _plain_writes(self, item: _Work) -> list[tuple[Path, bytes | Path]]:
        """Raw bytes, and why they are refused."""
        writes: list[tuple[Path, bytes | Path]] = [(self._folder / "raw" / item.digest, item.data)]
        if item.delivery.mapping is not None:
            written = item.delivery.mapping.encode()
            writes.append((self._folder / "raw" / hashlib.sha256(written).hexdigest(), written))
        if not item.is_accepted:
            refused = {
                **item.arrival(),
                "file": item.delivery.name,
                "instance_id": next((s.instance_id for s in item.parsed.submissions), ""),
                "problems": [asdict(problem) for problem in item.problems],
            }
            writes.append((self._folder / "refused" / f"{item.digest}.json", to_json(refused)))
        return writes

    def _attachment_writes(
        self, item: _Work, claims: Mapping[str, tuple[str, str]]
    ) -> list[tuple[Path, bytes | Path]]:
        """Files of a submission, and the record of their arrival.

        They join the submission only where the same phone sent the same answers: nobody else can
        slip a picture under an instanceID that is not theirs.
        """
        sender = item.delivery.sender
        claim = item.claim()
        if claim is None:
            key = item.digest[:40]
        else:
            instance_id, *mine = claim
            key = instance_key(instance_id)
            path = next((o.path for o in self._owned(item) if o.path.exists()), None)
            first = claims.get(instance_id) if path is None else _stored_sha256(path)
            if first is not None and list(first) != mine:
                key += "-" + hashlib.sha256("\n".join(mine).encode()).hexdigest()[:16]
        folder = self._folder / "attachments" / key
        files = [
            {"name": each.name, "sha256": each.sha256, "n_bytes": each.n_bytes}
            for each in item.delivery.files
        ]
        content = json.dumps([sender, item.digest, files]).encode()
        digest = hashlib.sha256(content).hexdigest()[:24]
        part = "-part" if item.delivery.is_incomplete else ""
        writes: list[tuple[Path, bytes | Path]] = [
            (folder / f"{each.sha256[:16]}-{safe_name(each.name)}", each.path)
            for each in item.delivery.files
        ]
        row = {**item.arrival(), "files": files}
        writes.append((folder / "deliveries" / f"{digest}{part}.json", to_json(row)))
        return writes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owner:
    """Where the record of a submission goes."""

    item: _Work
    instance_id: str
    sha256: str
    record: bytes
    path: Path
    aside: Path


@dataclass(slots=True)
class _Work:
    """One delivery on its way."""

    delivery: Delivery
    kept: tuple[bytes | None, int]
    is_training: bool
    data: bytes = b""
    digest: str = ""
    parsed: ParsedFile = field(default_factory=lambda: ParsedFile(submissions=(), problems=()))
    problems: list[Problem] = field(default_factory=list)
    count: Counter[str] = field(default_factory=Counter)
    is_accepted: bool = True
    sealed: SealedSubmission | None = None

    def __post_init__(self) -> None:
        mapping = self.delivery.mapping
        how = None if mapping is None else read_mapping(mapping)
        data, self.count["withdrawn"] = self.kept
        self.data = self.delivery.data if data is None else data
        self.digest = hashlib.sha256(self.data).hexdigest()
        if data is None:
            return
        self.sealed = self.delivery.sealed
        if self.sealed is not None:
            return
        parsed = self.delivery.parsed if data is self.delivery.data else None
        self.parsed = parsed or parse_submissions(self.delivery.name, self.data, mapping=how)
        self.problems = list(self.parsed.problems)
        self.problems += store_mismatches(
            self.delivery.name, self.parsed, is_training=self.is_training
        )
        self.is_accepted = not any(problem.is_refused for problem in self.problems)

    @property
    def is_empty(self) -> bool:
        """Nothing of it may be kept."""
        return self.kept[0] is None

    def claim(self) -> tuple[str, str, str] | None:
        """Identifier, digest of the answers and sender of a delivery's only submission."""
        if self.sealed is not None:
            return self.sealed.instance_id, self.digest, self.delivery.sender
        if len(self.parsed.submissions) != 1 or not self.parsed.submissions[0].instance_id:
            return None
        (only,) = self.parsed.submissions
        return only.instance_id, only.sha256, self.delivery.sender

    def arrival(self) -> dict[str, str]:
        return {
            "raw_sha256": self.digest,
            "received_at": self.delivery.received_at.isoformat(),
            "sender": self.delivery.sender,
        }

    def report(self) -> ImportReport:
        return ImportReport(
            file=self.delivery.name,
            sha256=self.digest,
            n_new=self.count["new"],
            n_known=self.count["known"],
            n_conflict=self.count["conflict"],
            problems=tuple(self.problems),
            accepted=self.is_accepted,
            n_withdrawn=self.count["withdrawn"],
        )


def _record(submission: Submission, item: _Work) -> bytes:
    content = {
        "submission": {
            "instance_id": submission.instance_id,
            "form_id": submission.form_id,
            "form_version": submission.form_version,
            "answers": dict(submission.answers),
            "source": submission.source,
            "sha256": submission.sha256,
            "repeats": {
                name: [dict(entry) for entry in entries]
                for name, entries in submission.repeats.items()
            },
        },
        **item.arrival(),
        "remarks": [
            f"{problem.field} {problem.problem}"
            for problem in item.problems
            if problem.row is None or submission.source.endswith(f"row {problem.row}")
        ],
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _sealed_record(sealed: SealedSubmission, item: _Work) -> bytes:
    about = {
        "form_id": sealed.form_id,
        "form_version": sealed.form_version,
        "instance_id": sealed.instance_id,
        "files": [*sealed.media, sealed.answers_file],
    }
    return to_json({"sealed": about, **item.arrival()})


def _read_record(path: Path) -> Stored:
    try:
        found = json.loads(path.read_bytes())
        return Stored(
            submission=Submission(**found["submission"]),
            received_at=found["received_at"],
            # Records of older stores did not say who sent them.
            sender=found.get("sender", ""),
            raw_sha256=found["raw_sha256"],
            remarks=tuple(found.get("remarks", ())),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise FormError(
            f"{path} of the submission store is damaged ({error}); restore it from a "
            "backup, or delete it and import the raw file again"
        ) from error


def _stored_sha256(path: Path) -> tuple[str, str]:
    """Digest of a stored submission's content, and who sent it."""
    found = json.loads(path.read_bytes())
    if "sealed" in found:
        return found["raw_sha256"], found.get("sender", "")
    stored = _read_record(path)
    values: dict[str, Any] = {
        name: getattr(stored.submission, name)
        for name in ("instance_id", "form_id", "form_version", "answers", "source", "repeats")
    }
    # The digest is taken again: how it is taken may have changed since.
    return Submission(**values).sha256, stored.sender


def _conflict(file: str, instance_id: str) -> Problem:
    return Problem(
        file=file,
        row=None,
        field="instanceID",
        value=instance_id,
        problem="is stored already with other answers",
        remedy="the first one stays; both are kept for review",
        is_refused=False,
    )


def _names(folder: Path) -> list[str]:
    """Names of the records in a folder, sorted."""
    try:
        with os.scandir(folder) as found:
            names = [entry.name for entry in found]
    except FileNotFoundError:
        return []
    return sorted(name for name in names if name.endswith(".json"))


def form_folder(form_id: str) -> str:
    """Name of a folder for a form that this program need not know."""
    is_plain = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", form_id)
    return form_id if is_plain else hashlib.sha256(form_id.encode()).hexdigest()[:40]


def safe_name(name: str) -> str:
    """A file name without anything that could lead elsewhere."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[-80:].lstrip(".") or "file"
