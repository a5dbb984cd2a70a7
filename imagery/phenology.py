"""Course of a season in a few numbers: when a curve peaks, how far it rises, how fast it falls."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["PHENOLOGY", "phenology"]

Floats = npt.NDArray[np.float32]

#: Names of the numbers, in order: highest value; days from the first step to it; highest minus
#: lowest value; change a day from the peak to the lowest value after it.
PHENOLOGY = ("peak", "peak_day", "amplitude", "senescence")


def phenology(curve: Floats, days: npt.NDArray[np.float32]) -> Floats:
    """Peak, date of peak, amplitude and senescence slope of every pixel's curve.

    Date and height of the peak are those of the parabola through the highest step and its two
    neighbours, so they are not bound to the calendar. At the ends of the season, and where the
    parabola does not bend downwards, they are the step's own.

    Parameters
    ----------
    curve : float32 array (steps, rows, cols)
        An index with its gaps filled, NaN where a pixel was never clear.
    days : float32 array (steps,)
        Day of each step, increasing.

    Returns
    -------
    float32 array (4, rows, cols)
        In the order of `PHENOLOGY`; the slope is negative, per day, and NaN where the peak is
        the last step, because nothing of the decline was seen.
    """
    n_steps = len(days)
    never = np.isnan(curve[0])
    known = np.where(never, np.float32(0.0), curve)
    top = known.argmax(axis=0)
    highest = np.take_along_axis(known, top[None], axis=0)[0]
    day = days - days[0]
    at, peak = day[top].astype(np.float32), highest.copy()
    inside = (top > 0) & (top < n_steps - 1)
    if inside.any():
        row, col = np.nonzero(inside)
        middle = top[inside]
        at[inside], peak[inside] = _vertex(
            day[middle - 1] - day[middle],
            day[middle + 1] - day[middle],
            known[middle - 1, row, col] - highest[inside],
            known[middle + 1, row, col] - highest[inside],
        )
        at[inside] += day[middle]
        peak[inside] += highest[inside]
    lowest_after = np.full(top.shape, np.inf, dtype=np.float32)
    day_after = np.zeros(top.shape, dtype=np.float32)
    for step in range(1, n_steps):
        lower = (step > top) & (known[step] < lowest_after)
        lowest_after[lower] = known[step][lower]
        day_after[lower] = day[step]
    falls = top < n_steps - 1
    slope = np.full(top.shape, np.nan, dtype=np.float32)
    slope[falls] = (lowest_after[falls] - peak[falls]) / (day_after[falls] - at[falls])
    found = np.stack([peak, at, peak - known.min(axis=0), slope])
    found[:, never] = np.nan
    return found


def _vertex(left: Floats, right: Floats, rise: Floats, fall: Floats) -> tuple[Floats, Floats]:
    """Day and height of the vertex of the parabola through (left, rise), (0, 0), (right, fall)."""
    bend = (fall / right - rise / left) / (right - left)
    slope = rise / left - bend * left
    is_peak = bend < 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.where(is_peak, -slope / (np.float32(2.0) * bend), np.float32(0.0))
    # The highest step lies between its neighbours: so does the vertex.
    at = np.clip(at, left, right).astype(np.float32)
    return at, (bend * at * at + slope * at).astype(np.float32)
