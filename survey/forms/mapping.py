"""Plain tables of an office: which column is which question.

A mapping is a TOML text::

    form_id = "segment_visit"
    identity = ["segment_id", "visit_date", "observer_code"]

    [columns]                 # question = "heading in the table"
    segment_id = "Segment no."
    poppy_area = "Poppy (rai)"

    [constants]               # question = the same answer in every row
    area_unit = "rai"

    [values.grows_poppy]      # "word in the table" = answer; "*" is every other word
    "oui" = "yes"

    [repeats]                 # repeat of the form = list, sheet or file that holds it
    capsule = "Capsules"
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from survey.errors import ConfigError
from survey.forms.questionnaires import QUESTIONS, repeats_of

__all__ = ["MAX_MAPPING_BYTES", "TableMapping", "read_mapping"]

#: A mapping travels in a header of an upload.
MAX_MAPPING_BYTES = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMapping:
    """How the rows of a plain table become submissions of one form.

    Attributes
    ----------
    identity : tuple of str
        Questions that together name a row; the identifier is their digest, so that the same
        row sent again is known. Empty where the table has an instanceID column.
    columns : mapping of question to heading
        A question that is not named stands under its own name.
    constants, values : mappings
        Answers equal in every row; by question, words of the table and what they mean.
    repeats : mapping of repeat to the name of its list, sheet or file
    """

    form_id: str
    identity: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    repeats: Mapping[str, str] = field(default_factory=dict)

    def fits(self, header: Sequence[str]) -> bool:
        """Whether a table has every heading that the mapping names outside repeats."""
        return all(heading in header for heading in self._outside())

    def is_header(self, cells: Sequence[str]) -> bool:
        """Whether a line of a table can be nothing but its header."""
        return bool(self._outside()) and self.fits(cells)

    def names_rows(self, names: Sequence[str]) -> bool:
        """Whether a table under the names of questions has all that identifies a row."""
        given = (*names, *self.constants)
        return bool(self.identity) and all(name in given for name in self.identity)

    def check(self, header: Sequence[str]) -> None:
        """Refuse a table.

        Raises
        ------
        ConfigError
            A heading that the mapping names is not in the table.
        """
        missing = [heading for heading in self._outside() if heading not in header]
        if missing:
            raise ConfigError(
                f"has no column {', '.join(map(repr, missing))} that the mapping names; it has "
                f"{', '.join(header)[:200]}; correct the heading in the mapping"
            )

    def name(self, heading: str) -> str:
        """The question for which a heading, or a key of a JSON record, stands."""
        return self._names().get(heading, heading)

    def repeat(self, name: str) -> str:
        """The repeat for which a list, sheet or file stands."""
        return next((repeat for repeat, other in self.repeats.items() if other == name), name)

    def entry(self, repeat: str, answers: Mapping[str, str]) -> dict[str, str]:
        """An entry of a repeat in the names of questions, with constants and words."""
        inside = {q.name for q in QUESTIONS[self.form_id] if q.repeat == repeat}
        constants = {name: a for name, a in self.constants.items() if name in inside}
        return self._translated({**answers, **constants})

    def _translated(self, row: Mapping[str, str]) -> dict[str, str]:
        """Answers with the words of the table turned into those of the form."""
        answers = dict(row)
        for name, words in self.values.items():
            if name in answers:
                default = words.get("*", answers[name]) if answers[name] else ""
                answers[name] = words.get(answers[name], default)
        return answers

    def row(self, row: Mapping[str, str]) -> dict[str, str]:
        """A row in the names of questions, with constants, translated words and identifier."""
        inside = {question.name for question in QUESTIONS[self.form_id] if question.repeat}
        constants = {name: a for name, a in self.constants.items() if name not in inside}
        answers = self._translated({**row, **constants})
        if self.identity:
            parts = [self.form_id, *(answers.get(name, "") for name in self.identity)]
            digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
            answers["instanceID"] = f"table:{digest[:32]}"
        return answers | {"form_id": self.form_id}

    def _outside(self) -> list[str]:
        inside = {question.name for question in QUESTIONS[self.form_id] if question.repeat}
        return [heading for name, heading in self.columns.items() if name not in inside]

    def _names(self) -> dict[str, str]:
        return {heading: name for name, heading in self.columns.items()}


def read_mapping(text: str) -> TableMapping:
    """A mapping from TOML.

    Raises
    ------
    ConfigError
        Too long, not TOML, an unknown form, question or key.
    """
    if len(text) > MAX_MAPPING_BYTES:
        raise ConfigError(f"the mapping has more than {MAX_MAPPING_BYTES} characters; shorten it")
    try:
        content: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the mapping is not TOML ({error}); correct it") from error
    known = ("form_id", "identity", "columns", "constants", "values", "repeats")
    unknown = [key for key in content if key not in known]
    if unknown:
        raise ConfigError(f"the mapping has {', '.join(unknown)}; it may have {', '.join(known)}")
    form_id = str(content.get("form_id", ""))
    if form_id not in QUESTIONS:
        raise ConfigError(
            f"the mapping is for form {form_id!r}; choose form_id from {', '.join(QUESTIONS)}"
        )
    questions = {question.name for question in QUESTIONS[form_id]}
    tables: dict[str, Any] = {
        key: content.get(key, {}) for key in ("columns", "constants", "values", "repeats")
    }
    known_names = dict.fromkeys(tables, questions) | {"repeats": set(repeats_of(form_id))}
    identity = content.get("identity", [])
    for key, named in [*tables.items(), ("identity", identity)]:
        wanted = list if key == "identity" else dict
        if not isinstance(named, wanted):
            raise ConfigError(f"{key} of the mapping is {named!r}; see the example in the docs")
        strange = [
            str(name)
            for name in named
            if name not in known_names.get(key, questions)
            and (key, name) != ("columns", "instanceID")
        ]
        if strange:
            raise ConfigError(
                f"{key} of the mapping names {', '.join(strange)}, which {form_id} does not ask; "
                f"it asks {', '.join(sorted(known_names.get(key, questions)))}"
            )
    if not all(isinstance(words, dict) for words in tables["values"].values()):
        raise ConfigError("values of the mapping needs a table for each question; see the docs")
    return TableMapping(
        form_id=form_id,
        identity=tuple(identity),
        columns={name: str(heading) for name, heading in tables["columns"].items()},
        constants={name: str(answer) for name, answer in tables["constants"].items()},
        values={
            name: {word: str(answer) for word, answer in words.items()}
            for name, words in tables["values"].items()
        },
        repeats={repeat: str(name) for repeat, name in tables["repeats"].items()},
    )
