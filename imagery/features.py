"""Scenes to features, block by block: what a pixel is described by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imagery.catalog import SceneStack
from imagery.errors import SceneError
from imagery.grid import Block
from imagery.indices import compute_index, required_bands

__all__ = ["FeatureSpec", "block_features", "block_size_for", "feature_names"]

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
    _require_bands(stack, spec)
    bands, n_dates = stack.bands, len(stack.dates)
    reflectance = np.empty((n_dates, len(bands), *block.shape), dtype=np.float32)
    clear = np.empty((n_dates, *block.shape), dtype=bool)
    for number in range(n_dates):
        reflectance[number], clear[number] = stack.read(number, bands, block)
    n_clear = clear.sum(axis=0).astype(np.uint8)
    days = np.array([day.toordinal() for day in stack.dates], dtype=np.float32)
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
    layers = [*stack.bands, *spec.indices]
    return tuple(f"{day.isoformat()} {layer}" for day in stack.dates for layer in layers)


def _require_bands(stack: SceneStack, spec: FeatureSpec) -> None:
    absent = [band for band in required_bands(spec.indices) if band not in stack.bands]
    if absent:
        raise SceneError(
            f"band {', '.join(absent)} is needed by the indices {', '.join(spec.indices)} but the "
            f"scenes have {', '.join(stack.bands)}; leave the index out of survey.toml"
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
    n_features = len(stack.dates) * (len(stack.bands) + len(spec.indices))
    for size in _BLOCK_SIZES:
        if size * size * n_features * _BYTES_PER_FEATURE <= _BLOCK_BYTES:
            return size
    return _BLOCK_SIZES[-1]
