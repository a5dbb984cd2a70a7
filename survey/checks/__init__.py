"""Quality flags of submissions: what a coordinator should look at before accepting a row.

A flag never changes or drops an answer. Each says which submission, which question, what was
seen and what to do; the review decides.
"""

from survey.checks.answers import check_submissions
from survey.checks.flags import Check, Flag
from survey.checks.memo import Memo
from survey.checks.places import Places, check_location, check_places

__all__ = [
    "Check",
    "Flag",
    "Memo",
    "Places",
    "check_location",
    "check_places",
    "check_submissions",
]
