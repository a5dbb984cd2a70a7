"""Cells of a table: their figure, what would tell of few people, and what that gives away."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from survey.aggregates.variables import Variable
from survey.disclosure import (
    REASON_OVERLAP,
    REASON_SECONDARY,
    is_dominated,
    overlapping_cells,
    secondary_suppression,
    small_respondent_cells,
)
from survey.errors import TableError
from survey.estimation import (
    MeanEstimate,
    mean_by_cluster,
    share_by_cluster,
    total_by_cluster,
)
from survey.forms import Submission

__all__ = ["ALL", "COLUMNS", "Limits", "aggregate", "known_weight", "protected"]

ALL = "all"
COLUMNS = (
    "form_id",
    "by",
    "domain_id",
    "variable",
    "statistic",
    "value",
    "unit",
    "se",
    "low",
    "high",
    "level",
    "n",
    "n_villages",
    "sample_type",
    "method",
    "date",
    "disclosure",
)
_TELLING = ("value", "se", "low", "high", "n", "n_villages", "date")
_NO_INTERVAL = "convenience sample: no design-based interval"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Smallest cells, as in `[disclosure]` of survey.toml."""

    level: float = 0.95
    min_respondents: int = 5
    min_villages: int = 2


def protected(table: pd.DataFrame) -> pd.DataFrame:
    """A table that may leave: cells with a reason are emptied, counts and dates included."""
    safe = table.copy()
    hidden = safe["disclosure"] != ""
    for column in _TELLING:
        safe[column] = safe[column].astype(object).mask(hidden, None)
    return safe


def aggregate(
    rows: pd.DataFrame,
    submissions: Sequence[Submission],
    variables: Iterable[Variable],
    *,
    form_id: str,
    by: str,
    limits: Limits,
    has_total: bool,
) -> pd.DataFrame:
    """The table of some variables: a row for each domain, and one for all together.

    Parameters
    ----------
    rows : DataFrame
        For each of `submissions`: `domain`, `cluster`, `village`, `sample_type`, `date`, `weight`;
        with `district`, cells that the table by district would undo are hidden as well.

    Returns
    -------
    DataFrame
        `COLUMNS`; values stand even where `disclosure` gives a reason.
    """
    made = []
    for variable in variables:
        answers = rows.assign(answer=[variable.read(s) for s in submissions])
        everybody = answers.loc[answers["answer"].notna()]
        answers = everybody.loc[everybody["domain"] != ""]
        if answers.empty:
            continue
        cells = [*answers.groupby("domain", sort=True), (ALL, answers)]
        statistics = ("mean", "total") if has_total and not variable.is_share else ("mean",)
        for statistic in statistics:
            block = [_cell(str(domain), own, variable, statistic, limits) for domain, own in cells]
            if "district" in answers:
                _protect_overlap(block, everybody, variable, statistic, limits)
            made += _protect(block, cells, variable)
    for row in made:
        row |= {"form_id": form_id, "by": by, "level": limits.level}
    return pd.DataFrame(made, columns=list(COLUMNS))


def _cell(
    domain: str, own: pd.DataFrame, variable: Variable, statistic: str, limits: Limits
) -> dict[str, object]:
    drawn = own.loc[own["sample_type"] == "probability"]
    used = drawn if len(drawn) else own
    # All domains together: a village's code is unique in its district only.
    cluster = used["cluster"] if domain != ALL else used["domain"] + "/" + used["cluster"]
    estimate = _estimate(used, cluster, "share" if variable.is_share else statistic, limits.level)
    n_villages = (
        used["village"].nunique()
        if domain != ALL
        else (used["domain"] + "/" + used["village"]).nunique()
    )
    has_interval = len(drawn) > 0
    small = _is_small(estimate.n, n_villages, limits)
    contributions = used["answer"] * (used["weight"] if statistic == "total" else 1.0)
    if small:
        reason = (
            f"fewer than {limits.min_respondents} respondents or {limits.min_villages} villages"
        )
    elif variable.is_share and estimate.value >= 1.0:
        reason = "every respondent gave the same answer"
    elif not variable.is_share and is_dominated(contributions.to_numpy()):
        reason = "one respondent makes up nearly all of it"
    else:
        reason = ""
    return {
        "domain_id": domain,
        "variable": variable.name,
        "statistic": "share" if variable.is_share else statistic,
        "value": estimate.value,
        "unit": variable.unit,
        "se": estimate.se if has_interval else math.nan,
        # No answer is negative, so no mean is; a t interval does not know.
        "low": max(estimate.ci_low, 0.0) if has_interval else math.nan,
        "high": estimate.ci_high if has_interval else math.nan,
        "n": estimate.n,
        "n_villages": n_villages,
        "sample_type": "probability" if has_interval else "convenience",
        "method": estimate.method if has_interval else _NO_INTERVAL,
        "date": _period(used["date"]),
        "disclosure": reason,
    }


