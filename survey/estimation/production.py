"""Opium yield from capsule volume, production and farm-gate value with their errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError
from survey.estimation.intervals import t_quantile
from survey.estimation.means import MeanEstimate, mean_by_cluster
from survey.estimation.units import Floats

__all__ = [
    "MAX_CAPSULE_VOLUME",
    "Production",
    "WeightUnit",
    "farm_gate_value",
    "mean_yield",
    "opium_yield",
    "production",
    "production_draws",
    "production_limits",
    "shared_yield_covariance",
    "skewed_area_draws",
    "to_kilograms",
]

KG_PER_TONNE = 1000.0
# The formula is stated to hold up to about this volume (DOMAIN 1.3).
MAX_CAPSULE_VOLUME = 900.0
# Fewer draws leave limits to chance.
MIN_DRAWS = 200


class WeightUnit(StrEnum):
    """Units in which opium is weighed and sold."""

    KILOGRAM = "kg"
    VISS = "viss"
    JOI = "joi"


# Viss (peik-tha) and joi are quoted without a source and differ between markets: a survey gives
# what its own traders' weights weigh.
_KG_PER_UNIT: dict[WeightUnit, float] = {
    WeightUnit.KILOGRAM: 1.0,
    WeightUnit.VISS: 1.63293,
    WeightUnit.JOI: 1.6,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """A reported weight, the original kept.

    Attributes
    ----------
    value : float
        As reported.
    unit : WeightUnit
    kg_per_unit : float
        What was used for the conversion.
    is_sourced : bool
        False where `kg_per_unit` is this package's unsourced default.
    """

    value: float
    unit: WeightUnit
    kg_per_unit: float
    is_sourced: bool

    @property
    def kg(self) -> float:
        """Kilograms."""
        return self.value * self.kg_per_unit


def to_kilograms(value: float, unit: WeightUnit, *, kg_per_unit: float | None = None) -> Weight:
    """Weight in a local unit with its kilograms.

    Parameters
    ----------
    value : float
    unit : WeightUnit
    kg_per_unit : float, optional
        As weighed in the survey; without it a default that no report confirms.
    """
    if not (math.isfinite(value) and value >= 0.0):
        raise EstimationError(f"weight {value} {unit} must be finite and not negative")
    if kg_per_unit is not None and not (math.isfinite(kg_per_unit) and kg_per_unit > 0.0):
        raise EstimationError(f"kg_per_unit {kg_per_unit} must be finite and positive")
    return Weight(
        value=value,
        unit=unit,
        kg_per_unit=_KG_PER_UNIT[unit] if kg_per_unit is None else kg_per_unit,
        is_sourced=kg_per_unit is not None or unit is WeightUnit.KILOGRAM,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Production:
    """Potential production or its value, with an error that carries area and yield.

    Attributes
    ----------
    value, se : float
        Tonnes, or money.
    se_delta : float
        Without the product of the two relative variances (first-order formula).
    method : str
        Which variance formula `se` is.
    """

    value: float
    se: float
    se_delta: float
    method: str


def opium_yield(capsule_volume: npt.ArrayLike) -> Floats:
    """Dry opium gum of a field, kg/ha, from its mature-capsule volume.

    The curve is concave: apply it field by field and average, never to the mean volume.

    Parameters
    ----------
    capsule_volume : float array
        cm3 of mature capsules per m2 of field, >= 0.

    References
    ----------
    UNODC capsule-volume formula (UN guidelines ST/NAR/33, 2001). The constants were quoted
    from memory and must be confirmed against a survey report.
    """
    volume = np.asarray(capsule_volume, dtype=np.float64)
    if not (np.isfinite(volume) & (volume >= 0.0)).all():
        raise EstimationError("capsule volumes must be finite and not negative, cm3 per m2")
    b = volume + 1495.0
    # UNODC formula: ((VC + 1495) - sqrt((VC + 1495)^2 - 395.259 VC)) / 1.795.
    return np.asarray((b - np.sqrt(b**2 - 395.259 * volume)) / 1.795)


def mean_yield(
    field_yield: npt.ArrayLike,
    cluster: npt.ArrayLike | None = None,
    weight: npt.ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> MeanEstimate:
    """Mean of field yields, kg/ha, weighted by field area over inclusion probability.

    Parameters
    ----------
    field_yield : float array (n,)
        `opium_yield` of each field.
    cluster : array (n,), optional
        Village of each field; every field its own where None (simple random sampling).
    weight : float array (n,), optional
        Hectares of the field / inclusion probability.
    """
    values = np.asarray(field_yield, dtype=np.float64)
    if (values < 0.0).any():
        raise EstimationError("a field's yield is negative; correct it, kg of dry gum per ha")
    villages = np.arange(values.size) if cluster is None else cluster
    return mean_by_cluster(values, villages, weight, level=level)


def production(
    area_ha: float, area_se_ha: float, yield_kg_ha: float, yield_se_kg_ha: float
) -> Production:
    """Tonnes of dry opium from independent area and yield.

    References
    ----------
    Goodman (1960), JASA 55, 708-713: v(AY) = A^2 v(Y) + Y^2 v(A) + v(A) v(Y) at the given
    moments; the first two terms alone are the delta method.
    """
    for name, number in (
        ("area_se_ha", area_se_ha),
        ("yield_se_kg_ha", yield_se_kg_ha),
        ("area_ha", area_ha),
        ("yield_kg_ha", yield_kg_ha),
    ):
        if not math.isfinite(number) or number < 0.0:
            raise EstimationError(f"{name} is {number}; it must be finite and not negative")
    # Goodman (1960) eq. 2.
    first = (area_ha * yield_se_kg_ha) ** 2 + (yield_kg_ha * area_se_ha) ** 2
    exact = first + (area_se_ha * yield_se_kg_ha) ** 2
    return Production(
        value=area_ha * yield_kg_ha / KG_PER_TONNE,
        se=math.sqrt(exact) / KG_PER_TONNE,
        se_delta=math.sqrt(first) / KG_PER_TONNE,
        method="goodman_1960_known_moments",
    )


def shared_yield_covariance(
    area_ha: npt.ArrayLike,
    area_covariance: npt.ArrayLike,
    yield_kg_ha: float,
    yield_se_kg_ha: float,
) -> tuple[Floats, Floats]:
    """Production of districts that share one regional yield, and its covariance, tonnes.

    The common yield error correlates the districts: their total's variance is the sum of the
    whole matrix, more than the sum of its diagonal. First-order (delta) formula.

    Parameters
    ----------
    area_ha : float array (d,)
    area_covariance : float array (d, d) or (d,)
        Covariance of the areas, or their variances where independent, ha2.

    Returns
    -------
    production_t : float array (d,)
    covariance_t2 : float array (d, d)
    """
    area = np.asarray(area_ha, dtype=np.float64)
    covariance = np.asarray(area_covariance, dtype=np.float64)
    covariance = np.diag(covariance) if covariance.ndim == 1 else covariance
    if covariance.shape != (area.size, area.size):
        raise EstimationError(
            f"covariance has shape {covariance.shape}; {area.size} areas need a square of that"
        )
    if not (np.isfinite(area).all() and np.isfinite(covariance).all()):
        raise EstimationError(
            "areas and their covariance must be known; leave out a domain without"
        )
    # Delta method: Y^2 V(A) + v(Y) A A'.
    variance = yield_kg_ha**2 * covariance + yield_se_kg_ha**2 * np.outer(area, area)
    return area * yield_kg_ha / KG_PER_TONNE, variance / KG_PER_TONNE**2


def production_draws(area_draws_ha: npt.ArrayLike, yield_draws_kg_ha: npt.ArrayLike) -> Floats:
    """Production of paired draws, tonnes; for skewed areas, where -+ does not do.

    Parameters
    ----------
    area_draws_ha : float array (B,) or (B, d)
        E.g. bootstrap replicates.
    yield_draws_kg_ha : float array (B,)
        One yield for each draw, shared by all districts of it.
    """
    area = np.asarray(area_draws_ha, dtype=np.float64)
    per_hectare = np.asarray(yield_draws_kg_ha, dtype=np.float64)
    if area.shape[:1] != per_hectare.shape:
        raise EstimationError(
            f"{area.shape[0]} area draws and {per_hectare.size} yield draws; pair them"
        )
    if not (np.isfinite(area).all() and np.isfinite(per_hectare).all()):
        raise EstimationError("a draw of area or yield is not a number; draw it again")
    shaped = per_hectare if area.ndim == 1 else per_hectare[:, None]
    return np.asarray(area * shaped / KG_PER_TONNE)


def skewed_area_draws(
    value_ha: float,
    low_ha: float,
    high_ha: float,
    n_draws: int,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
) -> Floats:
    """Areas (B,) whose median is the value and whose equal-tailed limits are those given.

    Two halves of normal curves, one below and one above the value, each with half of the draws
    (the two-piece curve of Wallis 2014, with equal weights); not below zero.

    References
    ----------
    Wallis (2014), Statistical Science 29, 106-112.
    """
    if not 0.0 <= low_ha <= value_ha <= high_ha < math.inf:
        raise EstimationError(
            f"limits {low_ha:g} to {high_ha:g} ha do not hold the value {value_ha:g} ha"
        )
    z = rng.standard_normal(n_draws)
    arm = np.where(z < 0.0, value_ha - low_ha, high_ha - value_ha) / t_quantile(level, math.inf)
    return np.asarray(np.maximum(value_ha + z * arm, 0.0))


def production_limits(
    area_draws_ha: npt.ArrayLike,
    mean: MeanEstimate,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    price_per_kg: float = 0.0,
    price_se: float = 0.0,
) -> tuple[Floats, Floats]:
    """Limits of production and value of domains with skewed areas and one regional yield.

    The yield of a draw is the mean plus its standard error times a t variate on its degrees of
    freedom, shared by all domains; the price of a draw is normal. Neither is below zero.

    Parameters
    ----------
    area_draws_ha : float array (B, d)
        A column for each domain; rows are joint draws where the domains' errors are related.
    mean : MeanEstimate
        Of the yield, kg/ha.

    Returns
    -------
    limits_t, value_limits : float array (d + 1, 2)
        Equal-tailed percentiles; the sum of the domains is last.
    """
    area = np.asarray(area_draws_ha, dtype=np.float64)
    if area.ndim != 2 or area.shape[0] < MIN_DRAWS:
        raise EstimationError(
            f"{area.shape[0] if area.ndim else 0} draws cannot give limits; give at least "
            f"{MIN_DRAWS} for each domain"
        )
    if (area < 0.0).any():
        raise EstimationError("a draw of an area is below zero; cut it at zero hectares")
    tonnes = production_draws(
        area, np.maximum(mean.value + mean.se * rng.standard_t(mean.df, area.shape[0]), 0.0)
    )
    tonnes = np.column_stack([tonnes, tonnes.sum(axis=1)])
    price = np.maximum(rng.normal(price_per_kg, price_se, area.shape[0]), 0.0)
    tails = [50.0 * (1.0 - level), 50.0 * (1.0 + level)]
    return (
        np.percentile(tonnes, tails, axis=0).T,
        np.percentile(tonnes * KG_PER_TONNE * price[:, None], tails, axis=0).T,
    )


def farm_gate_value(amount: Production, price_per_kg: float, price_se: float = 0.0) -> Production:
    """Value of a production at a price per kilogram of the same (dry) opium.

    References
    ----------
    Goodman (1960), as in `production`, with the price independent of the production.
    """
    if not all(math.isfinite(number) and number >= 0.0 for number in (price_per_kg, price_se)):
        raise EstimationError("a price and its standard error must be finite and not negative")
    kg = amount.value * KG_PER_TONNE
    kg_se = amount.se * KG_PER_TONNE
    # Goodman (1960) eq. 2.
    first = (kg * price_se) ** 2 + (price_per_kg * kg_se) ** 2
    return Production(
        value=kg * price_per_kg,
        se=math.sqrt(first + (kg_se * price_se) ** 2),
        se_delta=math.sqrt(first),
        method=amount.method,
    )
