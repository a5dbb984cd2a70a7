"""Products of any sensor, written as scenes: image, masks and sidecar on one grid.

A reader of a format (`imagery.sentinel`, `imagery.landsat`, `imagery.images`) says which rasters
hold which bands and what the numbers mean; this module brings them to a grid and writes them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imagery.errors import SceneError, WriteError
from imagery.grid import Block, Grid, Lattice
from imagery.masks import MaskRule
from imagery.raster import CogWriter, open_raster
from imagery.sidecars import ALPHA
from imagery.warp import SourceRaster, Warp

__all__ = ["BandSource", "MaskSource", "Product", "Resampling", "import_product"]

_BLOCK = 1024
# Reflectance beyond this is no measurement; more of it than the share means a wrong scale or
# nodata value. Glint and bright cloud stay well inside.
_PLAUSIBLE = (-0.5, 3.0)
_IMPLAUSIBLE_SHARE = 0.05
_HASH_BYTES = 4 * 2**20


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


def import_product(
    product: Product,
    scenes: Path,
    *,
    like: Grid | Lattice | None = None,
    resampling: Resampling = Resampling.BILINEAR,
    progress: Callable[[int, int], None] | None = None,
    block_size: int = _BLOCK,
) -> tuple[Path, bool]:
    """Write a product as a scene, as `imagery.catalog.read_scenes` reads it.

    Without `like` the scene keeps the grid of its finest band, and coarser bands are repeated
    onto it, not smoothed. With `like` it is brought to the pixels of that grid and cut to its
    bounds: copied where its own pixels lie on them already, resampled otherwise. The product
    itself is not changed.

    Parameters
    ----------
    product : Product
    scenes : Path
        Where the scene goes; made if missing.
    like : Grid or Lattice, optional
        Grid of the round; a lattice has no bounds, so nothing is cut.
    progress : callable (done, total) in blocks

    Returns
    -------
    sidecar : Path
        Written last: without it `read_scenes` sees nothing of a broken import.
    is_new : bool
        False where the same product was imported before, with the same bands and grid.

    Raises
    ------
    SceneError
        A raster is missing, damaged or does not fit, nothing of the ground is seen, or the
        values are no reflectance.
    GridError
        No reference system, a rotated grid, or no overlap with `like`.
    WriteError
        The scene could not be written whole.
    """
    try:
        scenes.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{scenes} cannot be made ({error.strerror})") from error
    with ExitStack() as files:
        opened = [
            SourceRaster(files.enter_context(open_raster(band.path)), Path(band.path).name)
            for band in product.bands
        ]
        masks = [
            SourceRaster(files.enter_context(open_raster(mask.path)), Path(mask.path).name)
            for mask in product.masks
        ]
        indexes = [band.index for band in product.bands] + [mask.index for mask in product.masks]
        for index, raster in zip(indexes, (*opened, *masks), strict=True):
            if not 1 <= index <= raster.dataset.count:
                raise SceneError(f"{raster.name} has {raster.dataset.count} bands, not {index}")
        finest = min((raster.grid for raster in opened), key=lambda grid: grid.transform.a)
        warp = Warp.between(finest, like, name=opened[0].name)
        made = _made(product, warp, resampling)
        sidecar, stands = _sidecar(product, scenes, made)
        if stands:
            return sidecar, False
        _spare_originals(product, sidecar)
        # Runs last: a mask that got its name before the image failed must not stay behind.
        files.enter_context(
            _Removal(
                (sidecar.with_suffix(".tif"), *(_mask_path(sidecar, m) for m in product.masks))
            )
        )
        tally = _write(
            product, opened, masks, warp, sidecar, resampling, progress, block_size, files
        )
    description = {
        **_description(product, sidecar.stem, tally),
        **made,
        "originals": [_original(path, scenes) for path in product.originals],
    }
    _write_text(sidecar, json.dumps(description, indent=2) + "\n")
    return sidecar, True


@dataclass(frozen=True, slots=True)
class _Removal:
    """Removes files where what follows it fails."""

    paths: tuple[Path, ...]

    def __enter__(self) -> _Removal:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is not None:
            for path in self.paths:
                path.unlink(missing_ok=True)


@dataclass(slots=True)
class _Tally:
    """What was counted while writing, in pixels."""

    n: int = 0
    valid: int = 0
    clear: int = 0
    values: int = 0
    implausible: int = 0
    nodata: float | None = None
    largest: float = -np.inf


def _write(
    product: Product,
    opened: Sequence[SourceRaster],
    masks: Sequence[SourceRaster],
    warp: Warp,
    sidecar: Path,
    resampling: Resampling,
    progress: Callable[[int, int], None] | None,
    block_size: int,
    files: ExitStack,
) -> _Tally:
    dtype, nodata = _stored(product, opened, warp)
    tally = _Tally(nodata=nodata)
    names = [band.name for band in product.bands]
    scale = np.array(product.scale, dtype=np.float32)[:, None, None]
    offset = np.array(product.offset, dtype=np.float32)[:, None, None]
    is_alpha = np.array([name == ALPHA for name in names])
    image = CogWriter(
        sidecar.with_suffix(".tif"), warp.grid, bands=names, nodata=nodata, dtype=dtype.name
    )
    layers = [
        CogWriter(
            _mask_path(sidecar, mask),
            warp.grid,
            bands=[mask.suffix],
            nodata=None,
            dtype=str(raster.dataset.dtypes[mask.index - 1]),
            is_categorical=True,
        )
        for mask, raster in zip(product.masks, masks, strict=True)
    ]
    # The masks stand before the image does, and both before the sidecar that names them.
    for writer in (image, *layers):
        files.enter_context(writer)
    blocks = list(warp.grid.blocks(warp.block_size(block_size)))
    for done, block in enumerate(blocks, start=1):
        pixels, valid = _read_bands(product, opened, warp, block, dtype, nodata, resampling)
        clear = valid.copy()
        for mask, raster, layer in zip(product.masks, masks, layers, strict=True):
            codes = warp.nearest(raster, mask.index, block)
            layer.write(codes[None], block)
            clear &= mask.rule.shows(codes)
        image.write(pixels, block)
        reflectance = (pixels * scale + offset)[~is_alpha][:, valid]
        low, high = _PLAUSIBLE
        tally.n += valid.size
        tally.valid += int(valid.sum())
        tally.clear += int(clear.sum())
        tally.values += reflectance.size
        tally.implausible += int(((reflectance < low) | (reflectance > high)).sum())
        if reflectance.size:
            tally.largest = max(tally.largest, float(reflectance.max()))
        if progress is not None:
            progress(done, len(blocks))
    _judge(product, tally)
    return tally


def _judge(product: Product, tally: _Tally) -> None:
    if not tally.valid:
        raise SceneError(
            f"{product.source} has no pixel with a value here; check its nodata value and "
            "whether it meets the grid"
        )
    if not tally.clear:
        raise SceneError(
            f"{product.source} shows no ground: its masks hide every pixel; leave the scene out"
        )
    if tally.implausible > _IMPLAUSIBLE_SHARE * tally.values:
        share = 100.0 * tally.implausible / tally.values
        raise SceneError(
            f"{product.source}: {share:.0f}% of the values are no reflectance (up to "
            f"{tally.largest:g}); correct scale and offset, or name the value of missing pixels "
            "as nodata"
        )


def _stored(
    product: Product, opened: Sequence[SourceRaster], warp: Warp
) -> tuple[np.dtype[Any], float | None]:
    """Type and nodata value of the stored image."""
    dtype = np.result_type(
        *(
            np.dtype(raster.dataset.dtypes[band.index - 1])
            for band, raster in zip(product.bands, opened, strict=True)
        )
    )
    nodata = product.nodata if product.nodata is not None else opened[0].dataset.nodata
    if dtype.kind not in "uif":
        raise SceneError(
            f"{product.source} holds {dtype.name} pixels, and reflectance is a real number; "
            "convert it (radar products are no scenes here)"
        )
    if dtype.kind == "f":
        return np.dtype(np.float32), float("nan")
    if nodata is not None:
        if not np.iinfo(dtype).min <= nodata <= np.iinfo(dtype).max or nodata != int(nodata):
            raise SceneError(
                f"{product.source}: nodata {nodata:g} cannot occur in {dtype.name} pixels; name "
                "the right value"
            )
        return dtype, nodata
    if ALPHA in [band.name for band in product.bands] or not warp.may_leave_gaps:
        return dtype, None
    # Pixels beyond the image need a value of their own.
    return (np.dtype(np.int16), -32768) if dtype == np.uint8 else (np.dtype(np.float32), np.nan)


def _read_bands(
    product: Product,
    opened: Sequence[SourceRaster],
    warp: Warp,
    block: Block,
    dtype: np.dtype[Any],
    nodata: float | None,
    resampling: Resampling,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Stored values of a block, nodata where any band is missing, and where they are not."""
    if not warp.resamples or resampling is Resampling.NEAREST:
        layers = []
        valid = np.ones(block.shape, dtype=bool)
        for band, raster in zip(product.bands, opened, strict=True):
            own = product.nodata if product.nodata is not None else raster.dataset.nodata
            layer, inside = warp.nearest_inside(raster, band.index, block)
            valid &= inside
            if band.name == ALPHA:
                valid &= layer > 0
            elif layer.dtype.kind == "f":
                valid &= np.isfinite(layer)
            if own is not None and band.name != ALPHA:
                valid &= layer != own
            layers.append(layer)
        pixels = np.stack(layers).astype(dtype)
    else:
        values, valid = warp.smooth(
            opened,
            [band.index for band in product.bands],
            block,
            resampling=resampling.value,
            nodata=[
                product.nodata if product.nodata is not None else raster.dataset.nodata
                for raster in opened
            ],
            alpha=[band.name == ALPHA for band in product.bands],
        )
        pixels = _rounded(values, dtype, nodata)
    fill = 0 if nodata is None else nodata
    pixels[:, ~valid] = fill
    return pixels, valid


