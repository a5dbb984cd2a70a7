"""Questions of one kind, made with few words: the vocabulary of the questionnaires."""

from __future__ import annotations

from typing import TypedDict, Unpack

from survey.areas import AreaUnit
from survey.forms.questions import Question

__all__ = [
    "SAMPLE_TYPE",
    "WEIGHTS",
    "YES_NO",
    "amount",
    "area_unit",
    "choice",
    "choices",
    "code",
    "count",
    "day",
    "photo",
    "point",
    "text",
]

YES_NO = ("yes", "no")
#: Survey reports give weights in kilograms and, in Myanmar, viss (1.63293 kg). No joi: its
#: weight differs between markets, so a price per joi could not be converted.
WEIGHTS = ("kg", "viss")


class _Asked(TypedDict, total=False):
    """When a question is asked; as in `Question`."""

    needs: str
    is_required: bool
    repeat: str


class _Number(_Asked, total=False):
    """Limits of a number, too."""

    low: float
    high: float
    at_most: str


def text(name: str, **asked: Unpack[_Asked]) -> Question:
    """Free text: restricted, never a column of an analytic table."""
    return Question(name=name, **asked)


def code(name: str, **asked: Unpack[_Asked]) -> Question:
    """Letters, digits, ``-`` and ``_``."""
    return Question(name=name, kind="code", **asked)


def day(name: str, *, is_required: bool = True) -> Question:
    """A date."""
    return Question(name=name, kind="date", is_required=is_required)


def point(name: str, **asked: Unpack[_Asked]) -> Question:
    """A position read by the phone: latitude, longitude, altitude (m), accuracy (m)."""
    return Question(name=name, kind="geopoint", **asked)


def photo(name: str) -> Question:
    """Name of a picture that is sent beside the answers."""
    return Question(name=name, kind="file")


def choice(name: str, *options: str, **asked: Unpack[_Asked]) -> Question:
    """One of the options."""
    return Question(name=name, kind="choice", choices=options, **asked)


def choices(name: str, *options: str, **asked: Unpack[_Asked]) -> Question:
    """Any of the options, with blanks between them."""
    return Question(name=name, kind="choices", choices=options, **asked)


def amount(name: str, **limits: Unpack[_Number]) -> Question:
    """A number of zero or more, or between limits."""
    return Question(name=name, kind="decimal", **limits)


def count(name: str, **limits: Unpack[_Number]) -> Question:
    """A whole number of zero or more, or between limits."""
    return Question(name=name, kind="integer", **limits)


def area_unit(*, needs: str = "") -> Question:
    """The unit of every area of a form whose name ends with ``_area``."""
    return choice("area_unit", *(unit.value for unit in AreaUnit), needs=needs, is_required=True)


SAMPLE_TYPE = choice("sample_type", "probability", "convenience", is_required=True)
