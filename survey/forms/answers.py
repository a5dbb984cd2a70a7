"""Questions of one kind, made with few words: the vocabulary of the questionnaires."""

from __future__ import annotations

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


def text(name: str, *, needs: str = "", is_required: bool = False, repeat: str = "") -> Question:
    """Free text: restricted, never a column of an analytic table."""
    return Question(name=name, needs=needs, is_required=is_required, repeat=repeat)


def code(name: str, *, needs: str = "", is_required: bool = False) -> Question:
    """Letters, digits, ``-`` and ``_``."""
    return Question(name=name, kind="code", needs=needs, is_required=is_required)


def day(name: str, *, is_required: bool = True) -> Question:
    """A date."""
    return Question(name=name, kind="date", is_required=is_required)


def point(name: str, *, needs: str = "") -> Question:
    """A position read by the phone: latitude, longitude, altitude (m), accuracy (m)."""
    return Question(name=name, kind="geopoint", needs=needs)


def photo(name: str) -> Question:
    """Name of a picture that is sent beside the answers."""
    return Question(name=name, kind="file")


def choice(
    name: str, *options: str, needs: str = "", is_required: bool = False, repeat: str = ""
) -> Question:
    """One of the options."""
    return Question(
        name=name,
        kind="choice",
        choices=options,
        needs=needs,
        is_required=is_required,
        repeat=repeat,
    )


def choices(name: str, *options: str, needs: str = "") -> Question:
    """Any of the options, with blanks between them."""
    return Question(name=name, kind="choices", choices=options, needs=needs)


def amount(
    name: str,
    *,
    high: float = float("inf"),
    needs: str = "",
    is_required: bool = False,
    repeat: str = "",
    at_most: str = "",
) -> Question:
    """A number of zero or more."""
    return Question(
        name=name,
        kind="decimal",
        high=high,
        needs=needs,
        is_required=is_required,
        repeat=repeat,
        at_most=at_most,
    )


def count(
    name: str,
    *,
    low: float = 0.0,
    high: float = float("inf"),
    needs: str = "",
    is_required: bool = False,
    repeat: str = "",
    at_most: str = "",
) -> Question:
    """A whole number of `low` or more."""
    return Question(
        name=name,
        kind="integer",
        low=low,
        high=high,
        needs=needs,
        is_required=is_required,
        repeat=repeat,
        at_most=at_most,
    )


def area_unit(*, needs: str = "") -> Question:
    """The unit of every area of a form whose name ends with ``_area``."""
    return choice("area_unit", *(unit.value for unit in AreaUnit), needs=needs, is_required=True)


SAMPLE_TYPE = choice("sample_type", "probability", "convenience", is_required=True)
