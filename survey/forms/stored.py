"""Records of the submission store: one submission, sealed or open, and how it came."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from survey.errors import FormError
from survey.forms.durable import to_json
from survey.forms.encryption import SealedSubmission
from survey.forms.records import Submission

__all__ = [
    "SEALED_SUFFIX",
    "Stored",
    "StoredSealed",
    "form_folder",
    "read_record",
    "readable_files",
    "record_names",
    "safe_name",
    "sealed_record",
    "stored_content",
    "submission_record",
]


#: With which phones name what they encrypted: photo.jpg.enc, submission.xml.enc.
SEALED_SUFFIX = ".enc"


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
    """An encrypted submission, and where its files lie; None where one is not there (yet)."""

    instance_id: str
    raw_sha256: str
    received_at: datetime
    sender: str
    files: Mapping[str, Path | None]


def submission_record(
    submission: Submission, arrival: Mapping[str, str], remarks: Iterable[str]
) -> bytes:
    """A submission as the store keeps it."""
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
        **arrival,
        "remarks": list(remarks),
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def sealed_record(sealed: SealedSubmission, arrival: Mapping[str, str]) -> bytes:
    """An encrypted submission as the store keeps it."""
    about = {
        "form_id": sealed.form_id,
        "form_version": sealed.form_version,
        "instance_id": sealed.instance_id,
        "files": [*sealed.media, sealed.answers_file],
    }
    return to_json({"sealed": about, **arrival})


def read_record(path: Path) -> Stored:
    """A stored submission.

    Raises
    ------
    FormError
        The file is damaged.
    """
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


def stored_content(path: Path) -> tuple[str, str]:
    """Digest of a stored submission's content, and who sent it."""
    found = json.loads(path.read_bytes())
    if "sealed" in found:
        return found["raw_sha256"], found.get("sender", "")
    stored = read_record(path)
    values: dict[str, Any] = {
        name: getattr(stored.submission, name)
        for name in ("instance_id", "form_id", "form_version", "answers", "source", "repeats")
    }
    # The digest is taken again: how it is taken may have changed since.
    return Submission(**values).sha256, stored.sender


def record_names(folder: Path) -> list[str]:
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


def readable_files(folder: Path) -> list[Path]:
    """Photos and other files of a submission, without those that a phone encrypted.

    What was in these lies beside them once they are decrypted.
    """
    return sorted(
        path for path in folder.iterdir() if path.suffix != SEALED_SUFFIX and path.is_file()
    )


def safe_name(name: str) -> str:
    """A file name without anything that could lead elsewhere."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[-80:].lstrip(".") or "file"
