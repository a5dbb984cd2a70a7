"""How far the fieldwork is: visits against the drawn segments, and teams by day."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from survey.forms import Submission

__all__ = ["district_progress", "team_progress"]


def district_progress(visits: Sequence[Submission], frame: pd.DataFrame) -> pd.DataFrame:
    """Drawn, visited and missing segments of each district.

    Parameters
    ----------
    visits : sequence of Submission
        Segment visits; several of one segment count once.
    frame : DataFrame
        Columns `segment_id`, `district_pcode` and `is_sampled`.

    Returns
    -------
    DataFrame
        `district_pcode`, `drawn`, `visited`, `missing` (ids of drawn segments without a visit,
        sorted) and `not_drawn` (visited segments that were not drawn and do not count);
        districts in order of their code.
    """
    seen = {visit.answers.get("segment_id", "") for visit in visits}
    drawn = frame.loc[frame["is_sampled"]]
    rows = []
    for code, own in frame.groupby("district_pcode", sort=True):
        ids = set(drawn.loc[drawn["district_pcode"] == code, "segment_id"])
        rows.append(
            {
                "district_pcode": str(code),
                "drawn": len(ids),
                "visited": len(ids & seen),
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
