"""Submissions of a form as they stand: with flags for reviewers, accepted ones for estimates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from survey.checks import Check, Flag, Places, check_places, check_submissions
from survey.forms import Submission, SubmissionStore, waiting_submissions
from survey.forms.durable import instance_key
from survey.forms.questionnaires import QUESTIONS
from survey.review.log import ReviewLog
from survey.review.states import Review, ReviewState

__all__ = ["accepted_submissions", "count_states", "flagged_reviews"]


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
    """
    reviews = ReviewLog(store).reviews(form_id)
    if form_id not in QUESTIONS:
        waiting = {each.submission.instance_id for each in waiting_submissions(store, form_id)}
        return [_of_another_form(each) for each in reviews if each.instance_id in waiting]
    live = [r.submission for r in reviews if r.state is not ReviewState.REJECTED]
    found = check_submissions(live, today=today, earliest=earliest)
    if places is not None:
        found += check_places(live, places)
    by_instance: dict[str, list[Flag]] = defaultdict(list)
    for flag in found:
        by_instance[flag.instance_id].append(flag)
    doubtful = store.conflicting_keys()
    for submission in live:
        if instance_key(submission.instance_id) in doubtful:
            by_instance[submission.instance_id].insert(
                0,
                Flag(
                    instance_id=submission.instance_id,
                    check=Check.CONFLICT,
                    field="",
                    what="came again with other answers",
                    remedy="the first one stands: compare with the team, edit or reject",
                ),
            )
    return [replace(r, flags=tuple(by_instance.get(r.instance_id, ()))) for r in reviews]


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
