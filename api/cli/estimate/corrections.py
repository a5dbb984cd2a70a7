"""Figures that are no sample expansions, and what is taken off or added to others."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from api.cli.estimate.rows import HIDDEN, Level, ReferenceDate, Version, estimate_row, show
from api.cli.options import AsJson

__all__ = ["census", "field_check", "interpreters", "minimum", "net", "ranges"]

FiguresPath = Annotated[Path, typer.Argument(help="CSV of finished figures.")]


def net(
    figures: FiguresPath,
    events: Annotated[Path, typer.Argument(help="CSV of eradication events.")],
    image_date: Annotated[
        datetime,
        typer.Option("--image-date", formats=["%Y-%m-%d"], help="Last date of the images."),
    ],
    version: Version = "1",
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """Net cultivation: less what was verifiably destroyed after the image date."""
    from survey.areas import AreaUnit, to_hectares
    from survey.estimation import Eradication, net_of_eradication
    from survey.samples import figure_of, read_figures, read_records
    from survey.samples.figures import ERADICATION

    table = read_figures(figures)
    records = read_records(events, ERADICATION, unit="ha", is_verified="false")
    _refuse_unknown(records["domain_id"], events, table["domain_id"], figures)
    rows = []
    for at, row in enumerate(table.to_dict("records"), start=1):
        own = records.loc[records["domain_id"] == row["domain_id"]].to_dict("records")
        result = net_of_eradication(
            figure_of(row, f"{figures.name}, row {at}"),
            [
                Eradication(
                    eradicated_ha=to_hectares(event["eradicated"], AreaUnit(event["unit"])),
                    on=event["date"].date(),
                    is_verified=bool(event["is_verified"]),
                )
                for event in own
            ],
            image_date=image_date.date(),
        )
        reported = "; ".join(f"{event['eradicated']:g} {event['unit']}" for event in own)
        rows.append(
            {
                **estimate_row(row["domain_id"], result),
                "gross_ha": row["value_ha"],
                "reported": reported,
                "method_version": _added(row["method_version"], "net of eradication"),
            }
        )
    show(rows, as_json, version=version, on=on, hidden=(*HIDDEN, "n_segments"))


def census(
    checks: Annotated[Path, typer.Argument(help="CSV of check segments.")],
    counted: Annotated[
        float, typer.Option("--counted", min=0.0, help="Hectares of the complete count.")
    ],
    n_frame: Annotated[
        int | None, typer.Option("--n-frame", min=1, help="Segments in the whole area (fpc).")
    ] = None,
    level: Level = 0.95,
    version: Version = "1",
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """Complete count, adjusted for what it missed in random check segments."""
    from survey.estimation import census_with_omission
    from survey.samples import read_records
    from survey.samples.figures import CHECK_SEGMENTS

    table = read_records(checks, CHECK_SEGMENTS)
    figure = census_with_omission(
        counted,
        table["counted_ha"].to_numpy(),
        table["true_ha"].to_numpy(),
        n_frame=n_frame,
        level=level,
    )
    show([estimate_row("census", figure)], as_json, version=version, on=on, hidden=HIDDEN)


def ranges(
    table: Annotated[Path, typer.Argument(help="CSV: domain_id, low_ha, high_ha.")],
    version: Version = "1",
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """Ranges without a point estimate, checked and labelled."""
    from survey.estimation import range_only
    from survey.samples import read_records
    from survey.samples.figures import RANGES

    show(
        [
            estimate_row(
                row["domain_id"],
                range_only(row["low_ha"], row["high_ha"], why="Given as a range, no point."),
            )
            for row in read_records(table, RANGES).to_dict("records")
        ],
        as_json,
        version=version,
        on=on,
        hidden=HIDDEN,
    )


def minimum(
    detections: Annotated[Path, typer.Argument(help="CSV of detected plots or flights.")],
    version: Version = "1",
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """Detected minimum of each domain: at least this much, never extrapolated."""
    from survey.areas import AreaUnit, to_hectares
    from survey.estimation import detected_minimum
    from survey.samples import read_records
    from survey.samples.figures import DETECTIONS

    table = read_records(detections, DETECTIONS, unit="ha")
    rows = []
    for domain, own in table.groupby("domain_id"):
        hectares = [
            to_hectares(amount, AreaUnit(unit))
            for amount, unit in zip(own["detected"], own["unit"], strict=True)
        ]
        rows.append(estimate_row(str(domain), detected_minimum(hectares)))
    show(rows, as_json, version=version, on=on, hidden=HIDDEN)


def field_check(
    checks: Annotated[Path, typer.Argument(help="CSV of domains with a 2 x 2 field check.")],
    level: Level = 0.95,
    version: Version = "1",
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """Interpreted hectares corrected by field checks of called and of not-called land."""
    from survey.errors import EstimationError, TableError
    from survey.estimation import field_checked_area
    from survey.samples import read_records
    from survey.samples.figures import FIELD_CHECKS

    rows = []
    for at, row in enumerate(read_records(checks, FIELD_CHECKS).to_dict("records"), start=1):
        counts = [
            [row["called_crop"], row["called_other"]],
            [row["not_called_crop"], row["not_called_other"]],
        ]
        try:
            figure = field_checked_area(
                row["called_ha"], row["not_called_ha"], counts, level=level
            )
        except EstimationError as problem:
            raise TableError(f"{checks.name}, row {at}: {problem}") from problem
        rows.append(estimate_row(row["domain_id"], figure))
    show(rows, as_json, version=version, on=on, hidden=HIDDEN)


def interpreters(
    figures: FiguresPath,
    readings: Annotated[Path, typer.Argument(help="CSV: domain_id, interpreter, total_ha.")],
    version: Version = "1",
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """Let the disagreement of interpreters enter the error of figures."""
    from survey.errors import EstimationError, TableError
    from survey.estimation import with_interpreter_variance
    from survey.samples import figure_of, read_figures, read_records
    from survey.samples.figures import READINGS

    totals, given = read_records(readings, READINGS), read_figures(figures)
    _refuse_unknown(totals["domain_id"], readings, given["domain_id"], figures)
    rows = []
    for at, row in enumerate(given.to_dict("records"), start=1):
        own = totals.loc[totals["domain_id"] == row["domain_id"], "total_ha"].to_numpy()
        where = f"{figures.name}, row {at}"
        try:
            figure = with_interpreter_variance(figure_of(row, where), own)
        except EstimationError as problem:
            raise TableError(f"{where}: {problem}") from problem
        rows.append(
            {
                **estimate_row(row["domain_id"], figure),
                "n_interpreters": int(own.size),
                "method_version": _added(row["method_version"], "interpreters"),
            }
        )
    show(rows, as_json, version=version, on=on, hidden=HIDDEN)


def _refuse_unknown(
    named: Iterable[str], source: Path, known: Iterable[str], figures: Path
) -> None:
    from survey.errors import TableError

    unknown = sorted(set(named) - set(known))
    if unknown:
        raise TableError(
            f"{source.name}: domain_id {unknown[0]!r} has no figure in {figures.name}; correct it"
        )


def _added(given: str | None, what: str) -> str:
    """`method_version` of a figure that had one, and what was done to it here."""
    return f"{given}/{what}" if given else ""
