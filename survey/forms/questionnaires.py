"""What each form asks, as far as answers are checked when they arrive.

The XLSForm guides a phone; a spreadsheet never saw it. So the same limits stand here, and a
test keeps both lists of questions equal.
"""

from __future__ import annotations

from collections.abc import Mapping

from survey.forms.interviews import (
    FARMER_SURVEY,
    PROJECT_BASELINE,
    PROJECT_FOLLOW_UP,
    VILLAGE_HEADMAN,
)
from survey.forms.observations import (
    ERADICATION_EVENT,
    PRICE_OBSERVATION,
    SEGMENT_VISIT,
    YIELD_PLOT,
)
from survey.forms.questions import Question

__all__ = ["QUESTIONS", "RENAMED", "VERSIONS", "repeats_of"]

QUESTIONS: Mapping[str, tuple[Question, ...]] = {
    "segment_visit": SEGMENT_VISIT,
    "farmer_survey": FARMER_SURVEY,
    "village_headman": VILLAGE_HEADMAN,
    "yield_plot": YIELD_PLOT,
    "price_observation": PRICE_OBSERVATION,
    "eradication_event": ERADICATION_EVENT,
    "project_baseline": PROJECT_BASELINE,
    "project_follow_up": PROJECT_FOLLOW_UP,
}

#: Versions that are or were in use; phones may hold an older one for a long time.
VERSIONS: Mapping[str, frozenset[str]] = {
    form_id: frozenset({"2026011501", "2026112601"}) for form_id in QUESTIONS
}

#: Questions that an earlier version asked under another name: form, old name, name today. What
#: a version did not ask is missing in its submissions, never zero. No name is ever used again
#: for something else.
RENAMED: Mapping[str, Mapping[str, str]] = {
    # "plot" is the parcel of a crop; what the frame encloses on it is a square.
    "yield_plot": {"plot_area_m2": "square_area_m2"},
}

#: Groups that are filled several times within an entry of another one.
_WITHIN: Mapping[str, str] = {"plot_crop": "plot"}


def repeats_of(form_id: str) -> dict[str, str]:
    """Groups of a form that are filled several times, each with the group it stands in.

    Returns
    -------
    dict of str to str
        In the order of the form; the outer group is empty for a group of the form itself.
    """
    return {
        question.repeat: _WITHIN.get(question.repeat, "")
        for question in QUESTIONS.get(form_id, ())
        if question.repeat
    }
