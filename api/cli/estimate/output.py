"""Production and value."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.estimate.rows import Level, show
from api.cli.options import AsJson

__all__ = ["production"]


class Weighed(StrEnum):
    """Weight unit of a price."""

    KILOGRAM = "kg"
    VISS = "viss"
    JOI = "joi"


def production(
    areas: Annotated[Path, typer.Argument(help="CSV of areas: hectares or a local unit.")],
    fields: Annotated[Path, typer.Argument(help="CSV of yield fields.")],
    price: Annotated[
        float | None, typer.Option("--price", min=0.0, help="Farm-gate price per weight unit.")
    ] = None,
    price_se: Annotated[
        float, typer.Option("--price-se", min=0.0, help="Standard error of the price.")
    ] = 0.0,
    price_per: Annotated[
        Weighed, typer.Option("--price-per", help="Weight unit of the price.")
    ] = Weighed.KILOGRAM,
    kg_per_unit: Annotated[
        float | None, typer.Option("--kg-per-unit", min=0.0, help="As weighed in the survey.")
    ] = None,
    level: Level = 0.95,
    as_json: AsJson = False,
) -> None:
    """Opium production, tonnes, and its value; one regional yield for all domains."""
    import numpy as np

    from survey import estimation
    from survey.estimation import farm_gate_value, mean_yield, shared_yield_covariance
    from survey.estimation.intervals import t_quantile
    from survey.estimation.production import MAX_CAPSULE_VOLUME, WeightUnit, to_kilograms
    from survey.samples import read_fields, read_local_areas

    table, plots = read_local_areas(areas), read_fields(fields)
    weighed = to_kilograms(1.0, WeightUnit(price_per.value), kg_per_unit=kg_per_unit)
    if price is not None and not weighed.is_sourced:
        typer.echo(
            f"1 {price_per.value} taken as {weighed.kg:g} kg, which no report confirms; give "
            "--kg-per-unit",
            err=True,
        )
    if plots.n_above:
        typer.echo(
            f"{plots.n_above} fields have more than {MAX_CAPSULE_VOLUME:g} cm3 per m2, beyond "
            "which the yield formula is not known to hold",
            err=True,
        )
    mean = mean_yield(plots.yield_kg_ha, plots.village, plots.weight, level=level)
    quantile = t_quantile(level, mean.df)

    def limits(unit: str, value: float, se: float) -> dict[str, float]:
        low = max(value - quantile * se, 0.0)
        return {f"ci_low{unit}": low, f"ci_high{unit}": value + quantile * se}

    def worth_of(worth: estimation.Production) -> dict[str, float]:
        return {
            "value": worth.value,
            "value_se": worth.se,
            "value_ci_low": max(worth.value - quantile * worth.se, 0.0),
            "value_ci_high": worth.value + quantile * worth.se,
        }

    area, se = table["value_ha"].to_numpy(dtype=float), table["se_ha"].to_numpy(dtype=float)
    rows: list[dict[str, Any]] = []
    results = [
        (name, estimation.production(float(a), float(s), mean.value, mean.se))
        for name, a, s in zip(table["domain_id"], area, se, strict=True)
    ]
    for (name, result), reported in zip(results, table["reported"], strict=True):
        rows.append(
            {
                "domain_id": name,
                "area": reported,
                "production_t": result.value,
                "se_t": result.se,
                **limits("_t", result.value, result.se),
                "se_first_order_t": result.se_delta,
                "method": result.method,
            }
        )
        if price is not None:
            worth = farm_gate_value(result, price / weighed.kg, price_se / weighed.kg)
            rows[-1].update(worth_of(worth))
    # The shared yield correlates the domains: errors of a sum do not add in squares.
    each, covariance = shared_yield_covariance(area, se**2, mean.value, mean.se)
    total, total_se = float(each.sum()), float(np.sqrt(covariance.sum()))
    together = estimation.Production(
        value=total, se=total_se, se_delta=total_se, method="shared_yield_first_order"
    )
    rows.append(
        {
            "domain_id": "sum",
            "area": "",
            "production_t": total,
            "se_t": total_se,
            **limits("_t", total, total_se),
            "se_first_order_t": total_se,
            "method": together.method,
        }
    )
    if price is not None:
        worth = farm_gate_value(together, price / weighed.kg, price_se / weighed.kg)
        rows[-1].update(worth_of(worth))
    for row in rows:
        row.update(
            {
                "yield_kg_ha": mean.value,
                "yield_se_kg_ha": mean.se,
                "level": level,
                "df": mean.df,
                "n_fields": mean.n,
                "n_villages": mean.n_clusters,
                "why": "Area and yield independent, one yield for all domains; t interval with "
                "the yield's degrees of freedom, cut at zero.",
            }
        )
    hidden = (
        "ci_low_t", "ci_high_t", "se_first_order_t", "method", "value_ci_low", "value_ci_high",
        "level", "df", "n_fields", "n_villages", "why",
    )  # fmt: skip
    show(rows, as_json, hidden=hidden)