def _rounded(
    values: npt.NDArray[np.float32], dtype: np.dtype[Any], nodata: float | None
) -> npt.NDArray[Any]:
    if dtype.kind == "f":
        return values.astype(dtype)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    whole = np.clip(np.rint(np.nan_to_num(values)), low, high)
    if nodata is not None:
        # A value that rounds to the code for "missing" is one step beside it.
        whole[whole == nodata] = nodata + 1 if nodata < high else nodata - 1
    return whole.astype(dtype)


def _made(product: Product, warp: Warp, resampling: Resampling) -> dict[str, Any]:
    """What a scene was made from and how; equal for an import that need not be done again."""
    t = warp.grid.transform
    return {
        "source": product.source,
        "source_bytes": product.source_bytes,
        "bands": [band.name for band in product.bands],
        "grid": [warp.grid.crs.to_string(), *warp.grid.shape, t.a, t.c, t.f],
        "resampling": resampling.value if warp.resamples else None,
        "mask_rules": [[mask.suffix, mask.rule.to_keys()] for mask in product.masks],
    }


def _sidecar(product: Product, scenes: Path, made: dict[str, Any]) -> tuple[Path, bool]:
    """Where the sidecar goes, and whether the same scene stands there already."""
    name = f"{product.acquired.isoformat()}_{product.label}"
    number = 1
    while True:
        sidecar = scenes / (f"{name}.json" if number == 1 else f"{name}-{number}.json")
        if not sidecar.exists():
            return sidecar, False
        try:
            before = json.loads(sidecar.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SceneError(f"{sidecar} cannot be read ({error}); remove it") from error
        if before.get("source") == product.source:
            if any(before.get(key) != value for key, value in made.items()):
                raise SceneError(
                    f"{product.source} was imported as {sidecar.name} with other bands, masks, "
                    "grid or content; remove that scene or choose another folder"
                )
            return sidecar, True
        number += 1


def _rasters(product: Product, sidecar: Path) -> tuple[Path, ...]:
    return (sidecar.with_suffix(".tif"), *(_mask_path(sidecar, m) for m in product.masks))


def _spare_originals(product: Product, sidecar: Path) -> None:
    used = [source.path for source in product.bands] + [mask.path for mask in product.masks]
    kept = {Path(path).resolve() for path in (*used, *product.originals)}
    for path in _rasters(product, sidecar):
        if path.resolve() in kept:
            raise SceneError(
                f"{path.name} would be overwritten by its own import; choose another folder (--to)"
            )


def _mask_path(sidecar: Path, mask: MaskSource) -> Path:
    return sidecar.with_name(f"{sidecar.stem}_{mask.suffix}.tif")


def _description(product: Product, stem: str, tally: _Tally) -> dict[str, Any]:
    def one(values: tuple[float, ...]) -> float | list[float]:
        return values[0] if len(set(values)) == 1 else list(values)

    return {
        "date": product.acquired.isoformat(),
        "bands": [band.name for band in product.bands],
        "scale": one(product.scale),
        "offset": one(product.offset),
        "mask": [
            {"file": f"{stem}_{mask.suffix}.tif", **mask.rule.to_keys()} for mask in product.masks
        ]
        or None,
        **product.about,
        "valid_share": round(tally.valid / tally.n, 6),
        "clear_share": round(tally.clear / tally.n, 6),
    }


def _original(path: Path, scenes: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_HASH_BYTES):
                digest.update(piece)
        size = path.stat().st_size
    except OSError as error:
        raise SceneError(f"{path.name} cannot be read ({error.strerror})") from error
    return {
        "file": os.path.relpath(path.resolve(), scenes.resolve()),
        "bytes": size,
        "sha256": digest.hexdigest(),
    }


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise WriteError(f"{path.name} could not be written ({error.strerror})") from error
