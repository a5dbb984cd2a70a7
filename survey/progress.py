"""How far the fieldwork is: visits against the drawn segments, and teams by day."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from survey.forms import Submission
from survey.review import ReviewState

__all__ = ["district_progress", "state_progress", "team_progress"]


def state_progress(submissions: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Number of submissions in each state of review.

    Parameters
    ----------
    submissions : DataFrame
        A row for each, with `state` and the columns of `by`.
    by : sequence of str
        What to count by, such as team and day.

    Returns
    -------
    DataFrame
        The columns of `by`, `total`, and a column for each state; sorted.
    """
    columns = [*by, "total", *ReviewState]
    if submissions.empty:
        return pd.DataFrame(columns=columns)
    flat = submissions[list(by)].assign(
        total=1, **{state: (submissions["state"] == state).astype(int) for state in ReviewState}
    )
    return flat.groupby(list(by), sort=True).sum().reset_index()[columns]


def district_progress(
    visits: Sequence[Submission], frame: pd.DataFrame, *, accepted: Collection[str] = ()
) -> pd.DataFrame:
    """Drawn, visited, accepted and missing segments of each district.

    Parameters
    ----------
    visits : sequence of Submission
        Segment visits that were not rejected; several of one segment count once.
    accepted : collection of str
        instanceIDs of those that were accepted.
    frame : DataFrame
        Columns `segment_id`, `district_pcode` and `is_sampled`.

    Returns
    -------
    DataFrame
        `district_pcode`, `drawn`, `visited`, `accepted`, `missing` (ids of drawn segments without
        a visit, sorted) and `not_drawn` (visited segments that were not drawn and do not count);
        districts in order of their code.
    """
    seen = {visit.answers.get("segment_id", "") for visit in visits}
    counted = {v.answers.get("segment_id", "") for v in visits if v.instance_id in accepted}
    drawn = frame.loc[frame["is_sampled"]]
    rows = []
    for code, own in frame.groupby("district_pcode", sort=True):
        ids = set(drawn.loc[drawn["district_pcode"] == code, "segment_id"])
        rows.append(
            {
                "district_pcode": str(code),
                "drawn": len(ids),
                "visited": len(ids & seen),
                "accepted": len(ids & counted),
                "missing": tuple(sorted(ids - seen)),
                "not_drawn": len((set(own["segment_id"]) - ids) & seen),
            }
        )
    return pd.DataFrame(rows)


def team_progress(visits: Sequence[Submission]) -> pd.DataFrame:
    """Visits of each observer: how many, on how many days, the first and the last.

    Returns
    -------
    DataFrame
        `observer_code`, `visits`, `days`, `first_day`, `last_day` (ISO 8601).
    """
    table = pd.DataFrame(
        [
            {
                "observer_code": visit.answers.get("observer_code", ""),
                "day": visit.answers.get("visit_date", ""),
            }
            for visit in visits
        ],
        columns=["observer_code", "day"],
    )
    return (
        table.groupby("observer_code", sort=True)["day"]
        .agg(visits="size", days="nunique", first_day="min", last_day="max")
        .reset_index()
    )
