"""Totals, means and ratios of a sample of any design."""

from __future__ import annotations

import math
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.estimate.rows import Level, ReferenceDate, Seed, Version, show
from api.cli.options import AsJson

if TYPE_CHECKING:
    from collections.abc import Callable

    from survey.estimation import Calibrated, Replicates
    from survey.estimation.units import Floats
    from survey.samples import Units

__all__ = ["design"]


class Of(StrEnum):
    """What is estimated."""

    TOTAL = "total"
    MEAN = "mean"
    RATIO = "ratio"


class Variance(StrEnum):
    """Where the error comes from."""

    LINEARISED = "linearised"
    JACKKNIFE = "jackknife"
    BOOTSTRAP = "bootstrap"
    GIVEN = "given"


class Distance(StrEnum):
    """How calibration moves the weights."""

    LINEAR = "linear"
    RAKING = "raking"


def design(
    units: Annotated[Path, typer.Argument(help="CSV of the sampled units.")],
    of: Annotated[Of, typer.Option("--of", help="What to estimate; a ratio is y over x.")] = (
        Of.TOTAL
    ),
    variance: Annotated[
        Variance, typer.Option("--variance", help="Where the error comes from.")
    ] = Variance.LINEARISED,
    replicates: Annotated[
        int, typer.Option("--replicates", min=2, help="Of the bootstrap.")
    ] = 1000,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="CSV of replicate weights (given).")
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option("--scale", min=0.0, help="Of given replicates; 1/(R - 1) if left out."),
    ] = None,
    totals: Annotated[
        Path | None, typer.Option("--calibrate", help="CSV of known totals to calibrate to.")
    ] = None,
    distance: Annotated[
        Distance, typer.Option("--distance", help="Of the calibration.")
    ] = Distance.LINEAR,
    bounds: Annotated[
        tuple[float, float] | None,
        typer.Option("--bounds", help="Smallest and largest factor on a weight."),
    ] = None,
    level: Level = 0.95,
    df: Annotated[
        float | None, typer.Option("--df", min=1.0, help="Clusters minus strata if left out.")
    ] = None,
    seed: Seed = 0,
    version: Version = "1",
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """Totals, means or ratios by domain: strata, clusters, two stages, calibration, replicates."""
    from functools import partial

    from survey.estimation import (
        Quantity,
        calibrate,
        domain_statistics,
        reliability_of_figure,
    )
    from survey.estimation.calibration import recalibrated
    from survey.samples import read_known_totals, read_units

    if (variance is Variance.GIVEN) != (weights is not None):
        raise typer.BadParameter("--variance given and --weights FILE go together")
    table = read_units(units)
    calibrated: Calibrated | None = None
    recalibrate: Callable[[Floats], Floats] | None = None
    if totals is not None:
        columns, known = read_known_totals(totals, table)
        calibrated = calibrate(
            table.design, columns, known, distance=distance.value, bounds=bounds
        )
        recalibrate = partial(
            recalibrated, x=columns, totals=known, distance=distance.value, bounds=bounds
        )
    found = domain_statistics(
        table.design,
        table.y,
        x=table.x,
        domain=table.domain,
        quantity=Quantity(of.value),
        calibrated=calibrated,
        replicates=_replicates(table, variance, replicates, weights, scale, seed),
        recalibrate=None if variance is Variance.GIVEN else recalibrate,
        replicate_label=f"{variance.value}_replicates" if weights else variance.value,
        level=level,
        df=df,
    )
    if of is Of.TOTAL and not table.is_weighted:
        typer.echo(
            f"{units.name} has no weight: the totals are those of the sampled units alone",
            err=True,
        )
    if calibrated is not None and (calibrated.weight < 0.0).any():
        typer.echo(
            f"{int((calibrated.weight < 0.0).sum())} calibrated weights are negative; use "
            "--distance raking, or --bounds",
            err=True,
        )
    for row in found:
        if math.isnan(row.se):
            typer.echo(f"{row.domain_id}: {row.why}", err=True)
    hidden = (
        "level", "deff", "n_clusters", "n_positive", "percentile_low", "percentile_high",
    )  # fmt: skip
    rows = [
        {
            **asdict(row),
            "reliability": reliability_of_figure(
                row.value,
                row.se,
                n=row.n_units,
                n_positive=row.n_positive,
                ci_high=row.ci_high,
                level=row.level,
                df=row.df,
            ).value,
        }
        for row in found
    ]
    show(rows, as_json, version=version, on=on, hidden=hidden)


def _replicates(
    table: Units,
    variance: Variance,
    n_replicates: int,
    weights: Path | None,
    scale: float | None,
    seed: int,
) -> Replicates | None:
    import numpy as np

    from survey.estimation import Replicates, jackknife_weights, rao_wu_weights
    from survey.samples import read_replicate_weights

    if variance is Variance.JACKKNIFE:
        return jackknife_weights(table.design)
    if variance is Variance.BOOTSTRAP:
        return rao_wu_weights(table.design, n_replicates, rng=np.random.default_rng(seed))
    if weights is None:
        return None
    given = read_replicate_weights(weights, table)
    factor = 1.0 / (given.shape[0] - 1) if scale is None else scale
    return Replicates(weight=given, scale=np.full(given.shape[0], factor))
