"""Bytes to submissions: XForm XML, CSV, XLSX, and the JSON of Kobo and ODK Central.

Nothing here judges an answer; what cannot be read at all raises `FormError` with a text
``problem; remedy``.
"""

from __future__ import annotations

import csv
import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any

import openpyxl
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from survey.errors import FormError
from survey.forms.mapping import TableMapping
from survey.forms.questionnaires import QUESTIONS, VERSIONS, repeats_of
from survey.forms.records import Submission

__all__ = ["read_csv", "read_json", "read_xlsx", "read_xml", "table_text"]

_MAX_ROWS = 200_000
_MAX_UNPACKED = 500_000_000
_INSTANCE_COLUMNS = ("instanceID", "meta/instanceID", "meta-instanceID", "KEY", "__id", "_uuid")
_FORM_COLUMNS = ("form_id", "_xform_id_string")
_VERSION_COLUMNS = ("form_version", "__version__")
#: Names of columns as they are written here, by their lower case: spreadsheets change it.
_COLUMN_NAMES = {
    name.lower(): name
    for name in (
        *_INSTANCE_COLUMNS,
        *_FORM_COLUMNS,
        *_VERSION_COLUMNS,
        *(question.name for questions in QUESTIONS.values() for question in questions),
    )
}
_SEPARATOR = re.compile(r"\"?sep=(?P<mark>[,;\t])\"?[^\S\n]*\r?\n", re.IGNORECASE)
#: ``capsule[2]/height_mm``: the second entry of a repeat in a plain table.
_ENTRY = re.compile(r"(?P<repeat>[\w-]+)\[(?P<number>\d{1,4})\]/(?P<name>[\w-]+)")


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
    collected = _Collected(form_id)
    instance_id = ""

    def walk(parent: Any, into: dict[str, str]) -> None:
        nonlocal instance_id
        for element in parent:
            tag = str(element.tag).rsplit("}", 1)[-1]
            if tag == "instanceID":
                instance_id = (element.text or "").strip()
            elif tag in collected.repeats and len(element):
                walk(element, collected.entry(tag))
            elif len(element):
                walk(element, into)
            else:
                collected.put(into, tag, (element.text or "").strip())

    walk(root, collected.answers)
    return collected.submission(instance_id, root.get("version", ""), name)


class _Collected:
    """Answers of one submission as they are met."""

    def __init__(self, form_id: str) -> None:
        self._form_id = form_id
        self._known = {question.name for question in QUESTIONS.get(form_id, ())}
        self.answers: dict[str, str] = {}
        self.repeats: dict[str, list[dict[str, str]]] = {n: [] for n in repeats_of(form_id)}

    def entry(self, repeat: str) -> dict[str, str]:
        self.repeats[repeat].append({})
        return self.repeats[repeat][-1]

    def put(self, into: dict[str, str], name: str, answer: str) -> None:
        """Keep an answer; calculated and technical leaves (start, deviceid ...) are none."""
        if name not in self._known:
            return
        if name in into:
            raise FormError(f"holds {name} twice; send it with the form it was made for")
        into[name] = answer

    def submission(self, instance_id: str, version: str, source: str) -> Submission:
        return Submission(
            instance_id=instance_id,
            form_id=self._form_id,
            form_version=version,
            answers=self.answers,
            source=source,
            repeats={repeat: entries for repeat, entries in self.repeats.items() if entries},
        )


def read_csv(
    name: str, data: bytes, mapping: TableMapping | None = None
) -> Iterator[tuple[int, Submission]]:
    """Submissions of a CSV file, one a row below the header, with the number of the row.

    Raises
    ------
    FormError
        Not text, not CSV, or no table of a form of this survey.
    """
    _, text, delimiter = table_text(data)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        yield from _read_table(name, reader, mapping)
    except csv.Error as error:
        raise FormError(f"is not valid CSV ({error}); save it as 'CSV UTF-8'") from error


def table_text(data: bytes) -> tuple[str, str, str]:
    """Text of a CSV file: what stands above the header, the table, and its separator.

    Raises
    ------
    FormError
        Not text, or empty.
    """
    text = _decode(data).lstrip("\r\n")
    if not text.strip():
        raise FormError("is empty; send it again")
    # Excel writes "sep=;" above the header where the separator is not the local one.
    declared = _SEPARATOR.match(text)
    end = declared.end() if declared else 0
    header_line = next(iter(text[end:].splitlines()), "")
    delimiter = declared["mark"] if declared else max(",;\t", key=header_line.count)
    return text[:end], text[end:], delimiter


def read_xlsx(
    name: str, data: bytes, mapping: TableMapping | None = None
) -> Iterator[tuple[int, Submission]]:
    """Submissions of the first sheet of a workbook, one a row below the header.

    Raises
    ------
    FormError
        Not a workbook, one that unpacks to far more than it weighs, or no table of a form.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            unpacked = sum(entry.file_size for entry in packed.infolist())
        if unpacked > _MAX_UNPACKED:
            raise FormError(
                f"unpacks to {unpacked / 1e6:.0f} MB; send the rows without pictures and formats"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # styles and extensions it leaves out
            book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
            sheet = book.worksheets[0]
            rows = sheet.iter_rows(values_only=True, max_row=_MAX_ROWS + 2)

            def texts() -> Iterator[list[str]]:
                width = 0
                for cells in rows:
                    row = [_text(cell) for cell in cells]
                    width = width or len(row)
                    yield row + [""] * (width - len(row))

            yield from _read_table(f"{name}, sheet {sheet.title}", texts(), mapping)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, DefusedXmlException) as error:
        raise FormError(f"is no readable workbook ({error}); save it as .xlsx again") from error


def read_json(name: str, data: bytes) -> Iterator[tuple[int, Submission]]:
    """Submissions of a JSON export: a list, Kobo's ``results`` or ODK Central's ``value``.

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
    if len(content) > _MAX_ROWS:
        raise FormError(f"has more than {_MAX_ROWS} submissions; split it")
    for row, record in enumerate(content, start=1):
        leaves = dict(_leaves(record))
        names = {key.rsplit("/", 1)[-1] for key in leaves}
        form_id = _first(leaves, _FORM_COLUMNS) or _guess_form(names)
        collected = _Collected(form_id)
        _collect(record, collected, collected.answers)
        version = _first(leaves, _VERSION_COLUMNS) or _newest(form_id)
        yield row, collected.submission(_instance(leaves), version, f"{name}, row {row}")


