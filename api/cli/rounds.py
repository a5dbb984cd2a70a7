"""A round: from files to hectares, and into the database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from api.cli.options import AsJson, settings_of
from api.cli.terminal import print_estimates, progress_bars

__all__ = ["load", "run"]


def run(
    survey: Annotated[Path, typer.Argument(help="The round's survey.toml, or its folder.")],
    as_json: AsJson = False,
) -> None:
    """Run a round: files to hectares and maps, without a database."""
    from datetime import UTC, datetime

    from api.pipeline import run_round
    from survey.rounds import read_round

    declared = read_round(survey)
    with progress_bars() as progress:
        result = run_round(declared, today=datetime.now(UTC).date(), progress=progress)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "run_id": result.run_id,
                    "folder": str(result.folder),
                    "notes": [str(note) for note in result.notes],
                    "estimates": json.loads(result.published.to_json(orient="records")),
                },
                indent=2,
            )
        )
        return
    print_estimates(result.published, declared.title)
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"\nRun {result.run_id}")
    for name, what in (
        ("publish/map.html", "map, opens without a network"),
        ("publish/districts.gpkg", "districts and projects for QGIS"),
        ("publish/districts.csv", "the table"),
        ("publish/run.json", "the record that reproduces the figures"),
        ("restricted", "class map, segments, comparison of methods: for analysts only"),
    ):
        typer.echo(f"  {result.folder / name}  ({what})")


def load(
    folder: Annotated[Path, typer.Argument(help="Output folder of a run.")],
    as_json: AsJson = False,
) -> None:
    """Put the results of a run into the database.

    Loading the same run again changes nothing.
    """
    from dataclasses import asdict

    from api.db.store import connect, load_run

    engine = connect(settings_of())
    try:
        report = load_run(engine, folder)
    finally:
        engine.dispose()
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=2, default=str))
    else:
        typer.echo(str(report))
