"""Answers of one submission as they are met, whatever the file looks like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

from survey.errors import FormError
from survey.forms.questionnaires import QUESTIONS, RENAMED, VERSIONS, repeats_of
from survey.forms.records import OUTER, Submission

__all__ = [
    "FORM_COLUMNS",
    "INSTANCE_COLUMNS",
    "VERSION_COLUMNS",
    "Collected",
    "answer_text",
    "first_of",
    "guess_form",
    "instance_of",
    "newest_version",
]

INSTANCE_COLUMNS = ("instanceID", "meta/instanceID", "meta-instanceID", "KEY", "__id", "_uuid")
FORM_COLUMNS = ("form_id", "_xform_id_string")
VERSION_COLUMNS = ("form_version", "__version__", "FormVersion")


class Collected:
    """Answers of one submission of a form; what the form does not ask is left out."""

    def __init__(self, form_id: str) -> None:
        self._form_id = form_id
        known = {question.name for question in QUESTIONS.get(form_id, ())}
        self._known = known | set(RENAMED.get(form_id, ()))
        self.within = repeats_of(form_id)
        self.answers: dict[str, str] = {}
        self.repeats: dict[str, list[dict[str, str]]] = {name: [] for name in self.within}

    def asks(self, name: str) -> bool:
        """Whether the form has this question, or had it under this name."""
        return name in self._known

    def entry(self, repeat: str) -> dict[str, str]:
        """A new entry of a repeat; one within another belongs to the latest entry of that."""
        outer = self.within[repeat]
        entry = {OUTER: str(len(self.repeats[outer]))} if outer else {}
        self.repeats[repeat].append(entry)
        return entry

    def put(self, into: dict[str, str], name: str, answer: str) -> None:
        """Keep an answer; calculated and technical leaves (deviceid ...) are none."""
        if name not in self._known:
            return
        if name in into:
            raise FormError(f"holds {name} twice; send it with the form it was made for")
        into[name] = answer

    def submission(self, instance_id: str, version: str, source: str) -> Submission:
        """What was met, as one submission."""
        return Submission(
            instance_id=instance_id,
            form_id=self._form_id,
            form_version=version,
            answers=self.answers,
            source=source,
            repeats={repeat: entries for repeat, entries in self.repeats.items() if entries},
        )


def first_of(values: Mapping[str, str], names: Iterable[str]) -> str:
    """The first of the columns that holds something."""
    return next((values[name] for name in names if values.get(name)), "")


def instance_of(values: Mapping[str, str]) -> str:
    """The identifier that the phone gave; Kobo's bare ``_uuid`` is the same without prefix."""
    found = first_of(values, INSTANCE_COLUMNS)
    if found and found == values.get("_uuid") and ":" not in found:
        return f"uuid:{found}"
    return found


def newest_version(form_id: str) -> str:
    """The version of a form that is handed out today."""
    return max(VERSIONS.get(form_id, {""}))


def answer_text(value: Any) -> str:
    """A cell or a JSON value as a phone would have written it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime) and not (value.hour or value.minute or value.second):
        return value.date().isoformat()
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return " ".join(answer_text(word) for word in value)
    return str(value).strip()


def guess_form(columns: set[str]) -> str:
    """The form whose required questions are all there; of several, the one that asks most.

    Raises
    ------
    FormError
        None is complete; the nearest is named with what it lacks.
    """
    columns = {column.rsplit("/", 1)[-1] for column in columns}
    missing = {}
    for form_id, questions in QUESTIONS.items():
        renamed = {new for old, new in RENAMED.get(form_id, {}).items() if old in columns}
        missing[form_id] = [
            question.name
            for question in questions
            if question.is_required
            and not (question.needs or question.repeat)
            and question.name not in columns | renamed
        ]
    matching = [form_id for form_id, names in missing.items() if not names]
    if matching:
        return max(
            matching, key=lambda form_id: sum(q.name in columns for q in QUESTIONS[form_id])
        )
    nearest = min(missing, key=lambda form_id: len(missing[form_id]))
    raise FormError(
        f"matches no form; the nearest is {nearest}, which also needs the columns "
        f"{', '.join(missing[nearest])}"
    )
