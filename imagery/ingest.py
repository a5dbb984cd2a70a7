"""Whatever the analyst points at: which products are there, and which reader takes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

from imagery.containers import ARCHIVE_SUFFIXES, open_container
from imagery.errors import SceneError
from imagery.images import IMAGE_SUFFIXES, image_product, sidecar_product
from imagery.landsat import landsat_product, metadata_files
from imagery.products import Product
from imagery.sentinel import DEFAULT_BANDS, read_safe, safe_product
from imagery.sidecars import read_json

__all__ = ["ImportOptions", "find_products", "open_product"]

# Formats that may point at other files or hosts, or that nobody reads here: said so by name.
_OTHER_IMAGES = (".vrt", ".gml", ".xml", ".nc", ".hdf", ".h5", ".img", ".ecw", ".mbtiles", ".kmz")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What the analyst says beside the products; each may stay open.

    Attributes
    ----------
    bands : tuple of str or None
        Bands to take of Sentinel-2 and Landsat, or the names of an image's bands.
    max_cloud_probability : float or None
        Percent, Sentinel-2 level 2A.
    acquired, scale, offset, nodata
        Of an image, where no sidecar says it or says it wrong.
    """

    bands: tuple[str, ...] | None = None
    max_cloud_probability: float | None = None
    acquired: date | None = None
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None

    def keys(self) -> dict[str, Any]:
        """Those that a sidecar would hold."""
        said = {
            "date": None if self.acquired is None else self.acquired.isoformat(),
            "bands": None if self.bands is None else list(self.bands),
            "scale": self.scale,
            "offset": self.offset,
            "nodata": self.nodata,
        }
        return {key: value for key, value in said.items() if value is not None}


def find_products(sources: Iterable[str]) -> list[str]:
    """Products among what was named: a folder that is none itself stands for those in it."""
    found: list[str] = []
    for source in sources:
        folder = Path(source)
        if source.startswith("/vsi") or not folder.is_dir() or _is_product(folder):
            found.append(source)
            continue
        inside = sorted(folder.iterdir())
        taken = {name for path in inside if path.suffix == ".json" for name in _names_of(path)}
        found += [
            str(path)
            for path in inside
            if not path.name.startswith(".") and path.name not in taken and _is_candidate(path)
        ]
    return list(dict.fromkeys(found))


def open_product(source: str, options: ImportOptions) -> Product:
    """Read the metadata of one product.

    Raises
    ------
    SceneError
        It is none, or its metadata cannot be used.
    """
    if source.startswith("/vsi"):
        return image_product(source, options.keys())
    path = Path(source)
    name = path.name.lower()
    if not path.exists():
        raise SceneError(f"{source} does not exist")
    if path.is_dir() or name.endswith(ARCHIVE_SUFFIXES):
        if metadata_files(open_container(path)):
            return landsat_product(path, bands=options.bands)
        return safe_product(
            read_safe(path),
            bands=options.bands or DEFAULT_BANDS,
            max_cloud_probability=options.max_cloud_probability,
        )
    if name.endswith(".json"):
        return sidecar_product(path, options.keys())
    sidecar = path.with_suffix(".json")
    if sidecar.is_file() and name.endswith(IMAGE_SUFFIXES):
        return sidecar_product(sidecar, options.keys())
    return image_product(source, options.keys())


def _is_product(folder: Path) -> bool:
    return any(
        PurePosixPath(path.name).match("MTD_MSIL[12]?.xml") or "_MTL." in path.name
        for path in folder.iterdir()
    )


def _is_candidate(path: Path) -> bool:
    if path.is_dir():
        return path.name.upper().endswith(".SAFE") or _is_product(path)
    if path.suffix == ".json":
        return bool(_names_of(path))
    name = path.name.lower()
    return name.endswith((*ARCHIVE_SUFFIXES, *IMAGE_SUFFIXES, *_OTHER_IMAGES))


def _names_of(sidecar: Path) -> set[str]:
    """Files that a sidecar speaks for; none where it is no sidecar."""
    try:
        meta = read_json(sidecar)
    except SceneError:
        return {f"{sidecar.stem}{suffix}" for suffix in IMAGE_SUFFIXES}
    if not {"date", "bands"} & set(meta):
        return set()
    masks = meta.get("mask") or []
    tables = masks if isinstance(masks, list) else [masks]
    names = {str(table.get("file")) if isinstance(table, dict) else str(table) for table in tables}
    names |= {str(name) for name in meta.get("files", [])} | {str(meta.get("image", ""))}
    return names | {f"{sidecar.stem}{suffix}" for suffix in IMAGE_SUFFIXES}
