"""Change between two seasons, with the covariance of segments seen in both."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from survey.errors import EstimationError
from survey.estimation.assisted import difference_linear, fit_regression, regression_columns
from survey.estimation.design import linearised_moments
from survey.estimation.direct import expansion_linear, ratio_linear, size_of
from survey.estimation.intervals import ROUNDING, Linear, t_quantile
from survey.estimation.strata import Stratified, stratified_design
from survey.estimation.units import Frame, Sample
from survey.types import Estimate, EstimateType

__all__ = [
    "ChangeEstimate",
    "SeasonTotal",
    "change_between",
    "change_of_figures",
    "season_total",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeasonTotal:
    """A season's total in the form a change needs.

    Attributes
    ----------
    harvest_year : int
    method_version : str
        Same label, same definitions, frame rules, interpretation key and estimator.
    comparable_with : frozenset of str
        Other versions this one was built to be compared with.
    linear : Linear
    strata : Stratified
    segment_id, stratum : str array (n,)
        Of the sampled segments.
    n_segments, n_positive : int
        Sampled segments of the domain, and those of them with the crop.
    estimator : str
    """

    harvest_year: int
    method_version: str
    comparable_with: frozenset[str]
    linear: Linear
    strata: Stratified
    segment_id: npt.NDArray[np.str_]
    stratum: npt.NDArray[np.str_]
    n_segments: int
    n_positive: int
    estimator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeEstimate:
    """Hectares after minus hectares before.

    Attributes
    ----------
    value_ha, se_ha, ci_low_ha, ci_high_ha, level, df : float
        May be negative; t interval.
    before_ha, after_ha : float
        Raw totals, or the figures that were given.
    relative : float
        Change over the earlier value, a fraction; NaN where that is zero.
    p_value : float
        Two-sided, for no change.
    correlation : float
        Of the two totals' errors.
    n_segments : int
        Sampled segments of the domain in the season with fewer.
    n_overlap : int
        Segments seen in both seasons, in the same stratum.
    method : str
    method_version : str
        Of both seasons; "old -> new" where someone signed for a break.
    signed_by : str
        Who accepted a comparison across a change of method; empty where there is none.
    why : str
    """

    value_ha: float
    se_ha: float
    ci_low_ha: float
    ci_high_ha: float
    level: float
    df: float
    before_ha: float
    after_ha: float
    relative: float
    p_value: float
    correlation: float
    n_segments: int
    n_overlap: int
    method: str
    method_version: str
    signed_by: str
    why: str


def season_total(
    frame: Frame,
    sample: Sample,
    *,
    harvest_year: int,
    method_version: str,
    estimator: str = "expansion",
    member: npt.ArrayLike | None = None,
    comparable_with: frozenset[str] = frozenset(),
) -> SeasonTotal:
    """Prepare one season for `change_between`.

    Parameters
    ----------
    estimator : {"expansion", "ratio", "regression", "difference"}
        The season's own; the ratio is to risk area, the regression has a common slope.
    """
    mask = frame.is_member(member)
    strata = stratified_design(frame, sample)
    inside = mask[sample.index]
    if estimator == "expansion":
        linear = expansion_linear(strata.design, sample.y_ha, inside)
    elif estimator == "ratio":
        linear = ratio_linear(
            strata.design,
            sample.y_ha,
            frame.risk_ha[sample.index],
            inside,
            float(frame.risk_ha[mask].sum()),
        )
    elif estimator == "difference":
        x = size_of(frame, "covariate_ha")
        linear = difference_linear(
            strata.design, sample.y_ha, x[sample.index], inside, float(x[mask].sum())
        )
    elif estimator == "regression":
        columns = regression_columns(frame, strata)
        fit = fit_regression(sample.y_ha, columns[sample.index], strata.design.weight)
        linear = fit.greg(columns[mask].sum(axis=0), inside)
    else:
        raise EstimationError(
            f"estimator {estimator!r} is unknown; say expansion, ratio, regression or difference"
        )
    return SeasonTotal(
        harvest_year=harvest_year,
        method_version=method_version,
        comparable_with=comparable_with,
        linear=linear,
        strata=strata,
        segment_id=frame.segment_id[sample.index],
        stratum=frame.stratum[sample.index],
        n_segments=int(inside.sum()),
        n_positive=int((sample.y_ha[inside] > 0.0).sum()),
        estimator=estimator,
    )


def change_between(
    before: SeasonTotal, after: SeasonTotal, *, level: float = 0.95, signed_by: str = ""
) -> ChangeEstimate:
    """Change of a domain's hectares, with the covariance from segments seen in both seasons.

    Raises
    ------
    EstimationError
        The method changed and nobody signed for the comparison; the seasons are not in order;
        or a season has no finding, so that only an upper limit is known of it.

    References
    ----------
    Tam (1984), J. Royal Statistical Society D 33, 283-289; Holmes and Skinner (2000), GSS
    Methodology Series 21: cov = sum of N^2 (n12 / (n1 n2) - 1 / N) s12.
    """
    same = _same_method(
        (before.harvest_year, before.method_version),
        (after.harvest_year, after.method_version),
        comparable_with=after.comparable_with,
        signed_by=signed_by,
    )
    empty = [each.harvest_year for each in (before, after) if each.n_positive == 0]
    if len(empty) == 2:
        raise EstimationError("the crop was found in neither season; there is no change to test")
    if empty:
        raise EstimationError(
            f"the crop was found in no sampled segment of {empty[0]}: only an upper limit is "
            "known of that season, so the change has no error; publish both figures side by side"
        )
    first = linearised_moments(before.strata.design, before.linear.z)
    second = linearised_moments(after.strata.design, after.linear.z)
    v1, v2 = float(first.variance[0]), float(second.variance[0])
    covariance, n_overlap = _overlap_covariance(before, after)
    bound = math.sqrt(v1 * v2)
    covariance = max(-bound, min(covariance, bound))
    value = after.linear.value_ha - before.linear.value_ha
    se = math.sqrt(max(v1 + v2 - 2.0 * covariance, 0.0))
    df = min(float(first.df[0]), float(second.df[0]))
    note = ""
    if se <= ROUNDING * (math.sqrt(v1) + math.sqrt(v2)):
        se = math.nan
        note = " Nothing differs between the seasons' samples, so the error is unknown."
    half = t_quantile(level, df) * se
    earlier = before.linear.value_ha
    p_value = float(2.0 * stats.t.sf(abs(value) / se, df)) if se > 0.0 else math.nan
    break_note = "" if same else _break_note(signed_by)
    return ChangeEstimate(
        value_ha=value,
        se_ha=se,
        ci_low_ha=value - half,
        ci_high_ha=value + half,
        level=level,
        df=df,
        before_ha=earlier,
        after_ha=after.linear.value_ha,
        relative=value / earlier if earlier > 0.0 else math.nan,
        p_value=p_value,
        correlation=covariance / bound if bound > 0.0 else 0.0,
        n_segments=min(before.n_segments, after.n_segments),
        n_overlap=n_overlap,
        method="change_" + "_to_".join(dict.fromkeys((before.estimator, after.estimator))),
        method_version=_both(before.method_version, after.method_version),
        signed_by="" if same else signed_by,
        why=f"{n_overlap} segments were seen in both seasons.{note}{break_note}",
    )


def change_of_figures(
    before: Estimate,
    after: Estimate,
    *,
    years: tuple[int, int],
    method_versions: tuple[str, str],
    comparable_with: frozenset[str] = frozenset(),
    level: float = 0.95,
    signed_by: str = "",
) -> ChangeEstimate:
    """Change between two finished figures, whose errors are taken as independent.

    Right for samples drawn apart. Where the same segments were seen in both seasons it
    overstates the error (their covariance is positive as a rule); `change_between` has it.

    Raises
    ------
    EstimationError
        A break of method without signature; a model or synthetic figure (shrinkage pulls
        differences towards zero); a figure without value or standard error.

    References
    ----------
    Satterthwaite (1946), Biometrics Bulletin 2, 110-114, for df of a sum of two variances.
    """
    same = _same_method(
        (years[0], method_versions[0]),
        (years[1], method_versions[1]),
        comparable_with=comparable_with,
        signed_by=signed_by,
    )
    for year, figure in zip(years, (before, after), strict=True):
        if figure.estimate_type not in {EstimateType.DIRECT, EstimateType.ASSISTED}:
            raise EstimationError(
                f"the figure of {year} is {figure.estimate_type.value}: models pull differences "
                "towards zero; compare direct or assisted figures only"
            )
        if not (math.isfinite(figure.value_ha) and math.isfinite(figure.se_ha)):
            raise EstimationError(
                f"the figure of {year} has no value with a standard error (nothing found, or "
                "withheld); there is no change to test"
            )
    v1, v2 = before.se_ha**2, after.se_ha**2
    value, se = after.value_ha - before.value_ha, math.sqrt(v1 + v2)
    df = (v1 + v2) ** 2 / (v1**2 / before.df + v2**2 / after.df) if se > 0.0 else math.inf
    df = df if math.isfinite(df) else math.inf
    half = t_quantile(level, df) * se
    return ChangeEstimate(
        value_ha=value,
        se_ha=se,
        ci_low_ha=value - half,
        ci_high_ha=value + half,
        level=level,
        df=df,
        before_ha=before.value_ha,
        after_ha=after.value_ha,
        relative=value / before.value_ha if before.value_ha > 0.0 else math.nan,
        p_value=float(2.0 * stats.t.sf(abs(value) / se, df)) if se > 0.0 else math.nan,
        correlation=0.0,
        n_segments=min(before.n_segments, after.n_segments),
        n_overlap=0,
        method="change_of_figures",
        method_version=_both(*method_versions),
        signed_by="" if same else signed_by,
        why="Errors of both seasons taken as independent."
        + ("" if same else _break_note(signed_by)),
    )


def _same_method(
    before: tuple[int, str],
    after: tuple[int, str],
    *,
    comparable_with: frozenset[str],
    signed_by: str,
) -> bool:
    """Whether two seasons, (year, method version) each, may be compared without a signature."""
    if after[0] <= before[0]:
        raise EstimationError(f"season {after[0]} does not follow {before[0]}; swap them")
    # A season without a version cannot be known to be comparable.
    same = bool(before[1]) and (before[1] == after[1] or before[1] in comparable_with)
    if not same and not signed_by.strip():
        raise EstimationError(
            f"method {after[1]!r} ({after[0]}) is not comparable with {before[1]!r} "
            f"({before[0]}); no change is computed across a break unless someone signs for it: "
            "pass signed_by"
        )
    return same


def _both(before: str, after: str) -> str:
    return after if before == after else f"{before or 'none'} -> {after or 'none'}"


def _break_note(signed_by: str) -> str:
    return f" Compared across a change of method, signed by {signed_by}."


def _overlap_covariance(before: SeasonTotal, after: SeasonTotal) -> tuple[float, int]:
    """Covariance of the two totals from common segments that kept their stratum."""
    _, rows1, rows2 = np.intersect1d(
        before.segment_id, after.segment_id, assume_unique=True, return_indices=True
    )
    kept = before.stratum[rows1] == after.stratum[rows2]
    rows1, rows2 = rows1[kept], rows2[kept]
    design1, design2 = before.strata.design, after.strata.design
    total = 0.0
    for label in np.unique(design1.stratum[rows1]):
        inside = design1.stratum[rows1] == label
        n12 = int(inside.sum())
        if n12 < 2:
            continue  # no covariance can be estimated; leaving it out widens the interval
        a, b = rows1[inside], rows2[inside]
        n1 = int((design1.stratum == label).sum())
        n2 = int((design2.stratum == design2.stratum[b[0]]).sum())
        z1, z2 = before.linear.z[a], after.linear.z[b]
        s12 = float(((z1 - z1.mean()) * (z2 - z2.mean())).sum()) / (n12 - 1)
        size = math.inf if design1.n_frame is None else float(design1.n_frame[a[0]])
        # Tam (1984), for weighted contributions z: (n12 - n1 n2 / N) s12.
        total += (n12 - n1 * n2 / size) * s12
    return total, int(kept.sum())
