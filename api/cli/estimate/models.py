"""Small-area models of districts, and districts made to add up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.estimate.rows import Level, ReferenceDate, Seed, Version, show
from api.cli.options import AsJson

if TYPE_CHECKING:
    from survey.estimation.smallarea.predictions import Predictions

__all__ = ["area_level", "benchmark", "unit_level"]


class AreaFit(StrEnum):
    """How the variance between areas is estimated."""

    REML = "reml"
    ML = "ml"
    MOMENT = "moment"


class UnitFit(StrEnum):
    """How the variances are estimated."""

    REML = "reml"
    ML = "ml"


class Mean(StrEnum):
    """What is predicted."""

    FINITE = "finite"
    MODEL = "model"


class Share(StrEnum):
    """What each district's part of the gap is proportional to."""

    MSE = "mse"
    RATIO = "ratio"


Bootstrap = Annotated[
    int, typer.Option("--bootstrap", min=0, help="Replicates for the MSE; 0 for the formula.")
]


def area_level(
    areas: Annotated[Path, typer.Argument(help="CSV of direct estimates and covariates.")],
    fit: Annotated[AreaFit, typer.Option("--fit", help="Of the variance between areas.")] = (
        AreaFit.REML
    ),
    smooth: Annotated[
        bool, typer.Option("--smooth/--no-smooth", help="Smooth the variances first.")
    ] = True,
    bootstrap: Bootstrap = 0,
    level: Level = 0.95,
    seed: Seed = 0,
    version: Version = "1",
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """Fay-Herriot: direct estimates of districts drawn towards a regression."""
    import numpy as np

    from survey.estimation.smallarea.predictions import area_level_predictions
    from survey.samples import read_areas

    given = read_areas(areas)
    with _named(areas.name, given.names):
        result = area_level_predictions(
            given.domain,
            given.direct,
            given.variance,
            given.covariate,
            n_segments=given.n_segments,
            risk_ha=given.risk_ha if given.is_hectares else None,
            method=fit.value,
            smooth=smooth,
            n_bootstrap=bootstrap,
            level=level,
            rng=np.random.default_rng(seed),
        )
    _show_predictions(result, as_json, version, on)


def unit_level(
    units: Annotated[Path, typer.Argument(help="CSV of the sampled units.")],
    domains: Annotated[Path, typer.Argument(help="CSV of domains: population and means.")],
    fit: Annotated[UnitFit, typer.Option("--fit", help="Of both variances.")] = UnitFit.REML,
    mean: Annotated[
        Mean, typer.Option("--mean", help="Sampled units as seen, or the model's mean.")
    ] = Mean.FINITE,
    bootstrap: Bootstrap = 0,
    level: Level = 0.95,
    seed: Seed = 0,
    version: Version = "1",
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """Battese-Harter-Fuller: means of districts from units with covariates."""
    import numpy as np

    from survey.estimation.smallarea.predictions import unit_level_predictions
    from survey.samples import read_model_units

    given = read_model_units(units, domains)
    with _named(f"{units.name} and {domains.name}", given.names):
        result = unit_level_predictions(
            given.unit_id,
            given.domain,
            given.y,
            given.covariate,
            wanted=given.wanted,
            mean_x=given.mean,
            population=given.population,
            size=given.size,
            method=fit.value,
            is_finite=mean is Mean.FINITE,
            n_bootstrap=bootstrap,
            level=level,
            rng=np.random.default_rng(seed),
        )
    _show_predictions(result, as_json, version, on)


@contextmanager
def _named(source: str, covariates: tuple[str, ...]) -> Iterator[None]:
    """Say which file a model refuses, and its covariates by name (the intercept is column 1)."""
    from survey.errors import EstimationError, TableError

    try:
        yield
    except EstimationError as problem:
        text = re.sub(
            r"covariate column (\d+)",
            lambda found: f"covariate {covariates[int(found[1]) - 2]!r}",
            str(problem),
        )
        raise TableError(f"{source}: {text}") from problem


def _show_predictions(
    result: Predictions, as_json: bool, version: str, on: datetime | None
) -> None:
    from dataclasses import asdict

    from survey.estimation import reliability_of_figure
    from survey.types import EstimateType

    rows = [
        {
            **asdict(row),
            "reliability": reliability_of_figure(
                row.value, row.rmse, n=row.n, estimate_type=EstimateType(row.estimate_type)
            ).value,
        }
        for row in result.rows
    ]
    hidden = ("level", "df", "synthetic", "mse_method", "estimate_type")
    show(rows, as_json, version=version, on=on, hidden=hidden)
    for note in result.notes:
        typer.echo(note, err=True)


def benchmark(
    figures: Annotated[Path, typer.Argument(help="CSV of finished district figures.")],
    total: Annotated[float, typer.Option("--total", min=0.0, help="Total to add up to.")],
    total_se: Annotated[
        float, typer.Option("--total-se", min=0.0, help="Its standard error, hectares.")
    ],
    by: Annotated[Share, typer.Option("--by", help="How the gap is shared out.")] = Share.MSE,
    version: Version = "1",
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """Make districts add up to a total that is known better than they are."""
    from survey.errors import TableError
    from survey.estimation import reliability_of_figure
    from survey.estimation.smallarea import benchmark_to_total
    from survey.samples import read_figures
    from survey.types import EstimateType

    table = read_figures(figures)
    unknown = table["value_ha"].isna() | table["se_ha"].isna()
    if unknown.any():
        row = int(unknown.to_numpy().argmax())
        raise TableError(f"{figures.name}, row {row + 1}: value_ha and se_ha are needed here")
    got = benchmark_to_total(
        table["value_ha"].to_numpy(),
        table["se_ha"].to_numpy() ** 2,
        total,
        total_se**2,
        method=by.value,
    )
    show(
        [
            {
                "domain_id": row["domain_id"],
                "value_ha": float(got.value_ha[at]),
                "rmse_ha": float(got.mse[at]) ** 0.5,
                "adjustment_ha": float(got.adjustment_ha[at]),
                "mse_share": float(got.mse_share[at]),
                "gap_ha": got.gap_ha,
                "gap_z": got.gap_z,
                "n_segments": int(row["n_segments"]),
                "method": f"benchmark_{got.method}",
                "reliability": reliability_of_figure(
                    float(got.value_ha[at]),
                    float(got.mse[at]) ** 0.5,
                    n=row["n_segments"],
                    estimate_type=EstimateType.SMALL_AREA,
                ).value,
                "method_version": (
                    f"{row['method_version']}/benchmark_{got.method}"
                    if row["method_version"]
                    else ""
                ),
                "why": f"Districts made to add up to {total:g} ha; the gap of {got.gap_ha:.4g} ha "
                f"is {abs(got.gap_z):.2g} times what its error would bring.",
            }
            for at, row in enumerate(table.to_dict("records"))
        ],
        as_json,
        version=version,
        on=on,
        hidden=("n_segments", "gap_z"),
    )
