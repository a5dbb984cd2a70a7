"""Means, shares and totals of what households and headmen answered, villages as clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from survey.aggregates.cells import Limits, aggregate, known_weight
from survey.aggregates.variables import variables_of
from survey.forms import Submission

__all__ = ["HOUSEHOLD_FORMS", "household_aggregates"]

#: Forms in which a household, or a headman for a village, answers.
HOUSEHOLD_FORMS = ("farmer_survey", "project_baseline", "project_follow_up", "village_headman")


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
    return aggregate(
        rows,
        agreed,
        variables_of(form_id),
        form_id=form_id,
        by=by,
        limits=limits,
        has_total=weights is not None,
    )


def _weight(submission: Submission, weights: Mapping[str, float] | None) -> float:
    if weights is None:
        return 1.0
    village = submission.answers.get("village_id", "")
    if submission.instance_id in weights:
        return weights[submission.instance_id]
    return known_weight(weights, village, "village_id")
