"""From a value and its linearised contributions to an `Estimate` with an honest interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation.design import (
    Stratified,
    SurveyDesign,
    effective_df,
    linearised_covariance,
)
from survey.estimation.units import Bools, Floats, Frame, Sample
from survey.types import Estimate, EstimateType

__all__ = ["Linear", "finish", "t_quantile", "zero_upper_ha"]

ZERO_QUANTILE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Linear:
    """A total and what each sampled segment contributes to its error.

    Attributes
    ----------
    value_ha : float
        Raw value, hectares; may be negative for a regression estimate.
    z : float array (n,)
        weight x linearised residual of each sampled segment; 0 where it plays no part.
    """

    value_ha: float
    z: Floats


def t_quantile(level: float, df: float) -> float:
    """Two-sided Student quantile; normal where `df` is infinite."""
    return (
        float(stats.t.ppf(0.5 + level / 2.0, df))
        if math.isfinite(df)
        else float(stats.norm.ppf(0.5 + level / 2.0))
    )


def zero_upper_ha(
    frame: Frame,
    sample: Sample,
    weight: Floats,
    member: Bools,
    *,
    level: float = 0.95,
    quantile: float = ZERO_QUANTILE,
) -> float:
    """Upper limit of a domain in whose sampled segments the crop was not found.

    The exact one-sided bound on the share of positive segments, at the Kish effective number
    of sampled segments in the domain, times the segments of the domain, times a high quantile
    of the positive hectares found anywhere. Where the crop was found nowhere, times the mean
    risk area of a segment: nothing is known about how much a positive segment would hold.

    Returns
    -------
    float
        Hectares, at most the domain's risk area; NaN where the domain has no sampled segment.

    References
    ----------
    Clopper and Pearson (1934), Biometrika 26, 404-413, at zero successes: 1 - alpha^(1/n).
    Korn and Graubard (1998), Survey Methodology 24, 193-201, for the effective n.
    """
    inside = member[sample.index]
    if not inside.any():
        return math.nan
    w = weight[inside]
    n_effective = float(w.sum() ** 2 / (w**2).sum())
    share = 1.0 - (1.0 - level) ** (1.0 / n_effective)
    positive = sample.y_ha[sample.y_ha > 0.0]
    risk = frame.risk_ha[member]
    each = float(np.quantile(positive, quantile)) if positive.size else float(risk.mean())
    return float(min(share * int(member.sum()) * each, risk.sum()))


def finish(
    linear: Linear,
    strata: Stratified,
    frame: Frame,
    sample: Sample,
    member: Bools,
    *,
    level: float,
    estimate_type: EstimateType,
    method: str,
    why: str,
) -> Estimate:
    """Estimate with a t interval on effective df, limits cut at zero, and the zero rule.

    Where the crop was found in no sampled segment of the domain the value is 0, the standard
    error NaN (only an upper limit is known) and the upper limit the larger of `zero_upper_ha`
    and the estimator's own.
    """
    if not 0.0 < level < 1.0:
        raise EstimationError(f"level {level} is not between 0 and 1")
    design = strata.design
    inside = member[sample.index]
    n_segments = int(inside.sum())
    if n_segments == 0:
        raise TooFewUnitsError(
            "the domain has no sampled segment; only a synthetic estimate or a status is possible"
        )
    n_positive = int((sample.y_ha[inside] > 0.0).sum())
    se = math.sqrt(max(float(linearised_covariance(design, linear.z)[0, 0]), 0.0))
    df = effective_df(design, linear.z)
    # Cochran (1977) sec. 2.8: value -+ t_df * se; a negative raw value is cut at zero and
    # the half-width kept, so the cut never shortens the upper side.
    value = max(linear.value_ha, 0.0)
    half = t_quantile(level, df) * se
    low = max(linear.value_ha - half, 0.0)
    high = value + half
    is_census = _is_census(design)
    open_rows = inside & ~is_census
    if open_rows.any() and not (sample.y_ha[open_rows] > 0.0).any():
        # Nothing found outside strata taken whole: their finds are known, the rest is zero
        # with an upper limit.
        whole = np.isin(strata.home, np.unique(strata.home[sample.index[is_census]]))
        known = float(sample.y_ha[inside & is_census].sum())
        upper = known + zero_upper_ha(frame, sample, design.weight, member & ~whole, level=level)
        count = int(open_rows.sum())
        return Estimate(
            value_ha=known,
            se_ha=math.nan,
            ci_low_ha=known,
            ci_high_ha=max(upper, linear.value_ha + half),
            df=df,
            n_segments=n_segments,
            n_positive=n_positive,
            estimate_type=estimate_type,
            method=method,
            why=f"{why} The crop was found in none of the {count} sampled segments: 0 ha there, "
            "with an upper limit from the exact bound on the share of positive segments.",
            level=level,
        )
    if se == 0.0 and open_rows.any():
        raise TooFewUnitsError(
            f"the domain's {n_segments} sampled segments leave no residual, so its error cannot "
            "be estimated; use a synthetic estimate or a larger domain"
        )
    return Estimate(
        value_ha=value,
        se_ha=se,
        ci_low_ha=low,
        ci_high_ha=high,
        df=df,
        n_segments=n_segments,
        n_positive=n_positive,
        estimate_type=estimate_type,
        method=method,
        why=why
        + (" The raw value was negative and is shown as 0." if linear.value_ha < 0.0 else ""),
        level=level,
    )


def _is_census(design: SurveyDesign) -> Bools:
    """Sampled segments (n,) whose stratum was taken whole."""
    if design.n_frame is None:
        return np.zeros(design.weight.size, dtype=np.bool_)
    _, code = np.unique(design.stratum, return_inverse=True)
    return np.asarray(np.bincount(code)[code] >= design.n_frame)
