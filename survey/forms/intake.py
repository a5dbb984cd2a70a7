"""What arrives, taken into the submission store: all or nothing, once, on disk when it returns."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from survey.errors import ConfigError, FormError
from survey.forms.contents import contents_file
from survey.forms.deliveries import Delivery
from survey.forms.durable import Content, Place, instance_key, settle, to_json, write_all
from survey.forms.encryption import SealedSubmission
from survey.forms.mapping import read_mapping
from survey.forms.records import ParsedFile, Problem
from survey.forms.redaction import redact
from survey.forms.stored import (
    form_folder,
    safe_name,
    sealed_record,
    stored_content,
    submission_record,
)
from survey.forms.submissions import MAX_BYTES, parse_submissions
from survey.forms.tombstones import Tombstones
from survey.forms.training import is_training_store, store_mismatches

__all__ = ["ImportReport", "import_deliveries"]


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
    n_conflict_again : int
        Of the conflicts, those whose other content was kept aside before.
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
    n_conflict_again: int = 0


def import_deliveries(
    root: Path, tombstones: Tombstones, deliveries: Sequence[Delivery]
) -> list[ImportReport]:
    """Take files into the store in `root`, each all or nothing, all with one flush.

    The caller holds the lock of the store.

    Raises
    ------
    ConfigError
        A mapping is malformed.
    OSError
        The disk is full or fails.
    """
    is_training = is_training_store(root)
    work = [
        _Work(delivery, _without_withdrawn(delivery, root, tombstones), is_training)
        for delivery in deliveries
    ]
    writes: list[tuple[Place, Content]] = []
    owners: list[_Owner | None] = []
    for item in work:
        if item.is_empty:
            continue
        plain = _plain_writes(item, root)
        owned = list(_owned(item, root))
        # Records before the files that come with them: whose record stands decides where these go.
        attached = _attachment_writes(item, root) if item.delivery.files else []
        writes += plain
        writes += [(owner.path, owner.record) for owner in owned]
        writes += attached
        owners += [*[None] * len(plain), *owned, *[None] * len(attached)]
    lasting = {place.parent for place, _ in writes if isinstance(place, Path)}
    for folder in (*lasting, root / "attachments") if len(lasting) else ():
        settle(folder, root=root)
    made = write_all(writes, root=root)
    aside: list[_Owner] = []
    for owner, is_new in zip(owners, made, strict=True):
        if owner is None:
            continue
        if is_new:
            owner.item.count["new"] += 1
        elif stored_content(owner.path)[0] == owner.sha256:
            owner.item.count["known"] += 1
        else:
            owner.item.count["conflict"] += 1
            owner.item.problems.append(_conflict(owner.item.delivery.name, owner.instance_id))
            aside.append(owner)
    kept = write_all([(owner.aside, owner.record) for owner in aside], root=root)
    for owner, is_new in zip(aside, kept, strict=True):
        owner.item.count["again"] += not is_new
    return [item.report() for item in work]


def _without_withdrawn(
    delivery: Delivery, root: Path, tombstones: Tombstones
) -> tuple[bytes | None, int]:
    """The file without submissions that must not be kept; as it is if it cannot be read."""
    data = delivery.data
    if not (root / "withdrawn").is_dir() or len(data) > MAX_BYTES:
        return data, 0
    if (known := _instances(delivery)) and not any(map(tombstones.stands_for, known)):
        return data, 0
    how = None if delivery.mapping is None else read_mapping(delivery.mapping)
    try:
        return redact(data, tombstones.stands_for, mapping=how)
    except (FormError, ConfigError):
        return data, 0  # it is refused, and kept with the reason


def _instances(delivery: Delivery) -> list[str]:
    """Identifiers in a delivery that was read already; empty where it was not."""
    if delivery.sealed is not None:
        return [delivery.sealed.instance_id]
    return [each.instance_id for each in delivery.parsed.submissions] if delivery.parsed else []


def _owned(item: _Work, root: Path) -> Iterator[_Owner]:
    """Records of the submissions of a delivery."""
    if not item.is_accepted:
        return
    if item.sealed is not None:
        key = instance_key(item.sealed.instance_id)
        yield _Owner(
            item=item,
            instance_id=item.sealed.instance_id,
            sha256=item.digest,
            record=sealed_record(item.sealed, item.arrival()),
            path=root / "sealed" / form_folder(item.sealed.form_id) / f"{key}.json",
            aside=root / "conflicts" / f"{key}-{item.digest[:16]}.json",
        )
    for submission in item.parsed.submissions:
        key = instance_key(submission.instance_id)
        remarks = [
            f"{problem.field} {problem.problem}"
            for problem in item.problems
            if problem.row is None or submission.source.endswith(f"row {problem.row}")
        ]
        yield _Owner(
            item=item,
            instance_id=submission.instance_id,
            sha256=submission.sha256,
            record=submission_record(submission, item.arrival(), remarks),
            path=root / "submissions" / submission.form_id / f"{key}.json",
            aside=root / "conflicts" / f"{key}-{submission.sha256[:16]}.json",
        )


def _plain_writes(item: _Work, root: Path) -> list[tuple[Place, Content]]:
    """Raw bytes, and why they are refused."""
    writes: list[tuple[Place, Content]] = [(root / "raw" / item.digest, item.data)]
    if item.delivery.mapping is not None:
        written = item.delivery.mapping.encode()
        writes.append((root / "raw" / hashlib.sha256(written).hexdigest(), written))
    if item.is_accepted and any(row is not None for _, row in item.parsed.places):
        keys = [instance_key(each.instance_id) for each in item.parsed.submissions]
        writes.append(contents_file(root, item.digest, keys))
    if not item.is_accepted:
        refused = {
            **item.arrival(),
            "file": item.delivery.name,
            "instance_id": next((s.instance_id for s in item.parsed.submissions), ""),
            "problems": [asdict(problem) for problem in item.problems],
        }
        writes.append((root / "refused" / f"{item.digest}.json", to_json(refused)))
    return writes


def _attachment_writes(item: _Work, root: Path) -> list[tuple[Place, Content]]:
    """Files of a submission, and the record of their arrival."""
    sender = item.delivery.sender
    files = [
        {"name": each.name, "sha256": each.sha256, "n_bytes": each.n_bytes}
        for each in item.delivery.files
    ]
    content = json.dumps([sender, item.digest, files]).encode()
    digest = hashlib.sha256(content).hexdigest()[:24]
    part = "-part" if item.delivery.is_incomplete else ""
    row = f"{digest}{part}.json"
    folder = _attachment_folder(item, root)
    return [
        *(
            (_within(folder, f"{each.sha256[:16]}-{safe_name(each.name)}"), each.path)
            for each in item.delivery.files
        ),
        (_within(folder, "deliveries", row), to_json({**item.arrival(), "files": files})),
    ]


def _within(folder: Callable[[], Path], *names: str) -> Callable[[], Path]:
    return lambda: folder().joinpath(*names)


def _attachment_folder(item: _Work, root: Path) -> Callable[[], Path]:
    """Where the files of a submission go, once its record has its name.

    They join the submission only where the same phone sent the same answers: nobody else can
    slip a picture under an instanceID that is not theirs. Another process may be storing the
    same instanceID at this moment, so that is seen from the record that won.
    """
    above = root / "attachments"
    claim = item.claim()
    if claim is None:
        return lambda: above / item.digest[:40]
    instance_id, *mine = claim
    key = instance_key(instance_id)
    record = _record_path(item, root, key)
    found: list[Path] = []

    def folder() -> Path:
        if not found:
            is_theirs = record.exists() and list(stored_content(record)) != mine
            other = "-" + hashlib.sha256("\n".join(mine).encode()).hexdigest()[:16]
            found.append(above / (key + other if is_theirs else key))
        return found[0]

    return folder


def _record_path(item: _Work, root: Path, key: str) -> Path:
    """Record of the only submission of a delivery, whoever made it."""
    if item.sealed is not None:
        return root / "sealed" / form_folder(item.sealed.form_id) / f"{key}.json"
    return root / "submissions" / form_folder(item.parsed.submissions[0].form_id) / f"{key}.json"


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
        """Identifier, digest of the answers and sender of a delivery's only submission.

        None where it is refused: its files stay with its raw bytes, under nobody's identifier.
        """
        if not self.is_accepted:
            return None
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
            n_conflict_again=self.count["again"],
        )


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
