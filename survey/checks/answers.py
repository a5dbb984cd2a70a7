"""Checks of answers: alone, against each other, and against those of the same village."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime

import numpy as np

from survey.areas import AreaUnit, to_hectares
from survey.checks.flags import Check, Flag
from survey.checks.memo import Memo
from survey.errors import FormError
from survey.forms import Submission
from survey.forms.encryption import plain_version
from survey.forms.questionnaires import QUESTIONS, VERSIONS
from survey.forms.questions import parse_date, parse_number
from survey.forms.tombstones import WITHDRAWAL_CODE
from survey.forms.training import real_version

__all__ = ["check_submissions"]

_MINUTES = (5.0, 180.0)
#: Outliers are judged where a village has at least this many values.
_MIN_VALUES = 8
#: Modified z-score of Iglewicz & Hoaglin (1993), How to Detect and Handle Outliers, p. 12.
_MAX_SCORE = 3.5


#: A form may be finished at home in the evening, or the next day.
_MAX_DAYS_APART = 3
#: What differs between two interviews with the same answers.
_OWN = frozenset({"start", "end", WITHDRAWAL_CODE})


def check_submissions(
    submissions: Sequence[Submission],
    *,
    today: date,
    earliest: date = date.min,
    versions: frozenset[str] = frozenset(),
    memo: Memo | None = None,
) -> list[Flag]:
    """Flags of the submissions of one form.

    Checked are consent, version, dates that cannot be, equal and nearly equal submissions, parts
    larger than their whole, duration, and values far from those of the same village.

    Parameters
    ----------
    submissions : sequence of Submission
        All of one form; answers passed `parse_submissions`.
    today : date
        No visit can lie after it.
    earliest : date
        Nor before this, where the season is known.
    versions : frozenset of str
        Versions of the form that the round published, beside those of this program.
    memo : Memo, optional
        Of the last time: what did not change since is not checked again.

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
    memo = memo or Memo()
    flags = [
        flag
        for each in ordered
        for flag in memo.get(
            "single",
            (each,),
            lambda of: tuple(_single(of[0], today, earliest, versions)),
            today,
            earliest,
            versions,
        )
    ]
    flags += _duplicates(ordered, memo)
    flags += _outliers(ordered, memo)
    return sorted(flags, key=lambda flag: (flag.instance_id, flag.check, flag.field))


def _single(
    submission: Submission, today: date, earliest: date, versions: frozenset[str]
) -> Iterator[Flag]:
    answers = submission.answers

    def flag(check: Check, field: str, what: str, remedy: str) -> Flag:
        return Flag(
            instance_id=submission.instance_id, check=check, field=field, what=what, remedy=remedy
        )

    asked = {question.name: question for question in QUESTIONS.get(submission.form_id, ())}
    version = submission.form_version
    known = VERSIONS.get(submission.form_id, frozenset())
    if real_version(plain_version(version)) not in known and version not in versions:
        yield flag(
            Check.VERSION, "", "has a version of the form that is not known", "check its answers"
        )
    if "consent" in asked and answers.get("consent") != "yes":
        told = [n for n, q in asked.items() if q.needs and answers.get(n)]
        if told:
            yield flag(
                Check.CONSENT,
                told[0],
                f"{len(told)} answers stand in an interview without consent",
                "withdraw the submission; they may not be used",
            )
    opened = _opened(answers)
    for name, question in asked.items():
        if question.kind != "date" or not answers.get(name):
            continue
        day = parse_date(answers[name])
        if day > today:
            yield flag(Check.DATE, name, "lies in the future", "correct the clock or the date")
        if day < earliest:
            yield flag(Check.DATE, name, "lies before the season of the round", "correct the date")
        if opened and opened.year >= 2400:
            yield flag(
                Check.DATE,
                "start",
                "comes from a phone whose clock counts Buddhist years",
                "set the phone's calendar; compare the dates with the team",
            )
        elif opened and abs((opened - day).days) > _MAX_DAYS_APART:
            yield flag(
                Check.DATE,
                name,
                f"is more than {_MAX_DAYS_APART} days from the day on which the form was opened",
                "correct the phone's clock or the date",
            )
    for place, part, whole in _parts(submission):
        if part > whole[1]:
            yield flag(Check.SUM, place, f"is more than {whole[0]}", "ask again which is right")
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


#: Answers of which the first is contained in the second, beyond what the questionnaires say:
#: land may be left for poppy, so a phone does not refuse more.
_PARTS = (
    ("poppy_area", "land_area"),
    ("households", "population"),
    ("opium_users", "population"),
)
#: Incomes from one source each; together they are no more than all income.
_SOURCES = ("crop_income_usd", "livestock_income_usd", "wage_income_usd", "remittance_usd")


