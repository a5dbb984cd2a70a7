"""What the terminal shows: bars while it works, hectares when it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from api.pipeline import Progress

__all__ = ["print_estimates", "progress_bars"]


class progress_bars:  # noqa: N801  # reads as a verb where it is used
    """Bars on stderr, one per step; silent lines where stderr is no terminal."""

    def __enter__(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bars = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, Any] = {}
        self._bars.start()
        return self._update

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def _update(self, step: str, done: int, total: int) -> None:
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step, total=total)
        self._bars.update(self._tasks[step], completed=done, total=total)


def print_estimates(published: pd.DataFrame, title: str) -> None:
    """One table per crop that fits a terminal of 80 columns."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console: Console = Console()
    for crop in published["crop"].unique():
        rows = published.loc[published["crop"] == crop]
        level = rows["level"].dropna()
        percent = f"{100 * level.iloc[0]:g}% interval" if len(level) else "Interval"
        table = Table(
            title=f"{title}: {crop}, hectares",
            title_justify="left",
            box=box.SIMPLE,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        for column, justify in (
            ("Domain", "left"),
            ("Value", "right"),
            (percent, "right"),
            ("n", "right"),
            ("Kind", "left"),
            ("Reliability", "left"),
            ("Unseen", "right"),
        ):
            table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        for row in rows.to_dict("records"):
            table.add_row(*_cells(row))
        console.print(table)
        for reason in sorted(set(rows["disclosure"]) - {""}):
            console.print(f"withheld: {reason}", style="dim")


def _cells(row: dict[Any, Any]) -> tuple[str, ...]:
    name = row["domain_name"] or row["domain_id"]
    if row["admin_level"] == "country":
        name = "Country"
    elif row["admin_level"] == "district":
        name = f"  {name}"
    value, interval = "-", "-"
    if row["reliability"] == "not_detected" and not row["disclosure"]:
        interval = f"below {_hectares(row['ci_high_ha'])}"
    elif row["value_ha"] == row["value_ha"]:  # not NaN
        value = _hectares(row["value_ha"])
        interval = f"{_hectares(row['ci_low_ha'])} to {_hectares(row['ci_high_ha'])}"
    return (
        str(name),
        value,
        interval,
        "-" if row["disclosure"] else str(row["n_segments"]),
        str(row["estimate_type"]).replace("_", " "),
        "withheld" if row["disclosure"] else str(row["reliability"]).replace("_", " "),
        f"{100 * row['unobserved_share']:.0f}%" if not row["disclosure"] else "-",
    )


def _hectares(value: float) -> str:
    return f"{value:,.1f}" if value < 1000.0 else f"{value:,.0f}"
