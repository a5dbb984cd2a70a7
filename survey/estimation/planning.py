"""Sample sizes before a season, and the error to expect of a stratified point sample."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError
from survey.estimation.units import Floats

__all__ = ["ExpectedError", "expected_error", "sample_size_for_overall"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpectedError:
    """What a planned sample would give if the crop is where it is thought to be.

    Attributes
    ----------
    share, se, cv : float
        Of the crop in the whole area, its standard error and coefficient of variation; fractions.
    variance_share : float array (H,)
        Part of the variance that each stratum brings: where more points would help.
    """

    share: float
    se: float
    cv: float
    variance_share: Floats


def expected_error(
    size: npt.ArrayLike, expected_share: npt.ArrayLike, n: npt.ArrayLike
) -> ExpectedError:
    """Error of the crop's share from points drawn at random within strata, without fpc.

    Parameters
    ----------
    size : float array (H,)
        Hectares (or points) of each stratum.
    expected_share : float array (H,)
        Share of the crop thought to be in each, 0-1: user's accuracy in a stratum mapped as crop,
        what the map misses in the others.
    n : int array (H,)
        Points planned, 1 or more.

    References
    ----------
    Cochran (1977), Sampling Techniques, 3rd ed., eq. 5.52, N large; Olofsson et al. (2014), Remote
    Sens. Environ. 148, 42-57, sec. 5.1.
    """
    hectares = _checked("size", size, 0.0, math.inf)
    p = _checked("expected_share", expected_share, 0.0, 1.0)
    points = _checked("n", n, 1.0, math.inf)
    if not hectares.shape == p.shape == points.shape or not hectares.sum() > 0.0:
        raise EstimationError(
            f"{hectares.size} sizes, {p.size} expected shares, {points.size} numbers of points; "
            "give one of each for every stratum"
        )
    weight = hectares / hectares.sum()
    parts = weight**2 * p * (1.0 - p) / points
    variance, share = float(parts.sum()), float(weight @ p)
    if not (variance > 0.0 and share > 0.0):
        raise EstimationError(
            "nothing, or everything, is expected to be crop: no error can be foreseen from that"
        )
    return ExpectedError(
        share=share,
        se=math.sqrt(variance),
        cv=math.sqrt(variance) / share,
        variance_share=parts / variance,
    )


def sample_size_for_overall(
    size: npt.ArrayLike, users_accuracy: npt.ArrayLike, target_se: float
) -> int:
    """Points needed for a standard error of overall accuracy, map classes as strata.

    Parameters
    ----------
    size : float array (H,)
        Mapped hectares of each class.
    users_accuracy : float array (H,)
        Expected, 0-1.
    target_se : float
        Wanted standard error of overall accuracy, a fraction.

    References
    ----------
    Cochran (1977), eq. 5.25; Olofsson et al. (2014), eq. 13: n = (sum W S / S(O))^2.
    """
    hectares = _checked("size", size, 0.0, math.inf)
    users = _checked("users_accuracy", users_accuracy, 0.0, 1.0)
    if hectares.shape != users.shape or not hectares.sum() > 0.0:
        raise EstimationError(
            f"{hectares.size} sizes and {users.size} accuracies; give one of each for every class"
        )
    if not 0.0 < target_se < 1.0:
        raise EstimationError(f"target standard error {target_se} is not between 0 and 1")
    weight = hectares / hectares.sum()
    return math.ceil(float(weight @ np.sqrt(users * (1.0 - users)) / target_se) ** 2)


def _checked(name: str, values: npt.ArrayLike, low: float, high: float) -> Floats:
    column = np.asarray(values, dtype=np.float64)
    bad = ~np.isfinite(column) | (column < low) | (column > high)
    if column.ndim != 1 or column.size == 0 or bad.any():
        at = int(np.flatnonzero(bad)[0]) + 1 if bad.any() else 0
        which = f", row {at}: {column[at - 1]:g}" if at else ""
        raise EstimationError(
            f"{name}{which} must be finite, from {low:g} to {high:g}, one for each stratum"
        )
    return column
