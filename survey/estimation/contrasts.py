"""Means, ratios and differences between domains, with the design's covariance kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation.design import SurveyDesign, linearised_covariance
from survey.estimation.intervals import t_quantile
from survey.estimation.means import MeanEstimate
from survey.estimation.units import Bools, Floats

__all__ = ["mean_contrast", "ratio_statistic"]


def ratio_statistic(
    design: SurveyDesign,
    y: npt.ArrayLike,
    x: npt.ArrayLike,
    inside: npt.ArrayLike | None = None,
    *,
    level: float = 0.95,
    df: float | None = None,
) -> MeanEstimate:
    """Ratio of two totals, in the unit of y over that of x; a mean where x is 1.

    Parameters
    ----------
    design : SurveyDesign
    y, x : float array (n,)
    inside : bool array (n,), optional
        Domain; zeros outside, no row dropped.
    df : float, optional
        Degrees of freedom of the interval; clusters minus strata where None.

    Raises
    ------
    TooFewUnitsError
        The domain holds none of x.

    References
    ----------
    Cochran (1977), Sampling Techniques, eqs. 6.44 and 6.48; Woodruff (1971).
    """
    mask = _mask(design, inside)
    value, z = _ratio(design, np.asarray(y, float), np.asarray(x, float), mask)
    return _statistic(design, value, z, mask, level=level, df=df, method="ratio")


def mean_contrast(
    design: SurveyDesign,
    y: npt.ArrayLike,
    cells: Sequence[npt.ArrayLike],
    coefficients: Sequence[float],
    *,
    level: float = 0.95,
    df: float | None = None,
) -> MeanEstimate:
    """Weighted sum of domain means, e.g. a difference, or a difference in differences.

    The covariance between the means is the design's own. A panel enters either as the change
    of each unit (one row each) or stacked with the unit as cluster; ignoring that the same
    units come twice gives a standard error that means nothing.

    Parameters
    ----------
    design : SurveyDesign
    y : float array (n,)
    cells : sequence of bool array (n,)
        Domains, may overlap.
    coefficients : sequence of float
        One for each cell: (1, -1) for a difference, (1, -1, -1, 1) for a difference in
        differences.

    References
    ----------
    Woodruff (1971), JASA 66, 411-414: a contrast of ratios is linearised term by term.
    """
    if len(cells) != len(coefficients) or not cells:
        raise EstimationError(
            f"{len(cells)} cells and {len(coefficients)} coefficients; give one for each"
        )
    values = np.asarray(y, dtype=np.float64)
    ones = np.ones(design.weight.size)
    total, z = 0.0, np.zeros(design.weight.size)
    union = np.zeros(design.weight.size, dtype=np.bool_)
    for cell, coefficient in zip(cells, coefficients, strict=True):
        mask = _mask(design, cell)
        mean, part = _ratio(design, values, ones, mask)
        total += coefficient * mean
        z = z + coefficient * part
        union |= mask
    return _statistic(design, total, z, union, level=level, df=df, method="mean_contrast")


def _mask(design: SurveyDesign, inside: npt.ArrayLike | None) -> Bools:
    if inside is None:
        return np.ones(design.weight.size, dtype=np.bool_)
    mask = np.asarray(inside)
    if mask.dtype != np.bool_ or mask.shape != design.weight.shape:
        raise EstimationError(
            f"domain has type {mask.dtype} and shape {mask.shape}; give one bool for each of "
            f"the {design.weight.size} units"
        )
    return mask


def _ratio(design: SurveyDesign, y: Floats, x: Floats, mask: Bools) -> tuple[float, Floats]:
    for name, column in (("y", y), ("x", x)):
        if not np.isfinite(column[mask]).all():
            at = int(np.flatnonzero(mask & ~np.isfinite(column))[0])
            raise EstimationError(
                f"{name}, row {at + 1}: {column[at]} is not a number; leave the unit out of the "
                "domain, or fill the value"
            )
    y, x = np.where(mask, y, 0.0), np.where(mask, x, 0.0)
    w = np.where(mask, design.weight, 0.0)
    below = float(np.where(mask, w * x, 0.0).sum())
    if not below > 0.0:
        raise TooFewUnitsError(
            "the domain holds none of the denominator; its ratio is undefined: merge it"
        )
    value = float(np.where(mask, w * y, 0.0).sum()) / below
    # Woodruff (1971): w (y - R x) / sum of w x.
    return value, np.where(mask, w * (y - value * x), 0.0) / below


def _statistic(
    design: SurveyDesign,
    value: float,
    z: Floats,
    mask: Bools,
    *,
    level: float,
    df: float | None,
    method: str,
) -> MeanEstimate:
    if not 0.0 < level < 1.0:
        raise EstimationError(f"level {level} is not between 0 and 1")
    se = math.sqrt(max(float(linearised_covariance(design, z)[0, 0]), 0.0))
    degrees = float(design.df) if df is None else df
    half = t_quantile(level, degrees) * se
    _, cluster, _ = design.stages()
    return MeanEstimate(
        value=value,
        se=se,
        ci_low=value - half,
        ci_high=value + half,
        df=degrees,
        n=int(mask.sum()),
        n_clusters=int(np.unique(cluster[mask]).size),
        method=method,
    )