def _leaves(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in record.items():
        if isinstance(value, dict):
            for inner, text in _leaves(value):
                yield f"{key}/{inner}", text
        elif not isinstance(value, list):
            yield key, _text(value)


def _collect(record: Mapping[str, Any], into: _Collected, answers: dict[str, str]) -> None:
    for key, value in record.items():
        leaf = key.rsplit("/", 1)[-1]
        if isinstance(value, dict):
            _collect(value, into, answers)
        elif isinstance(value, list):
            for entry in value if leaf in into.repeats else ():
                if isinstance(entry, dict):
                    _collect(entry, into, into.entry(leaf))
        else:
            into.put(answers, leaf, _text(value))


def _first(values: Mapping[str, str], names: Iterable[str]) -> str:
    return next((values[name] for name in names if values.get(name)), "")


def _instance(values: Mapping[str, str]) -> str:
    """The identifier that the phone gave; Kobo's bare ``_uuid`` is the same without prefix."""
    found = _first(values, _INSTANCE_COLUMNS)
    if found and found == values.get("_uuid") and ":" not in found:
        return f"uuid:{found}"
    return found


def _newest(form_id: str) -> str:
    return max(VERSIONS.get(form_id, {""}))


def _text(value: Any) -> str:
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
    return str(value).strip()


def _read_table(
    name: str, rows: Iterator[list[str]], mapping: TableMapping | None
) -> Iterator[tuple[int, Submission]]:
    header = _without_empty_end([cell.strip() for cell in next(rows, [])])
    if mapping is not None:
        header = mapping.header(header)
    header = [_COLUMN_NAMES.get(column.lower(), column) for column in header]
    has_identity = mapping is not None and bool(mapping.identity)
    if not has_identity and not any(column in header for column in _INSTANCE_COLUMNS):
        raise FormError(
            f"has no instanceID column (it has {', '.join(header)[:200]}); export it with the "
            "instanceID, or give every row one"
        )
    repeated = {column for column in header if header.count(column) > 1}
    if repeated:
        raise FormError(f"has column {', '.join(sorted(repeated))} twice; keep one of them")
    entry_names = {m["name"] for m in map(_ENTRY.fullmatch, header) if m}
    guessed = mapping.form_id if mapping else _guess_form(set(header) | entry_names)
    for row, cells in enumerate(rows, start=1):
        if row > _MAX_ROWS:
            raise FormError(f"has more than {_MAX_ROWS} rows; split it")
        if not any(cell.strip() for cell in cells):
            continue
        # Spreadsheets remember cells that were once filled, and drop empty ones at the end.
        if len(cells) > len(header):
            cells = _without_empty_end(cells, len(header))
        if len(cells) != len(header):
            raise FormError(
                f"row {row} has {len(cells)} cells, the header has {len(header)}; quote texts "
                "that hold the separator"
            )
        values = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        if mapping is not None:
            values = mapping.row(values)
        form_id = _first(values, _FORM_COLUMNS) or guessed
        version = _first(values, _VERSION_COLUMNS) or _newest(form_id)
        collected = _Collected(form_id)
        entries: dict[tuple[str, int], dict[str, str]] = {}
        for column, answer in values.items():
            place = _ENTRY.fullmatch(column)
            if place is None:
                collected.put(collected.answers, column.rsplit("/", 1)[-1], answer)
            elif answer and place["repeat"] in collected.repeats:
                key = (place["repeat"], int(place["number"]))
                entries.setdefault(key, {})[place["name"]] = answer
        for (repeat, _), entry in sorted(entries.items()):
            collected.entry(repeat).update(entry)
        yield row, collected.submission(_instance(values), version, f"{name}, row {row}")


def _without_empty_end(cells: list[str], least: int = 0) -> list[str]:
    """Cells up to the last that holds something, but not fewer than `least`."""
    filled = (number for number, cell in enumerate(cells, start=1) if cell.strip())
    return cells[: max(least, *filled, 0)]


def _decode(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif b"\x00" in data:
        raise FormError("is neither XML nor text; send XForm XML or CSV")
    else:
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise FormError(
            f"is not UTF-8 text (byte {error.start}); save it as 'CSV UTF-8', a guess could "
            "change names"
        ) from error


def _guess_form(columns: set[str]) -> str:
    """The form whose required questions are all there; of several, the one that asks most."""
    columns = {column.rsplit("/", 1)[-1] for column in columns}
    missing = {
        form_id: [
            q.name
            for q in questions
            if q.is_required and not (q.needs or q.repeat) and q.name not in columns
        ]
        for form_id, questions in QUESTIONS.items()
    }
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
