"""Review of submissions: what was decided, by whom, why; corrections beside the original.

What arrived is never changed: a correction is a decision that names the new answers.
"""

from survey.review.corrections import UNTOUCHABLE
from survey.review.flagged import (
    FormReviews,
    accepted_submissions,
    count_states,
    flagged_reviews,
)
from survey.review.log import ReviewLog
from survey.review.states import TRANSITIONS, Action, Change, Decision, Review, ReviewState

__all__ = [
    "TRANSITIONS",
    "UNTOUCHABLE",
    "Action",
    "Change",
    "Decision",
    "FormReviews",
    "Review",
    "ReviewLog",
    "ReviewState",
    "accepted_submissions",
    "count_states",
    "flagged_reviews",
]
