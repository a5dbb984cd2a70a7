"""How far the fieldwork is: what came in, from whom and when, and what is missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.options import AsJson, SurveyPath

if TYPE_CHECKING:
    import pandas as pd

    from api.reviewing import RoundReviews
    from survey.review import Review

__all__ = ["status"]

_COUNTS = ("drawn", "visited", "accepted")


def status(
    survey: SurveyPath = Path("survey.toml"),
    missing: Annotated[
        bool, typer.Option("--missing", help="Name the drawn segments without a visit.")
    ] = False,
    days: Annotated[
        bool, typer.Option("--days", help="Also count all forms by day and observer.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what came in, and what is missing against the sample.

    Segment ids are names of places: do not pass the list of `--missing` on.
    """
    from api.reviewing import round_reviews
    from survey.errors import SurveyError
    from survey.rounds import read_round

    reviewed = round_reviews(read_round(survey), today=datetime.now(UTC).date())
    if reviewed.places is None:
        raise SurveyError("the districts or the frame of the round are missing; see [inputs]")
    told = {
        **_store(reviewed),
        **_sample(reviewed.reviews, reviewed.places.frame, missing=missing),
        "days": _days(reviewed),
    }
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    _print_store(told)
    _print_sample(told, reviewed.places.name_of)
    if days:
        typer.echo("\nday         observer      all  received  flagged  accepted  rejected")
        for row in told["days"]:
            typer.echo(
                f"{row['day']:<11} {row['team']:<12} {row['total']:>4} {row['received']:>9} "
                f"{row['flagged']:>8} {row['accepted']:>9} {row['rejected']:>9}"
            )


def _store(reviewed: RoundReviews) -> dict[str, Any]:
    """Submissions of each form by state, and what is kept without being one of them."""
    from survey.forms.questionnaires import QUESTIONS
    from survey.review import count_states

    by_form = {
        form_id: count_states([r for r in reviewed.reviews if r.original.form_id == form_id])
        for form_id in reviewed.store.form_ids()
    }
    n_conflicts, n_refused = reviewed.store.kept_for_review()
    return {
        "submissions": {form_id: sum(states.values()) for form_id, states in by_form.items()},
        "states": by_form,
        "conflicts": n_conflicts,
        "waiting_for_files": reviewed.store.n_waiting(),
        "encrypted": sum(1 for _ in reviewed.store.iter_sealed()),
        "refused_files": n_refused,
        "other_forms": [f for f, states in by_form.items() if f not in QUESTIONS and states],
    }


def _sample(reviews: Sequence[Review], frame: pd.DataFrame, *, missing: bool) -> dict[str, Any]:
    """Segments of each district and visits of each observer."""
    from survey.progress import district_progress, team_progress
    from survey.review import ReviewState

    visits = [r for r in reviews if r.original.form_id == "segment_visit"]
    standing = [r for r in visits if r.state is not ReviewState.REJECTED]
    by_district = district_progress(
        [r.submission for r in standing],
        frame,
        accepted={r.instance_id for r in standing if r.state is ReviewState.ACCEPTED},
    )
    by_team = team_progress([r.submission for r in visits])
    if not missing:
        by_district = by_district.drop(columns="missing")
    return {
        "districts": json.loads(by_district.to_json(orient="records")),
        "teams": json.loads(by_team.to_json(orient="records")),
    }


def _days(reviewed: RoundReviews) -> list[dict[str, Any]]:
    """Submissions of all forms by day and observer, in each state."""
    import pandas as pd

    from api.reviewing import review_row
    from survey.progress import state_progress

    rows = [review_row(review, reviewed.places) for review in reviewed.reviews]
    table = pd.DataFrame(rows, columns=["day", "team", "state"])
    found: list[dict[str, Any]] = json.loads(
        state_progress(table, ["day", "team"]).to_json(orient="records")
    )
    return found


def _print_store(told: dict[str, Any]) -> None:
    for form_id, count in told["submissions"].items():
        if count:
            states = ", ".join(f"{n} {state}" for state, n in told["states"][form_id].items())
            typer.echo(f"{form_id:<20} {count:>6}  {states}")
    typer.echo(
        f"{'kept for review':<20} {told['conflicts']:>6} conflicts, "
        f"{told['refused_files']} refused files"
    )
    for name, key in (("files are missing", "waiting_for_files"), ("encrypted", "encrypted")):
        if told[key]:
            typer.echo(f"{name:<20} {told[key]:>6}")
    if told["other_forms"]:
        typer.echo(
            f"{', '.join(told['other_forms'])}: of no form of this program and in no table; take "
            "them over with adsurvey forms map, or see them with adsurvey forms export"
        )


def _print_sample(told: dict[str, Any], names: Any) -> None:
    typer.echo("\ndistrict          drawn  visited  accepted  missing")
    for row in told["districts"]:
        name = f"{row['district_pcode']} {names[row['district_pcode']]}"
        ids = "  " + " ".join(row["missing"]) if row.get("missing") else ""
        typer.echo(
            f"{name:<17} {row['drawn']:>5} {row['visited']:>8} {row['accepted']:>9} "
            f"{row['drawn'] - row['visited']:>8}{ids}"
        )
    n = {key: sum(row[key] for row in told["districts"]) for key in _COUNTS}
    typer.echo(
        f"{'all':<17} {n['drawn']:>5} {n['visited']:>8} {n['accepted']:>9} "
        f"{n['drawn'] - n['visited']:>8}"
    )
    typer.echo("\nobserver     visits  days  first       last")
    for row in told["teams"]:
        typer.echo(
            f"{row['observer_code']:<12} {row['visits']:>6} {row['days']:>5}  "
            f"{row['first_day']}  {row['last_day']}"
        )
