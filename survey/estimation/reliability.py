"""Quality labels, given in one place; disclosure is a separate matter."""

from __future__ import annotations

import math
from dataclasses import dataclass

from survey.errors import EstimationError
from survey.estimation.intervals import t_quantile
from survey.types import Estimate, EstimateType, Reliability

__all__ = ["Thresholds", "reliability_of", "reliability_of_change", "reliability_of_figure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Limits of the quality labels.

    Attributes
    ----------
    publishable_cv, indicative_cv : float
        Largest coefficient of variation (a fraction) of each label.
    min_segments : int
        Sampled segments a direct or assisted figure needs.
    min_positive : int
        Segments with the crop below which a direct or assisted figure is at most indicative
        and judged by the upper arm of its interval: its standard error means little.
    model_based_at_most_indicative : bool
        Small-area and synthetic figures never rank above indicative.

    References
    ----------
    Statistics Canada release guidelines: 16.5% and 33.3%, at least 10 observations.
    """

    publishable_cv: float = 0.165
    indicative_cv: float = 0.333
    min_segments: int = 10
    min_positive: int = 5
    model_based_at_most_indicative: bool = True

    def __post_init__(self) -> None:
        if not 0.0 < self.publishable_cv <= self.indicative_cv:
            raise EstimationError(
                f"thresholds {self.publishable_cv} and {self.indicative_cv} are not increasing "
                "positive fractions"
            )


def reliability_of(estimate: Estimate, thresholds: Thresholds | None = None) -> Reliability:
    """Label of one figure of hectares, by `reliability_of_figure`."""
    return reliability_of_figure(
        estimate.value_ha,
        estimate.se_ha,
        n=estimate.n_segments,
        n_positive=estimate.n_positive,
        estimate_type=estimate.estimate_type,
        ci_high=estimate.ci_high_ha,
        level=estimate.level,
        df=estimate.df,
        thresholds=thresholds,
    )


def reliability_of_figure(
    value: float,
    se: float,
    *,
    n: float,
    n_positive: float | None = None,
    estimate_type: EstimateType = EstimateType.DIRECT,
    ci_high: float = math.nan,
    level: float = 0.95,
    df: float = math.inf,
    thresholds: Thresholds | None = None,
) -> Reliability:
    """Label of one figure in any unit.

    No value, or zero where no unit was visited: status only. Value 0 and nothing found in any
    visited unit: not detected. Direct and assisted figures need `min_segments`. Then the
    coefficient of variation decides; for model-based figures it is the relative root mean
    squared error.

    Parameters
    ----------
    value, se : float
        Any unit; `se` is the root mean squared error of a model-based figure.
    n, n_positive : float
        Sampled units, and those of them that hold what is counted; None where unknown or
        where the variable has no such units.
    ci_high, level, df : float
        Upper limit of the interval and what it rests on, for figures with few positives.
    """
    limits = thresholds or Thresholds()
    if estimate_type is EstimateType.STATUS_ONLY or math.isnan(value):
        return Reliability.STATUS_ONLY
    if value == 0.0 and n_positive == 0:
        # Nobody looked: a zero from a model is not a finding.
        return Reliability.NOT_DETECTED if n > 0 else Reliability.STATUS_ONLY
    model_based = estimate_type in {EstimateType.SMALL_AREA, EstimateType.SYNTHETIC}
    if not model_based and not n >= limits.min_segments:
        return Reliability.SUPPRESSED
    cv = se / abs(value) if value != 0.0 else math.nan
    few = not model_based and n_positive is not None and n_positive < limits.min_positive
    if few and value > 0.0 and not math.isnan(ci_high):
        cv = max(cv, (ci_high - value) / (t_quantile(level, df) * value))
    if math.isnan(cv) or cv > limits.indicative_cv:
        return Reliability.SUPPRESSED
    capped = few or (model_based and limits.model_based_at_most_indicative)
    if cv > limits.publishable_cv or capped:
        return Reliability.INDICATIVE
    return Reliability.PUBLISHABLE


def reliability_of_change(
    before: float,
    after: float,
    se: float,
    *,
    n: float,
    thresholds: Thresholds | None = None,
) -> Reliability:
    """Label of a difference of two seasons' figures.

    Its standard error is judged against the larger of the two: a coefficient of variation of
    the difference itself would call every "no change" unreliable, however precise. Whether
    there was a change is what the p-value says.

    Parameters
    ----------
    before, after, se : float
        Figures of both seasons and standard error of their difference, one unit.
    n : float
        Sampled units of the season with fewer.
    """
    return reliability_of_figure(max(abs(before), abs(after)), se, n=n, thresholds=thresholds)
