"""Labels of finished figures: quality, and what would expose people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.estimate.rows import HIDDEN, ReferenceDate, Version, estimate_row, show
from api.cli.options import AsJson

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["disclosure", "reliability"]


def reliability(
    figures: Annotated[Path, typer.Argument(help="CSV of finished figures.")],
    version: Version = "1",
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """Quality label of finished figures, by the thresholds of a round."""
    from survey.samples import figure_of, read_figures

    rows = []
    for at, row in enumerate(read_figures(figures).to_dict("records"), start=1):
        figure = figure_of(row, f"{figures.name}, row {at}")
        own = {"method_version": row["method_version"] or ""}
        rows.append(estimate_row(row["domain_id"], figure, **own))
    hidden = tuple(name for name in HIDDEN if name != "cv")
    show(rows, as_json, version=version, on=on, hidden=(*hidden, "ci_low_ha", "ci_high_ha"))


def disclosure(
    cells: Annotated[Path, typer.Argument(help="CSV of districts within provinces.")],
    min_risk_ha: Annotated[
        float, typer.Option("--min-risk-ha", min=0.0, help="Smallest risk area shown.")
    ] = 50.0,
    min_frame_segments: Annotated[
        int, typer.Option("--min-frame-segments", min=1, help="Fewest frame segments shown.")
    ] = 10,
    version: Version = "1",
    on: ReferenceDate = None,
    as_json: AsJson = False,
) -> None:
    """What must be hidden so that no small cell is shown or can be worked out."""
    import numpy as np

    from survey.disclosure import REASON_SECONDARY, secondary_suppression, small_area_cells
    from survey.samples import read_records
    from survey.samples.figures import CELLS

    table = read_records(cells, CELLS, reliability="publishable")
    risk, value = table["risk_ha"].to_numpy(), table["value_ha"].to_numpy()
    _refuse_wrong_cells(table, cells.name)
    small = small_area_cells(
        risk,
        table["n_frame"].to_numpy(dtype=np.int64),
        min_risk_ha=min_risk_ha,
        min_frame_segments=min_frame_segments,
    )
    empty = table["reliability"].isin(["suppressed", "status_only"]).to_numpy()
    further = secondary_suppression(
        small, empty, value, risk, table["province_pcode"].to_numpy(dtype=object)
    )
    rule = f"below {min_risk_ha:g} ha of risk area or {min_frame_segments} frame segments"
    rows: list[dict[str, Any]] = []
    for at, row in enumerate(table.to_dict("records")):
        reason = rule if small[at] else REASON_SECONDARY if further.cells[at] else ""
        shown = not reason and not empty[at]
        rows.append(
            {
                "domain_id": row["domain_id"],
                "province_pcode": row["province_pcode"],
                "value_ha": row["value_ha"] if shown else None,
                "disclosure": reason or ("withheld for its quality" if empty[at] else ""),
                "reliability": row["reliability"] if shown or not reason else None,
            }
        )
    totals = [(str(name), name in further.totals) for name in table["province_pcode"].unique()]
    for name, is_hidden in [*totals, ("country", further.grand_total)]:
        inside = (
            np.ones(value.size, bool)
            if name == "country"
            else (table["province_pcode"] == name).to_numpy()
        )
        # Of unknown parts no total is made: missing is not zero.
        unknown = int(np.isnan(value[inside]).sum())
        reason = f"{unknown} of its districts have no value" if unknown else ""
        rows.append(
            {
                "domain_id": f"total {name}",
                "province_pcode": "" if name == "country" else name,
                "value_ha": None if is_hidden or unknown else float(value[inside].sum()),
                "disclosure": REASON_SECONDARY if is_hidden else reason,
                "reliability": None,
            }
        )
    labels = {"method": "secondary_suppression"}
    rows = [{**row, **labels, "why": row["disclosure"] or "May be shown."} for row in rows]
    show(rows, as_json, version=version, on=on, hidden=("method",))


def _refuse_wrong_cells(table: pd.DataFrame, source: str) -> None:
    """Stop at crop beyond the land, from which a hidden cell's range is worked out."""
    from survey.errors import TableError

    for at, row in enumerate(table.to_dict("records"), start=1):
        if row["value_ha"] > row["risk_ha"]:
            raise TableError(
                f"{source}, row {at}: value_ha {row['value_ha']:g} is more than the risk_ha "
                f"{row['risk_ha']:g}; check the unit"
            )
