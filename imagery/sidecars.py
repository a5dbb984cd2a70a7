"""Sidecars: what stands beside an image and says what its bands and masks mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from imagery.errors import SceneError
from imagery.masks import MaskRule

__all__ = ["ALPHA", "COMMON_NAMES", "Description", "SceneMask", "describe", "read_json"]

#: Band that says where an orthomosaic has pixels; it is no feature.
ALPHA = "alpha"
#: Names of STAC for bands that go by a shorter one here.
COMMON_NAMES = {
    "swir16": "swir1",
    "swir22": "swir2",
    "rededge071": "rededge",
    "rededge075": "rededge2",
    "rededge078": "rededge3",
}

#: Keys on which pixels depend; others may stand beside them.
_KEYS = (
    "date", "bands", "scale", "offset", "nodata", "mask", "mask_clear", "image", "files",
    "indexes",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneMask:
    """One mask of a scene: a band of a file on the scene's grid, and what its values mean."""

    path: Path
    rule: MaskRule
    band: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a sidecar says of its image, before any file was opened; see `Scene`."""

    acquired: date
    bands: tuple[str, ...]
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    nodata: float | None
    masks: tuple[SceneMask, ...]


def describe(meta: Mapping[str, Any], folder: Path, *, name: str) -> Description:
    """Check the keys of a sidecar.

    Parameters
    ----------
    meta : mapping
        Its content.
    folder : Path
        Where the image and its masks lie.
    name : str
        What it is called in messages.

    Raises
    ------
    SceneError
        A key is missing, wrong, or nearly one that is read; or a mask lies elsewhere.
    """
    for key in meta:
        # Ignored, a slip such as "ofset" would change every reflectance without a word.
        meant = get_close_matches(key.lower(), _KEYS, n=1, cutoff=0.8)
        if key not in _KEYS and meant:
            raise SceneError(f"{name}: key {key!r} is unknown; did you mean {meant[0]!r}?")
    try:
        bands = tuple(COMMON_NAMES.get(str(band), str(band)) for band in meta["bands"])
        said = Description(
            acquired=date.fromisoformat(meta["date"]),
            bands=bands,
            scale=_per_band(meta["scale"], bands, "scale"),
            offset=_per_band(meta.get("offset", 0.0), bands, "offset"),
            nodata=None if meta.get("nodata") is None else float(meta["nodata"]),
            masks=_masks(meta, folder),
        )
    except KeyError as error:
        raise SceneError(
            f"{name}: key {error} is missing; a sidecar needs date, bands, scale and mask"
        ) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise SceneError(f"{name}: {error}; correct the value") from error
    if len(set(bands)) != len(bands) or not bands:
        raise SceneError(f"{name}: bands {list(bands)} must name each band once")
    for mask in said.masks:
        if mask.path.parent != folder:
            raise SceneError(f"{name}: mask {mask.path.name!r} must lie beside the image")
    return said


def read_json(path: Path) -> dict[str, Any]:
    """Content of a sidecar.

    Raises
    ------
    SceneError
        It cannot be read or is no JSON object.
    """
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SceneError(f"{path.name} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise SceneError(f"{path.name} is not valid JSON: {error}") from error
    except RecursionError as error:
        raise SceneError(f"{path.name} is no sidecar: its JSON is nested too deep") from error
    if not isinstance(meta, dict):
        raise SceneError(f"{path.name} is not valid JSON of a sidecar: it must be an object")
    return meta


def _per_band(value: Any, bands: tuple[str, ...], name: str) -> tuple[float, ...]:
    numbers = tuple(float(v) for v in value) if isinstance(value, list) else (float(value),)
    if len(numbers) == 1:
        numbers *= len(bands)
    if len(numbers) != len(bands):
        raise ValueError(f"{name} has {len(numbers)} values for {len(bands)} bands")
    if not np.isfinite(numbers).all() or (name == "scale" and min(numbers) <= 0.0):
        raise ValueError(f"{name} {value!r} is not a usable number")
    return numbers


def _masks(meta: Mapping[str, Any], folder: Path) -> tuple[SceneMask, ...]:
    """Masks of a sidecar: a file name with `mask_clear`, a table of keys, or a list of tables."""
    declared = meta["mask"]
    if declared is None:
        return ()
    if isinstance(declared, str):
        declared = {"file": declared, "clear": meta.get("mask_clear", [0])}
    tables = declared if isinstance(declared, list) else [declared]
    masks = []
    for table in tables:
        keys = dict(table)
        name = str(keys.pop("file", "")) or str(meta["mask"])
        masks.append(
            SceneMask(
                path=folder / name,
                band=int(keys.pop("band", 1)),
                rule=MaskRule.from_keys(keys),
            )
        )
    return tuple(masks)
