"""Scenes to features, block by block: what a pixel is described by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imagery.catalog import SceneStack
from imagery.errors import SceneError
from imagery.grid import Block
from imagery.indices import compute_index, required_bands
from imagery.raster import open_raster, read_block

__all__ = ["ALPHA", "FeatureSpec", "block_features", "block_size_for", "feature_names"]

#: Band that says where an orthomosaic has pixels; it is no feature.
ALPHA = "alpha"

# Divisors of the tiles on disk, so that none is read or written in parts by two rows of blocks.
_BLOCK_SIZES = (512, 256, 128, 64)
_BLOCK_BYTES = 300 * 2**20
# A feature is a float32 and up to three copies of it live at once.
_BYTES_PER_FEATURE = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """What a pixel is described by.

    Attributes
    ----------
    indices : tuple of str
        Names of `imagery.indices.INDICES`, computed on every date.
    min_clear : int
        Clear dates below which a pixel counts as unobserved.
    """

    indices: tuple[str, ...]
    min_clear: int = 3


def block_features(
    stack: SceneStack, spec: FeatureSpec, block: Block
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.uint8]]:
    """Features of the pixels of one block.

    Every date gives its reflectance bands and indices; where a date is masked its reflectance
    is interpolated linearly in time between the clear dates around it (the nearest one at the
    ends of the season).

    Returns
    -------
    features : float32 array (dates x (bands + indices), rows, cols)
        NaN where a pixel was never clear.
    is_observed : bool array (rows, cols)
        At least `min_clear` clear dates.
    n_clear : uint8 array (rows, cols)
    """
    bands = tuple(band for band in stack.scenes[0].bands if band != ALPHA)
    _require_bands(stack, spec)
    n_dates = len(stack.scenes)
    reflectance = np.empty((n_dates, len(bands), *block.shape), dtype=np.float32)
    clear = np.empty((n_dates, *block.shape), dtype=bool)
    for number, scene in enumerate(stack.scenes):
        order = [scene.bands.index(band) + 1 for band in bands]
        with open_raster(scene.path) as image:
            stored = read_block(image, block, indexes=order)
            nodata = image.nodata
        clear[number] = True
        if scene.mask_path is not None:
            with open_raster(scene.mask_path) as mask:
                clear[number] = np.isin(read_block(mask, block, indexes=1), scene.mask_clear)
        values = stored.astype(np.float32)
        clear[number] &= np.isfinite(values).all(axis=0)
        if nodata is not None:
            clear[number] &= (stored != nodata).all(axis=0)
        if ALPHA in scene.bands:
            with open_raster(scene.path) as image:
                opaque = read_block(image, block, indexes=scene.bands.index(ALPHA) + 1)
            clear[number] &= opaque > 0
        reflectance[number] = values * np.float32(scene.scale) + np.float32(scene.offset)
    n_clear = clear.sum(axis=0).astype(np.uint8)
    days = np.array([scene.acquired.toordinal() for scene in stack.scenes], dtype=np.float32)
    _interpolate(reflectance, clear, days)
    layers = [reflectance]
    for number in range(n_dates):
        by_name = dict(zip(bands, reflectance[number], strict=True))
        layers.append(
            np.stack([compute_index(name, by_name) for name in spec.indices])[None]
            if spec.indices
            else np.empty((1, 0, *block.shape), dtype=np.float32)
        )
    features = np.concatenate([layers[0], np.concatenate(layers[1:])], axis=1).reshape(
        -1, *block.shape
    )
    return features, n_clear >= spec.min_clear, n_clear


def feature_names(stack: SceneStack, spec: FeatureSpec) -> tuple[str, ...]:
    """Name of every feature in the order of `block_features`: its period or date, then what it is.

    A feature without a date is its name alone. Models keep the names, so that one is not applied
    to other features, and their importance is reported by date and by what they are.
    """
    layers = [band for band in stack.scenes[0].bands if band != ALPHA] + list(spec.indices)
    return tuple(f"{day.isoformat()} {layer}" for day in stack.dates for layer in layers)


def _require_bands(stack: SceneStack, spec: FeatureSpec) -> None:
    bands = stack.scenes[0].bands
    for scene in stack.scenes:
        missing = [band for band in bands if band not in scene.bands]
        if missing:
            raise SceneError(
                f"{scene.path.name} lacks band {', '.join(missing)} that "
                f"{stack.scenes[0].path.name} has; give scenes with the same bands"
            )
    absent = [band for band in required_bands(spec.indices) if band not in bands]
    if absent:
        raise SceneError(
            f"band {', '.join(absent)} is needed by the indices {', '.join(spec.indices)} but the "
            f"scenes have {', '.join(bands)}; leave the index out of survey.toml"
        )


def _interpolate(
    values: npt.NDArray[np.float32],
    clear: npt.NDArray[np.bool_],
    days: npt.NDArray[np.float32],
) -> None:
    """Fill masked dates in place, linearly in time; NaN where no date is clear."""
    n = len(days)
    step = np.arange(n)[:, None, None]
    before = np.maximum.accumulate(np.where(clear, step, -1), axis=0)
    after = np.minimum.accumulate(np.where(clear, step, n)[::-1], axis=0)[::-1]
    never = ~clear.any(axis=0)
    source = values.copy()
    for number in range(n):
        hidden = ~clear[number] & ~never
        if hidden.any():
            row, col = np.nonzero(hidden)
            low, high = before[number][hidden], after[number][hidden]
            # At the ends of the season only one side exists.
            low = np.where(low < 0, high, low)
            high = np.where(high >= n, low, high)
            span = days[high] - days[low]
            share = np.where(span > 0, (days[number] - days[low]) / np.maximum(span, 1), 0.0)
            share = share.astype(np.float32)[:, None]
            values[number][:, row, col] = (
                (1.0 - share) * source[low, :, row, col] + share * source[high, :, row, col]
            ).T
        values[number][:, never] = np.nan


def block_size_for(stack: SceneStack, spec: FeatureSpec) -> int:
    """Pixels a side of the largest block whose features stay within the memory budget."""
    n_features = len(stack.scenes) * (len(stack.scenes[0].bands) + len(spec.indices))
    for size in _BLOCK_SIZES:
        if size * size * n_features * _BYTES_PER_FEATURE <= _BLOCK_BYTES:
            return size
    return _BLOCK_SIZES[-1]
