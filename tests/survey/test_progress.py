"""What is missing against the sample, by hand."""

from __future__ import annotations

import pandas as pd

from survey.forms import Submission
from survey.progress import district_progress, state_progress, team_progress


def visit(segment: str, observer: str, day: str) -> Submission:
    answers = {"segment_id": segment, "observer_code": observer, "visit_date": day}
    return Submission(
        instance_id=f"uuid:{segment}-{day}",
        form_id="segment_visit",
        form_version="2026011501",
        answers=answers,
        source="test",
    )


VISITS = [
    visit("a1", "T1", "2026-02-03"),
    visit("a1", "T1", "2026-02-05"),
    visit("a3", "T2", "2026-02-04"),
    visit("b1", "T1", "2026-02-03"),
    visit("unknown", "T2", "2026-02-04"),
]
FRAME = pd.DataFrame(
    {
        "segment_id": ["a1", "a2", "a3", "b1", "c1"],
        "district_pcode": ["A", "A", "A", "B", "C"],
        "is_sampled": [True, True, False, True, False],
    }
)


def test_districts() -> None:
    done = {VISITS[1].instance_id, VISITS[2].instance_id}
    rows = district_progress(VISITS, FRAME, accepted=done).to_dict("records")
    assert rows == [
        row("A", drawn=2, visited=1, accepted=1, missing=("a2",), not_drawn=1),
        row("B", drawn=1, visited=1, accepted=0, missing=(), not_drawn=0),
        row("C", drawn=0, visited=0, accepted=0, missing=(), not_drawn=0),
    ]


def row(code: str, **counts: object) -> dict[str, object]:
    return {"district_pcode": code, **counts}


def test_states() -> None:
    table = pd.DataFrame(
        {
            "team": ["T1", "T1", "T1", "T2"],
            "day": ["d1", "d1", "d2", "d1"],
            "state": ["accepted", "flagged", "accepted", "rejected"],
        }
    )
    rows = state_progress(table, ["team", "day"]).set_index(["team", "day"])
    assert rows["total"].to_dict() == {("T1", "d1"): 2, ("T1", "d2"): 1, ("T2", "d1"): 1}
    assert rows.loc[("T1", "d1"), ["accepted", "flagged", "rejected"]].to_list() == [1, 1, 0]
    assert state_progress(table.iloc[:0], ["team"]).empty


def test_teams() -> None:
    rows = team_progress(VISITS).set_index("observer_code")
    assert rows.loc["T1"].to_list() == [3, 2, "2026-02-03", "2026-02-05"]
    assert rows.loc["T2"].to_list() == [2, 1, "2026-02-04", "2026-02-04"]
    assert team_progress([]).empty
