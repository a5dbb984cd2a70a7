"""The submission store: a folder that loses nothing and takes everything once.

```
raw/<sha256>                     bytes exactly as they arrived, refused files included
submissions/<form>/<digest>.json one file per instanceID, written once
conflicts/<digest>-<content>.json  another content under a known instanceID
refused/<sha256>.json            why a file was refused
attachments/<digest>/<sha256>-<name>  files of a submission, byte for byte
withdrawn/<digest>.json          what must not be kept (`survey.forms.tombstones`)
```

Names are digests, so no instanceID can reach outside the folder. Files are written by
`survey.forms.durable`, so that two importers at once cannot write one instance twice and a crash
leaves no half file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from survey.errors import ConfigError, FormError
from survey.forms.durable import instance_key, store_lock, to_json, write_once
from survey.forms.mapping import TableMapping, read_mapping
from survey.forms.records import Problem, Submission
from survey.forms.redaction import redact
from survey.forms.submissions import MAX_BYTES, parse_submissions
from survey.forms.tombstones import Tombstones

__all__ = ["ImportReport", "Stored", "SubmissionStore"]


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
    """A submission as it lies in the store.

    Attributes
    ----------
    raw_sha256 : str
        The file that it came in.
    received_at : str
        ISO 8601.
    """

    submission: Submission
    raw_sha256: str
    received_at: str


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
        self, name: str, data: bytes, *, received_at: datetime, mapping: str | None = None
    ) -> ImportReport:
        """Take one file, all or nothing; the same file or instance again changes nothing.

        Parameters
        ----------
        name : str
            Its name, for messages.
        data : bytes
        received_at : datetime
            Aware time of arrival, kept with each submission.
        mapping : str, optional
            TOML of `read_mapping` for a plain table; kept beside the raw files.

        Raises
        ------
        ConfigError
            The mapping is malformed.
        """
        how = None if mapping is None else read_mapping(mapping)
        with store_lock(self._folder):
            kept, n_withdrawn = self._without_withdrawn(data, how)
            if kept is None:
                return _report(name, hashlib.sha256(data).hexdigest(), n_withdrawn=n_withdrawn)
            return self._import(name, kept, mapping, received_at, n_withdrawn)

    def _import(
        self,
        name: str,
        data: bytes,
        mapping: str | None,
        received_at: datetime,
        n_withdrawn: int,
    ) -> ImportReport:
        digest = hashlib.sha256(data).hexdigest()
        self._write_once(self._folder / "raw" / digest, data)
        how = None
        if mapping is not None:
            how = read_mapping(mapping)
            written = mapping.encode()
            self._write_once(self._folder / "raw" / hashlib.sha256(written).hexdigest(), written)
        parsed = parse_submissions(name, data, mapping=how)
        problems = list(parsed.problems)
        if any(problem.is_refused for problem in problems):
            why = [asdict(problem) for problem in problems]
            self._write_once(self._folder / "refused" / f"{digest}.json", to_json(why))
            return _report(
                name, digest, problems=problems, accepted=False, n_withdrawn=n_withdrawn
            )
        count = {"new": 0, "known": 0, "conflict": 0}
        for submission in parsed.submissions:
            outcome = self._take(submission, digest, received_at)
            count[outcome] += 1
            if outcome == "conflict":
                problems.append(
                    Problem(
                        file=name,
                        row=None,
                        field="instanceID",
                        value=submission.instance_id,
                        problem="is stored already with other answers",
                        remedy="the first one stays; both are kept for review",
                        is_refused=False,
                    )
                )
        return _report(name, digest, count, problems=problems, n_withdrawn=n_withdrawn)

    def attach(self, instance_id: str, name: str, data: bytes) -> bool:
        """Keep a file of a submission, durably; False if it was there already, or is not to be.

        Parameters
        ----------
        instance_id : str
            Of the submission, which may come before or after its files.
        name : str
            As the phone gave it; only letters, digits, dots, `-` and `_` of it are kept.
        """
        key = instance_key(instance_id)
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)[-80:].lstrip(".") or "file"
        digest = hashlib.sha256(data).hexdigest()[:16]
        path = self._folder / "attachments" / key / f"{digest}-{safe}"
        with store_lock(self._folder):
            return not self.tombstones.stands_for(instance_id) and self._write_once(path, data)

    def submissions(self, form_id: str) -> list[Submission]:
        """Stored submissions of a form, in order of instanceID.

        Raises
        ------
        FormError
            A file of the store is damaged.
        """
        return [stored.submission for stored in self.stored(form_id)]

    def stored(self, form_id: str) -> list[Stored]:
        """Stored submissions of a form with their arrival, in order of instanceID.

        Raises
        ------
        FormError
            A file of the store is damaged.
        """
        folder = self._folder / "submissions" / form_id
        found = []
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
            try:
                content = json.loads(path.read_text("utf-8"))
                found.append(
                    Stored(
                        submission=Submission(**content["submission"]),
                        raw_sha256=content["raw_sha256"],
                        received_at=content["received_at"],
                    )
                )
            except (ValueError, KeyError, TypeError) as error:
                raise FormError(
                    f"{path} of the submission store is damaged ({error}); restore it from a "
                    "backup, or delete it and import the raw file again"
                ) from error
        return sorted(found, key=lambda stored: stored.submission.instance_id)

    def kept_for_review(self) -> tuple[int, int]:
        """Submissions with other answers under a known identifier, and refused files."""
        conflicts, refused = (self._folder / name for name in ("conflicts", "refused"))
        return len(list(conflicts.glob("*.json"))), len(list(refused.glob("*.json")))

    def _without_withdrawn(
        self, data: bytes, mapping: TableMapping | None
    ) -> tuple[bytes | None, int]:
        """The file without submissions that must not be kept; as it is if it cannot be read."""
        if not (self._folder / "withdrawn").is_dir() or len(data) > MAX_BYTES:
            return data, 0
        try:
            return redact(data, self.tombstones.stands_for, mapping=mapping)
        except (FormError, ConfigError):
            return data, 0  # it is refused, and kept with the reason

    def _take(self, submission: Submission, raw: str, received_at: datetime) -> str:
        key = instance_key(submission.instance_id)
        path = self._folder / "submissions" / submission.form_id / f"{key}.json"
        content = to_json(
            {
                "submission": {**asdict(submission), "answers": dict(submission.answers)},
                "raw_sha256": raw,
                "received_at": received_at.isoformat(),
            }
        )
        if self._write_once(path, content):
            return "new"
        stored = json.loads(path.read_text("utf-8"))["submission"]
        # The digest is taken again: how it is taken may have changed since.
        if Submission(**{**stored, "sha256": ""}).sha256 == submission.sha256:
            return "known"
        aside = self._folder / "conflicts" / f"{key}-{submission.sha256[:16]}.json"
        self._write_once(aside, content)
        return "conflict"

    def _write_once(self, path: Path, content: bytes) -> bool:
        return write_once(path, content, root=self._folder)


def _report(
    name: str,
    digest: str,
    count: Mapping[str, int] | None = None,
    *,
    problems: Sequence[Problem] = (),
    accepted: bool = True,
    n_withdrawn: int = 0,
) -> ImportReport:
    count = count or {}
    return ImportReport(
        file=name,
        sha256=digest,
        n_new=count.get("new", 0),
        n_known=count.get("known", 0),
        n_conflict=count.get("conflict", 0),
        problems=tuple(problems),
        accepted=accepted,
        n_withdrawn=n_withdrawn,
    )
