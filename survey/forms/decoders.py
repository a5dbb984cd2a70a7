"""Bytes to submissions: XForm XML, and the JSON of Kobo, ODK Central and others.

Nothing here judges an answer; what cannot be read at all raises `FormError` with a text
``problem; remedy``.
"""

from __future__ import annotations

import json
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
from survey.forms.records import Submission
from survey.forms.sheets import MAX_ROWS
from survey.forms.tables import Branch, plant

__all__ = ["read_json", "read_xml"]


def read_xml(name: str, data: bytes) -> Submission:
    """The submission of one XForm instance.

    Raises
    ------
    FormError
        Not complete XML, or XML with a DTD or entities.
    """
    try:
        root = fromstring(data, forbid_dtd=True)
    except ParseError as error:
        raise FormError(f"is not complete XML ({error}); send it again") from error
    except DefusedXmlException as error:
        raise FormError("declares a DTD or entities; send what the form app made") from error
    except (ValueError, LookupError) as error:
        raise FormError(f"cannot be read as XML ({error}); send it again") from error
    form_id = root.get("id", "")
    if str(root.tag).rsplit("}", 1)[-1].lower() == "html":
        raise FormError("is a web page; your sign-in may have run out, download the file again")
    collected = Collected(form_id)
    instance_id = ""

    def walk(parent: Any, into: dict[str, str], branch: Branch) -> None:
        nonlocal instance_id
        for element in parent:
            tag = str(element.tag).rsplit("}", 1)[-1]
            if tag == "instanceID":
                instance_id = (element.text or "").strip()
            elif tag in collected.within and len(element):
                entries = branch.within[tag]
                entry = entries[len(entries) + 1] = Branch()
                walk(element, entry.answers, entry)
            elif len(element):
                walk(element, into, branch)
            else:
                collected.put(into, tag, (element.text or "").strip())

    stem = Branch()
    walk(root, collected.answers, stem)
    plant(collected, stem)
    return collected.submission(instance_id, root.get("version", ""), name)


def read_json(
    name: str, data: bytes, mapping: TableMapping | None = None
) -> Iterator[tuple[int, Submission]]:
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
        version = first_of(leaves, VERSION_COLUMNS) or newest_version(form_id)
        yield row, collected.submission(instance_of(leaves), version, f"{name}, row {row}")


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
