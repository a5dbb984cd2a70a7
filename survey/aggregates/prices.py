"""Mean prices by product, month and currency, districts as clusters."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from survey.aggregates.cells import ALL, COLUMNS, Limits, aggregate
from survey.aggregates.variables import Variable
from survey.estimation.production import WeightUnit, to_kilograms
from survey.forms import Submission
from survey.forms.questions import parse_number

__all__ = ["price_aggregates"]


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
                variable = Variable(
                    name=product,
                    unit=f"{currency}/{unit}",
                    is_share=False,
                    read=_per_kilogram if unit == "kg" else _as_told,
                )
                made = aggregate(
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


def _in_unit(submissions: Sequence[Submission], unit: str) -> list[Submission]:
    return [s for s in submissions if s.answers["weight_unit"] == unit]


def _as_told(submission: Submission) -> float:
    return parse_number(submission.answers["price"])


def _per_kilogram(submission: Submission) -> float:
    unit = WeightUnit(submission.answers["weight_unit"])
    return _as_told(submission) / to_kilograms(1.0, unit).kg
