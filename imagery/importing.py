"""A product written as a scene: image, masks and sidecar on one grid."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imagery.errors import SceneError, WriteError
from imagery.grid import Block, Grid, Lattice
from imagery.products import Product, Resampling
from imagery.provenance import (
    description_of,
    made_from,
    mask_path,
    original,
    rasters_of,
    sidecar_for,
    spare_originals,
    write_text,
)
from imagery.raster import CogWriter, open_raster
from imagery.sidecars import ALPHA
from imagery.warp import SourceRaster, Warp

__all__ = ["import_product"]

_BLOCK = 1024
# Reflectance beyond this is no measurement; more of it than the share means a wrong scale or
# nodata value. Glint and bright cloud stay well inside.
_PLAUSIBLE = (-0.5, 3.0)
_IMPLAUSIBLE_SHARE = 0.05


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
        made = made_from(product, warp, resampling)
        sidecar, stands = sidecar_for(product, scenes, made)
        if stands:
            return sidecar, False
        spare_originals(product, sidecar)
        # Runs last: a mask that got its name before the image failed must not stay behind.
        files.enter_context(_Removal(rasters_of(product, sidecar)))
        tally = _write(
            product, opened, masks, warp, sidecar, resampling, progress, block_size, files
        )
    description = {
        **description_of(
            product,
            sidecar.stem,
            valid_share=tally.valid / tally.n,
            clear_share=tally.clear / tally.n,
        ),
        **made,
        "originals": [original(path, scenes) for path in product.originals],
    }
    write_text(sidecar, json.dumps(description, indent=2) + "\n")
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
    nonzero: int = 0
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
            mask_path(sidecar, mask),
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
        tally.nonzero += int(np.count_nonzero(pixels[~is_alpha][:, valid]))
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
    if not tally.nonzero:
        raise SceneError(
            f"{product.source} is 0 in every pixel of every band; if that is the value of missing "
            "pixels, name it as nodata, and leave a scene without others out"
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
