"""Figures from CSV files alone: the same estimators as a round, without scenes or a database."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.options import AsJson

if TYPE_CHECKING:
    from survey.estimation import Accuracy, DomainEstimate, Frame, Sample

__all__ = ["estimate"]

estimate = typer.Typer(
    help="Recompute figures from CSV files alone (columns: docs/estimate.md).",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Level = Annotated[float, typer.Option("--level", help="Coverage of the intervals, 0-1.")]
FramePath = Annotated[Path, typer.Argument(help="CSV of all segments of the frame.")]
SamplePath = Annotated[Path, typer.Argument(help="CSV of the sampled segments.")]


class Method(StrEnum):
    """What computes the totals."""

    LADDER = "ladder"
    EXPANSION = "expansion"
    RATIO = "ratio"
    SEPARATE_RATIO = "separate_ratio"
    REGRESSION = "regression"
    DIFFERENCE = "difference"
    TWO_PART = "two_part"
    BHF = "bhf"


class Rung(StrEnum):
    """Where the ladder starts."""

    REGRESSION = "regression"
    DIFFERENCE = "difference"
    RATIO = "ratio"
    EXPANSION = "expansion"


class Model(StrEnum):
    """Small-area model of the ladder."""

    NONE = "none"
    TWO_PART = "two_part"
    BHF = "bhf"


class SeasonEstimator(StrEnum):
    """Estimator of both seasons of a change."""

    EXPANSION = "expansion"
    RATIO = "ratio"
    REGRESSION = "regression"
    DIFFERENCE = "difference"


@estimate.command()
def totals(
    frame: FramePath,
    sample: SamplePath,
    method: Annotated[Method, typer.Option("--method", help="Estimator.")] = Method.LADDER,
    estimator: Annotated[
        Rung, typer.Option("--estimator", help="Where the ladder starts.")
    ] = Rung.REGRESSION,
    small_area: Annotated[
        Model, typer.Option("--small-area", help="The ladder's model of thin districts.")
    ] = Model.TWO_PART,
    min_segments: Annotated[
        int, typer.Option("--min-segments", min=2, help="Fewer make a district thin.")
    ] = 10,
    level: Level = 0.95,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the model's draws.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Hectares of every district, province and the country."""
    import numpy as np

    from survey.estimation import LadderRule, estimate_ladder, reliability_of
    from survey.samples import read_sample, read_segments

    segments = read_segments(frame)
    drawn = read_sample(sample, segments)
    rng = np.random.default_rng(seed)
    if method is Method.LADDER:
        rule = LadderRule(
            level=level, min_segments_district=min_segments, small_area=small_area.value
        )
        rows = estimate_ladder(segments, drawn, estimator=estimator.value, rule=rule, rng=rng)
    elif method in (Method.TWO_PART, Method.BHF):
        rows = _model(segments, drawn, method, level, rng)
    else:
        rows = _each_domain(segments, drawn, method, level)
    _show(
        [
            {
                "admin_level": row.admin_level,
                "domain_id": row.domain_id,
                "value_ha": row.estimate.value_ha,
                "se_ha": row.estimate.se_ha,
                "ci_low_ha": row.estimate.ci_low_ha,
                "ci_high_ha": row.estimate.ci_high_ha,
                "cv": row.estimate.cv,
                "df": row.estimate.df,
                "n_segments": row.estimate.n_segments,
                "n_positive": row.estimate.n_positive,
                "estimate_type": row.estimate.estimate_type.value,
                "method": row.estimate.method,
                "reliability": reliability_of(row.estimate).value,
                "why": row.estimate.why,
            }
            for row in rows
        ],
        as_json,
        hidden=("admin_level", "se_ha", "cv", "df", "n_positive", "estimate_type", "why"),
    )


