"""One question of a form, and how its answer is read and checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from survey.errors import FormError

__all__ = [
    "Question",
    "is_cell_error",
    "parse_date",
    "parse_number",
    "parse_point",
    "plain_digits",
]

_CODE = re.compile(r"[A-Za-z0-9_-]{2,40}")
_CELL_ERROR = re.compile(r"#(REF!|N/A|VALUE!|NAME\?|DIV/0!|NUM!|NULL!|SPILL!|CALC!|FIELD!)")
#: Days that spreadsheets count from the end of 1899: from 1990 to 2100.
_SERIAL = re.compile(r"[3-7]\d{4}(\.0+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One answer's limits.

    Attributes
    ----------
    kind : {"text", "code", "integer", "decimal", "date", "choice", "choices", "geopoint", "file"}
        ``choices`` are words with blanks between them; ``file`` is the name of a picture.
    low, high : float
        Limits of a number, inclusive.
    choices : tuple of str
    needs : str
        ``name=value`` of the answer without which this one is not asked.
    repeat : str
        Group of the form that is filled several times and holds this question; empty outside.
    at_most : str
        Question of which this number is a part. A phone refuses more than that; in a file that
        arrives it is no reason to refuse, and is flagged for review.
    """

    name: str
    kind: str = "text"
    is_required: bool = False
    low: float = 0.0
    high: float = float("inf")
    choices: tuple[str, ...] = ()
    needs: str = ""
    repeat: str = ""
    at_most: str = ""

    def fault(self, answer: str, answers: Mapping[str, str]) -> tuple[str, str] | None:
        """What is wrong with an answer and how to mend it; None if nothing is."""
        if not answer:
            if not self.is_required:
                return None
            name, _, value = self.needs.partition("=")
            is_asked = not name or answers.get(name) == value
            return ("is empty", "fill it in") if is_asked else None
        if is_cell_error(answer):
            return "is the error of a formula", "correct the sheet and paste the values"
        if answer.startswith("=") and self.kind != "text":
            return (
                "is a formula without its result",
                "open and save the workbook in a spreadsheet program, or paste the values",
            )
        try:
            self._check(answer)
        except FormError as error:
            problem, _, remedy = str(error).partition("; ")
            return problem, remedy
        return None

    def _check(self, answer: str) -> None:
        if self.kind == "code" and not _CODE.fullmatch(answer):
            raise FormError("is not a code; use letters, digits, - and _, at least two")
        if self.kind == "choice" and answer not in self.choices:
            raise FormError(f"is not an option; choose from {', '.join(self.choices)}")
        if self.kind == "choices":
            strange = [word for word in answer.split() if word not in self.choices]
            if strange:
                raise FormError(
                    f"holds {strange[0]!r}, which is not an option; choose from "
                    f"{', '.join(self.choices)}, with blanks between them"
                )
        if self.kind == "date":
            parse_date(answer)
        if self.kind == "geopoint":
            parse_point(answer)
        if self.kind in ("integer", "decimal"):
            number = parse_number(answer)
            if self.kind == "integer" and self.name.endswith("_percent") and 0.0 < number < 1.0:
                raise FormError(f"is a share; write the percent, {100.0 * number:g}")
            if self.kind == "integer" and number % 1.0:
                raise FormError("is not a whole number; round it")
            if not self.low <= number <= self.high:
                limit = f"at least {self.low:g}"
                if self.high < float("inf"):
                    limit = f"between {self.low:g} and {self.high:g}"
                raise FormError(f"is out of range; it must be {limit}")


def is_cell_error(answer: str) -> bool:
    """Whether a cell holds what a spreadsheet shows where a formula failed, such as ``#N/A``."""
    return bool(_CELL_ERROR.fullmatch(answer))


def plain_digits(text: str) -> str:
    """A text with the decimal digits of every script as European ones."""
    return "".join(str(int(sign)) if sign.isdecimal() else sign for sign in text)


def parse_number(answer: str) -> float:
    """A number in European, Burmese, Shan, Thai or Lao digits.

    Raises
    ------
    FormError
        Not a number, not finite, or written with a comma that could mean either thing.
    """
    text = answer.strip()
    if "," in text:
        raise FormError("has a comma; write 1234.5 with a point and without thousands marks")
    try:
        number = float(text)  # Python reads the decimal digits of every script
    except ValueError as error:
        sign = "without the % sign, " if text.endswith("%") else ""
        raise FormError(f"is not a number; write digits only, {sign}like 12.5") from error
    if not -1e12 < number < 1e12 or "_" in text:
        raise FormError("is not a usable number; write digits only, like 12.5")
    return number


def parse_date(answer: str) -> date:
    """An ISO date; a year of the Buddhist calendar is named as such, not converted.

    Raises
    ------
    FormError
        Not a date, or not a plausible one.
    """
    text = plain_digits(answer.strip())[:10]
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        if _SERIAL.fullmatch(text):
            meant = date(1899, 12, 30) + timedelta(days=int(text[:5]))
            raise FormError(
                f"is the number by which a spreadsheet counts days; write {meant}, and format "
                "the column as a date"
            ) from error
        raise FormError("is not a date; write it as 2026-02-28") from error
    if day.year >= 2400:
        raise FormError(
            f"lies in the Buddhist calendar; write the year {day.year - 543} for {day.year}"
        )
    if not 1990 <= day.year <= 2100:
        raise FormError("is no plausible year; check the date")
    return day


def parse_point(answer: str) -> tuple[float, float, float, float]:
    """Latitude, longitude (degrees), altitude and accuracy (metres) of a position.

    Raises
    ------
    FormError
        Not four numbers, or no place on Earth.
    """
    parts = [parse_number(part) for part in answer.split()]
    if len(parts) != 4 or any(abs(part) > 1e5 for part in parts):
        raise FormError("is no position; write latitude longitude altitude accuracy")
    latitude, longitude, altitude, accuracy = parts
    if abs(latitude) > 90.0 and abs(longitude) <= 90.0:
        raise FormError("has latitude and longitude exchanged; write the latitude first")
    if abs(latitude) > 90.0 or abs(longitude) > 180.0:
        raise FormError("lies nowhere on Earth; write latitude longitude altitude accuracy")
    return latitude, longitude, altitude, accuracy
