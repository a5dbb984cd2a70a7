"""Figures from CSV files alone: the same estimators as a round, without scenes or a database."""

from __future__ import annotations

import typer

from api.cli.estimate.corrections import census, field_check, interpreters, minimum, net, ranges
from api.cli.estimate.design import design
from api.cli.estimate.models import area_level, benchmark, unit_level
from api.cli.estimate.output import production
from api.cli.estimate.points import matrix, plan, points
from api.cli.estimate.quality import disclosure, reliability
from api.cli.estimate.seasons import change, compare
from api.cli.estimate.segments import covariance, totals

__all__ = ["estimate"]

estimate = typer.Typer(
    help="Recompute figures from CSV files alone (columns: docs/estimate.md).",
    no_args_is_help=True,
    rich_markup_mode=None,
)
estimate.command()(totals)
estimate.command()(covariance)
estimate.command()(design)
estimate.command()(matrix)
estimate.command()(points)
estimate.command()(plan)
estimate.command(name="area-level")(area_level)
estimate.command(name="unit-level")(unit_level)
estimate.command()(benchmark)
estimate.command()(change)
estimate.command()(compare)
estimate.command()(production)
estimate.command()(net)
estimate.command()(census)
estimate.command(name="range")(ranges)
estimate.command()(minimum)
estimate.command(name="field-check")(field_check)
estimate.command()(interpreters)
estimate.command()(reliability)
estimate.command()(disclosure)
