"""Small-area models of district hectares: unit level and area level."""

from survey.estimation.smallarea.area_level import (
    AreaLevelFit,
    AreaLevelMeans,
    eblup_area_level,
    fit_area_level,
)
from survey.estimation.smallarea.benchmarking import Benchmarked, benchmark_to_total
from survey.estimation.smallarea.bootstrap import (
    BootstrapMse,
    bootstrap_area_level,
    bootstrap_unit_level,
)
from survey.estimation.smallarea.diagnostics import UnitLevelDiagnostics, diagnose_unit_level
from survey.estimation.smallarea.unit_level import UnitLevelFit, fit_unit_level
from survey.estimation.smallarea.unit_means import (
    UnitLevelMeans,
    eblup_finite_pop,
    eblup_model_mean,
)
from survey.estimation.smallarea.variances import SmoothedVariances, smooth_sampling_variances

__all__ = [
    "AreaLevelFit",
    "AreaLevelMeans",
    "Benchmarked",
    "BootstrapMse",
    "SmoothedVariances",
    "UnitLevelDiagnostics",
    "UnitLevelFit",
    "UnitLevelMeans",
    "benchmark_to_total",
    "bootstrap_area_level",
    "bootstrap_unit_level",
    "diagnose_unit_level",
    "eblup_area_level",
    "eblup_finite_pop",
    "eblup_model_mean",
    "fit_area_level",
    "fit_unit_level",
    "smooth_sampling_variances",
]
