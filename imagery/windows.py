"""Finished windows of a long job, kept on disk: a killed one goes on where it stopped.

Each window is a file that appears whole or not at all, in a folder that is bound to what made it:
other scenes, another model or another block size begin anew.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imagery.errors import WriteError

__all__ = ["FinishedWindows"]

_DIGEST = hashlib.sha256().digest_size


class FinishedWindows:
    """Arrays of finished windows by number.

    Parameters
    ----------
    folder : Path
        Made with mode 0700; holds windows of this job only, those of others are removed.
    made_from : str
        Everything that the pixels depend on, as text.
    """

    def __init__(self, folder: Path, made_from: str) -> None:
        self._parent = folder
        self._folder = folder / hashlib.sha256(made_from.encode()).hexdigest()[:24]
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for other in folder.iterdir():
                if other != self._folder:
                    shutil.rmtree(other, ignore_errors=True)
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise self._failed(error) from error

    def __len__(self) -> int:
        return sum(1 for _ in self._folder.glob("*.window"))

    def get(self, number: int) -> npt.NDArray[Any] | None:
        """Pixels of a finished window; None where it is still to be made, or was damaged."""
        try:
            content = self._file(number).read_bytes()
        except OSError:
            return None
        digest, packed = content[:_DIGEST], content[_DIGEST:]
        if hashlib.sha256(packed).digest() != digest:
            return None
        pixels: npt.NDArray[Any] = np.load(io.BytesIO(zlib.decompress(packed)))
        return pixels

    def put(self, number: int, pixels: npt.NDArray[Any]) -> None:
        """Keep the pixels of a window.

        Raises
        ------
        WriteError
            The disk is full or fails.
        """
        plain = io.BytesIO()
        np.save(plain, pixels, allow_pickle=False)
        packed = zlib.compress(plain.getbuffer(), level=1)
        partial = self._folder / f".{secrets.token_hex(6)}"
        try:
            with partial.open("wb") as out:
                out.write(hashlib.sha256(packed).digest() + packed)
                out.flush()
                os.fsync(out.fileno())
            partial.replace(self._file(number))
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise self._failed(error) from error

    def _file(self, number: int) -> Path:
        return self._folder / f"{number}.window"

    def clear(self) -> None:
        """Remove the windows: the job is done."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._parent.is_dir() and not any(self._parent.iterdir()):
            self._parent.rmdir()

    def _failed(self, error: OSError) -> WriteError:
        return WriteError(
            f"finished windows cannot be kept in {self._parent} ({error.strerror}); check that it "
            "is writable and the disk is not full"
        )
