"""Accuracies and areas of a map from an error matrix or a sample of points."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.estimate.rows import Level, ReferenceDate, Version, show, text_of
from api.cli.options import AsJson

if TYPE_CHECKING:
    from survey.estimation import Accuracy

__all__ = ["matrix", "plan", "points"]

# Columns that only --json shows.
HIDDEN = ("level", "df", "n_units", "n_positive", "method")


def matrix(
    counts: Annotated[Path, typer.Argument(help="CSV: map_class, map_ha, reference classes.")],
    level: Level = 0.95,
    version: Version = "1",
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """Error-adjusted areas and accuracies of a map (Olofsson et al. 2014)."""
    from survey.estimation import accuracy_of_matrix, error_adjusted_area, reliability_of
    from survey.samples import read_count_matrix

    given = read_count_matrix(counts)
    rows: list[dict[str, Any]] = [
        {
            "class": name,
            "area_ha": area.value_ha,
            "area_se_ha": area.se_ha,
            "ci_low_ha": area.ci_low_ha,
            "ci_high_ha": area.ci_high_ha,
            **_basis(area.level, area.df, area.n_segments, area.n_positive),
            "reliability": reliability_of(area).value,
            "method": area.method,
            "why": area.why,
        }
        for name, area in zip(
            given.reference_class,
            error_adjusted_area(given.counts, given.map_ha, level=level),
            strict=True,
        )
    ]
    if given.map_class == given.reference_class:
        accuracy = accuracy_of_matrix(given.counts, given.map_ha)
        for row, more in zip(rows, _accuracies(accuracy), strict=True):
            row.update(more)
    show(
        rows,
        as_json,
        version=version,
        on=on,
        hidden=(*HIDDEN, "overall", "overall_se", "users_se", "producers_se"),
    )
    if not as_json and "overall" in rows[0]:
        _say_overall(rows)


def points(
    sample: Annotated[Path, typer.Argument(help="CSV of the points with map and reference.")],
    strata: Annotated[Path, typer.Argument(help="CSV of the strata's sizes.")],
    fpc: Annotated[
        bool, typer.Option("--fpc/--no-fpc", help="Right where sizes count points.")
    ] = True,
    total_ha: Annotated[
        float | None,
        typer.Option("--total-ha", min=0.0, help="Hectares of all strata, for areas."),
    ] = None,
    level: Level = 0.95,
    version: Version = "1",
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """Accuracies and area shares where strata are not map classes (Stehman 2014)."""
    import math

    from survey.estimation import accuracy_of_points, reliability_of_figure
    from survey.estimation.accuracy import share_upper
    from survey.estimation.intervals import t_quantile
    from survey.samples import read_points

    given = read_points(sample, strata)
    classes = tuple(sorted({*given.map_class, *given.reference_class}))
    accuracy = accuracy_of_points(
        given.stratum,
        given.map_class,
        given.reference_class,
        given.strata_size,
        classes,
        fpc=fpc,
    )
    df = float(len(given.stratum) - len(set(given.stratum)))
    half = t_quantile(level, df)
    upper = share_upper(given.stratum, given.strata_size, level=level)
    rows = []
    for name, share, se, more in zip(
        classes,
        accuracy.area_share,
        accuracy.area_share_se,
        _accuracies(accuracy),
        strict=True,
    ):
        found = int((given.reference_class == name).sum())
        # Found at no point: 0 with an upper limit, and no error is known.
        error = se if found and se > 0.0 else math.nan
        low = max(share - (half * se if se > 0.0 or not found else upper), 0.0)
        high = min(share + half * se, 1.0) if found else upper
        rows.append(
            {
                "class": name,
                "area_share": share,
                "area_share_se": error,
                "share_ci_low": low,
                "share_ci_high": high,
                **(
                    {
                        "area_ha": share * total_ha,
                        "area_se_ha": error * total_ha,
                        "ci_low_ha": low * total_ha,
                        "ci_high_ha": high * total_ha,
                    }
                    if total_ha is not None
                    else {}
                ),
                **more,
                **_basis(level, df, len(given.stratum), found),
                "reliability": reliability_of_figure(
                    share,
                    error,
                    n=len(given.stratum),
                    n_positive=found,
                    ci_high=high,
                    level=level,
                    df=df,
                ).value,
                "method": "accuracy_of_points",
                "why": "Ratios of stratified means; strata need not be map classes; "
                f"{'with' if fpc else 'without'} finite population correction.",
            }
        )
    hidden = (*HIDDEN, "share_ci_low", "share_ci_high", "overall", "overall_se")
    show(rows, as_json, version=version, on=on, hidden=hidden)
    if not as_json:
        _say_overall(rows)


def plan(
    strata: Annotated[Path, typer.Argument(help="CSV of strata: size, expected share, points.")],
    version: Version = "1",
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """Error to expect of a planned point sample, and which strata bring it."""
    from survey.errors import EstimationError, TableError
    from survey.estimation import expected_error, reliability_of_figure
    from survey.samples import read_records
    from survey.samples.points import PLAN

    table = read_records(strata, PLAN)
    columns = [table[name].to_numpy() for name in ("size", "expected_share", "n_points")]
    try:
        found = expected_error(*columns)
    except EstimationError as problem:
        raise TableError(f"{strata.name}: {problem}") from problem
    rows: list[dict[str, Any]] = [
        {"stratum_id": name, "n_points": int(n), "variance_share": float(part)}
        for name, n, part in zip(
            table["stratum_id"], columns[2], found.variance_share, strict=True
        )
    ]
    whole: dict[str, Any] = {
        "stratum_id": "all",
        "n_points": int(columns[2].sum()),
        "variance_share": 1.0,
    }
    expected = {"expected_share": found.share, "expected_se": found.se, "expected_cv": found.cv}
    label = reliability_of_figure(found.share, found.se, n=whole["n_points"]).value
    why = "Expected of the plan at the shares given, before any point is seen."
    empty = table["stratum_id"][table["expected_share"] == 0.0]
    if len(empty):
        why += f" Without what stratum {', '.join(empty)} may hold: its expected share is 0."
        typer.echo(why, err=True)
    nothing = dict.fromkeys((*expected, "reliability"))
    rows = [{**row, **nothing} for row in rows]
    rows.append({**whole, **expected, "reliability": label})
    labels = {"method": "expected_error", "why": why}
    show([{**row, **labels} for row in rows], as_json, version=version, on=on, hidden=("method",))


def _say_overall(rows: list[dict[str, Any]]) -> None:
    typer.echo(f"overall accuracy {text_of(rows[0]['overall'])}, ", nl=False)
    typer.echo(f"standard error {text_of(rows[0]['overall_se'])}")


def _basis(level: float, df: float, n_units: int, n_positive: int) -> dict[str, float]:
    return {"level": level, "df": df, "n_units": n_units, "n_positive": n_positive}


def _accuracies(accuracy: Accuracy) -> list[dict[str, float]]:
    return [
        {
            "users": users,
            "users_se": users_se,
            "producers": producers,
            "producers_se": producers_se,
            "overall": accuracy.overall,
            "overall_se": accuracy.overall_se,
        }
        for users, users_se, producers, producers_se in zip(
            accuracy.users,
            accuracy.users_se,
            accuracy.producers,
            accuracy.producers_se,
            strict=True,
        )
    ]
