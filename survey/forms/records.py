"""A submission, and what can be wrong with one."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from survey.errors import FormError
from survey.forms.questionnaires import QUESTIONS, RENAMED, repeats_of
from survey.forms.questions import parse_date, parse_number, plain_digits

__all__ = ["OUTER", "ParsedFile", "Problem", "Submission", "entry_places", "repeat_of"]

#: In an entry of a repeat within another: number of the outer entry it belongs to, from 1.
OUTER = "_of"
_DATE = len("2026-02-28")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One filled form.

    Attributes
    ----------
    answers : mapping of question name to the text that was written
        Under the names of today, whatever the version called them; dates and codes in European
        digits, dates without a time.
    repeats : mapping of repeat name to its entries, each a mapping like `answers`
        An entry of a repeat within another also holds `OUTER`.
    sha256 : str
        Digest of form and answers that are not empty, numbers by value: equal for the same
        content in XML, which writes 1.0 and leaves out what was not asked, and in a spreadsheet,
        which writes 1, has an empty cell and often no version.
    source : str
        File it came in, and row where the file holds several.
    """

    instance_id: str
    form_id: str
    form_version: str
    answers: Mapping[str, str]
    source: str
    sha256: str = field(default="")
    repeats: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for old, new in RENAMED.get(self.form_id, {}).items():
            if old in self.answers:
                renamed = {new if n == old else n: a for n, a in self.answers.items()}
                object.__setattr__(self, "answers", renamed)
        if plain := _in_plain_digits(self.form_id, self.answers):
            object.__setattr__(self, "answers", {**self.answers, **plain})
        if not self.sha256:
            content: list[object] = [
                self.form_id,
                _written(self.form_id, self.answers),
            ]
            if any(self.repeats.values()):
                content.append(
                    {
                        name: [_written(self.form_id, entry) for entry in entries]
                        for name, entries in sorted(self.repeats.items())
                    }
                )
            text = json.dumps(content)
            object.__setattr__(self, "sha256", hashlib.sha256(text.encode()).hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong with one answer, and how to mend it.

    Attributes
    ----------
    row : int or None
        Row below the header, counted from 1; None where the whole file is meant.
    sheet : str
        Of a workbook, or the file in an archive; empty where there is only one.
    is_refused : bool
        False for a mere remark; the file is accepted all the same.
    """

    file: str
    row: int | None
    field: str
    value: str
    problem: str
    remedy: str
    is_refused: bool = True
    sheet: str = ""

    def __str__(self) -> str:
        place = f", sheet {self.sheet}" if self.sheet else ""
        place += f", row {self.row}" if self.row is not None else ""
        name = f": {self.field}" if self.field else ":"
        value = f" {self.value[:60]!r}" if self.value else ""
        return f"{self.file}{place}{name}{value} {self.problem}; {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFile:
    """Submissions of one file, and everything wrong with it.

    Attributes
    ----------
    places : tuple of (str, int or None)
        Sheet and row of each submission.
    unversioned : frozenset of int
        Numbers, from 0, of the submissions whose file names no version of the form.
    """

    submissions: tuple[Submission, ...]
    problems: tuple[Problem, ...]
    places: tuple[tuple[str, int | None], ...] = ()
    unversioned: frozenset[int] = frozenset()


def entry_places(submission: Submission) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Each entry of a repeat with its path, such as ``plot[1]/plot_crop[2]/``.

    In the order of the form: outer entries before those within them.
    """
    paths: dict[str, list[str]] = {"": [""]}
    for repeat, outer in repeats_of(submission.form_id).items():
        counts: Counter[str] = Counter()
        paths[repeat] = []
        for entry in submission.repeats.get(repeat, ()):
            of = entry.get(OUTER, "1")
            counts[of] += 1
            paths[repeat].append(f"{paths[outer][int(of) - 1]}{repeat}[{counts[of]}]/")
            yield paths[repeat][-1], entry


def repeat_of(place: str) -> str:
    """The repeat of a path of `entry_places`."""
    return place.rstrip("/").rsplit("/", 1)[-1].partition("[")[0]


def _in_plain_digits(form_id: str, answers: Mapping[str, str]) -> dict[str, str]:
    """Dates and codes that are written otherwise than all others, as these are.

    They are compared, sorted and counted as text. What is none stays, and is refused as it stands.
    """
    found = {}
    for question in QUESTIONS.get(form_id, ()):
        answer = answers.get(question.name, "")
        if not answer or question.repeat:
            continue
        if question.kind == "date" and (len(answer) != _DATE or not answer.isascii()):
            with suppress(FormError):
                found[question.name] = parse_date(answer).isoformat()
        elif question.kind == "code" and not answer.isascii():
            found[question.name] = plain_digits(answer)
    return found


def _written(form_id: str, answers: Mapping[str, str]) -> dict[str, str]:
    numeric = {q.name for q in QUESTIONS.get(form_id, ()) if q.kind in ("integer", "decimal")}
    written = {name: answer for name, answer in sorted(answers.items()) if answer}
    for name in numeric & set(written):
        with suppress(FormError):  # no number: it differs as it stands, and is refused elsewhere
            written[name] = repr(parse_number(written[name]))
    return written
