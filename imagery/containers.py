"""Products as they are delivered: folders, zip and tar archives, read in place.

Nothing is unpacked, so nothing can be written outside or fill the disk. An archive is refused
where a name leads out of it, where it holds links, encrypted files or further archives, or where
it declares more than an honest product holds.
"""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imagery.errors import SceneError

__all__ = ["ARCHIVE_SUFFIXES", "Container", "open_container"]

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
_NESTED = (*ARCHIVE_SUFFIXES, ".gz", ".bz2", ".xz", ".7z", ".rar")
_MAX_MEMBERS = 50_000
_MAX_BYTES = 100 * 2**30
# Images are compressed already; a file that shrinks to less than this was made to swell.
_MAX_RATIO = 200
_RATIO_FROM = 50 * 2**20
_MAX_METADATA = 64 * 2**20
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A folder or an archive.

    Attributes
    ----------
    path : Path
    kind : str
        ``folder``, ``zip`` or ``tar``.
    sizes : mapping of str to int
        Bytes of every file by its name inside, with forward slashes.
    """

    path: Path
    kind: str
    sizes: dict[str, int]

    def read_text(self, name: str) -> bytes:
        """Content of a metadata file.

        Raises
        ------
        SceneError
            It is missing, damaged, or larger than any metadata file.
        """
        if self.sizes.get(name, 0) > _MAX_METADATA:
            raise SceneError(
                f"{self.path.name}: {name} declares {self.sizes[name]} bytes, too many for "
                "metadata; do not use it"
            )
        try:
            if self.kind == "folder":
                return self.raster(name).read_bytes()
            if self.kind == "zip":
                with zipfile.ZipFile(self.path) as archive, archive.open(name) as member:
                    content = member.read(_MAX_METADATA + 1)
            else:
                with tarfile.open(self.path) as tar:
                    found = tar.extractfile(name)
                    content = b"" if found is None else found.read(_MAX_METADATA + 1)
        except (*_BROKEN, KeyError) as error:
            raise self._unreadable(error) from error
        if len(content) > _MAX_METADATA:
            raise SceneError(f"{self.path.name}: {name} holds more than it declares")
        return content

    def raster(self, name: str) -> Path:
        """Path under which GDAL reads a file of this container in place.

        Raises
        ------
        SceneError
            The name leads out of it.
        """
        if self.kind == "folder":
            inside = self.path.resolve()
            found = (inside / name).resolve()
            if not found.is_relative_to(inside):
                raise SceneError(f"{self.path.name} names {name}, outside the product")
            return found
        _check_name(self.path, name)
        return Path(f"/vsi{self.kind}/{{{self.path.resolve()}}}/{name}")

    def originals(self, used: list[str]) -> tuple[Path, ...]:
        """Files on disk that hold these names: the archive itself, or the files of a folder."""
        if self.kind == "folder":
            return tuple(self.path / name for name in dict.fromkeys(used))
        return (self.path,)

    def _unreadable(self, error: object) -> SceneError:
        return SceneError(f"{self.path.name} cannot be read ({error}); download it again")


def open_container(path: Path) -> Container:
    """List a folder or archive and check that it is harmless.

    Raises
    ------
    SceneError
        It cannot be read or should not be.
    """
    if path.is_dir():
        sizes = {
            file.relative_to(path).as_posix(): file.stat().st_size
            for file in sorted(path.rglob("*"))
            if file.is_file()
        }
        return Container(path=path, kind="folder", sizes=sizes)
    kind = "zip" if path.name.lower().endswith(".zip") else "tar"
    if "{" in str(path.resolve()) or "}" in str(path.resolve()):
        raise SceneError(f"{path.name}: braces in the path of an archive; rename it")
    sizes = {}
    total = 0
    with _reading(path):
        members = _zip_members(path) if kind == "zip" else _tar_members(path)
        for name, size, packed in members:
            _check_name(path, name)
            if name in sizes:
                raise SceneError(f"{path.name} holds {name} twice; unpack it and look")
            sizes[name] = size
            total += size
            if size > _RATIO_FROM and size > _MAX_RATIO * max(packed, 1):
                raise SceneError(
                    f"{path.name}: {name} swells from {packed} to {size} bytes; unpack it "
                    "yourself if you trust it"
                )
            if len(sizes) > _MAX_MEMBERS or total > _MAX_BYTES:
                raise SceneError(
                    f"{path.name} declares more than {_MAX_MEMBERS} files or "
                    f"{_MAX_BYTES >> 30} GiB, more than a product holds; do not use it"
                )
    if not sizes:
        raise SceneError(f"{path.name} is empty; download it again")
    return Container(path=path, kind=kind, sizes=sizes)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise SceneError(
            f"{path.name} cannot be read as an archive ({error}); download it again"
        ) from error


def _zip_members(path: Path) -> Iterator[tuple[str, int, int]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            if info.flag_bits & 0x1:
                raise SceneError(f"{path.name}: {info.filename} is encrypted; unpack it first")
            if (info.external_attr >> 16) & 0o170000 == 0o120000:
                raise SceneError(f"{path.name}: {info.filename} is a link; do not use it")
            yield info.filename, info.file_size, info.compress_size


def _tar_members(path: Path) -> Iterator[tuple[str, int, int]]:
    # Compressed as a whole, so the bound on how far it may swell is that of the whole.
    on_disk, declared = path.stat().st_size, 0
    with tarfile.open(path) as archive:
        for info in archive:
            if info.isdir():
                continue
            if not info.isfile():
                raise SceneError(
                    f"{path.name}: {info.name} is a link or device, not a file; do not use it"
                )
            declared += info.size
            yield info.name, info.size, on_disk if declared <= _MAX_RATIO * on_disk else 0


def _check_name(path: Path, name: str) -> None:
    parts = PurePosixPath(name)
    leads_out = parts.is_absolute() or ".." in parts.parts or "\\" in name or ":" in name
    if leads_out or any(ord(letter) < 32 for letter in name):
        raise SceneError(
            f"{path.name} names {name!r}, which leads outside the product; do not use it"
        )
    if name.lower().endswith(_NESTED):
        raise SceneError(f"{path.name} holds another archive, {name}; unpack it first")
