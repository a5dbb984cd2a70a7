"""One clear picture of several: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
import numpy.typing as npt

__all__ = ["Composite", "fill_gaps", "least_cloud", "longest_gap", "median", "nearest"]

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

# Above this many pictures sorting is faster than exchanging neighbours.
_MOST_EXCHANGED = 10
# Gaps are filled a few rows at a time: what is needed on the way stays small.
_ROWS = 64


class Composite(StrEnum):
    """How the clear dates of a period become one picture."""

    MEDIAN = "median"
    NEAREST = "nearest"
    LEAST_CLOUD = "least_cloud"


def median(values: Floats, clear: Bools) -> Floats:
    """Median over the clear dates, band by band.

    Parameters
    ----------
    values : float32 array (dates, bands, rows, cols)
        Changed in place.
    clear : bool array (dates, rows, cols)

    Returns
    -------
    float32 array (bands, rows, cols)
        Mean of the two middle values where their number is even; NaN where no date is clear.
    """
    n_dates = len(values)
    if n_dates == 1:
        return np.where(clear, values[0], np.float32(np.nan))
    np.copyto(values, np.float32(np.inf), where=~clear[:, None])
    if n_dates > _MOST_EXCHANGED:
        values.sort(axis=0)
    else:
        low = np.empty_like(values[0])
        for end in range(n_dates - 1, 0, -1):
            for lower in range(end):
                np.minimum(values[lower], values[lower + 1], out=low)
                np.maximum(values[lower], values[lower + 1], out=values[lower + 1])
                values[lower] = low
    count = clear.sum(axis=0)
    found = np.full(values.shape[1:], np.nan, dtype=np.float32)
    half = np.float32(0.5)
    for n in np.unique(count[count > 0]):
        low, high = values[(n - 1) // 2], values[n // 2]
        np.copyto(found, half * low + half * high if n % 2 == 0 else low, where=count == n)
    return found


def nearest(values: Floats, clear: Bools, distance: Sequence[float]) -> Floats:
    """Clear date with the smallest distance, all bands from the same date.

    Parameters
    ----------
    values : float32 array (dates, bands, rows, cols)
    clear : bool array (dates, rows, cols)
    distance : sequence of float (dates,)
        Days to the middle of the period; of equal ones the earlier date counts.

    Returns
    -------
    float32 array (bands, rows, cols)
        NaN where no date is clear.
    """
    found = np.full(values.shape[1:], np.nan, dtype=np.float32)
    # From far to near, so that the nearest is written last.
    for number in sorted(range(len(values)), key=lambda n: (distance[n], n), reverse=True):
        np.copyto(found, values[number], where=clear[number])
    return found


def least_cloud(
    values: Floats, clear: Bools, probability: Floats, distance: Sequence[float]
) -> Floats:
    """Clear date with the least probability of cloud, all bands from the same date.

    Parameters
    ----------
    values : float32 array (dates, bands, rows, cols)
    clear : bool array (dates, rows, cols)
    probability : float32 array (dates, rows, cols)
    distance : sequence of float (dates,)
        Days to the middle of the period: of equal probabilities the nearest date counts, and
        of equally near ones the earlier.

    Returns
    -------
    float32 array (bands, rows, cols)
        NaN where no date is clear.
    """
    found = np.full(values.shape[1:], np.nan, dtype=np.float32)
    least = np.full(values.shape[2:], np.inf, dtype=np.float32)
    for number in sorted(range(len(values)), key=lambda n: (distance[n], n)):
        better = clear[number] & (probability[number] < least)
        np.copyto(found, values[number], where=better)
        np.copyto(least, probability[number], where=better)
    return found


def fill_gaps(values: Floats, clear: Bools, days: npt.NDArray[np.float32]) -> None:
    """Fill hidden steps in place, linearly in time; NaN where no step is clear.

    Parameters
    ----------
    values : float32 array (steps, bands, rows, cols)
    clear : bool array (steps, rows, cols)
    days : float32 array (steps,)
        At the ends of the season the nearest clear step stands in.
    """
    for first in range(0, clear.shape[1], _ROWS):
        rows = slice(first, first + _ROWS)
        _fill(values[:, :, rows], clear[:, rows], days)


def _fill(values: Floats, clear: Bools, days: npt.NDArray[np.float32]) -> None:
    n = len(days)
    step = np.arange(n, dtype=np.int16)[:, None, None]
    before = np.maximum.accumulate(np.where(clear, step, np.int16(-1)), axis=0)
    after = np.minimum.accumulate(np.where(clear, step, np.int16(n))[::-1], axis=0)[::-1]
    never = ~clear.any(axis=0)
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
            # Clear steps are read and hidden ones written, so nothing filled is filled from.
            values[number][:, row, col] = (
                (1.0 - share) * values[low, :, row, col] + share * values[high, :, row, col]
            ).T
        values[number][:, never] = np.nan


def longest_gap(clear: Bools, days: npt.NDArray[np.float32]) -> Floats:
    """Longest stretch of days without a clear step, (rows, cols).

    From one clear step to the next, or from an end of the season to the nearest; NaN where no
    step is clear.
    """
    last = np.full(clear.shape[1:], days[0], dtype=np.float32)
    gap = np.zeros_like(last)
    for day, seen in zip(days, clear, strict=True):
        np.maximum(gap, day - last, out=gap, where=seen)
        last[seen] = day
    np.maximum(gap, days[-1] - last, out=gap)
    gap[~clear.any(axis=0)] = np.nan
    return gap
