"""Bytes to submissions: XForm XML, and the JSON of Kobo, ODK Central and others.

XML of a form that this program does not know is read as it was met: each answer under its path.

Nothing here judges an answer; what cannot be read at all raises `FormError` with a text
``problem; remedy``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from survey.errors import FormError
from survey.forms.collecting import (
    FORM_COLUMNS,
    VERSION_COLUMNS,
    Collected,
    answer_text,
    first_of,
    guess_form,
    instance_of,
    newest_version,
)
from survey.forms.mapping import TableMapping
from survey.forms.questionnaires import QUESTIONS
from survey.forms.records import Submission
from survey.forms.sheets import MAX_ROWS
from survey.forms.tables import Branch, Found, plant
from survey.forms.tombstones import WITHDRAWAL_CODE
from survey.forms.training import TRAINING_SUFFIX, is_training_version

__all__ = ["answers_as_met", "names_met", "read_json", "read_xml"]

_MAX_DEPTH = 50
_MAX_ANSWERS = 20_000
_HALF_SIGN = re.compile(rb"\\u[dD][89a-fA-F]")
#: By these a submission is placed, listed and withdrawn; also in another form, whatever group
#: they stand in.
_OWN_NAMES = frozenset(
    {
        "consent",
        "district_pcode",
        "event_date",
        "observer_code",
        "segment_id",
        "village_id",
        "visit_date",
        WITHDRAWAL_CODE,
    }
)


def read_xml(name: str, data: bytes, mapping: TableMapping | None = None) -> Submission:
    """The submission of one XForm instance.

    Parameters
    ----------
    mapping : TableMapping, optional
        Which element is which question, where the form is somebody else's. The identifier stays
        that of the phone.

    Raises
    ------
    FormError
        Not complete XML, XML with a DTD or entities, or nested or long beyond any form.
    """
    root = _root(data)
    form_id, version = root.get("id", ""), root.get("version", "")
    if mapping is not None:
        # The mapping says what each answer means in the words of today's version.
        version = newest_version(mapping.form_id) + (
            TRAINING_SUFFIX if is_training_version(version) else ""
        )
        form_id = mapping.form_id
    elif form_id not in QUESTIONS:
        return _as_met(root, name)
    collected = Collected(form_id)
    stem = Branch()
    _walk(root, "", collected, stem, mapping)
    answers: Mapping[str, str] = stem.answers
    if mapping is not None:
        answers = mapping.row(answers)
    for question, answer in answers.items():
        collected.put(collected.answers, question, answer)
    plant(collected, stem)
    return collected.submission(_identifier(root), version, name)


def answers_as_met(data: bytes) -> dict[str, str]:
    """Every answer of an XForm instance under its path, such as ``group/question``.

    Codes of places and observers, dates and the code for withdrawal stand under their own name.
    Entries of groups that are there several times are numbered: ``plot[2]/crop``. The phone's own
    `meta` is left out.

    Raises
    ------
    FormError
        As `read_xml`.
    """
    return dict(_as_met(_root(data), "").answers)


def names_met(data: bytes) -> frozenset[str]:
    """Names and paths of every question and group of an XForm instance, answered or not.

    Raises
    ------
    FormError
        As `read_xml`.
    """
    return frozenset(_names(_root(data), "", 0))


def _names(parent: Any, before: str, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise FormError(f"is nested more than {_MAX_DEPTH} deep; no form is")
    for element in parent:
        yield from (_tag(element), f"{before}{_tag(element)}")
        yield from _names(element, f"{before}{_tag(element)}/", depth + 1)


def _as_met(root: Any, name: str) -> Submission:
    answers: dict[str, str] = {}
    for path, answer in _paths(root, "", 0):
        leaf = path.rpartition("/")[2]
        is_own = leaf in _OWN_NAMES and leaf not in answers and "[" not in path
        answers[leaf if is_own else path] = answer
        if len(answers) > _MAX_ANSWERS:
            raise FormError(f"has more than {_MAX_ANSWERS} answers; no form asks so many")
    return Submission(
        instance_id=_identifier(root),
        form_id=root.get("id", ""),
        form_version=root.get("version", ""),
        answers=answers,
        source=name,
    )


def _paths(parent: Any, before: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > _MAX_DEPTH:
        raise FormError(f"is nested more than {_MAX_DEPTH} deep; no form is")
    counts = Counter(_tag(element) for element in parent)
    numbers: Counter[str] = Counter()
    for element in parent:
        tag = _tag(element)
        if tag == "meta" and not depth:
            continue
        numbers[tag] += 1
        path = before + (f"{tag}[{numbers[tag]}]" if counts[tag] > 1 else tag)
        if len(element):
            yield from _paths(element, f"{path}/", depth + 1)
        elif answer := (element.text or "").strip():
            yield path, answer


def _walk(
    parent: Any, before: str, form: Collected, into: Branch, mapping: TableMapping | None
) -> None:
    """The answers and entries of a form that is known; groups are looked through."""
    if before.count("/") > _MAX_DEPTH:
        raise FormError(f"is nested more than {_MAX_DEPTH} deep; no form is")
    for element in parent:
        tag = _tag(element)
        path = f"{before}{tag}"
        repeat = tag if mapping is None else mapping.repeat(tag)
        if repeat in form.within and len(element):
            entries = into.within[repeat]
            entry = entries[len(entries) + 1] = Branch()
            _walk(element, f"{path}/", form, entry, mapping)
            if mapping is not None:
                entry.answers.update(mapping.entry(repeat, entry.answers))
        elif len(element):
            _walk(element, f"{path}/", form, into, mapping)
        elif tag != "instanceID":
            question = tag
            if mapping is not None:
                named = mapping.name(path)
                question = named if named != path else mapping.name(tag)
            _answer(form, into, question, (element.text or "").strip())


def _identifier(root: Any) -> str:
    found = [element for element in root.iter() if _tag(element) == "instanceID"]
    return (found[-1].text or "").strip() if found else ""


def _tag(element: Any) -> str:
    return str(element.tag).rsplit("}", 1)[-1]


def _root(data: bytes) -> Any:
    try:
        root = fromstring(data, forbid_dtd=True)
    except ParseError as error:
        raise FormError(f"is not complete XML ({error}); send it again") from error
    except DefusedXmlException as error:
        raise FormError("declares a DTD or entities; send what the form app made") from error
    except (ValueError, LookupError) as error:
        raise FormError(f"cannot be read as XML ({error}); send it again") from error
    if _tag(root).lower() == "html":
        raise FormError("is a web page; your sign-in may have run out, download the file again")
    return root


def read_json(name: str, data: bytes, mapping: TableMapping | None = None) -> Iterator[Found]:
    """Submissions of a JSON export: a list, Kobo's ``results`` or ODK Central's ``value``.

    Parameters
    ----------
    mapping : TableMapping, optional
        Which key is which question, and which list which repeat, for a form of somebody else.

    Raises
    ------
    FormError
        Not JSON, not a list of submissions, or of no form of this survey.
    """
    try:
        content = json.loads(data.decode("utf-8-sig"))
        if _HALF_SIGN.search(data):  # "\\ud83d" without its other half is in no text
            json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise FormError(f"is not JSON ({error}); export it again") from error
    if isinstance(content, dict):
        content = content.get("results", content.get("value", [content]))
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise FormError("is no list of submissions; export it as JSON of Kobo or ODK Central")
    if not content:
        raise FormError("holds no submission; export it again")
    if len(content) > MAX_ROWS:
        raise FormError(f"has more than {MAX_ROWS} submissions; split it")
    for row, record in enumerate(content, start=1):
        leaves = dict(_leaves(record))
        if mapping is not None:
            named = {mapping.name(key.rsplit("/", 1)[-1]): text for key, text in leaves.items()}
            leaves = mapping.row(named)
        form_id = first_of(leaves, FORM_COLUMNS) or guess_form(set(leaves))
        collected = Collected(form_id)
        stem = Branch()
        _collect(record, collected, stem, mapping)
        answers = stem.answers
        if mapping is not None:
            answers = {k: a for k, a in mapping.row(answers).items() if k != "instanceID"}
        for key, answer in answers.items():
            collected.put(collected.answers, key, answer)
        plant(collected, stem)
        version = first_of(leaves, VERSION_COLUMNS)
        yield Found(
            sheet="",
            row=row,
            submission=collected.submission(
                instance_of(leaves), version or newest_version(form_id), f"{name}, row {row}"
            ),
            is_versioned=bool(version),
        )


def _leaves(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in record.items():
        if isinstance(value, dict):
            for inner, text in _leaves(value):
                yield f"{key}/{inner}", text
        elif not isinstance(value, list) or not any(isinstance(each, dict) for each in value):
            yield key, answer_text(value)


def _collect(
    record: Mapping[str, Any], form: Collected, into: Branch, mapping: TableMapping | None
) -> None:
    """The answers and entries of a record; groups are looked through."""
    for key, value in record.items():
        leaf = key.rsplit("/", 1)[-1]
        if mapping is not None:
            leaf = mapping.name(leaf)
        if isinstance(value, dict):
            point = _point(value)
            if point:
                _answer(form, into, leaf, point)
            else:
                _collect(value, form, into, mapping)
        elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
            repeat = mapping.repeat(leaf) if mapping is not None else leaf
            if repeat in form.within:
                for each in value:
                    entries = into.within[repeat]
                    entry = entries[len(entries) + 1] = Branch()
                    if isinstance(each, dict):
                        _collect(each, form, entry, mapping)
                    if mapping is not None:
                        entry.answers.update(mapping.entry(repeat, entry.answers))
            elif mapping is not None and len(value) == 1:
                # A list of one entry is how some tools write a group.
                _collect(value[0], form, into, mapping)
        else:
            _answer(form, into, leaf, answer_text(value))


def _answer(form: Collected, into: Branch, name: str, answer: str) -> None:
    if form.asks(name) and name in into.answers:
        raise FormError(f"holds {name} twice; send it with the form it was made for")
    into.answers[name] = answer


def _point(value: Mapping[str, Any]) -> str:
    """A position as ODK Central writes it (GeoJSON, longitude first), as a phone does."""
    place = value.get("coordinates")
    if value.get("type") != "Point" or not isinstance(place, list) or len(place) < 2:
        return ""
    properties = value.get("properties")
    accuracy = properties.get("accuracy") if isinstance(properties, dict) else None
    altitude = place[2] if len(place) > 2 else None
    return " ".join(answer_text(part) or "0" for part in (place[1], place[0], altitude, accuracy))
