"""Production and value."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.estimate.rows import show
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
    as_json: AsJson = False,
) -> None:
    """Opium production, tonnes, and its value; one regional yield for all domains."""
    import numpy as np

    from survey import estimation
    from survey.estimation import farm_gate_value, mean_yield, shared_yield_covariance
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
    mean = mean_yield(plots.yield_kg_ha, plots.village, plots.weight)
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
                "method": result.method,
            }
        )
        if price is not None:
            worth = farm_gate_value(result, price / weighed.kg, price_se / weighed.kg)
            rows[-1].update({"value": worth.value, "value_se": worth.se})
    # The shared yield correlates the domains: errors of a sum do not add in squares.
    each, covariance = shared_yield_covariance(area, se**2, mean.value, mean.se)
    rows.append(
        {
            "domain_id": "sum",
            "area": "",
            "production_t": float(each.sum()),
            "se_t": float(np.sqrt(covariance.sum())),
            "method": "shared_yield_first_order",
        }
    )
    for row in rows:
        row.update({"yield_kg_ha": mean.value, "yield_se_kg_ha": mean.se})
    show(rows, as_json, hidden=("method",))
