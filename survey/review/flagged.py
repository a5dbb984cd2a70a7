"""Submissions of a form as they stand: with flags for reviewers, accepted ones for estimates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date

from survey.checks import Check, Flag, Memo, Places, check_places, check_submissions
from survey.forms import PublishedForms, Stored, Submission, SubmissionStore, is_taken_over
from survey.forms.questionnaires import QUESTIONS
from survey.review.log import ReviewLog, decision_name, review_of
from survey.review.states import Decision, Review, ReviewState

__all__ = ["FormReviews", "accepted_submissions", "count_states", "flagged_reviews"]


class FormReviews:
    """Submissions of a form under review; a second look reads and checks what changed since.

    Records and decisions are written once, or removed, so a file that is known is not read again.

    Parameters
    ----------
    store : SubmissionStore
    form_id : str
    """

    def __init__(self, store: SubmissionStore, form_id: str) -> None:
        self._store, self._form_id = store, form_id
        self._log = ReviewLog(store)
        self._stored: dict[str, Stored] = {}
        self._decisions: dict[str, Decision] = {}
        self._reviews: dict[str, Review] = {}
        self._memo = Memo()
        self._places: Places | None = None

    def look(
        self, *, places: Places | None, today: date, earliest: date = date.min
    ) -> list[Review]:
        """Every submission as it stands now; see `flagged_reviews`."""
        self._read()
        if self._form_id not in QUESTIONS:
            waiting = [r for k, r in self._reviews.items() if not is_taken_over(self._store, k)]
            return sorted(map(_of_another_form, waiting), key=lambda r: r.instance_id)
        if places is not self._places:
            self._memo, self._places = Memo(), places
        self._memo.begin()
        live = {k: r.submission for k, r in self._reviews.items() if not _is_rejected(r)}
        submissions = list(live.values())
        found = check_submissions(
            submissions,
            today=today,
            earliest=earliest,
            versions=PublishedForms(self._store.folder).versions(self._form_id),
            memo=self._memo,
        )
        if places is not None:
            found += check_places(submissions, places, memo=self._memo)
        flags: dict[str, list[Flag]] = defaultdict(list)
        for key in self._store.conflicting_keys() & live.keys():
            flags[live[key].instance_id].append(_conflict(live[key]))
        for flag in found:
            flags[flag.instance_id].append(flag)
        ordered = sorted(self._reviews.values(), key=lambda review: review.instance_id)
        return [
            replace(review, flags=tuple(flags[review.instance_id]))
            if review.instance_id in flags
            else review
            for review in ordered
        ]

    def _read(self) -> None:
        """Read the files that came, forget those that went; all or, if one is damaged, nothing."""
        form_id = self._form_id
        keys, names = set(self._store.stored_keys(form_id)), set(self._log.names(form_id))
        stored: dict[str, Stored] = {}
        decisions: dict[str, Decision] = {}
        for key in keys - self._stored.keys():
            with suppress(FileNotFoundError):  # withdrawn while we read
                stored[key] = self._store.stored_at(form_id, key)
        for name in names - self._decisions.keys():
            with suppress(FileNotFoundError):
                decisions[name] = self._log.read(form_id, name)
        gone = self._decisions.keys() - names
        for name in gone:
            del self._decisions[name]
        for key in self._stored.keys() - keys:
            del self._stored[key], self._reviews[key]
        self._stored |= stored
        self._decisions |= decisions
        for key in {*stored, *(name.partition("-")[0] for name in {*decisions, *gone})}:
            if key in self._stored:
                self._reviews[key] = review_of(self._stored[key], self._decided(key))

    def _decided(self, key: str) -> list[Decision]:
        """Decisions on a submission; they are numbered without gaps."""
        found: list[Decision] = []
        while one := self._decisions.get(decision_name(key, len(found) + 1)):
            found.append(one)
        return found


def flagged_reviews(
    store: SubmissionStore,
    form_id: str,
    *,
    places: Places | None,
    today: date,
    earliest: date = date.min,
) -> list[Review]:
    """Every submission of a form, with what the checks say about it as it was corrected.

    Rejected submissions are compared with nothing: once a double is rejected, the other stands
    alone. What a form of somebody else asked is not checked: each submission of it that was not
    taken over is flagged as such.

    Parameters
    ----------
    places : Places or None
        Districts and segments of the round; None leaves places unchecked.
    today, earliest : date
        Between them a visit can lie.

    Returns
    -------
    list of Review
        In order of instanceID.
    """
    return FormReviews(store, form_id).look(places=places, today=today, earliest=earliest)


def _is_rejected(review: Review) -> bool:
    return review.state is ReviewState.REJECTED


def _conflict(submission: Submission) -> Flag:
    return Flag(
        instance_id=submission.instance_id,
        check=Check.CONFLICT,
        field="",
        what="came again with other answers",
        remedy="the first one stands: compare with the team, edit or reject",
    )


def _of_another_form(review: Review) -> Review:
    flag = Flag(
        instance_id=review.instance_id,
        check=Check.FORM,
        field="",
        what="was filled in a form that this program does not know",
        remedy="take it over with adsurvey forms map, or reject it",
    )
    return replace(review, flags=(flag,))


def accepted_submissions(
    store: SubmissionStore, form_id: str
) -> tuple[list[Submission], dict[ReviewState, int]]:
    """What may enter an estimate: the accepted submissions of a form as they were corrected.

    Returns
    -------
    list of Submission
        In order of instanceID.
    dict of ReviewState to int
        How many were left out; received includes what is flagged.
    """
    reviews = ReviewLog(store).reviews(form_id)
    left_out = count_states(reviews)
    left_out.pop(ReviewState.ACCEPTED, None)
    withdrawn = sum(
        stone.form_id == form_id and stone.reason == "withdrawn"
        for stone in store.tombstones.all()
    )
    if withdrawn:
        left_out[ReviewState.WITHDRAWN] = withdrawn
    accepted = [review.submission for review in reviews if review.state is ReviewState.ACCEPTED]
    return accepted, left_out


def count_states(reviews: Sequence[Review]) -> dict[ReviewState, int]:
    """Number of submissions in each state that occurs, in the order of `ReviewState`."""
    states = [review.state for review in reviews]
    return {state: states.count(state) for state in ReviewState if state in states}
