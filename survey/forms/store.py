"""The submission store: a folder that loses nothing and takes everything once.

```
raw/<sha256>                     bytes exactly as they arrived, refused files included
submissions/<form>/<key>.json    one file per instanceID, written once
conflicts/<key>-<content>.json   another content under a known instanceID
sealed/<form>/<key>.json         encrypted submissions, whose answers this program cannot read
refused/<sha256>.json            why a file was refused
contents/<sha256>-<digest>.json  which submissions a raw table holds (`survey.forms.contents`)
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
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from survey.errors import FormError
from survey.forms.deliveries import Delivery, IncomingFile
from survey.forms.durable import instance_key, make_private, store_lock
from survey.forms.intake import ImportReport, import_deliveries
from survey.forms.questionnaires import QUESTIONS
from survey.forms.records import Submission
from survey.forms.stored import Stored, StoredSealed, read_record, record_names, safe_name
from survey.forms.tombstones import Tombstones

__all__ = ["SubmissionStore"]


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
            return import_deliveries(self._folder, self.tombstones, deliveries)

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
        for key in self.stored_keys(form_id):
            yield self.stored_at(form_id, key)

    def stored_keys(self, form_id: str) -> list[str]:
        """Keys of the submissions of a form, sorted; a record is written once, or removed."""
        folder = self._folder / "submissions" / form_id
        return [name.removesuffix(".json") for name in record_names(folder)]

    def stored_at(self, form_id: str, key: str) -> Stored:
        """The submission of a form with a key.

        Raises
        ------
        FormError
            Its file is damaged.
        FileNotFoundError
            It was removed meanwhile.
        """
        return read_record(self._folder / "submissions" / form_id / f"{key}.json")

    def iter_conflicts(self) -> Iterator[Stored]:
        """Other contents under known instanceIDs, one by one."""
        folder = self._folder / "conflicts"
        for name in record_names(folder):
            if "sealed" not in json.loads((folder / name).read_bytes()):
                yield read_record(folder / name)

    def other_answers(self, instance_id: str) -> list[Stored]:
        """Other contents that came under an instanceID."""
        key, folder = instance_key(instance_id), self._folder / "conflicts"
        return [
            read_record(path)
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
            there = {name: file for name, file in stored.items() if file.is_file()}
            yield StoredSealed(
                instance_id=about["instance_id"],
                raw_sha256=found["raw_sha256"],
                received_at=datetime.fromisoformat(found["received_at"]),
                sender=found.get("sender", ""),
                files={name: there.get(name) for name in about["files"]},
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
        return len(record_names(self._folder / "submissions" / form_id))

    def n_waiting(self) -> int:
        """Submissions of which a phone announced more files and has not sent the last."""
        waiting = 0
        for folder in (self._folder / "attachments").glob("*"):
            names = record_names(folder / "deliveries")
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
        return len(record_names(conflicts)), len(record_names(refused))

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
