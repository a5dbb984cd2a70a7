"""Tables from questionnaires: means and totals of households, yields of fields, prices.

Every figure says how many respondents and villages are behind it, by which method, and when it
was asked. What is no probability sample gets no interval. Cells that would tell of few people are
named with a reason; `protected` empties them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from survey.areas import AreaUnit, to_hectares
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
    opium_yield,
    share_by_cluster,
    total_by_cluster,
)
from survey.estimation.production import WeightUnit, to_kilograms
from survey.forms import Submission
from survey.forms.questionnaires import QUESTIONS
from survey.forms.questions import Question, parse_number

__all__ = [
    "COLUMNS",
    "HOUSEHOLD_FORMS",
    "Limits",
    "capsule_volume",
    "household_aggregates",
    "price_aggregates",
    "protected",
    "yield_aggregates",
]

#: Forms in which a household, or a headman for a village, answers.
HOUSEHOLD_FORMS = ("farmer_survey", "project_baseline", "project_follow_up", "village_headman")
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
#: Years and waves name a time; prices of headmen are in several currencies and units.
_NOT_AVERAGED = frozenset({"consent", "wave", "assistance_year", "price_fresh", "price_dry"})
_TELLING = ("value", "se", "low", "high", "n", "n_villages", "date")
_NO_INTERVAL = "convenience sample: no design-based interval"
_UNITS = (
    ("_satisfaction", "score 1-5"), ("_usefulness", "score 1-5"), ("_score", "score 1-5"),
    ("_usd", "USD"), ("_km", "km"), ("_percent", "%"), ("_months", "months"),
    ("_m", "m"), ("_years", "years"), ("_size", "persons"), ("population", "persons"),
    ("_hours", "h"), ("_dry", "h"), ("_rainy", "h"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Smallest cells, as in `[disclosure]` of survey.toml."""

    level: float = 0.95
    min_respondents: int = 5
    min_villages: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variable:
    """What is averaged; `read` gives NaN where it was not asked or not answered."""

    name: str
    unit: str
    is_share: bool
    read: Callable[[Submission], float]


