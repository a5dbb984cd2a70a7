"""Estimators of hectares: numpy in, `survey.types.Estimate` out."""

from survey.estimation.assisted import regression_total
from survey.estimation.direct import expansion_total, ratio_total
from survey.estimation.domains import (
    DomainEstimate,
    LadderRule,
    estimate_by_methods,
    estimate_ladder,
)
from survey.estimation.means import MeanEstimate, mean_by_cluster
from survey.estimation.reliability import Thresholds, reliability_of
from survey.estimation.units import Frame, Sample, fill_covariate

__all__ = [
    "DomainEstimate",
    "Frame",
    "LadderRule",
    "MeanEstimate",
    "Sample",
    "Thresholds",
    "estimate_by_methods",
    "estimate_ladder",
    "expansion_total",
    "fill_covariate",
    "mean_by_cluster",
    "ratio_total",
    "regression_total",
    "reliability_of",
]
