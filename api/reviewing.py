"""Submissions of a declared round under review: store, boundaries and checks put together."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

import pandas as pd

from survey.checks import Places
from survey.errors import FormError
from survey.forms import Submission, SubmissionStore
from survey.forms.records import OUTER, entry_places
from survey.progress import district_progress, state_progress
from survey.readers import read_districts, read_frame, read_projects
from survey.review import FormReviews, Review, ReviewState
from survey.rounds import Round

__all__ = [
    "ReviewDesk",
    "RoundReviews",
    "answers_by_place",
    "declared_district",
    "other_answers",
    "review_detail",
    "review_progress",
    "review_row",
    "round_places",
    "round_reviews",
    "sample_progress",
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
    declared: Round,
    form_id: str = "",
    *,
    today: date,
    places: Places | None = None,
    known: dict[str, FormReviews] | None = None,
) -> RoundReviews:
    """Every submission of a round, checked against the others and against the places.

    Parameters
    ----------
    form_id : str
        Of this form only; of all where empty.
    places : Places, optional
        From `round_places`, where it is at hand already.
    known : dict of form to FormReviews, optional
        Of the last time, where only what changed is to be read; forms are added.

    Raises
    ------
    FormError
        There is no such form.
    """
    store = SubmissionStore(declared.submissions_folder)
    there = store.form_ids()
    if form_id and form_id not in there:
        raise FormError(f"there is no form {form_id!r}; there are {', '.join(there)}")
    places = places or round_places(declared)
    known = {} if known is None else known
    reviews: list[Review] = []
    for each in [form_id] if form_id else there:
        form = known.setdefault(each, FormReviews(store, each))
        reviews += form.look(
            places=places, today=today, earliest=declared.survey.reference_date - _SEASON
        )
    return RoundReviews(store=store, places=places, reviews=reviews)


#: When names in a folder last changed (ns), and how many there are.
_Mark = tuple[int, int]


class ReviewDesk:
    """A round under review in a service: read again only when something came or was decided.

    Parameters
    ----------
    declared : Round
    """

    def __init__(self, declared: Round) -> None:
        self._declared = declared
        self._lock = threading.Lock()
        self._today: date | None = None
        self._marks: dict[str, _Mark] = {}
        self._forms: dict[str, FormReviews] = {}
        self._kept: RoundReviews | None = None
        self.store = SubmissionStore(declared.submissions_folder)

    def look(self, *, today: date) -> RoundReviews:
        """Submissions as they stand now; what did not change is neither read nor checked again."""
        with self._lock:
            marks = self._folders()
            if self._kept is None or (today, marks) != (self._today, self._marks):
                places = self._kept.places if self._kept else None
                self._kept = round_reviews(
                    self._declared, today=today, places=places, known=self._forms
                )
                self._today, self._marks = today, marks
            return self._kept

    def _folders(self) -> dict[str, _Mark]:
        root = self.store.folder
        found = {}
        for pattern in ("submissions/*", "review/*", "conflicts", "withdrawn", "forms/*"):
            for folder in root.glob(pattern):
                changed = folder.stat().st_mtime_ns
                with os.scandir(folder) as names:
                    found[str(folder.relative_to(root))] = (changed, sum(1 for _ in names))
        return found


def review_progress(
    reviews: Sequence[Review], places: Places | None, *, covers: Callable[[str], bool]
) -> dict[str, list[dict[str, Any]]]:
    """What came in by form, district, team and day, and what is missing against the sample.

    Parameters
    ----------
    covers : callable
        Whether a district is shown.

    Returns
    -------
    dict
        `forms`, `districts`, `teams`, `days`: counts by state; `sample`: drawn, visited, accepted
        and missing segments of each district, counted and not named.
    """
    rows = pd.DataFrame(
        [review_row(review, places) for review in reviews],
        columns=["form_id", "district", "team", "day", "state"],
    )
    tables = {
        "forms": state_progress(rows, ["form_id"]),
        "districts": state_progress(rows, ["district"]),
        "teams": state_progress(rows, ["team"]),
        "days": state_progress(rows, ["day"]),
    }
    if places is not None:
        tables["sample"] = sample_progress(reviews, places, covers=covers)
    return {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}


def sample_progress(
    reviews: Sequence[Review],
    places: Places,
    *,
    covers: Callable[[str], bool],
    names: bool = False,
) -> pd.DataFrame:
    """Drawn, visited, accepted and missing segments of the districts shown.

    Parameters
    ----------
    names : bool
        The missing ones by their ids, which are names of places; else their number.
    """
    visits = [
        r
        for r in reviews
        if r.original.form_id == "segment_visit" and r.state is not ReviewState.REJECTED
    ]
    table = district_progress(
        [r.submission for r in visits],
        places.frame,
        accepted={r.instance_id for r in visits if r.state is ReviewState.ACCEPTED},
    )
    table.insert(1, "district_name", [places.name_of[code] for code in table["district_pcode"]])
    if not names:
        table["missing"] = [len(segments) for segments in table["missing"]]
    return table.loc[[covers(code) for code in table["district_pcode"]]]


def declared_district(submission: Submission, places: Places | None) -> str:
    """District that a submission names, itself or by its segment; empty where none is known."""
    answers = submission.answers
    segments = places.segment_district if places is not None else {}
    return answers.get("district_pcode") or segments.get(answers.get("segment_id", ""), "")


def review_row(review: Review, places: Places | None) -> dict[str, Any]:
    """What a list shows of a submission: no answers but who, where (district) and when."""
    answers = review.submission.answers
    return {
        "instance_id": review.instance_id,
        "form_id": review.original.form_id,
        "state": review.state.value,
        "district": declared_district(review.submission, places),
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


def other_answers(
    store: SubmissionStore,
    review: Review,
    *,
    may_see: Callable[[Submission], bool] = lambda _: True,
) -> list[dict[str, str]]:
    """Where other contents under the same instanceID differ from the answers that stand.

    Parameters
    ----------
    may_see : callable
        Whether a content is of the reader's areas; of the others there is an empty dict.
    """
    own = answers_by_place(review.submission)
    found: list[dict[str, str]] = []
    for stored in store.other_answers(review.instance_id):
        if not may_see(stored.submission):
            found.append({})
            continue
        theirs = answers_by_place(stored.submission)
        differing = [place for place in {**own, **theirs} if own.get(place) != theirs.get(place)]
        found.append({place: theirs.get(place, "") for place in differing})
    return found


def review_detail(review: Review, places: Places | None, store: SubmissionStore) -> dict[str, Any]:
    """Everything about a submission, its answers included: for those who may read them."""
    return {
        "other_answers": other_answers(store, review),
        **review_row(review, places),
        "decisions": [asdict(decision) for decision in review.decisions],
        "answers": answers_by_place(review.submission),
        "original": answers_by_place(review.original),
    }


def answers_by_place(submission: Submission) -> dict[str, str]:
    """Answers that were given, those of repeats as ``plot[1]/plot_crop[2]/crop_name``."""
    answers = dict(submission.answers)
    for place, entry in entry_places(submission):
        answers |= {f"{place}{name}": value for name, value in entry.items() if name != OUTER}
    return {place: answer for place, answer in answers.items() if answer}
