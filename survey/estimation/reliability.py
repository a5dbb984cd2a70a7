"""Quality labels, given in one place; disclosure is a separate matter."""

from __future__ import annotations

import math
from dataclasses import dataclass

from survey.errors import EstimationError
from survey.estimation.intervals import t_quantile
from survey.types import Estimate, EstimateType, Reliability

__all__ = ["Thresholds", "reliability_of"]


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
    """Label of one figure.

    No value, or zero where no segment was visited: status only. Crop found in no visited
    segment and value 0: not detected. Direct and assisted figures need `min_segments`. Then
    the coefficient of variation decides; for model-based figures it is the relative root mean
    squared error.
    """
    limits = thresholds or Thresholds()
    if estimate.estimate_type is EstimateType.STATUS_ONLY or math.isnan(estimate.value_ha):
        return Reliability.STATUS_ONLY
    if estimate.value_ha == 0.0 and estimate.n_positive == 0:
        # Nobody looked: a zero from a model is not a finding.
        looked = estimate.n_segments > 0
        return Reliability.NOT_DETECTED if looked else Reliability.STATUS_ONLY
    model_based = estimate.estimate_type in {EstimateType.SMALL_AREA, EstimateType.SYNTHETIC}
    if not model_based and estimate.n_segments < limits.min_segments:
        return Reliability.SUPPRESSED
    cv = estimate.cv
    few = not model_based and estimate.n_positive < limits.min_positive
    if few and estimate.value_ha > 0.0:
        arm = estimate.ci_high_ha - estimate.value_ha
        cv = max(cv, arm / (t_quantile(estimate.level, estimate.df) * estimate.value_ha))
    if math.isnan(cv) or cv > limits.indicative_cv:
        return Reliability.SUPPRESSED
    capped = few or (model_based and limits.model_based_at_most_indicative)
    if cv > limits.publishable_cv or capped:
        return Reliability.INDICATIVE
    return Reliability.PUBLISHABLE