@estimate.command()
def matrix(
    counts: Annotated[Path, typer.Argument(help="CSV: map_class, map_ha, reference classes.")],
    level: Level = 0.95,
    as_json: AsJson = False,
) -> None:
    """Error-adjusted areas and accuracies of a map (Olofsson et al. 2014)."""
    from survey.estimation import accuracy_of_matrix, error_adjusted_area
    from survey.samples import read_count_matrix

    given = read_count_matrix(counts)
    rows: list[dict[str, Any]] = [
        {
            "class": name,
            "area_ha": area.value_ha,
            "area_se_ha": area.se_ha,
            "ci_low_ha": area.ci_low_ha,
            "ci_high_ha": area.ci_high_ha,
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
    _show(rows, as_json, hidden=("overall", "overall_se"))
    if not as_json and "overall" in rows[0]:
        typer.echo(f"overall accuracy {_text(rows[0]['overall'])}, ", nl=False)
        typer.echo(f"standard error {_text(rows[0]['overall_se'])}")


@estimate.command()
def points(
    sample: Annotated[Path, typer.Argument(help="CSV of the points with map and reference.")],
    strata: Annotated[Path, typer.Argument(help="CSV of the strata's sizes.")],
    fpc: Annotated[
        bool, typer.Option("--fpc/--no-fpc", help="Right where sizes count points.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Accuracies and area shares where strata are not map classes (Stehman 2014)."""
    from survey.estimation import accuracy_of_points
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
    rows = [
        {"class": name, "area_share": share, "area_share_se": se, **more}
        for name, share, se, more in zip(
            classes,
            accuracy.area_share,
            accuracy.area_share_se,
            _accuracies(accuracy),
            strict=True,
        )
    ]
    _show(rows, as_json)


@estimate.command()
def change(
    before_frame: FramePath,
    before_sample: SamplePath,
    after_frame: FramePath,
    after_sample: SamplePath,
    years: Annotated[tuple[int, int], typer.Option("--years", help="Both harvest years.")],
    estimator: Annotated[
        SeasonEstimator, typer.Option("--estimator", help="Of both seasons.")
    ] = SeasonEstimator.EXPANSION,
    versions: Annotated[
        tuple[str, str],
        typer.Option("--method-versions", help="Of both seasons; a difference is refused."),
    ] = ("1", "1"),
    signed_by: Annotated[
        str, typer.Option("--signed-by", help="Who accepts a comparison across methods.")
    ] = "",
    level: Level = 0.95,
    as_json: AsJson = False,
) -> None:
    """Change between two seasons, with the covariance of segments seen in both."""
    from dataclasses import asdict

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
            )
        )
    result = change_between(seasons[0], seasons[1], level=level, signed_by=signed_by)
    _show([asdict(result)], as_json, hidden=("why", "correlation", "signed_by"))


@estimate.command()
def production(
    areas: Annotated[Path, typer.Argument(help="CSV: domain_id, value_ha, se_ha.")],
    fields: Annotated[Path, typer.Argument(help="CSV of yield fields.")],
    price: Annotated[
        float | None, typer.Option("--price", min=0.0, help="Farm-gate price per kg.")
    ] = None,
    price_se: Annotated[
        float, typer.Option("--price-se", min=0.0, help="Standard error of the price.")
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Opium production, tonnes, and its value; one regional yield for all domains."""
    import numpy as np

    from survey import estimation
    from survey.estimation import farm_gate_value, mean_yield, shared_yield_covariance
    from survey.samples import read_fields, read_figures

    table, plots = read_figures(areas), read_fields(fields)
    mean = mean_yield(plots.yield_kg_ha, plots.village, plots.weight)
    area, se = table["value_ha"].to_numpy(dtype=float), table["se_ha"].to_numpy(dtype=float)
    rows: list[dict[str, Any]] = []
    results = [
        (name, estimation.production(float(a), float(s), mean.value, mean.se))
        for name, a, s in zip(table["domain_id"], area, se, strict=True)
    ]
    for name, result in results:
        rows.append({"domain_id": name, "production_t": result.value, "se_t": result.se})
        if price is not None:
            worth = farm_gate_value(result, price, price_se)
            rows[-1].update({"value": worth.value, "value_se": worth.se})
    # The shared yield correlates the domains: errors of a sum do not add in squares.
    each, covariance = shared_yield_covariance(area, se**2, mean.value, mean.se)
    rows.append(
        {
            "domain_id": "sum",
            "production_t": float(each.sum()),
            "se_t": float(np.sqrt(covariance.sum())),
        }
    )
    for row in rows:
        row.update({"yield_kg_ha": mean.value, "yield_se_kg_ha": mean.se})
    _show(rows, as_json)


@estimate.command()
def reliability(
    figures: Annotated[Path, typer.Argument(help="CSV of finished figures.")],
    as_json: AsJson = False,
) -> None:
    """Quality label of finished figures, by the thresholds of a round."""
    from survey.errors import EstimationError, TableError
    from survey.estimation import reliability_of
    from survey.samples import read_figures
    from survey.types import Estimate, EstimateType

    rows = []
    for at, row in enumerate(read_figures(figures).to_dict("records"), start=1):
        low, high = row["ci_low_ha"], row["ci_high_ha"]
        try:
            figure = Estimate(
                value_ha=row["value_ha"],
                se_ha=row["se_ha"],
                ci_low_ha=low,
                ci_high_ha=high,
                df=math.inf if math.isnan(row["df"]) else row["df"],
                n_segments=int(row["n_segments"]),
                n_positive=int(row["n_positive"]),
                estimate_type=EstimateType(row["estimate_type"]),
                method="given",
                level=row["level"],
            )
        except EstimationError as problem:
            raise TableError(f"{figures.name}, row {at}: {problem}") from problem
        label = reliability_of(figure).value
        rows.append({"domain_id": row["domain_id"], "cv": figure.cv, "reliability": label})
    _show(rows, as_json)


def _model(
    frame: Frame, sample: Sample, method: Method, level: float, rng: Any
) -> list[DomainEstimate]:
    from survey.estimation import DomainEstimate
    from survey.estimation.smallarea.districts import small_area_estimates

    model = "unit_level" if method is Method.BHF else "two_part"
    found = small_area_estimates(frame, sample, rng=rng, model=model, level=level)
    return [
        DomainEstimate(admin_level="district", domain_id=code, estimate=figure)
        for code, figure in found.items()
    ]


def _each_domain(
    frame: Frame, sample: Sample, method: Method, level: float
) -> list[DomainEstimate]:
    """One estimator for every domain; a domain whose sample cannot give it is left out."""
    import numpy as np

    from survey.errors import TooFewUnitsError
    from survey.estimation import (
        DomainEstimate,
        expansion_total,
        ratio_total,
        regression_total,
    )
    from survey.estimation.assisted import difference_total

    rows = []
    for admin_level, codes in (
        ("district", frame.domain),
        ("province", frame.group),
        ("country", np.full(frame.size, "country")),
    ):
        for code in np.unique(codes):
            member = codes == code
            try:
                if method is Method.EXPANSION:
                    figure = expansion_total(frame, sample, member=member, level=level)
                elif method is Method.REGRESSION:
                    figure = regression_total(frame, sample, member=member, level=level)
                elif method is Method.DIFFERENCE:
                    figure = difference_total(frame, sample, member=member, level=level)
                else:
                    kind = "combined" if method is Method.RATIO else "separate"
                    figure = ratio_total(frame, sample, member=member, level=level, kind=kind)
            except TooFewUnitsError as problem:
                typer.echo(f"{admin_level} {code}: no figure ({problem})", err=True)
                continue
            rows.append(
                DomainEstimate(admin_level=admin_level, domain_id=str(code), estimate=figure)
            )
    return rows


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


def _show(
    rows: Sequence[Mapping[str, Any]], as_json: bool, *, hidden: tuple[str, ...] = ()
) -> None:
    """Rows as JSON with every column, or as a table of those that fit a terminal."""
    if as_json:
        clean = [{key: _finite(value) for key, value in row.items()} for row in rows]
        typer.echo(json.dumps(clean, indent=2, ensure_ascii=False))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    columns = list(dict.fromkeys(k for row in rows for k in row))
    for name in columns:
        if name not in hidden:
            right = all(isinstance(row.get(name, 0.0), int | float) for row in rows)
            table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_text(row.get(name)) for name in columns if name not in hidden))
    Console().print(table)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000.0 else f"{value:.4g}"
