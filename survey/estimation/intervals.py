"""From a value and its linearised contributions to an `Estimate` with an honest interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation.design import SurveyDesign, design_effect, linearised_moments
from survey.estimation.pooled import FEW_CARRIERS, pooled_error
from survey.estimation.strata import Stratified
from survey.estimation.units import Bools, Floats, Frame, Sample
from survey.types import Estimate, EstimateType

__all__ = ["FEW_POSITIVE", "Linear", "few_upper_ha", "finish", "t_quantile", "zero_upper_ha"]

ZERO_QUANTILE = 0.95
# Of a total, its own and that of the sample: a standard error below it is rounding.
ROUNDING = 1e-12
# Of the risk area: what nobody sampled is taken to be like other land, as in a synthetic figure.
MAX_UNSAMPLED_SHARE = 0.05
# Positive segments below which the share of positives bounds the interval; chosen by
# benchmarks/coverage.py on one set of populations and validated on another (docs/methods.md).
FEW_POSITIVE = {EstimateType.DIRECT: 40, EstimateType.ASSISTED: 10}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Linear:
    """A total and what each sampled segment contributes to its error.

    Attributes
    ----------
    value_ha : float
        Raw value, hectares; may be negative for a regression estimate.
    z : float array (n,)
        weight x linearised residual of each sampled segment; 0 where it plays no part.
    residual_ha : float array (n,) or None
        Reference minus fitted hectares of all sampled segments, of map-assisted totals.
    """

    value_ha: float
    z: Floats
    residual_ha: Floats | None = None


def t_quantile(level: float, df: float) -> float:
    """Two-sided Student quantile; normal where `df` is infinite."""
    return (
        float(special.stdtrit(df, 0.5 + level / 2.0))
        if math.isfinite(df)
        else float(special.ndtri(0.5 + level / 2.0))
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


def few_upper_ha(
    frame: Frame, sample: Sample, weight: Floats, member: Bools, *, level: float = 0.95
) -> float:
    """Upper limit of a domain with few positive segments, from their share alone.

    The exact two-sided bound on the share of positive segments at the Kish effective number
    of segments, times the segments of the domain, times the mean of the positive hectares in
    the whole sample: with few positives their number is what is uncertain, and the linearised
    error misses it on the upper side.

    References
    ----------
    Korn and Graubard (1998), Survey Methodology 24, 193-201, sec. 2.
    """
    inside = member[sample.index]
    w = weight[inside]
    y = sample.y_ha[inside]
    n_effective = float(w.sum() ** 2 / (w**2).sum())
    # Korn and Graubard (1998): effective successes = effective n times the weighted share.
    found = n_effective * float(w[y > 0.0].sum() / w.sum())
    share = 1.0
    if found < n_effective:
        share = float(special.betaincinv(found + 1.0, n_effective - found, 0.5 + level / 2.0))
    mean = float(sample.y_ha[sample.y_ha > 0.0].mean())
    return float(min(share * int(member.sum()) * mean, frame.risk_ha[member].sum()))


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
    """Estimate with a t interval on effective df, limits cut at zero, and the rules for few.

    The error of a map-assisted figure is never below what the residuals of its strata give
    (`pooled_error`); where few segments carry them a warning joins `why`.
    With fewer positive segments than `FEW_POSITIVE` the interval is widened to reach from the
    hectares found to `few_upper_ha`. Where the crop was found in no sampled segment of the
    domain the value is 0, the standard error NaN (only an upper limit is known) and the upper
    limit the larger of `zero_upper_ha` and the estimator's own. With more than
    `MAX_UNSAMPLED_SHARE` of the risk area in strata that nobody sampled the figure is
    synthetic, however it was computed. The design effect is against
    the expansion of a simple random sample of as many segments.
    """
    if not 0.0 < level < 1.0:
        raise EstimationError(f"level {level} is not between 0 and 1")
    inside = member[sample.index]
    if not inside.any():
        raise TooFewUnitsError(
            "the domain has no sampled segment; only a synthetic estimate or a status is possible"
        )
    design = strata.design
    positive = inside & (sample.y_ha > 0.0)
    is_census = _is_census(design)
    open_rows = inside & ~is_census
    moments = linearised_moments(design, linear.z)
    # What rounding leaves of residuals that vanish is no error.
    noise = ROUNDING * (abs(linear.value_ha) + float(design.weight @ sample.y_ha))
    se, df = math.sqrt(float(moments.variance[0])), float(moments.df[0])
    value = max(linear.value_ha, 0.0)
    if linear.residual_ha is not None:
        pooled = pooled_error(linear.residual_ha, strata, sample, member)
        if pooled.se_ha > se:
            se, df = pooled.se_ha, pooled.df
        if pooled.n_carriers < FEW_CARRIERS and positive.any():
            why += (
                " Few segments carry the map's errors: the interval can cover less than it states."
            )
    se = se if se > noise else 0.0
    variance = se**2
    # Cochran (1977) sec. 2.8: value -+ t_df * se; a negative raw value is cut at zero and
    # the half-width kept, so the cut never shortens the upper side.
    half = t_quantile(level, df) * se
    low, high = max(linear.value_ha - half, 0.0), value + half
    if linear.value_ha < 0.0:
        why += " The raw value was negative and is shown as 0."
    if open_rows.any() and not positive[open_rows].any():
        # Finds in strata taken whole are known; the rest is zero with an upper limit.
        whole = np.isin(strata.home, np.unique(strata.home[sample.index[is_census]]))
        value = low = float(sample.y_ha[inside & is_census].sum())
        rest = zero_upper_ha(frame, sample, design.weight, member & ~whole, level=level)
        high = max(value + rest, linear.value_ha + half)
        se = math.nan
        why += (
            f" The crop was found in none of the {int(open_rows.sum())} sampled segments: 0 ha "
            "there, with an upper limit from the exact bound on the share of positive segments."
        )
    elif open_rows.any():
        if se == 0.0:
            raise TooFewUnitsError(
                f"the domain's {int(inside.sum())} sampled segments leave no residual, so its "
                "error cannot be estimated; use a synthetic estimate or a larger domain"
            )
        count = _carriers(frame, sample, member, estimate_type)
        if count < FEW_POSITIVE.get(estimate_type, 0):
            low = min(low, float(sample.y_ha[inside].sum()))
            high = max(high, few_upper_ha(frame, sample, design.weight, member, level=level))
            why += (
                f" Only {count} segments with the crop carry it, so the interval reaches from "
                "what was found to the exact bound on their share."
            )
    if (share := unsampled_share(frame, strata, member)) > MAX_UNSAMPLED_SHARE:
        estimate_type = EstimateType.SYNTHETIC
        why += (
            f" {share:.0%} of the risk area lies in strata without a sampled segment, so the "
            "figure is partly synthetic."
        )
    return Estimate(
        value_ha=value,
        se_ha=se,
        ci_low_ha=min(low, value),
        ci_high_ha=high,
        df=df,
        n_segments=int(inside.sum()),
        n_positive=int(positive.sum()),
        estimate_type=estimate_type,
        method=method,
        why=why,
        level=level,
        deff=design_effect(design, np.where(inside, sample.y_ha, 0.0), variance),
    )


def unsampled_share(frame: Frame, strata: Stratified, member: Bools) -> float:
    """Share of a domain's risk area in strata of which no segment was sampled."""
    empty = np.isin(frame.stratum.astype(str), strata.unsampled)
    whole = float(frame.risk_ha[member].sum())
    return float(frame.risk_ha[member & empty].sum()) / whole if whole > 0.0 else 0.0


def _carriers(frame: Frame, sample: Sample, member: Bools, kind: EstimateType) -> int:
    """Positive segments behind a figure: the domain's, or for a fit those of its provinces."""
    rows = member[sample.index]
    if kind is EstimateType.ASSISTED:
        code = frame.group_code
        rows = (np.bincount(code[member], minlength=int(code.max()) + 1) > 0)[code[sample.index]]
    return int((sample.y_ha[rows] > 0.0).sum())


def _is_census(design: SurveyDesign) -> Bools:
    """Sampled segments (n,) whose stratum was taken whole."""
    size = np.inf if design.n_frame is None else design.n_frame
    code, _, _ = design.stages()
    return np.asarray(np.bincount(code)[code] >= size)