def _parts(submission: Submission) -> Iterator[tuple[str, float, tuple[str, float]]]:
    """Each number that is part of another, as (where, part, (name of the whole, whole))."""
    answers = submission.answers
    for question in QUESTIONS.get(submission.form_id, ()):
        if not question.at_most:
            continue
        entries: Sequence[Mapping[str, str]] = [answers]
        if question.repeat:
            entries = submission.repeats.get(question.repeat, ())
        for number, entry in enumerate(entries, start=1):
            part, whole = _value(entry, question.name), _value(entry, question.at_most)
            if part is not None and whole is not None:
                inside = f"{question.repeat}[{number}]/" if question.repeat else ""
                yield f"{inside}{question.name}", part, (question.at_most, whole)
    for name, of in _PARTS:
        part, whole = _value(answers, name), _value(answers, of)
        if part is not None and whole is not None:
            yield name, part, (of, whole)
    incomes = [_value(answers, name) for name in _SOURCES]
    income = _value(answers, "annual_income_usd")
    if income is not None and any(one is not None for one in incomes):
        # A hundredth for rounding in the head.
        total = sum(one or 0.0 for one in incomes) / 1.01
        yield "the sum of incomes", total, ("annual_income_usd", income)


#: Answers that name what was visited, by whom and when, in forms without an interview.
_UNIT = ("plot_id", "segment_id", "observer_code", "visit_date")


def _value(answers: Mapping[str, str], name: str) -> float | None:
    return parse_number(answers[name]) if answers.get(name) else None


def _opened(answers: Mapping[str, str]) -> date | None:
    try:
        return datetime.fromisoformat(answers["start"]).date()
    except (KeyError, ValueError):
        return None  # not recorded: nothing to judge


def _minutes(answers: Mapping[str, str]) -> float | None:
    try:
        start, end = (datetime.fromisoformat(answers[name]) for name in ("start", "end"))
        return (end - start).total_seconds() / 60.0
    except (KeyError, ValueError, TypeError):
        return None  # not recorded: nothing to judge


def _answered(submission: Submission) -> str:
    """Digest of all answers but those that differ between two interviews with the same ones."""
    told = {n: a for n, a in submission.answers.items() if a and n not in _OWN}
    content = json.dumps([sorted(told.items()), dict(submission.repeats)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _duplicates(ordered: Sequence[Submission], memo: Memo) -> Iterator[Flag]:
    """Equal answers under two identifiers; for households also all but one answer equal."""
    by_content: dict[str, str] = {}
    copies: dict[str, set[str]] = defaultdict(set)
    for submission in ordered:
        content = memo.get("answered", (submission,), lambda of: _answered(of[0]))
        first = by_content.setdefault(content, submission.instance_id)
        if first != submission.instance_id:
            copies[submission.instance_id].add(first)
            yield Flag(
                instance_id=submission.instance_id,
                check=Check.DUPLICATE,
                field="",
                what=f"has the same answers as {first}",
                remedy="reject one if the same unit was entered twice",
            )
    by_unit: dict[tuple[str, ...], str] = {}
    for submission in ordered:
        unit = tuple(submission.answers.get(name, "") for name in _UNIT)
        if not any(unit[:2]):
            continue
        first = by_unit.setdefault(unit, submission.instance_id)
        if first != submission.instance_id and first not in copies[submission.instance_id]:
            yield Flag(
                instance_id=submission.instance_id,
                check=Check.NEAR_DUPLICATE,
                field="",
                what=f"names the same unit, observer and day as {first}",
                remedy="reject one if the visit was entered twice",
            )
    by_day: dict[tuple[str, ...], list[Submission]] = defaultdict(list)
    for submission in ordered:
        answers = submission.answers
        if answers.get("consent") == "yes":
            key = ("district_pcode", "village_id", "visit_date")
            by_day[tuple(answers.get(name, "") for name in key)].append(submission)
    for group in by_day.values():
        yield from memo.get("day", group, lambda of: tuple(_near(of)))


def _near(group: Sequence[Submission]) -> Iterator[Flag]:
    """Interviews of a village and day that are the same but for one answer."""
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
    names = (set(one) | set(other)) - _OWN
    return sum(one.get(name, "") != other.get(name, "") for name in names)


def _outliers(ordered: Sequence[Submission], memo: Memo) -> Iterator[Flag]:
    villages: dict[str, list[Submission]] = defaultdict(list)
    for submission in ordered:
        village = submission.answers.get("village_id")
        if village:
            villages[village].append(submission)
    for group in villages.values():
        yield from memo.get("village", group, lambda of: tuple(_far_values(of)))


def _far_values(village: Sequence[Submission]) -> Iterator[Flag]:
    """Numbers far from the others of the village."""
    told: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for submission in village:
        for question in QUESTIONS.get(submission.form_id, ()):
            if question.kind == "decimal" and not question.repeat:
                value = _value(submission.answers, question.name)
                if value is not None:
                    unit = submission.answers.get("area_unit", "")
                    if question.name.endswith("_area") and unit:
                        value = to_hectares(value, AreaUnit(unit))
                    told[question.name].append((submission.instance_id, value))
    for name, values in told.items():
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
