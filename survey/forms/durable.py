"""Files that survive a crash: written once, whole or not at all, private, on disk when it returns.

A file is written under a temporary name, flushed, and linked into place: of two writers at once
one wins and the other is told, and no reader ever sees half a file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

__all__ = [
    "Content",
    "Place",
    "end_flushers",
    "flush_folder",
    "instance_key",
    "make_private",
    "remove_file",
    "remove_tree",
    "settle",
    "store_lock",
    "to_json",
    "write_all",
    "write_once",
]

#: Files that are open at once while many are written.
_MAX_OPEN = 256

#: Where a file goes, if need be known only when others have their names.
Place = Path | Callable[[], Path]
#: Bytes, or a finished file of the same file system.
Content = bytes | Path

_settled: set[Path] = set()


def instance_key(instance_id: str) -> str:
    """Name of a submission's files: no instanceID can reach outside the folder by it."""
    return hashlib.sha256(instance_id.encode()).hexdigest()[:40]


def write_once(path: Path, content: bytes, *, root: Path) -> bool:
    """Write a file of mode 0600 that survives a crash; False if it was there already.

    Parameters
    ----------
    root : Path
        Topmost folder that may be made; it and what is below get mode 0700.
    """
    if path.exists():
        # Whoever wrote it may not have flushed the folder yet, and the caller tells others that
        # it is safe.
        flush_folder(path.parent)
        return False
    make_private(path.parent, root=root)
    partial = path.parent / f".{secrets.token_hex(8)}"
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(partial, path)
        except FileExistsError:
            flush_folder(path.parent)
            return False
    finally:
        partial.unlink()
    flush_folder(path.parent)
    return True


def make_private(folder: Path, *, root: Path) -> None:
    """Make a folder and its parents up to `root`, each of mode 0700 and on disk."""
    for above in _make_folders(folder, root):
        flush_folder(above)


def _make_folders(folder: Path, root: Path) -> list[Path]:
    """Make a folder and its parents; the folders that hold new names, not flushed yet."""
    if folder.is_dir():
        return []
    changed = [] if folder == root else _make_folders(folder.parent, root)
    folder.mkdir(mode=0o700, parents=folder == root, exist_ok=True)
    return [*changed, folder.parent]


def flush_folder(folder: Path) -> None:
    """Put the names in a folder on disk: what was made or removed in it stays so."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def remove_file(path: Path) -> None:
    """Remove a file, on disk before it returns; it may be gone already."""
    path.unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        flush_folder(path.parent)


def remove_tree(folder: Path) -> int:
    """Remove a folder, on disk before it returns; how many files were directly in it."""
    n = sum(path.is_file() for path in folder.iterdir())
    shutil.rmtree(folder)
    flush_folder(folder.parent)
    return n


@contextmanager
def store_lock(root: Path, *, exclusive: bool = False) -> Iterator[None]:
    """Hold the lock of a store, across processes; the kernel frees it if the holder dies.

    Writers share it with each other. A removal takes it alone, so that nothing it has just
    removed is being written at the same time.
    """
    make_private(root, root=root)
    handle = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def to_json(value: Any) -> bytes:
    """JSON as the store writes it: readable, in UTF-8."""
    return json.dumps(value, ensure_ascii=False, indent=1).encode()


def settle(folder: Path, *, root: Path) -> None:
    """Make a folder that is never removed, on disk with those above it; once in a process.

    `write_all` need not put its name on disk again, then.
    """
    if folder not in _settled:
        make_private(folder, root=root)
        below = folder
        while below != root:
            # Another process may have made it a moment ago and not have flushed its name yet.
            below = below.parent
            flush_folder(below)
        _settled.add(folder)


def write_all(files: Sequence[tuple[Place, Content]], *, root: Path) -> list[bool]:
    """Write many files as `write_once` does, with their flushes side by side.

    A disk flushes many files at once in hardly more time than one. Every file is on disk before
    the first gets its name, so a full disk leaves none of them.

    Parameters
    ----------
    files : sequence of (place, content)
        A place that depends on which of the files before it were there already is a function,
        called when these have their names. Content is bytes, or a finished file of the same file
        system, which is taken over.
    root : Path
        Topmost folder that may be made.

    Returns
    -------
    list of bool
        In order of `files`; False where there was a file already.
    """
    made = [False] * len(files)
    written: list[tuple[int, Path]] = []
    folders = {place.parent for place, _ in files if isinstance(place, Path)}
    for folder in list(folders):
        folders.update(_make_folders(folder, root))
    handles: list[int] = []
    try:
        for number, (place, content) in enumerate(files):
            if isinstance(place, Path) and place.exists():
                continue
            if isinstance(content, Path):
                written.append((number, content))
                handles.append(os.open(content, os.O_RDONLY))
            else:
                above = place.parent if isinstance(place, Path) else root
                partial = above / f".{secrets.token_hex(8)}"
                handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                written.append((number, partial))
                handles.append(handle)
                rest = memoryview(content)
                while rest:
                    rest = rest[os.write(handle, rest) :]
            if len(handles) >= _MAX_OPEN:
                _flush_files(handles)
        _flush_files(handles)
        for number, partial in written:
            place = files[number][0]
            path = place if isinstance(place, Path) else place()
            if path.parent not in folders:
                folders.update((path.parent, *_make_folders(path.parent, root)))
            with suppress(FileExistsError):
                os.link(partial, path)
                made[number] = True
    finally:
        for handle in handles:
            os.close(handle)
        for _, partial in written:
            partial.unlink(missing_ok=True)
    # Another writer may have made a folder a moment ago and not have flushed its name yet.
    folders |= {folder.parent for folder in folders if folder not in {root, *_settled}}
    # Of files that were there already, too: whoever wrote them may not have come so far.
    _side_by_side(flush_folder, list(folders))
    return made


def _flush_files(handles: list[int]) -> None:
    """Put open files on disk and close them."""
    try:
        _side_by_side(os.fsync, handles)
    finally:
        for handle in handles:
            os.close(handle)
        handles.clear()


def _side_by_side(flush: Callable[[Any], None], things: Sequence[Any]) -> None:
    """Flush each; it returns, or raises the first error, when none is being flushed any more."""
    if not things:
        return
    others = [_flushers().submit(flush, thing) for thing in things[1:]]
    try:
        flush(things[0])  # this thread would only wait
    finally:
        faults = [each.exception() for each in others]  # waits for each
    for fault in filter(None, faults):
        raise fault


@cache
def _flushers() -> ThreadPoolExecutor:
    """Threads that wait for the disk; a forked process makes its own."""
    os.register_at_fork(after_in_child=_flushers.cache_clear)
    return ThreadPoolExecutor(max_workers=12, thread_name_prefix="flush")


def end_flushers() -> None:
    """End the threads that wait for the disk: a process that forks should have none."""
    _flushers().shutdown()
    _flushers.cache_clear()
