"""Files that arrive in pieces over a line that drops: what came stays, the rest goes on later.

```
uploads/<id>/about.json    owner, name, size, digest, mapping, when it began
uploads/<id>/part          the bytes so far
uploads/<id>/report.json   what became of it, once it is complete and imported
```

A piece is on disk before its end is acknowledged. Unfinished uploads expire.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from survey.errors import FormError
from survey.forms.durable import flush_folder, make_private, to_json, write_once
from survey.forms.submissions import MAX_BYTES

__all__ = ["Upload", "UploadError", "Uploads"]

#: An upload that nobody goes on with is forgotten after this time.
LASTS = timedelta(days=3)
#: Unfinished uploads of one owner at a time.
_MAX_OPEN = 20
_ID = re.compile(r"[0-9a-f]{32}")


class UploadError(FormError):
    """An upload that is not there, not complete, or not where the sender thinks it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One upload.

    Attributes
    ----------
    owner : str
        User who began it; nobody else sees it.
    n_bytes : int
        Size of the whole file.
    sha256 : str
        Digest of the whole file as the sender took it; empty where it took none.
    mapping : str or None
        See `Delivery`.
    """

    upload_id: str
    owner: str
    name: str
    n_bytes: int
    sha256: str
    mapping: str | None
    began_at: str


class Uploads:
    """Uploads into one submission store.

    Parameters
    ----------
    store_folder : Path
    """

    def __init__(self, store_folder: Path) -> None:
        self._root = store_folder
        self._folder = store_folder / "uploads"

    def begin(
        self,
        *,
        owner: str,
        name: str,
        n_bytes: int,
        sha256: str = "",
        mapping: str | None = None,
        now: datetime,
    ) -> Upload:
        """Register a file that will come in pieces; expired ones are removed first.

        Raises
        ------
        UploadError
            It is empty or too large, or too many of this owner are unfinished.
        """
        self.expire(now=now)
        if n_bytes <= 0:
            raise UploadError("the file is empty; send the one that was filled")
        if n_bytes > MAX_BYTES:
            raise UploadError(
                f"the file has {n_bytes / 1e6:.1f} MB; send at most {MAX_BYTES / 1e6:.0f} MB"
            )
        if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise UploadError("sha256 is no SHA-256 in hexadecimal; leave it out or correct it")
        if sum(each.owner == owner for each in self._open()) >= _MAX_OPEN:
            raise UploadError(
                f"{_MAX_OPEN} uploads are unfinished; finish or cancel one, or wait three days"
            )
        upload = Upload(
            upload_id=secrets.token_hex(16),
            owner=owner,
            name=name[:200],
            n_bytes=n_bytes,
            sha256=sha256,
            mapping=mapping,
            began_at=now.isoformat(timespec="seconds"),
        )
        folder = self._folder / upload.upload_id
        make_private(folder, root=self._root)
        os.close(os.open(folder / "part", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        write_once(folder / "about.json", to_json(asdict(upload)), root=self._root)
        return upload

    def find(self, upload_id: str, *, owner: str) -> Upload:
        """An upload of this owner.

        Raises
        ------
        UploadError
            There is none, or it belongs to somebody else.
        """
        found = self._read(upload_id)
        if found is None or found.owner != owner:
            raise UploadError("this upload is not known here or has expired; begin again")
        return found

    def offset(self, upload: Upload) -> int:
        """Bytes that are on disk."""
        return (self._folder / upload.upload_id / "part").stat().st_size

    @contextmanager
    def appending(self, upload: Upload, offset: int) -> Iterator[Appender]:
        """Write further bytes; what was written is on disk at the end, however it ends.

        Raises
        ------
        UploadError
            `offset` is not where it stands, or another request writes.
        """
        handle = os.open(self._folder / upload.upload_id / "part", os.O_WRONLY | os.O_APPEND)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UploadError("another request sends this upload; wait for it") from error
            stands = os.fstat(handle).st_size
            if offset != stands:
                raise UploadError(f"the upload stands at byte {stands}, not {offset}; go on there")
            try:
                yield Appender(handle, upload.n_bytes - stands)
            finally:
                os.fsync(handle)
        finally:
            os.close(handle)

    def complete(self, upload: Upload) -> bytes:
        """The whole file.

        Raises
        ------
        UploadError
            Bytes are missing; or its digest is another than announced: it is emptied.
        """
        part = self._folder / upload.upload_id / "part"
        data = part.read_bytes()
        if len(data) != upload.n_bytes:
            raise UploadError(
                f"{len(data)} of {upload.n_bytes} bytes are here; send the others first"
            )
        if upload.sha256 and hashlib.sha256(data).hexdigest() != upload.sha256:
            os.truncate(part, 0)
            raise UploadError("the file was damaged on its way; send it again from the beginning")
        return data

    def keep_report(self, upload: Upload, report: bytes) -> None:
        """Keep what became of it, for a sender who missed the answer."""
        path = self._folder / upload.upload_id / "report.json"
        write_once(path, report, root=self._root)

    def drop_bytes(self, upload: Upload) -> None:
        """Keep the report only: the store has the bytes now."""
        os.truncate(self._folder / upload.upload_id / "part", 0)

    def report(self, upload: Upload) -> bytes | None:
        """What became of it; None before it was imported."""
        try:
            return (self._folder / upload.upload_id / "report.json").read_bytes()
        except FileNotFoundError:
            return None

    def forget(self, upload: Upload) -> None:
        """Remove what came of it."""
        shutil.rmtree(self._folder / upload.upload_id, ignore_errors=True)
        flush_folder(self._folder)

    def expire(self, *, now: datetime) -> int:
        """Remove uploads that began too long ago; how many."""
        old = [each for each in self._all() if datetime.fromisoformat(each.began_at) + LASTS < now]
        for each in old:
            self.forget(each)
        return len(old)

    def _all(self) -> Iterator[Upload]:
        if self._folder.is_dir():
            for path in sorted(self._folder.iterdir()):
                found = self._read(path.name)
                if found is not None:
                    yield found

    def _open(self) -> Iterator[Upload]:
        return (
            each
            for each in self._all()
            if not (self._folder / each.upload_id / "report.json").exists()
        )

    def _read(self, upload_id: str) -> Upload | None:
        if not _ID.fullmatch(upload_id):
            return None
        try:
            content = (self._folder / upload_id / "about.json").read_bytes()
        except FileNotFoundError:
            return None
        return Upload(**json.loads(content))


class Appender:
    """Takes the next bytes of an upload, and no more than it announced."""

    def __init__(self, handle: int, room: int) -> None:
        self._handle = handle
        self._room = room

    def write(self, piece: bytes) -> None:
        """Take some bytes.

        Raises
        ------
        UploadError
            More than announced.
        """
        if len(piece) > self._room:
            raise UploadError("more bytes came than were announced; begin again")
        self._room -= len(piece)
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self._handle, rest) :]
