"""Figures that are not sample expansions: ranges, detected minima, censuses, corrections."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation.accuracy import error_adjusted_area
from survey.estimation.intervals import t_quantile
from survey.types import Estimate, EstimateType

__all__ = [
    "census_with_omission",
    "detected_minimum",
    "field_checked_area",
    "range_only",
    "with_interpreter_variance",
]


def range_only(low_ha: float, high_ha: float, *, why: str, n_segments: int = 0) -> Estimate:
    """Two numbers and no point, as some surveys publish; never averaged to a midpoint.

    Raises
    ------
    EstimationError
        A limit is missing, negative, or the range is reversed.
    """
    if not (math.isfinite(low_ha) and math.isfinite(high_ha)) or not 0.0 <= low_ha <= high_ha:
        raise EstimationError(f"range {low_ha} to {high_ha} ha is missing, negative or reversed")
    return Estimate(
        value_ha=math.nan,
        se_ha=math.nan,
        ci_low_ha=low_ha,
        ci_high_ha=high_ha,
        df=math.nan,
        n_segments=n_segments,
        n_positive=0,
        estimate_type=EstimateType.STATUS_ONLY,
        method="range_only",
        why=why,
    )


def detected_minimum(detected_ha: npt.ArrayLike, *, why: str = "") -> Estimate:
    """Hectares seen on purposive flights: a lower limit, with no value and no upper limit.

    Where one flies is chosen because crop is expected there, so nothing is extrapolated.

    Parameters
    ----------
    detected_ha : float array (n,)
        Each detected plot or flight line, hectares.
    """
    hectares = np.atleast_1d(np.asarray(detected_ha, dtype=np.float64))
    if not (np.isfinite(hectares) & (hectares >= 0.0)).all():
        raise EstimationError("detected hectares must be finite and not negative")
    return Estimate(
        value_ha=math.nan,
        se_ha=math.nan,
        ci_low_ha=float(hectares.sum()),
        ci_high_ha=math.nan,
        df=math.nan,
        n_segments=int(hectares.size),
        n_positive=int((hectares > 0.0).sum()),
        estimate_type=EstimateType.STATUS_ONLY,
        method="detected_minimum",
        why=why or "Detected on purposively chosen places: at least this much, not an estimate.",
    )


def census_with_omission(
    counted_ha: float,
    check_counted_ha: npt.ArrayLike,
    check_true_ha: npt.ArrayLike,
    *,
    n_frame: int | None = None,
    level: float = 0.95,
) -> Estimate:
    """Complete count, adjusted for what it missed in a random sample of check segments.

    Parameters
    ----------
    counted_ha : float
        Hectares of the complete count.
    check_counted_ha, check_true_ha : float array (m,)
        In each check segment, hectares the count holds and hectares really there. A simple
        random sample; segments where both are zero belong to it.
    n_frame : int, optional
        Check segments in the whole area, for the fpc.

    Raises
    ------
    TooFewUnitsError
        Fewer than two check segments, or none with counted crop.

    References
    ----------
    Cochran (1977), Sampling Techniques, eqs. 6.1, 6.13: ratio of true to counted hectares.
    """
    counted = np.asarray(check_counted_ha, dtype=np.float64)
    true = np.asarray(check_true_ha, dtype=np.float64)
    if counted.shape != true.shape or counted.ndim != 1:
        raise EstimationError("give counted and true hectares for each check segment")
    values = np.concatenate([counted, true, [counted_ha]])
    if not (np.isfinite(values) & (values >= 0.0)).all():
        raise EstimationError("counted and true hectares must be finite and not negative")
    m = counted.size
    if m < 2 or counted.sum() <= 0.0:
        raise TooFewUnitsError(
            f"{m} check segments with {counted.sum():g} counted hectares cannot measure the "
            "omission; check more segments"
        )
    if n_frame is not None and n_frame < m:
        raise EstimationError(f"{m} check segments cannot come from an area of {n_frame}")
    ratio = float(true.sum() / counted.sum())
    fraction = 0.0 if n_frame is None else m / n_frame
    # Cochran (1977) eq. 6.13: X^2 (1 - f) / (m xbar^2) * sum (y - R x)^2 / (m - 1).
    spread = float(((true - ratio * counted) ** 2).sum()) / (m - 1)
    se = counted_ha * math.sqrt((1.0 - fraction) * spread / m) / float(counted.mean())
    if se == 0.0 and fraction < 1.0:
        raise TooFewUnitsError(
            f"all {m} check segments hold the same share of what was counted, so the error of the "
            "omission cannot be estimated; check more segments, or give the count as a detected "
            "minimum"
        )
    value = counted_ha * ratio
    half = t_quantile(level, m - 1) * se
    return Estimate(
        value_ha=value,
        se_ha=se,
        ci_low_ha=max(value - half, 0.0),
        ci_high_ha=value + half,
        df=float(m - 1),
        n_segments=m,
        n_positive=int((true > 0.0).sum()),
        estimate_type=EstimateType.ASSISTED,
        method="census_with_omission",
        why=f"Complete count of {counted_ha:.4g} ha; {m} check segments hold {ratio:.3g} times "
        "what was counted in them.",
        level=level,
    )


def field_checked_area(
    called_ha: float, not_called_ha: float, counts: npt.ArrayLike, *, level: float = 0.95
) -> Estimate:
    """Interpreted hectares corrected by field checks of called and of not-called land.

    Parameters
    ----------
    called_ha, not_called_ha : float
        Land that the interpreter called the crop, and the rest of the risk area.
    counts : int array (2, 2)
        Checked points: rows called / not called, columns crop / no crop on the ground.

    References
    ----------
    Olofsson et al. (2014), Remote Sens. Environ. 148, 42-57, eqs. 9-11, with two classes. Where
    no check of not-called land shows the crop, the upper arm has the exact bound on it in squares
    (Zou and Donner 2008): the formula takes such an omission for known to be nothing.
    """
    matrix = np.asarray(counts)
    if matrix.shape != (2, 2):
        raise EstimationError(f"field checks have shape {matrix.shape}; give a 2 x 2 table")
    estimate = error_adjusted_area(matrix, [called_ha, not_called_ha], level=level)[0]
    why = "Interpreted hectares corrected by field checks of called and not-called land."
    high = estimate.ci_high_ha
    n, missed = int(matrix[1].sum()), int(matrix[1, 0])
    if missed == 0 and math.isfinite(estimate.se_ha):
        # Clopper and Pearson (1934) at zero: what n checks without a find leave possible.
        hidden = not_called_ha * (1.0 - (1.0 - level) ** (1.0 / n))
        arm = math.hypot(high - estimate.value_ha, hidden)
        high = min(estimate.value_ha + arm, called_ha + not_called_ha)
        why += (
            f" No crop at the {n} checks of not-called land: its upper limit is in the interval."
        )
    return replace(estimate, ci_high_ha=high, method="field_checked_area", why=why)


def with_interpreter_variance(estimate: Estimate, totals_ha: npt.ArrayLike) -> Estimate:
    """Let the disagreement of interpreters enter the error of an estimate.

    Parameters
    ----------
    estimate : Estimate
        From the mean of the interpreters' readings.
    totals_ha : float array (k,)
        The same total computed from each interpreter's readings of the same segments, or of
        interpenetrating random halves, hectares; k >= 2 interpreters regarded as a random
        choice of those who could have worked.

    Returns
    -------
    Estimate
        Standard error sqrt(se^2 + s^2 / k), arms of the interval widened by the same factor.

    References
    ----------
    Mahalanobis (1946), J. Royal Statistical Society 109, 325-370 (interpenetrating
    subsamples); Hansen, Hurwitz and Bershad (1961), Bull. ISI 38, 359-374.
    """
    totals = np.asarray(totals_ha, dtype=np.float64)
    if totals.ndim != 1 or totals.size < 2 or not np.isfinite(totals).all():
        raise TooFewUnitsError("give the finite total of each of at least two interpreters")
    # Mahalanobis (1946): variance of the mean of k interpreters' totals.
    between = float(totals.var(ddof=1)) / totals.size
    if between == 0.0:
        return estimate
    if math.isnan(estimate.se_ha) or estimate.se_ha == 0.0:
        raise EstimationError(
            f"the {estimate.method} estimate has no standard error to which the interpreters' "
            "disagreement could be added; publish its interval and the disagreement apart"
        )
    sampling = estimate.se_ha**2
    se = math.sqrt(sampling + between)
    # Satterthwaite (1946): df of a sum of two variances.
    df = se**4 / (sampling**2 / estimate.df + between**2 / (totals.size - 1))
    factor = se / estimate.se_ha
    factor *= t_quantile(estimate.level, df) / t_quantile(estimate.level, estimate.df)
    low = estimate.value_ha - factor * (estimate.value_ha - estimate.ci_low_ha)
    high = estimate.value_ha + factor * (estimate.ci_high_ha - estimate.value_ha)
    return replace(
        estimate,
        se_ha=se,
        df=df,
        ci_low_ha=max(low, 0.0),
        ci_high_ha=high,
        why=f"{estimate.why} The disagreement of {totals.size} interpreters is in the error.",
    )
