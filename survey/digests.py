"""Digests of files: what a figure came from, and whether two files are the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["file_digest"]


def file_digest(path: Path) -> str:
    """SHA-256 of a file as hexadecimal text, read in pieces.

    Raises
    ------
    OSError
        It cannot be read.
    """
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
