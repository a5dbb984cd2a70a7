"""Small-area models of district hectares: unit level and area level."""

from survey.estimation.smallarea.area_level import (
    AreaLevelFit,
    AreaLevelMeans,
    eblup_area_level,
    fit_area_level,
)
from survey.estimation.smallarea.unit_level import (
    UnitLevelFit,
    UnitLevelMeans,
    eblup_finite_pop,
    eblup_model_mean,
    fit_unit_level,
)

__all__ = [
    "AreaLevelFit",
    "AreaLevelMeans",
    "UnitLevelFit",
    "UnitLevelMeans",
    "eblup_area_level",
    "eblup_finite_pop",
    "eblup_model_mean",
    "fit_area_level",
    "fit_unit_level",
]
