"""Change between two seasons, from their samples or from their finished figures."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.estimate.rows import Level, ReferenceDate, show
from api.cli.estimate.segments import FramePath, SamplePath
from api.cli.options import AsJson

if TYPE_CHECKING:
    from survey.estimation import ChangeEstimate, Frame
    from survey.estimation.units import Bools

__all__ = ["change", "compare"]

# Columns that only --json shows.
HIDDEN = ("level", "before_ha", "after_ha", "correlation", "n_segments", "method", "signed_by")


class SeasonEstimator(StrEnum):
    """Estimator of both seasons of a change."""

    EXPANSION = "expansion"
    RATIO = "ratio"
    REGRESSION = "regression"
    DIFFERENCE = "difference"


def change(
    before_frame: FramePath,
    before_sample: SamplePath,
    after_frame: FramePath,
    after_sample: SamplePath,
    years: Annotated[tuple[int, int], typer.Option("--years", help="Both harvest years.")],
    versions: Annotated[
        tuple[str, str],
        typer.Option("--method-versions", help="Of both seasons; a difference is refused."),
    ],
    estimator: Annotated[
        SeasonEstimator, typer.Option("--estimator", help="Of both seasons.")
    ] = SeasonEstimator.EXPANSION,
    signed_by: Annotated[
        str, typer.Option("--signed-by", help="Who accepts a comparison across methods.")
    ] = "",
    domain: Annotated[
        str, typer.Option("--domain", help="District or province; all if left out.")
    ] = "",
    level: Level = 0.95,
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """Change between two seasons, with the covariance of segments seen in both."""
    from survey.estimation import change_between, season_total
    from survey.samples import read_sample, read_segments

    seasons = []
    for path, drawn, year, version in zip(
        (before_frame, after_frame), (before_sample, after_sample), years, versions, strict=True
    ):
        segments = read_segments(path)
        seasons.append(
            season_total(
                segments,
                read_sample(drawn, segments),
                harvest_year=year,
                method_version=version,
                estimator=estimator.value,
                member=_member(segments, domain) if domain else None,
            )
        )
    result = change_between(seasons[0], seasons[1], level=level, signed_by=signed_by)
    show([_row(result)], as_json, on=on, hidden=HIDDEN)


def _member(frame: Frame, code: str) -> Bools:
    import numpy as np

    from survey.errors import EstimationError

    mask = np.asarray((frame.domain == code) | (frame.group == code))
    if not mask.any():
        raise EstimationError(f"{code!r} is no district or province of the frame; correct it")
    return mask


def compare(
    before: Annotated[Path, typer.Argument(help="CSV of the earlier season's figures.")],
    after: Annotated[Path, typer.Argument(help="CSV of the later season's figures.")],
    years: Annotated[tuple[int, int], typer.Option("--years", help="Both harvest years.")],
    signed_by: Annotated[
        str, typer.Option("--signed-by", help="Who accepts a comparison across methods.")
    ] = "",
    level: Level = 0.95,
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """Change between finished figures, refused where their method_version differs."""
    from survey.errors import EstimationError
    from survey.estimation import change_of_figures
    from survey.samples import read_season

    first, second = read_season(before), read_season(after)
    rows = []
    for name in [name for name in first if name in second]:
        try:
            change = change_of_figures(
                first[name].figure,
                second[name].figure,
                years=years,
                method_versions=(first[name].method_version, second[name].method_version),
                level=level,
                signed_by=signed_by,
            )
        except EstimationError as problem:
            if "is not comparable with" in str(problem):
                raise
            typer.echo(f"{name}: no change ({problem})", err=True)
            continue
        rows.append({"domain_id": name, **_row(change)})
    for name in sorted(set(first) ^ set(second)):
        typer.echo(f"{name}: in one of the two files only", err=True)
    if not rows:
        raise EstimationError(
            f"no domain of {before.name} and {after.name} can be compared; the reasons are above"
        )
    show(rows, as_json, on=on, hidden=(*HIDDEN, "n_overlap", "df"))


def _row(change: ChangeEstimate) -> dict[str, Any]:
    from dataclasses import asdict

    from survey.estimation import reliability_of_change

    label = reliability_of_change(
        change.before_ha, change.after_ha, change.se_ha, n=change.n_segments
    )
    return {**asdict(change), "reliability": label.value}