def household_aggregates(
    submissions: Sequence[Submission],
    by: str,
    *,
    limits: Limits,
    weights: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Means of every number and share of every yes of one form, with villages as clusters.

    Who does not grow poppy grows 0 ha; who was not asked or did not answer is left out, never
    zero. Areas are hectares.

    Parameters
    ----------
    submissions : sequence of Submission
        Accepted ones of one form of `HOUSEHOLD_FORMS`; refusals of consent are left out.
    by : {"village", "district", "project"}
        Domain of a row; a last row stands for all domains together. Households of one village
        are taken as its sample.
    weights : mapping of instanceID or village_id to weight, optional
        Inverse inclusion probabilities; then totals are given as well. Without them every
        household counts the same and there is no total.

    Returns
    -------
    DataFrame
        `COLUMNS`; values stand even where `disclosure` gives a reason: see `protected`.
    """
    agreed = [s for s in submissions if s.answers.get("consent") == "yes"]
    column = {"village": "village_id", "district": "district_pcode", "project": "project_id"}[by]
    rows = pd.DataFrame(
        [
            {
                "domain": s.answers.get(column, ""),
                "cluster": s.answers.get("village_id", "") if by != "village" else s.instance_id,
                "village": s.answers.get("village_id", ""),
                "district": s.answers.get("district_pcode", "") if by != "district" else "",
                "sample_type": s.answers.get("sample_type", "") or "convenience",
                "date": s.answers.get("visit_date", ""),
                "weight": _weight(s, weights),
            }
            for s in agreed
        ],
        columns=["domain", "cluster", "village", "district", "sample_type", "date", "weight"],
    )
    if by == "village":  # the code of a village is unique in its district only
        places = [s.answers.get("district_pcode", "") for s in agreed]
        rows["domain"] = [
            f"{p}/{v}" if v else "" for p, v in zip(places, rows["domain"], strict=True)
        ]
    form_id = agreed[0].form_id if agreed else ""
    return _aggregate(
        rows,
        agreed,
        _variables(form_id),
        form_id=form_id,
        by=by,
        limits=limits,
        has_total=weights is not None,
    )


def yield_aggregates(
    submissions: Sequence[Submission],
    by: str,
    *,
    limits: Limits,
    district_of: Mapping[str, str],
    weights: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Mean dry-opium yield of fields, kg/ha, with segments as clusters.

    The yield curve is concave: it is applied to the capsule volume of each field (the mean of its
    squares), then the fields are averaged.

    Parameters
    ----------
    submissions : sequence of Submission
        Accepted yield plots, one for each square.
    by : {"district"}
    district_of : mapping of segment_id to district_pcode
    weights : mapping of plot_id to weight, optional
        Hectares of the field over its inclusion probability.
    """
    fields: dict[str, list[Submission]] = {}
    for submission in submissions:
        fields.setdefault(submission.answers["plot_id"], []).append(submission)
    first = {plot: squares[0] for plot, squares in sorted(fields.items())}
    volume = {plot: float(np.mean([capsule_volume(s) for s in fields[plot]])) for plot in first}
    kilograms = dict(zip(volume, opium_yield(list(volume.values())).tolist(), strict=True))
    rows = pd.DataFrame(
        [
            {
                "domain": district_of.get(s.answers["segment_id"], ""),
                "cluster": s.answers["segment_id"],
                "village": s.answers["segment_id"],
                "sample_type": s.answers["sample_type"],
                "date": s.answers["visit_date"],
                "weight": 1.0 if weights is None else _known(weights, plot, "plot"),
            }
            for plot, s in first.items()
        ],
        columns=["domain", "cluster", "village", "sample_type", "date", "weight"],
    )
    variable = _Variable(
        name="opium_yield",
        unit="kg/ha",
        is_share=False,
        read=lambda s: kilograms[s.answers["plot_id"]],
    )
    table = _aggregate(
        rows,
        list(first.values()),
        [variable],
        form_id="yield_plot",
        by=by,
        limits=limits,
        has_total=False,
    )
    return table.assign(method=table["method"] + " of fields; capsules as ellipsoids")


def price_aggregates(submissions: Sequence[Submission], *, limits: Limits) -> pd.DataFrame:
    """Mean price by product, month and currency: per kilogram, and per unit as it was told.

    Observers pick prices up where they hear them: districts are the clusters, and without a
    probability sample there is no interval.
    """
    parts = []
    months = sorted({s.answers["visit_date"][:7] for s in submissions})
    for month in months:
        heard = [s for s in submissions if s.answers["visit_date"].startswith(month)]
        groups = sorted({(s.answers["product"], s.answers["currency"]) for s in heard})
        for product, currency in groups:
            own = [
                s
                for s in heard
                if (s.answers["product"], s.answers["currency"]) == (product, currency)
            ]
            units = sorted({s.answers["weight_unit"] for s in own} - {"kg"})
            for unit, chosen in (("kg", own), *((u, _in_unit(own, u)) for u in units)):
                rows = pd.DataFrame(
                    {
                        "domain": [month] * len(chosen),
                        "cluster": [s.answers["district_pcode"] for s in chosen],
                        "village": [s.answers["district_pcode"] for s in chosen],
                        "sample_type": [
                            s.answers.get("sample_type", "") or "convenience" for s in chosen
                        ],
                        "date": [s.answers["visit_date"] for s in chosen],
                        "weight": 1.0,
                    }
                )
                variable = _Variable(
                    name=product,
                    unit=f"{currency}/{unit}",
                    is_share=False,
                    read=_per_kilogram if unit == "kg" else _as_told,
                )
                made = _aggregate(
                    rows,
                    chosen,
                    [variable],
                    form_id="price_observation",
                    by="month",
                    limits=limits,
                    has_total=False,
                )
                made = made.loc[made["domain_id"] != ALL]
                if unit == "kg" and units:
                    made = made.assign(
                        method=made["method"] + f"; {', '.join(units)} converted to kilograms"
                    )
                parts.append(made)
    if not parts:
        return pd.DataFrame(columns=list(COLUMNS))
    return pd.concat(parts, ignore_index=True)


def protected(table: pd.DataFrame) -> pd.DataFrame:
    """A table that may leave: cells with a reason are emptied, counts and dates included."""
    safe = table.copy()
    hidden = safe["disclosure"] != ""
    for column in _TELLING:
        safe[column] = safe[column].astype(object).mask(hidden, None)
    return safe


def capsule_volume(square: Submission) -> float:
    """Mature-capsule volume of one square, cm3 per m2 of field.

    Capsules are taken as ellipsoids, pi/6 d^2 h, and the mean of the measured ones stands for all
    mature ones counted. Buds and immature capsules do not count.
    """
    entries = square.repeats.get("capsule", ())
    sizes = [
        (parse_number(e["height_mm"]), parse_number(e["diameter_mm"]))
        for e in entries
        if e.get("height_mm") and e.get("diameter_mm")
    ]
    n_mature = parse_number(square.answers["n_mature"])
    area_m2 = parse_number(square.answers["square_area_m2"])
    if n_mature == 0.0:
        return 0.0
    if not sizes or area_m2 <= 0.0:
        raise TableError(
            f"{square.instance_id}: {n_mature:.0f} capsules but none measured, or no area; edit "
            "or reject the plot"
        )
    mm3 = np.mean([math.pi / 6.0 * diameter**2 * height for height, diameter in sizes])
    return float(mm3) / 1000.0 * n_mature / area_m2


def _aggregate(
    rows: pd.DataFrame,
    submissions: Sequence[Submission],
    variables: Iterable[_Variable],
    *,
    form_id: str,
    by: str,
    limits: Limits,
    has_total: bool,
) -> pd.DataFrame:
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
    domain: str, own: pd.DataFrame, variable: _Variable, statistic: str, limits: Limits
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
    variable: _Variable,
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
    variable: _Variable,
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


def _variables(form_id: str) -> list[_Variable]:
    found = []
    for question in QUESTIONS.get(form_id, ()):
        if question.repeat or question.name in _NOT_AVERAGED:
            continue
        if question.kind in ("integer", "decimal"):
            found.append(_number(question))
        elif question.kind == "choice" and set(question.choices) == {"yes", "no"}:
            found.append(_share(question.name))
    return found


def _number(question: Question) -> _Variable:
    name = question.name
    is_area = name.endswith("_area")

    def read(submission: Submission) -> float:
        answers = submission.answers
        if not answers.get(name):
            # Who grows none grows zero hectares; who was not asked is unknown.
            is_none = name == "poppy_area" and answers.get("grows_poppy") == "no"
            return 0.0 if is_none else math.nan
        value = parse_number(answers[name])
        if is_area:
            unit = answers.get("area_unit", "")
            return to_hectares(value, AreaUnit(unit)) if unit else math.nan
        return value

    unit: str = next((unit for end, unit in _UNITS if name.endswith(end)), "count")
    return _Variable(
        name=f"{name.removesuffix('_area')}_ha" if is_area else name,
        unit="ha" if is_area else unit,
        is_share=False,
        read=read,
    )


def _share(name: str) -> _Variable:
    return _Variable(
        name=name,
        unit="share",
        is_share=True,
        read=lambda s: {"yes": 1.0, "no": 0.0}.get(s.answers.get(name, ""), math.nan),
    )


def _weight(submission: Submission, weights: Mapping[str, float] | None) -> float:
    if weights is None:
        return 1.0
    village = submission.answers.get("village_id", "")
    if submission.instance_id in weights:
        return weights[submission.instance_id]
    return _known(weights, village, "village_id")


def _known(weights: Mapping[str, float], key: str, what: str) -> float:
    if key not in weights:
        raise TableError(f"the weights have no row for a {what} of the sample; add all of them")
    return weights[key]


def _in_unit(submissions: Sequence[Submission], unit: str) -> list[Submission]:
    return [s for s in submissions if s.answers["weight_unit"] == unit]


def _as_told(submission: Submission) -> float:
    return parse_number(submission.answers["price"])


def _per_kilogram(submission: Submission) -> float:
    unit = WeightUnit(submission.answers["weight_unit"])
    return _as_told(submission) / to_kilograms(1.0, unit).kg


def _period(days: pd.Series[str]) -> str:
    """First and last day, ISO 8601."""
    first, last = min(days), max(days)
    return first if first == last else f"{first}/{last}"
