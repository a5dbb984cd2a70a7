"""Hectares of districts, provinces and the country from the frame and sample of segments."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.estimate.rows import HIDDEN, Level, ReferenceDate, Seed, Version, estimate_row, show
from api.cli.options import AsJson

if TYPE_CHECKING:
    from survey.estimation import DomainEstimate, Frame, Sample

__all__ = ["FramePath", "SamplePath", "covariance", "totals"]

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


class By(StrEnum):
    """Which domains."""

    DISTRICT = "district"
    PROVINCE = "province"


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
    max_unobserved: Annotated[
        float, typer.Option("--max-unobserved", help="Above it a domain is status only, 0-1.")
    ] = 0.5,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Replicates for the MSE of two_part.")
    ] = 0,
    level: Level = 0.95,
    seed: Seed = 0,
    version: Version = "1",
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """Hectares of every district, province and the country."""
    import numpy as np

    from survey.errors import EstimationError
    from survey.estimation import LadderRule, comparability_label, estimate_ladder
    from survey.samples import read_sample, read_segment_table

    table = read_segment_table(frame)
    segments, unobserved = table.frame, table.unobserved_share
    drawn = read_sample(sample, segments)
    rng = np.random.default_rng(seed)
    if method is Method.LADDER:
        rule = LadderRule(
            level=level,
            min_segments_district=min_segments,
            small_area=small_area.value,
            unobserved_share=unobserved,
            max_unobserved_share=max_unobserved,
        )
        rows = estimate_ladder(segments, drawn, estimator=estimator.value, rule=rule, rng=rng)
        label = comparability_label(version, estimator.value, small_area.value)
    else:
        if method in (Method.TWO_PART, Method.BHF):
            rows = _model(segments, drawn, method, level, rng, bootstrap)
        else:
            rows = _each_domain(segments, drawn, method, level)
        label = comparability_label(version, method.value, "none")
    if not rows:
        raise EstimationError(f"{sample.name} can give no domain a figure; the reasons are above")
    if table.n_filled:
        typer.echo(f"{table.n_filled} segments: map hectares filled from their stratum", err=True)
    show(
        [
            {
                "admin_level": row.admin_level,
                **estimate_row(
                    row.domain_id,
                    row.estimate,
                    method_version=label,
                    unobserved_share=unobserved[row.domain_id],
                ),
            }
            for row in rows
        ],
        as_json,
        on=on,
        hidden=HIDDEN,
    )


def covariance(
    frame: FramePath,
    sample: SamplePath,
    estimator: Annotated[
        Rung, typer.Option("--estimator", help="One for all domains.")
    ] = Rung.EXPANSION,
    by: Annotated[By, typer.Option("--by", help="Districts or provinces.")] = By.DISTRICT,
    version: Version = "1",
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """Totals of all domains with their covariances, for sums and differences of domains."""
    import math

    from survey.estimation import domain_totals, reliability_of_figure
    from survey.samples import read_sample, read_segments

    segments = read_segments(frame)
    found = domain_totals(
        segments,
        read_sample(sample, segments),
        domain=segments.domain if by is By.DISTRICT else segments.group,
        estimator=estimator.value,
    )
    names = [str(name) for name in found.domain_id]
    rows = []
    for at, name in enumerate(names):
        n, n_positive = int(found.n_segments[at]), int(found.n_positive[at])
        value = float(found.value_ha[at])
        # Found nowhere in the domain: no error is known, only an upper limit (`totals`).
        se = float(found.covariance_ha2[at, at]) ** 0.5 if n_positive else math.nan
        rows.append(
            {
                "domain_id": name,
                "value_ha": value,
                "se_ha": se,
                "df": found.df,
                "n_segments": n,
                "n_positive": n_positive,
                "method": found.method,
                "reliability": reliability_of_figure(
                    value, se, n=n, n_positive=n_positive, df=found.df
                ).value,
                **{
                    f"cov {other}": float(found.covariance_ha2[at, to])
                    for to, other in enumerate(names)
                },
                "why": "Linearised, for sums and differences of domains; without the pooled "
                "error and the rules for few finds of a figure of its own."
                if n
                else "No sampled segment.",
            }
        )
    show(rows, as_json, version=version, on=on, hidden=("df", "n_positive", "method"))


def _model(
    frame: Frame, sample: Sample, method: Method, level: float, rng: Any, bootstrap: int
) -> list[DomainEstimate]:
    from survey.estimation import DomainEstimate
    from survey.estimation.smallarea.districts import small_area_estimates

    model = "unit_level" if method is Method.BHF else "two_part"
    found = small_area_estimates(
        frame, sample, rng=rng, model=model, level=level, n_bootstrap=bootstrap
    )
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
    from survey.estimation.rules import with_coverage_warning

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
            if admin_level != "district":
                figure = with_coverage_warning(figure)
            rows.append(
                DomainEstimate(admin_level=admin_level, domain_id=str(code), estimate=figure)
            )
    return rows
