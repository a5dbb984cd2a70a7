"""Tables from questionnaires, with errors and small cells protected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.options import SurveyPath

if TYPE_CHECKING:
    import pandas as pd

    from survey.forms import SubmissionStore

__all__ = ["aggregate"]

_YIELD, _PRICES = "yield_plot", "price_observation"


def aggregate(
    form: Annotated[
        str,
        typer.Argument(
            help="farmer_survey, project_baseline, project_follow_up, village_headman, "
            "yield_plot or price_observation."
        ),
    ],
    survey: SurveyPath = Path("survey.toml"),
    by: Annotated[
        str, typer.Option(help="district, project or village; prices are by month.")
    ] = "district",
    weights: Annotated[
        Path | None,
        typer.Option(
            help="CSV with weight (1 / inclusion probability) and instance_id, village_id or "
            "plot_id; gives totals too."
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help=".csv or .json that receives the table; else the screen.")
    ] = None,
    analysis: Annotated[
        bool,
        typer.Option(
            "--analysis", help="Keep the values of small cells: for analysts, not to be passed on."
        ),
    ] = False,
) -> None:
    """Means, shares and totals of accepted submissions, each with its error and n."""
    from datetime import UTC, datetime

    from survey.aggregates import HOUSEHOLD_FORMS, protected
    from survey.errors import ConfigError
    from survey.forms import SubmissionStore
    from survey.forms.durable import store_lock
    from survey.privacy import ExportLog
    from survey.rounds import read_round

    if form not in (*HOUSEHOLD_FORMS, _YIELD, _PRICES):
        raise ConfigError(f"{form} has no aggregates; there are {', '.join(HOUSEHOLD_FORMS)}, "
                          f"{_YIELD}, {_PRICES}")  # fmt: skip
    if by not in ("district", "project", "village") or (form == _YIELD and by != "district"):
        raise ConfigError(f"--by {by} is not possible for {form}; write --by district")
    if to is not None and to.suffix.lower() not in (".csv", ".json"):
        raise ConfigError(f"--to {to} is no .csv or .json")
    store = SubmissionStore(read_round(survey).submissions_folder)
    with store_lock(store.folder):  # nobody is withdrawn meanwhile
        table, left_out = _table(store, survey, form, by, weights)
        shown = table if analysis else protected(table)
        if analysis and to is not None:
            # Small cells tell of people: who withdraws is in them.
            ExportLog(store.folder).record("analysis", [to], now=datetime.now(UTC), of="*")
        if to is not None:
            _write(shown, to, is_private=analysis)
    if to is None:
        _print(shown)
    if left_out:
        typer.echo(f"Left out because they are not accepted: {left_out}", err=True)


def _table(
    store: SubmissionStore, survey: Path, form: str, by: str, weights: Path | None
) -> tuple[pd.DataFrame, str]:
    from api.reviewing import round_places
    from survey.aggregates import (
        Limits,
        household_aggregates,
        price_aggregates,
        yield_aggregates,
    )
    from survey.errors import SurveyError
    from survey.review import accepted_submissions
    from survey.rounds import read_round

    declared = read_round(survey)
    limits = Limits(
        level=declared.estimation.level,
        min_respondents=declared.disclosure.min_respondents,
        min_villages=declared.disclosure.min_villages,
    )
    accepted, states = accepted_submissions(store, form)
    left_out = ", ".join(f"{n} {state}" for state, n in states.items())
    if not accepted:
        raise SurveyError(
            f"no {form} is accepted ({left_out or 'none came in'}); review them with: adsurvey "
            f"forms review list --form {form} --survey {survey}"
        )
    known = None if weights is None else _weights(weights)
    if form == _PRICES:
        return price_aggregates(accepted, limits=limits), left_out
    if form == _YIELD:
        places = round_places(declared)
        of = places.segment_district if places is not None else {}
        made = yield_aggregates(accepted, by, limits=limits, district_of=of, weights=known)
        return made, left_out
    return household_aggregates(accepted, by, limits=limits, weights=known), left_out


def _weights(path: Path) -> Mapping[str, float]:
    from survey.errors import TableError
    from survey.readers import read_csv

    table = read_csv(path)
    keys = [n for n in ("instance_id", "village_id", "plot_id") if n in table.columns]
    if len(keys) != 1 or "weight" not in table.columns:
        raise TableError(
            f"{path.name} needs the columns weight and one of instance_id, village_id, plot_id"
        )
    found: dict[str, float] = {}
    for row, (key, text) in enumerate(zip(table[keys[0]], table["weight"], strict=True), start=1):
        try:
            found[str(key)] = float(text)
        except ValueError as error:
            raise TableError(
                f"{path.name}, row {row}: weight {text!r} is no number; correct it"
            ) from error
        if not 0.0 < found[str(key)] < float("inf"):
            raise TableError(
                f"{path.name}, row {row}: weight {text!r} must be above zero; correct it"
            )
    return found


def _write(table: pd.DataFrame, to: Path, *, is_private: bool) -> None:
    from survey.errors import SurveyError
    from survey.spreadsheets import spreadsheet_table

    if to.suffix.lower() == ".csv":
        content = spreadsheet_table(table).to_csv(index=False, lineterminator="\n")
    else:
        content = json.dumps(json.loads(table.to_json(orient="records")), indent=1) + "\n"
    try:
        to.touch(mode=0o600 if is_private else 0o644)
        if is_private:
            to.chmod(0o600)  # a file that stood there already may be open to all
        to.write_text(content, encoding="utf-8")
    except OSError as error:
        raise SurveyError(f"{to} cannot be written: {error.strerror}") from error
    typer.echo(f"{len(table)} rows in {to}")


def _print(table: pd.DataFrame) -> None:
    typer.echo(f"{'domain':<12} {'variable':<22} {'value':>10}  {'interval':<21} {'n':>5}  unit")
    for row in table.to_dict("records"):
        hidden = row["value"] is None or row["value"] != row["value"]
        value = "-" if hidden else f"{row['value']:,.4g}"
        has_interval = not hidden and row["low"] == row["low"] and row["low"] is not None
        interval = f"{row['low']:,.4g} to {row['high']:,.4g}" if has_interval else "-"
        name = row["variable"] + (" total" if row["statistic"] == "total" else "")
        n = "-" if hidden else str(row["n"])
        typer.echo(
            f"{row['domain_id']:<12} {name:<22} {value:>10}  {interval:<21} {n:>5}  {row['unit']}"
            + (f"  ({row['disclosure']})" if row["disclosure"] else "")
        )
