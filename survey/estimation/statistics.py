"""Totals, means and ratios by domain under any design, calibrated or replicated."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation.calibration import Calibrated
from survey.estimation.design import SurveyDesign, design_effect, linearised_covariance
from survey.estimation.intervals import ROUNDING, ZERO_QUANTILE, t_quantile
from survey.estimation.replication import Replicates, percentile_interval, replicate_covariance
from survey.estimation.units import Bools, Floats

__all__ = ["Quantity", "Statistic", "domain_statistics"]


class Quantity(StrEnum):
    """What is estimated."""

    TOTAL = "total"
    MEAN = "mean"
    RATIO = "ratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """One figure of one domain, in the unit of its variable.

    Attributes
    ----------
    domain_id : str
    value, se, ci_low, ci_high : float
        t interval; not cut at zero, since a variable may be negative. Where the units of a
        domain leave no residual the error is NaN, never 0, unless all were taken.
    percentile_low, percentile_high : float
        Percentile limits of the replicates; NaN without replicates.
    level, df, deff : float
        `deff` is against a simple random sample of as many units (of the domain, for a mean);
        NaN for a ratio and for calibrated weights.
    n_units, n_clusters, n_positive : int
        In the domain; `n_positive` counts units whose y is above zero.
    method : str
        Quantity, weights and variance.
    why : str
        What the error rests on; for a domain without a figure, why there is none.
    """

    domain_id: str
    value: float
    se: float
    ci_low: float
    ci_high: float
    percentile_low: float
    percentile_high: float
    level: float
    df: float
    deff: float
    n_units: int
    n_clusters: int
    n_positive: int
    method: str
    why: str


def domain_statistics(
    design: SurveyDesign,
    y: npt.ArrayLike,
    *,
    x: npt.ArrayLike | None = None,
    domain: npt.ArrayLike | None = None,
    quantity: Quantity = Quantity.TOTAL,
    calibrated: Calibrated | None = None,
    replicates: Replicates | None = None,
    recalibrate: Callable[[Floats], Floats] | None = None,
    replicate_label: str = "replicates",
    level: float = 0.95,
    df: float | None = None,
) -> list[Statistic]:
    """Estimate a quantity in every domain and in all units together (`all`, last).

    Parameters
    ----------
    design : SurveyDesign
    y, x : float array (n,)
        Variable, and the denominator of a ratio.
    domain : str array (n,), optional
        Domains may cut across strata and clusters: zeros outside, no row dropped.
    calibrated : Calibrated, optional
        Of the same design; its residuals carry the linearised error.
    replicates : Replicates, optional
        Their spread is the error in place of linearisation. The weights are final.
    recalibrate : callable, optional
        Calibrated weights (n,) of the design weights of one replicate, zeros staying zero
        (`calibration.recalibrated`); where the estimate is calibrated and `replicates` hold
        design weights.
    replicate_label : str
        Stands in `method`.
    df : float, optional
        Clusters minus strata where None.

    Raises
    ------
    TooFewUnitsError
        A ratio's denominator is zero in all units together, or in a replicate of them. A domain
        in which it is has NaN for a figure (or, in a replicate, for its error) and a `why`.
    EstimationError
        Shapes or options that do not fit each other.

    References
    ----------
    Woodruff (1971), JASA 66, 411-414; Deville and Sarndal (1992), JASA 87, eq. 3.4, applied to
    the linearised variable; Wolter (2007), Introduction to Variance Estimation, chs. 3-6.
    """
    values = np.asarray(y, dtype=np.float64)
    n = design.weight.size
    if quantity is Quantity.RATIO and x is None:
        raise EstimationError("a ratio needs x, its denominator")
    below = np.ones(n) if quantity is Quantity.MEAN else x
    if quantity is Quantity.TOTAL:
        below = None
    denominator = None if below is None else np.asarray(below, dtype=np.float64)
    labels = np.full(n, "all") if domain is None else np.asarray(domain).astype(np.str_)
    for name, column in (("y", values), ("x", denominator), ("domain", labels)):
        if column is not None and column.shape != (n,):
            raise EstimationError(f"{name} has shape {column.shape}; give one for each of {n}")
    for name, column in (("y", values), ("x", denominator)):
        if column is not None and not np.isfinite(column).all():
            at = int(np.flatnonzero(~np.isfinite(column))[0])
            raise EstimationError(
                f"{name}, row {at + 1}: {column[at]} is not a number; leave the unit out as "
                "non-response, or fill the value"
            )
    if not 0.0 < level < 1.0:
        raise EstimationError(f"level {level} is not between 0 and 1")
    weights = None if replicates is None else _replicate_weights(replicates, design, recalibrate)
    degrees = float(design.df) if df is None else float(df)
    quantile = t_quantile(level, degrees)
    _, cluster, _ = design.stages()
    masks = {} if domain is None else {str(d): labels == d for d in np.unique(labels)}
    if "all" in masks and not masks["all"].all():
        raise EstimationError('a domain is called "all", as the sum of the domains; rename it')
    masks["all"] = np.ones(n, dtype=np.bool_)
    variance_label = "linearised" if replicates is None else replicate_label
    method = "_".join(
        [quantity.value, *(["calibrated"] if calibrated is not None else []), variance_label]
    )
    base = _described(design, degrees, calibrated is not None, variance_label)
    result = []
    for name, mask in masks.items():
        value = se = low = high = deff = ci_low = ci_high = math.nan
        why = base
        try:
            value, variance = _linearised(design, values, denominator, mask, calibrated)
            if weights is not None and replicates is not None:
                each = _each(weights, values, denominator, mask)
                variance = float(replicate_covariance(each, replicates.scale)[0, 0])
                low, high = percentile_interval(each, level=level)
            se = math.sqrt(max(variance, 0.0))
            if calibrated is None and quantity is not Quantity.RATIO:
                deff = _design_effect(design, values, mask, variance, quantity)
            ci_low, ci_high = value - quantile * se, value + quantile * se
            # Calibrated, a known total leaves no residual, and rightly so.
            is_judged = calibrated is None or not values[mask].any()
            if se <= ROUNDING * abs(value) and is_judged and not _is_complete(design, mask):
                se = low = high = deff = math.nan
                ci_low, ci_high = _unknown_limits(design, values, denominator, mask, level)
                why = (
                    f"{base} The {int(mask.sum())} units of the domain leave no residual, so its "
                    "error cannot be estimated"
                    + ("." if math.isnan(ci_high) else "; nothing found: an upper limit only.")
                )
        except TooFewUnitsError as problem:
            if domain is None or name == "all":
                raise
            why = f"{str(problem)[:1].upper()}{str(problem)[1:]}."
        result.append(
            Statistic(
                domain_id=name,
                value=value,
                se=se,
                ci_low=ci_low,
                ci_high=ci_high,
                percentile_low=low,
                percentile_high=high,
                level=level,
                df=degrees,
                deff=deff,
                n_units=int(mask.sum()),
                n_clusters=int(np.unique(cluster[mask]).size),
                n_positive=int((values[mask] > 0.0).sum()),
                method=method,
                why=why,
            )
        )
    return result


def _is_complete(design: SurveyDesign, mask: Bools) -> bool:
    """Whether every stratum of the domain was taken whole, so that no error is left."""
    if design.n_frame is None:
        return False
    stratum, cluster, of_cluster = design.stages()
    whole = np.bincount(of_cluster)[stratum] >= design.n_frame
    if design.n_units is not None:
        whole &= np.bincount(cluster)[cluster] >= design.n_units
    return bool(whole[mask].all())


def _unknown_limits(
    design: SurveyDesign, y: Floats, x: Floats | None, mask: Bools, level: float
) -> tuple[float, float]:
    """Limits of a domain without residual: NaN, or from 0 to a bound where nothing was found.

    As `intervals.zero_upper_ha`, with clusters in place of segments.
    """
    positive = y[y > 0.0]
    if y[mask].any() or not positive.size or (y < 0.0).any():
        return math.nan, math.nan
    w = design.weight[mask]
    _, cluster, _ = design.stages()
    n = min(float(w.sum() ** 2 / (w**2).sum()), float(np.unique(cluster[mask]).size))
    share = 1.0 - (1.0 - level) ** (1.0 / n)
    above = share * float(w.sum()) * float(np.quantile(positive, ZERO_QUANTILE))
    below = 1.0 if x is None else float(w @ x[mask])
    return 0.0, above / below


def _described(design: SurveyDesign, df: float, is_calibrated: bool, variance: str) -> str:
    """What the errors of a table rest on, in words."""
    _, _, of_cluster = design.stages()
    n_strata = int(of_cluster.max()) + 1
    units = "units" if design.cluster is None else "clusters"
    return (
        f"{of_cluster.size} {units} in {n_strata} {'stratum' if n_strata == 1 else 'strata'}, "
        f"{'with' if design.n_frame is not None else 'without'} finite population correction"
        + (", second stage included" if design.n_units is not None else "")
        + (", calibrated" if is_calibrated else "")
        + f"; variance: {variance}; t interval with {df:g} degrees of freedom."
    )


def _design_effect(
    design: SurveyDesign, y: Floats, mask: Bools, variance: float, quantity: Quantity
) -> float:
    if quantity is Quantity.TOTAL:
        return design_effect(design, np.where(mask, y, 0.0), variance)
    # Of a mean against a simple random sample of the domain's units, as R `survey`.
    of_domain = SurveyDesign(weight=design.weight[mask], stratum=design.stratum[mask])
    size = float(of_domain.weight.sum())
    return design_effect(of_domain, y[mask], variance * size**2)


def _linearised(
    design: SurveyDesign,
    y: Floats,
    x: Floats | None,
    mask: Bools,
    calibrated: Calibrated | None,
) -> tuple[float, float]:
    """Value and linearised variance of one domain."""
    weight = design.weight if calibrated is None else calibrated.weight
    w = np.where(mask, weight, 0.0)
    value = float(w @ y)
    variable = np.where(mask, y, 0.0)
    if x is not None:
        below = float(w @ x)
        if not below > 0.0:
            raise TooFewUnitsError(
                "a domain holds none of the denominator; its ratio is undefined: merge it"
            )
        value = value / below
        # Woodruff (1971): (y - R x) / sum of w x.
        variable = np.where(mask, y - value * x, 0.0) / below
    z = design.weight * variable if calibrated is None else calibrated.total(variable).z
    return value, float(linearised_covariance(design, z)[0, 0])


def _replicate_weights(
    replicates: Replicates,
    design: SurveyDesign,
    recalibrate: Callable[[Floats], Floats] | None,
) -> Floats:
    weight = np.asarray(replicates.weight, dtype=np.float64)
    if weight.ndim != 2 or weight.shape[1] != design.weight.size or weight.shape[0] < 2:
        raise EstimationError(
            f"replicate weights have shape {weight.shape}; give two or more replicates of "
            f"{design.weight.size} units"
        )
    if not np.isfinite(weight).all():
        raise EstimationError("a replicate weight is not a number; correct the file")
    if recalibrate is None:
        return weight
    result = np.zeros(weight.shape)
    for at, row in enumerate(weight):
        try:
            result[at] = recalibrate(row)
        except EstimationError as problem:
            raise EstimationError(
                f"replicate {at + 1} of {weight.shape[0]} cannot be calibrated ({problem}); use "
                "the linearised variance, or fewer calibration variables"
            ) from problem
    return result


def _each(weights: Floats, y: Floats, x: Floats | None, mask: Bools) -> Floats:
    """Value of every replicate (R,)."""
    above = weights @ np.where(mask, y, 0.0)
    if x is None:
        return np.asarray(above)
    below = weights @ np.where(mask, x, 0.0)
    if not (below > 0.0).all():
        raise TooFewUnitsError(
            "the denominator of a domain is zero in a replicate; use the linearised variance or "
            "merge the domain"
        )
    return np.asarray(above / below)
