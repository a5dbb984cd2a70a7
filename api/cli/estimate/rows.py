"""What all verbs print: rows with their labels, as a table for people or as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from survey.types import Estimate

__all__ = [
    "HIDDEN",
    "Level",
    "ReferenceDate",
    "Seed",
    "Version",
    "estimate_row",
    "show",
    "text_of",
]

Level = Annotated[float, typer.Option("--level", help="Coverage of the intervals, 0-1.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the random draws.")]
Version = Annotated[
    str, typer.Option("--method-version", help="Your label of definitions and key.")
]
ReferenceDate = Annotated[
    datetime | None,
    typer.Option("--reference-date", formats=["%Y-%m-%d"], help="Day the figures hold for."),
]

# Columns of an estimate that only --json shows.
HIDDEN = (
    "admin_level",
    "se_ha",
    "level",
    "cv",
    "df",
    "deff",
    "n_positive",
    "estimate_type",
    "unobserved_share",
)


def estimate_row(domain_id: str, figure: Estimate, **more: Any) -> dict[str, Any]:
    """All columns of one figure, and its quality label by the thresholds of a round."""
    from survey.estimation import reliability_of

    return {
        "domain_id": domain_id,
        "value_ha": figure.value_ha,
        "se_ha": figure.se_ha,
        "ci_low_ha": figure.ci_low_ha,
        "ci_high_ha": figure.ci_high_ha,
        "level": figure.level,
        "cv": figure.cv,
        "df": figure.df,
        "deff": figure.deff,
        "n_segments": figure.n_segments,
        "n_positive": figure.n_positive,
        "estimate_type": figure.estimate_type.value,
        "method": figure.method,
        "reliability": reliability_of(figure).value,
        **more,
        "why": figure.why,
    }


def show(
    rows: Sequence[Mapping[str, Any]],
    as_json: bool,
    *,
    version: str = "1",
    on: datetime | None = None,
    hidden: tuple[str, ...] = (),
) -> None:
    """Rows as JSON with every column, or as a table of those that fit a terminal.

    Every row says `method`, `reliability` and `why` itself and gets `method_version` (the
    analyst's label and the method, where the row has none yet) and `reference_date`; people
    read these two once, below the table.
    """
    labelled = [_labelled(row, version, on) for row in rows]
    if as_json:
        clean = [{key: _finite(value) for key, value in row.items()} for row in labelled]
        typer.echo(json.dumps(clean, indent=2, ensure_ascii=False))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    hidden = (*hidden, "method_version", "reference_date", "why")
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    columns = [k for k in dict.fromkeys(k for row in labelled for k in row) if k not in hidden]
    for name in columns:
        right = all(isinstance(row.get(name, 0.0), int | float) for row in labelled)
        # A narrow terminal folds words, but no number and no code: half of one is another.
        whole = right or name in (columns[0], "area")
        table.add_column(
            name,
            justify="right" if right else "left",
            overflow="ellipsis" if whole else "fold",
            no_wrap=whole,
        )
    for row in labelled:
        table.add_row(*(text_of(row.get(name)) for name in columns))
    Console().print(table)
    versions = dict.fromkeys(str(row["method_version"]) for row in labelled)
    typer.echo(f"method_version: {'; '.join(versions)}")
    if on is not None:
        typer.echo(f"reference date: {on.date().isoformat()}")


def _labelled(row: Mapping[str, Any], version: str, on: datetime | None) -> dict[str, Any]:
    from survey.estimation import version_of

    return {
        **{key: value for key, value in row.items() if key != "why"},
        "method_version": row.get("method_version") or version_of(version, row["method"]),
        "reference_date": None if on is None else on.date().isoformat(),
        "why": row["why"],
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def text_of(value: Any) -> str:
    """Four digits, or a whole number with separators; a dash for nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000.0 else f"{value:.4g}"
