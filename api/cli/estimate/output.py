"""Production and value."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.estimate.rows import Level, ReferenceDate, Seed, Version, show
from api.cli.options import AsJson

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from survey.estimation.units import Floats

__all__ = ["production"]

N_DRAWS = 10_000
# Columns that only --json shows.
HIDDEN = (
    "ci_low_t", "ci_high_t", "se_first_order_t", "method", "value_ci_low", "value_ci_high",
    "level", "df", "n_fields", "n_villages", "yield_se_kg_ha",
)  # fmt: skip


class Weighed(StrEnum):
    """Weight unit of a price."""

    KILOGRAM = "kg"
    VISS = "viss"
    JOI = "joi"


def production(
    areas: Annotated[Path, typer.Argument(help="CSV of areas: hectares or a local unit.")],
    fields: Annotated[Path, typer.Argument(help="CSV of yield fields.")],
    draws: Annotated[
        Path | None,
        typer.Option("--draws", help="CSV of draws of the areas, a column for each domain."),
    ] = None,
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
    seed: Seed = 0,
    version: Version = "1",
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """Opium production, tonnes, and its value; one regional yield for all domains."""
    import numpy as np

    from survey import estimation
    from survey.estimation import mean_yield, shared_yield_covariance
    from survey.estimation.production import (
        MAX_CAPSULE_VOLUME,
        WeightUnit,
        production_limits,
        to_kilograms,
    )
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
    beyond = f" {plots.n_above} fields lie beyond the yield formula." if plots.n_above else ""
    rng = np.random.default_rng(seed)
    mean = mean_yield(plots.yield_kg_ha, plots.village, plots.weight, level=level)
    area, se, drawn = _areas(table, areas.name, draws, rng)
    results = [
        estimation.production(float(a), float(s), mean.value, mean.se)
        for a, s in zip(area, se, strict=True)
    ]
    # The shared yield correlates the domains: errors of a sum do not add in squares.
    joint = np.atleast_2d(np.cov(drawn.T)) if draws is not None and drawn is not None else se**2
    each, covariance = shared_yield_covariance(area, joint, mean.value, mean.se)
    total_se = float(np.sqrt(covariance.sum()))
    results.append(
        estimation.Production(
            value=float(each.sum()),
            se=total_se,
            se_delta=total_se,
            method="shared_yield_first_order",
        )
    )
    per_kg, per_kg_se = (price or 0.0) / weighed.kg, price_se / weighed.kg
    limits = None
    if drawn is not None:
        limits = production_limits(
            drawn, mean, rng=rng, level=level, price_per_kg=per_kg, price_se=per_kg_se
        )
    names = zip([*table["domain_id"], "sum"], [*table["reported"], ""], results, strict=True)
    rows = []
    for at, (name, reported, result) in enumerate(names):
        row = {"domain_id": name, "area": reported}
        row |= _figures(result, mean, level, None if limits is None else limits[0][at], "_t")
        if price is not None:
            worth = estimation.farm_gate_value(result, per_kg, per_kg_se)
            row |= _figures(worth, mean, level, None if limits is None else limits[1][at], "")
        row |= {
            "yield_kg_ha": mean.value,
            "yield_se_kg_ha": mean.se,
            "level": level,
            "df": mean.df,
            "n_fields": mean.n,
            "n_villages": mean.n_clusters,
            "method": result.method,
            "reliability": estimation.reliability_of_figure(
                result.value, result.se, n=mean.n, df=mean.df, level=level
            ).value,
            "why": "Area and yield independent, one yield for all domains; "
            + (
                "t interval with the yield's degrees of freedom, cut at zero."
                if limits is None
                else "limits are percentiles of draws of area, yield and price."
            )
            + beyond,
        }
        rows.append(row)
    shown = () if limits is None else ("ci_low_t", "ci_high_t")
    hidden = tuple(name for name in HIDDEN if name not in shown)
    show(rows, as_json, version=version, on=on, hidden=hidden)


def _areas(
    table: pd.DataFrame, name: str, draws: Path | None, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats | None]:
    """Areas and standard errors (d,), and draws (B, d) where areas are skewed."""
    import numpy as np

    from survey.errors import EstimationError, TableError
    from survey.estimation.intervals import t_quantile
    from survey.estimation.production import skewed_area_draws
    from survey.samples import read_area_draws

    area, se = table["value_ha"].to_numpy(dtype=float), table["se_ha"].to_numpy(dtype=float)
    if draws is not None:
        drawn = read_area_draws(draws, table["domain_id"].tolist())
        return area, np.where(np.isnan(se), drawn.std(axis=0, ddof=1), se), drawn
    low, high = table["low_ha"].to_numpy(dtype=float), table["high_ha"].to_numpy(dtype=float)
    skewed = ~np.isnan(low) & ~np.isnan(high)
    if (np.isnan(se) & ~skewed).any():
        row = int(np.flatnonzero(np.isnan(se) & ~skewed)[0])
        raise TableError(
            f"{name}, row {row + 1}: se_ha is empty; give it, both limits of the area, or --draws"
        )
    if not skewed.any():
        return area, se, None
    columns = []
    for at, a in enumerate(area):
        # Without limits of its own an area is symmetric.
        arm = 0.0 if skewed[at] else t_quantile(0.95, math.inf) * float(se[at])
        try:
            columns.append(
                skewed_area_draws(
                    float(a),
                    float(low[at]) if skewed[at] else max(float(a - arm), 0.0),
                    float(high[at]) if skewed[at] else float(a + arm),
                    N_DRAWS,
                    rng=rng,
                    level=float(table["level"].iloc[at]) if skewed[at] else 0.95,
                )
            )
        except EstimationError as problem:
            raise TableError(f"{name}, row {at + 1}: {problem}") from problem
    drawn = np.column_stack(columns)
    return area, np.where(np.isnan(se), drawn.std(axis=0, ddof=1), se), drawn


def _figures(result: Any, mean: Any, level: float, limits: Any, unit: str) -> dict[str, float]:
    """Columns of a production (unit "_t") or of its value (unit "")."""
    from survey.estimation.intervals import t_quantile

    half = t_quantile(level, mean.df) * result.se
    low, high = (max(result.value - half, 0.0), result.value + half)
    if limits is not None:
        low, high = float(limits[0]), float(limits[1])
    if unit:
        return {
            "production_t": result.value,
            "se_t": result.se,
            "ci_low_t": low,
            "ci_high_t": high,
            "se_first_order_t": result.se_delta,
        }
    return {
        "value": result.value,
        "value_se": result.se,
        "value_ci_low": low,
        "value_ci_high": high,
    }
