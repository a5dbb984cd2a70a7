"""Products of any sensor, as the reader of a format describes them.

A reader (`imagery.sentinel`, `imagery.landsat`, `imagery.images`) says which rasters hold which
bands and what the numbers mean; `imagery.importing` brings them to a grid and writes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any

from imagery.masks import MaskRule

__all__ = ["BandSource", "MaskSource", "Product", "Resampling"]


class Resampling(StrEnum):
    """How reflectance is brought to another grid; masks always take the nearest pixel."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    CUBIC = "cubic"


@dataclass(frozen=True, slots=True, kw_only=True)
class BandSource:
    """Where a band lies: common name, raster, and its number there."""

    name: str
    path: Path | str
    index: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskSource:
    """Where a mask lies, what its values mean, and the suffix of its file in the scene."""

    suffix: str
    path: Path | str
    rule: MaskRule
    index: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What a reader found.

    Attributes
    ----------
    source : str
        Name that tells this product from any other.
    label : str
        Follows the date in the scene's file name: the tile, path and row, or the file's stem.
    acquired : date
    bands : tuple of BandSource
    scale, offset : tuple of float
        Reflectance = stored value * scale + offset, one of each per band.
    nodata : float or None
        Where it differs from what the files say.
    masks : tuple of MaskSource
    originals : tuple of Path
        Files that were delivered; their checksums go into the sidecar.
    source_bytes : int or None
        Size of what was delivered, where its name alone does not tell it from another.
    about : mapping
        Platform, level and the like, as they go into the sidecar.
    """

    source: str
    label: str
    acquired: date
    bands: tuple[BandSource, ...]
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    nodata: float | None = None
    masks: tuple[MaskSource, ...] = ()
    originals: tuple[Path, ...] = ()
    source_bytes: int | None = None
    about: dict[str, Any] = field(default_factory=dict)
