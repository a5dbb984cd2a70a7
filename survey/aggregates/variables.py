"""What is averaged: each number of a form, and the share of each yes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from survey.areas import AreaUnit, to_hectares
from survey.forms import Submission
from survey.forms.questionnaires import QUESTIONS
from survey.forms.questions import Question, parse_number

__all__ = ["Variable", "variables_of"]

#: Years and waves name a time; prices of headmen are in several currencies and units.
_NOT_AVERAGED = frozenset({"consent", "wave", "assistance_year", "price_fresh", "price_dry"})
_UNITS = (
    ("_satisfaction", "score 1-5"), ("_usefulness", "score 1-5"), ("_score", "score 1-5"),
    ("_usd", "USD"), ("_km", "km"), ("_percent", "%"), ("_months", "months"),
    ("_m", "m"), ("_years", "years"), ("_size", "persons"), ("population", "persons"),
    ("_hours", "h"), ("_dry", "h"), ("_rainy", "h"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """What is averaged; `read` gives NaN where it was not asked or not answered."""

    name: str
    unit: str
    is_share: bool
    read: Callable[[Submission], float]


def variables_of(form_id: str) -> list[Variable]:
    """Every number and every yes/no question of a form outside its repeats."""
    found = []
    for question in QUESTIONS.get(form_id, ()):
        if question.repeat or question.name in _NOT_AVERAGED:
            continue
        if question.kind in ("integer", "decimal"):
            found.append(_number(question))
        elif question.kind == "choice" and set(question.choices) == {"yes", "no"}:
            found.append(_share(question.name))
    return found


def _number(question: Question) -> Variable:
    name = question.name
    is_area = name.endswith("_area")

    def read(submission: Submission) -> float:
        answers = submission.answers
        if not answers.get(name):
            # Who grows none grows zero hectares; who was not asked is unknown.
            is_none = name == "poppy_area" and answers.get("grows_poppy") == "no"
            return 0.0 if is_none else math.nan
        value = parse_number(answers[name])
        if is_area:
            unit = answers.get("area_unit", "")
            return to_hectares(value, AreaUnit(unit)) if unit else math.nan
        return value

    unit: str = next((unit for end, unit in _UNITS if name.endswith(end)), "count")
    return Variable(
        name=f"{name.removesuffix('_area')}_ha" if is_area else name,
        unit="ha" if is_area else unit,
        is_share=False,
        read=read,
    )


def _share(name: str) -> Variable:
    return Variable(
        name=name,
        unit="share",
        is_share=True,
        read=lambda s: {"yes": 1.0, "no": 0.0}.get(s.answers.get(name, ""), math.nan),
    )
