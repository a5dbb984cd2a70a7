"""What arrives at the submission store: a file of submissions, and files that come with it."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from survey.forms.encryption import SealedSubmission
from survey.forms.records import ParsedFile

__all__ = ["Delivery", "IncomingFile"]


class IncomingFile:
    """A file that is being received: piece by piece to disk, so that its size costs no memory.

    Parameters
    ----------
    folder : Path
        Of the store.
    name : str
        As the sender gave it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.n_bytes = 0
        self.path = folder / secrets.token_hex(16)
        self._digest = hashlib.sha256()
        self._out = os.fdopen(
            os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
        )

    def write(self, piece: bytes | memoryview) -> None:
        """Take the next bytes."""
        self._out.write(piece)
        self._digest.update(piece)
        self.n_bytes += len(piece)

    def finish(self) -> None:
        """No more bytes come."""
        self._out.close()

    def discard(self) -> None:
        """Forget it, unless the store has taken it over."""
        with suppress(OSError):  # what is still in memory may not fit on a full disk
            self._out.close()
        self.path.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        """Digest of the bytes so far."""
        return self._digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One file of submissions as it arrived, and what came with it.

    Attributes
    ----------
    name : str
        Its name, for messages.
    received_at : datetime
        Aware time of arrival.
    sender : str
        See `StoredSubmission`.
    mapping : str or None
        TOML of `read_mapping` for a plain table; kept beside the raw files.
    parsed : ParsedFile or None
        What `parse_submissions` made of `data`, where the caller has done it.
    sealed : SealedSubmission or None
        The manifest that `data` is, where the submission is encrypted.
    files : sequence of IncomingFile
        Finished files of the one submission that `data` holds.
    is_incomplete : bool
        More files of it follow.
    """

    name: str
    data: bytes
    received_at: datetime
    sender: str = ""
    mapping: str | None = None
    parsed: ParsedFile | None = None
    sealed: SealedSubmission | None = None
    files: Sequence[IncomingFile] = ()
    is_incomplete: bool = False
