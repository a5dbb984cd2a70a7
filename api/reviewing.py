"""Submissions of a declared round under review: store, boundaries and checks put together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

from survey.checks import Places
from survey.errors import FormError
from survey.forms import Submission, SubmissionStore, form_ids
from survey.readers import read_districts, read_frame, read_projects
from survey.review import Review, flagged_reviews
from survey.rounds import Round

__all__ = [
    "RoundReviews",
    "answers_by_place",
    "review_detail",
    "review_row",
    "round_places",
    "round_reviews",
]

#: Nothing of a season is older than this, counted from its reference date.
_SEASON = timedelta(days=366)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundReviews:
    """Submissions of a round with state and flags.

    Attributes
    ----------
    places : Places or None
        None where districts and frame are not there yet: places are unchecked then.
    """

    store: SubmissionStore
    places: Places | None
    reviews: list[Review]


def round_places(declared: Round) -> Places | None:
    """Districts, segments and projects of a round; None where the layers are not there yet."""
    where, inputs = declared.locate, declared.inputs
    if not (where(inputs.districts).exists() and where(inputs.frame).exists()):
        return None
    districts = read_districts(where(inputs.districts), declared.columns.districts)
    projects = None
    if inputs.projects is not None and where(inputs.projects).exists():
        projects = read_projects(where(inputs.projects), districts)
    return Places(districts, read_frame(where(inputs.frame), districts), projects)


def round_reviews(
    declared: Round, form_id: str = "", *, today: date, places: Places | None = None
) -> RoundReviews:
    """Every submission of a round, checked against the others and against the places.

    Parameters
    ----------
    form_id : str
        Of this form only; of all where empty.
    places : Places, optional
        From `round_places`, where it is at hand already.

    Raises
    ------
    FormError
        There is no such form.
    """
    if form_id and form_id not in form_ids():
        raise FormError(f"there is no form {form_id!r}; there are {', '.join(form_ids())}")
    store = SubmissionStore(declared.submissions_folder)
    places = places or round_places(declared)
    reviews = [
        review
        for each in ([form_id] if form_id else form_ids())
        for review in flagged_reviews(
            store,
            each,
            places=places,
            today=today,
            earliest=declared.survey.reference_date - _SEASON,
        )
    ]
    return RoundReviews(store=store, places=places, reviews=reviews)


def review_row(review: Review, places: Places | None) -> dict[str, Any]:
    """What a list shows of a submission: no answers but who, where (district) and when."""
    answers = review.submission.answers
    segments = places.segment_district if places is not None else {}
    return {
        "instance_id": review.instance_id,
        "form_id": review.original.form_id,
        "state": review.state.value,
        "district": answers.get("district_pcode")
        or segments.get(answers.get("segment_id", ""), ""),
        "team": answers.get("observer_code", ""),
        "day": answers.get("visit_date") or answers.get("event_date", ""),
        "received_at": review.received_at,
        "flags": [
            {"check": f.check.value, "field": f.field, "what": f.what, "remedy": f.remedy}
            for f in review.flags
        ],
        "new_checks": list(review.new_checks),
        "seen": review.seen,
    }


def review_detail(review: Review, places: Places | None) -> dict[str, Any]:
    """Everything about a submission, its answers included: for those who may read them."""
    return {
        **review_row(review, places),
        "decisions": [asdict(decision) for decision in review.decisions],
        "answers": answers_by_place(review.submission),
        "original": answers_by_place(review.original),
    }


def answers_by_place(submission: Submission) -> dict[str, str]:
    """Answers that were given, those of repeats as ``capsule[2]/height_mm``."""
    answers = dict(submission.answers)
    for name, entries in submission.repeats.items():
        for number, entry in enumerate(entries, start=1):
            answers |= {f"{name}[{number}]/{key}": value for key, value in entry.items()}
    return {place: answer for place, answer in answers.items() if answer}