def _estimate(
    used: pd.DataFrame, cluster: pd.Series[str], statistic: str, level: float
) -> MeanEstimate:
    of = {"total": total_by_cluster, "share": share_by_cluster, "mean": mean_by_cluster}[statistic]
    return of(
        used["answer"].to_numpy(dtype=float),
        cluster.to_numpy(dtype=object),
        used["weight"].to_numpy(dtype=float),
        level=level,
    )


def _is_small(n: int, n_villages: int, limits: Limits) -> bool:
    return bool(
        small_respondent_cells(
            np.array([n]),
            np.array([n_villages]),
            min_respondents=limits.min_respondents,
            min_villages=limits.min_villages,
        )[0]
    )


def _protect_overlap(
    block: list[dict[str, object]],
    answers: pd.DataFrame,
    variable: Variable,
    statistic: str,
    limits: Limits,
) -> None:
    """Hide cells that the table by district of the same answers would undo."""
    is_drawn = answers["sample_type"] == "probability"
    used = answers.loc[is_drawn] if is_drawn.any() else answers
    place = used["district"] + "/" + used["village"]
    amounts = used["answer"] * (used["weight"] if statistic == "total" else 1.0)

    def is_small(who: npt.NDArray[np.bool_]) -> bool:
        return _is_small(int(who.sum()), place.loc[who].nunique(), limits) or (
            not variable.is_share and is_dominated(amounts.loc[who].to_numpy())
        )

    more = overlapping_cells(
        used["domain"].to_numpy(dtype=object),
        used["district"].to_numpy(dtype=object),
        frozenset(str(row["domain_id"]) for row in block if row["disclosure"]),
        is_small,
    )
    for row in block:
        if row["domain_id"] in more:
            row["disclosure"] = REASON_OVERLAP


def _protect(
    block: list[dict[str, object]],
    cells: Sequence[tuple[object, pd.DataFrame]],
    variable: Variable,
) -> list[dict[str, object]]:
    """Hide more cells where the row for all domains would give a hidden one away."""
    everything = cells[-1][1]
    is_drawn = bool((everything["sample_type"] == "probability").any())
    inside = [
        own.loc[own["sample_type"] == "probability"] if is_drawn else own for _, own in cells[:-1]
    ]
    # Only what adds to the row for all can be worked out from it.
    hidden = np.array(
        [row["disclosure"] != "" and len(own) > 0 for row, own in zip(block, inside, strict=False)]
    )
    if not hidden.any() or block[-1]["disclosure"]:
        return block
    sums = np.array([float((own["answer"] * own["weight"]).sum()) for own in inside])
    # A share cannot be more than everybody; of an amount a reader knows no limit below the whole.
    most = np.array([float(own["weight"].sum()) for own in inside])
    upper = most if variable.is_share else np.full(len(sums), sums.sum())
    more = secondary_suppression(
        hidden,
        np.zeros(len(sums), dtype=bool),
        sums,
        upper,
        np.full(len(sums), ALL, dtype=object),
    )
    for row, is_more in zip(block[:-1], more.cells, strict=True):
        if is_more and not row["disclosure"]:
            row["disclosure"] = REASON_SECONDARY
    if more.totals or more.grand_total:
        block[-1]["disclosure"] = REASON_SECONDARY
    return block


def known_weight(weights: Mapping[str, float], key: str, what: str) -> float:
    """The weight of a unit of the sample.

    Raises
    ------
    TableError
        It has none.
    """
    if key not in weights:
        raise TableError(f"the weights have no row for a {what} of the sample; add all of them")
    return weights[key]


def _period(days: pd.Series[str]) -> str:
    """First and last day, ISO 8601."""
    first, last = min(days), max(days)
    return first if first == last else f"{first}/{last}"
