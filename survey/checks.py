"""Quality flags of submissions: what a coordinator should look at before accepting a row.

A flag never changes or drops an answer. Each says which submission, which question, what was
seen and what to do; the review decides.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from survey.areas import AreaUnit, to_hectares
from survey.errors import FormError
from survey.forms import Submission
from survey.forms.questionnaires import QUESTIONS
from survey.forms.questions import parse_date, parse_number

__all__ = ["Check", "Flag", "check_location", "check_submissions"]

_MINUTES = (5.0, 180.0)
#: Outliers are judged where a village has at least this many values.
_MIN_VALUES = 8
#: Modified z-score of Iglewicz & Hoaglin (1993), How to Detect and Handle Outliers, p. 12.
_MAX_SCORE = 3.5


_CLOCK = frozenset({"start", "end"})


class Check(StrEnum):
    """What was checked."""

    CONSENT = "consent"
    DATE = "date"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    SUM = "sum"
    OUTLIER = "outlier"
    DURATION = "duration"
    GPS = "gps"
    SWAPPED = "swapped_coordinates"
    OUTSIDE = "outside_district"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """Something to look at in one submission.

    Attributes
    ----------
    field : str
        The question, empty where the whole submission is meant.
    what, remedy : str
        Neither holds coordinates, free text or a household's values.
    """

    instance_id: str
    check: Check
    field: str
    what: str
    remedy: str

    def __str__(self) -> str:
        name = f" {self.field}" if self.field else ""
        return f"{self.instance_id}:{name} {self.what}; {self.remedy}"


def check_submissions(submissions: Sequence[Submission], *, today: date) -> list[Flag]:
    """Flags of the submissions of one form.

    Checked are consent, dates after `today`, equal and nearly equal submissions, parts larger
    than their whole, and values far from those of the same village.

    Parameters
    ----------
    submissions : sequence of Submission
        All of one form; answers passed `parse_submissions`.
    today : date
        No visit can lie after it.

    Returns
    -------
    list of Flag
        In order of instanceID, then check; independent of the order of `submissions`.

    Raises
    ------
    FormError
        Submissions of several forms: they cannot be compared with each other.
    """
    forms = {submission.form_id for submission in submissions}
    if len(forms) > 1:
        raise FormError(f"submissions of {', '.join(sorted(forms))}; check one form at a time")
    ordered = sorted(submissions, key=lambda submission: submission.instance_id)
    flags = [flag for submission in ordered for flag in _single(submission, today)]
    flags += _duplicates(ordered)
    flags += _outliers(ordered)
    return sorted(flags, key=lambda flag: (flag.instance_id, flag.check, flag.field))


def _single(submission: Submission, today: date) -> Iterator[Flag]:
    answers = submission.answers

    def flag(check: Check, field: str, what: str, remedy: str) -> Flag:
        return Flag(
            instance_id=submission.instance_id, check=check, field=field, what=what, remedy=remedy
        )

    asked = {question.name: question for question in QUESTIONS.get(submission.form_id, ())}
    if "consent" in asked and answers.get("consent") != "yes":
        told = [n for n, q in asked.items() if q.needs and answers.get(n)]
        if told:
            yield flag(
                Check.CONSENT,
                told[0],
                f"{len(told)} answers stand in an interview without consent",
                "withdraw the submission; they may not be used",
            )
    for name, question in asked.items():
        if question.kind == "date" and answers.get(name) and parse_date(answers[name]) > today:
            yield flag(Check.DATE, name, "lies in the future", "correct the clock or the date")
    for part, whole in _PARTS:
        low, high = _value(answers, part), _value(answers, whole)
        if low is not None and high is not None and low > high:
            yield flag(Check.SUM, part, f"is more than {whole}", "ask again which is right")
    counts = [_value(answers, name) for name in ("n_immature", "n_mature", "n_lanced")]
    if None not in counts:
        immature, mature, lanced = (count or 0.0 for count in counts)
        if lanced > immature + mature:
            yield flag(Check.SUM, "n_lanced", "is more than all capsules", "count again")
    minutes = _minutes(answers)
    if minutes is not None and not _MINUTES[0] <= minutes <= _MINUTES[1]:
        yield flag(
            Check.DURATION,
            "",
            f"took {minutes:.0f} minutes",
            f"ask the team: an interview lasts {_MINUTES[0]:.0f} to {_MINUTES[1]:.0f} minutes",
        )


#: Answers of which the first is contained in the second.
_PARTS = (
    ("opium_income_usd", "annual_income_usd"),
    ("poppy_area", "land_area"),
    ("households_poppy", "households"),
    ("households", "population"),
    ("opium_users", "population"),
)


def _value(answers: Mapping[str, str], name: str) -> float | None:
    return parse_number(answers[name]) if answers.get(name) else None


def _minutes(answers: Mapping[str, str]) -> float | None:
    try:
        start, end = (datetime.fromisoformat(answers[name]) for name in ("start", "end"))
        return (end - start).total_seconds() / 60.0
    except (KeyError, ValueError, TypeError):
        return None  # not recorded: nothing to judge


def _duplicates(ordered: Sequence[Submission]) -> Iterator[Flag]:
    """Equal answers under two identifiers; for households also all but one answer equal."""
    by_content: dict[str, str] = {}
    for submission in ordered:
        told = {n: a for n, a in submission.answers.items() if a and n not in _CLOCK}
        content = json.dumps([sorted(told.items()), dict(submission.repeats)], sort_keys=True)
        first = by_content.setdefault(content, submission.instance_id)
        if first != submission.instance_id:
            yield Flag(
                instance_id=submission.instance_id,
                check=Check.DUPLICATE,
                field="",
                what=f"has the same answers as {first}",
                remedy="withdraw one if the same unit was entered twice",
            )
    by_day: dict[tuple[str, ...], list[Submission]] = defaultdict(list)
    for submission in ordered:
        answers = submission.answers
        if answers.get("consent") == "yes":
            key = ("district_pcode", "village_id", "visit_date")
            by_day[tuple(answers.get(name, "") for name in key)].append(submission)
    for group in by_day.values():
        for index, later in enumerate(group):
            for earlier in group[:index]:
                if _differences(earlier.answers, later.answers) == 1:
                    yield Flag(
                        instance_id=later.instance_id,
                        check=Check.NEAR_DUPLICATE,
                        field="",
                        what=f"differs from {earlier.instance_id} in one answer only",
                        remedy="ask the team whether it is another household",
                    )


def _differences(one: Mapping[str, str], other: Mapping[str, str]) -> int:
    names = (set(one) | set(other)) - _CLOCK
    return sum(one.get(name, "") != other.get(name, "") for name in names)


def _outliers(ordered: Sequence[Submission]) -> Iterator[Flag]:
    groups: dict[tuple[str, str], list[tuple[str, float]]] = defaultdict(list)
    for submission in ordered:
        village = submission.answers.get("village_id")
        if not village:
            continue
        for question in QUESTIONS.get(submission.form_id, ()):
            if question.kind == "decimal" and not question.repeat:
                value = _value(submission.answers, question.name)
                if value is not None:
                    unit = submission.answers.get("area_unit", "")
                    if question.name.endswith("_area") and unit:
                        value = to_hectares(value, AreaUnit(unit))
                    groups[village, question.name].append((submission.instance_id, value))
    for (_, name), values in groups.items():
        if len(values) < _MIN_VALUES:
            continue
        numbers = np.log1p([value for _, value in values])  # incomes and areas are skewed
        middle = np.median(numbers)
        spread = np.median(np.abs(numbers - middle))
        if spread == 0.0:
            continue  # more than half are equal: no scale to judge by
        scores = 0.6745 * np.abs(numbers - middle) / spread
        for (instance, _), score in zip(values, scores, strict=True):
            if score > _MAX_SCORE:
                yield Flag(
                    instance_id=instance,
                    check=Check.OUTLIER,
                    field=name,
                    what="lies far from the other answers of the village",
                    remedy="check unit and number of digits with the team",
                )


def check_location(
    instance_id: str, geopoint: str, district: BaseGeometry, *, max_accuracy_m: float = 30.0
) -> list[Flag]:
    """Flags of one position against the district that was declared.

    Parameters
    ----------
    instance_id : str
    geopoint : str
        As ODK writes it: latitude, longitude, altitude (m), accuracy (m), with spaces.
    district : shapely geometry
        The declared district in EPSG:4326, longitude first.
    max_accuracy_m : float
        Radius in metres above which a reading is flagged; the default cannot tell
        neighbouring fields of 0.1 ha apart.

    Returns
    -------
    list of Flag
        Without coordinates, so that they can be shown to whoever may see the submission.
    """

    def flag(check: Check, what: str, remedy: str) -> Flag:
        return Flag(
            instance_id=instance_id, check=check, field="geopoint", what=what, remedy=remedy
        )

    try:
        latitude, longitude, _, accuracy = (float(part) for part in geopoint.split())
    except ValueError:
        return [flag(Check.GPS, "is no position", "record it again, with altitude and accuracy")]
    if not all(map(math.isfinite, (latitude, longitude, accuracy))):
        return [flag(Check.GPS, "is no position", "record it again")]
    flags = []
    if accuracy <= 0.0 or accuracy > max_accuracy_m:
        flags.append(
            flag(
                Check.GPS,
                f"has an accuracy of {accuracy:.0f} m",
                f"wait in the open until it is below {max_accuracy_m:.0f} m; 0 means typed in",
            )
        )
    if abs(latitude) <= 90.0 and shapely.intersects_xy(district, longitude, latitude):
        return flags
    if shapely.intersects_xy(district, latitude, longitude):
        what, remedy = "fits only with latitude and longitude exchanged", "exchange them"
        return [*flags, flag(Check.SWAPPED, what, remedy)]
    what, remedy = "lies outside the declared district", "correct the district code or position"
    return [*flags, flag(Check.OUTSIDE, what, remedy)]
