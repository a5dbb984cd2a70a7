"""Texture of one band in a moving window: arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imagery.errors import SceneError

__all__ = ["MEASURES", "Texture", "texture"]

Floats = npt.NDArray[np.float32]

#: Local standard deviation; Shannon entropy of the grey levels, in bits; and of the grey-level
#: co-occurrence matrix (Haralick et al. 1973; neighbours at distance 1, four directions pooled,
#: symmetric) contrast, dissimilarity and homogeneity (inverse difference moment).
MEASURES = ("std", "entropy", "contrast", "dissimilarity", "homogeneity")
# Row and column steps to a neighbour: 0, 45, 90 and 135 degrees.
_DIRECTIONS = ((0, 1), (1, -1), (1, 0), (1, 1))
_LARGEST_WINDOW = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Texture:
    """Which texture is measured.

    Attributes
    ----------
    bands : tuple of str
    measures : tuple of str
        Of `MEASURES`.
    window : int
        Pixels a side, odd.
    levels : int
        Grey levels between `low` and `high`, for all measures but "std".
    low, high : float
        Reflectance of the first and the last grey level: fixed, not taken from the picture, so
        that neither place nor date changes what a level means.

    Raises
    ------
    SceneError
        A window that is even or too large, an unknown measure, or levels that are none.
    """

    bands: tuple[str, ...]
    measures: tuple[str, ...] = ("std", "contrast", "entropy")
    window: int = 7
    levels: int = 32
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        unknown = [name for name in self.measures if name not in MEASURES]
        if unknown or not self.measures or not self.bands:
            raise SceneError(
                f"texture {', '.join(unknown) or 'without bands or measures'} is not known; "
                f"choose from {', '.join(MEASURES)}"
            )
        if self.window % 2 == 0 or not 3 <= self.window <= _LARGEST_WINDOW:
            raise SceneError(
                f"texture window {self.window} must be an odd number of pixels between 3 and "
                f"{_LARGEST_WINDOW}"
            )
        if not 2 <= self.levels <= 256 or not self.low < self.high:
            raise SceneError(
                f"texture needs 2 to 256 levels and low < high; they are {self.levels}, "
                f"{self.low} and {self.high}"
            )

    @property
    def radius(self) -> int:
        """Pixels that the window reaches beyond the one it describes."""
        return self.window // 2


def texture(values: Floats, spec: Texture) -> Floats:
    """Measures of a band around every pixel that has a whole window.

    Sums are taken in one order whatever the block, so that a pixel's texture is the same to the
    last bit wherever the block around it begins.

    Parameters
    ----------
    values : float32 array (rows + window - 1, cols + window - 1)
        Reflectance; NaN pixels, as beyond the edge of the image, take no part.
    spec : Texture

    Returns
    -------
    float32 array (measures, rows, cols)
        NaN where the pixel itself is.

    References
    ----------
    Haralick, Shanmugam and Dinstein (1973), IEEE Trans. Syst. Man Cybern. 3, 610-621.
    """
    valid = np.isfinite(values)
    known = np.where(valid, values, np.float32(0.0))
    span = np.float32(spec.levels / (spec.high - spec.low))
    grey = np.clip((known - np.float32(spec.low)) * span, 0, spec.levels - 1).astype(np.int16)
    side = spec.window
    measured: dict[str, npt.NDArray[np.float64]] = {}
    n_pixels = _box(valid.astype(np.int32), side, side)
    with np.errstate(divide="ignore", invalid="ignore"):
        if "std" in spec.measures:
            wide = known.astype(np.float64)
            mean = _box(wide, side, side) / n_pixels
            square = _box(wide * wide, side, side) / n_pixels
            measured["std"] = np.sqrt(np.maximum(square - mean * mean, 0.0))
        if "entropy" in spec.measures:
            measured["entropy"] = _entropy(grey, valid, n_pixels, spec)
        wanted = [name for name in _OF_PAIRS if name in spec.measures]
        if wanted:
            measured |= _of_pairs(grey, valid, wanted, side, spec.levels)
    found = np.stack([measured[name] for name in spec.measures]).astype(np.float32)
    reach = spec.radius
    found[:, ~valid[reach : valid.shape[0] - reach, reach : valid.shape[1] - reach]] = np.nan
    return found


# Weight of a pair of grey levels by their difference; the measure is its mean over the pairs.
_OF_PAIRS = {
    "contrast": lambda step: step * step,
    "dissimilarity": lambda step: step,
    "homogeneity": lambda step: 1.0 / (1.0 + step * step),
}


def _of_pairs(
    grey: npt.NDArray[np.int16],
    valid: npt.NDArray[np.bool_],
    wanted: list[str],
    side: int,
    levels: int,
) -> dict[str, npt.NDArray[np.float64]]:
    """Means over all pairs of neighbours within the window.

    The measures weigh each cell (i, j) of the co-occurrence matrix by |i - j| alone, so they
    are means over pairs and need no matrix.
    """
    steps = np.arange(levels, dtype=np.float64)
    n_pairs: Any = 0
    sums: dict[str, npt.NDArray[np.float64]] = {}
    for down, across in _DIRECTIONS:
        rows, cols = grey.shape
        one = np.s_[: rows - down, max(0, -across) : cols - max(0, across)]
        other = np.s_[down:, max(0, across) : cols + min(0, across)]
        both = valid[one] & valid[other]
        apart = np.abs(grey[one] - grey[other])
        tall, wide = side - down, side - abs(across)
        n_pairs = n_pairs + _box(both.astype(np.int32), tall, wide)
        for name in wanted:
            weight = np.where(both, _OF_PAIRS[name](steps)[apart], 0.0)
            total = _box(weight, tall, wide)
            sums[name] = sums[name] + total if name in sums else total
    return {name: total / n_pairs for name, total in sums.items()}


def _entropy(
    grey: npt.NDArray[np.int16],
    valid: npt.NDArray[np.bool_],
    n_pixels: npt.NDArray[np.int32],
    spec: Texture,
) -> npt.NDArray[np.float64]:
    """Minus the sum of p log2 p over the grey levels of the window."""
    terms: npt.NDArray[np.float64] = np.zeros(n_pixels.shape)
    for level in np.unique(grey[valid]):
        share = _box(((grey == level) & valid).astype(np.int32), spec.window, spec.window)
        share = share / n_pixels
        terms -= np.where(share > 0.0, share * np.log2(np.where(share > 0.0, share, 1.0)), 0.0)
    return terms


def _box(values: npt.NDArray[Any], tall: int, wide: int) -> npt.NDArray[Any]:
    """Sum over every window of `tall` rows and `wide` columns that lies inside."""
    rows = values.shape[0] - tall + 1
    total: npt.NDArray[Any] = values[:rows].copy()
    for row in range(1, tall):
        total += values[row : row + rows]
    cols = values.shape[1] - wide + 1
    found: npt.NDArray[Any] = total[:, :cols].copy()
    for col in range(1, wide):
        found += total[:, col : col + cols]
    return found
