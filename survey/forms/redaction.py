"""A raw file without some of its submissions: what is left after a withdrawal."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Callable
from typing import Any

import openpyxl

from survey.forms.decoders import table_text
from survey.forms.mapping import TableMapping
from survey.forms.records import Submission
from survey.forms.submissions import read_rows

__all__ = ["Redacted", "redact"]

#: Bytes that are left, None where nothing is; and how many submissions were taken out.
Redacted = tuple[bytes | None, int]


def redact(
    data: bytes,
    is_gone: Callable[[str], bool],
    *,
    mapping: TableMapping | None = None,
    also: Callable[[Submission], bool] | None = None,
) -> Redacted:
    """A file without the submissions that must not be kept; the other rows stay as they were.

    A spreadsheet keeps the values of its sheets, not their formats and formulas; text comes back
    in UTF-8.

    Parameters
    ----------
    data : bytes
        As it arrived.
    is_gone : callable
        Whether an instanceID must not be kept.
    also : callable, optional
        A second test, of the whole submission.

    Returns
    -------
    bytes or None
        None where nothing is left; the same object where nothing was taken out.
    int
        Submissions taken out.

    Raises
    ------
    FormError, ConfigError
        The file cannot be read, so what it holds is not known.
    """
    found = read_rows("", data, mapping)
    out = {
        row
        for row, submission in found
        if is_gone(submission.instance_id) or (also is not None and also(submission))
    }
    if not out:
        return data, 0
    if len(out) == len(found):
        return None, len(out)
    rows = {row for row in out if row is not None}
    start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:4]
    if start == b"PK\x03\x04":
        return _workbook(data, rows, is_gone), len(out)
    if start[:1] in (b"{", b"["):
        return _records(data, rows), len(out)
    return _table(data, rows), len(out)


def _table(data: bytes, rows: set[int]) -> bytes:
    """Lines of a CSV file without those of some rows; a row may span several lines."""
    head, body, delimiter = table_text(data)
    lines = list(io.StringIO(body, newline=""))
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    next(reader)  # the header
    kept = lines[: reader.line_num]
    begin = reader.line_num
    for row, _ in enumerate(reader, start=1):
        if row not in rows:
            kept += lines[begin : reader.line_num]
        begin = reader.line_num
    return (head + "".join(kept)).encode()


def _records(data: bytes, rows: set[int]) -> bytes:
    content: Any = json.loads(data.decode("utf-8-sig"))
    name = next(
        (n for n in ("results", "value") if isinstance(content, dict) and n in content), ""
    )
    listed = content[name] if name else content
    kept = [record for row, record in enumerate(listed, start=1) if row not in rows]
    return json.dumps({**content, name: kept} if name else kept, ensure_ascii=False).encode()


def _workbook(data: bytes, rows: set[int], is_gone: Callable[[str], bool]) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    made = openpyxl.Workbook(write_only=True)
    for number, sheet in enumerate(book.worksheets):
        copy = made.create_sheet(sheet.title)
        for row, cells in enumerate(sheet.iter_rows(values_only=True)):
            # Sheets of repeats name the submission: uuid:1 or uuid:1/plots[2].
            named = any(
                isinstance(cell, str) and is_gone(cell.partition("/")[0]) for cell in cells
            )
            if not (named or (number == 0 and row in rows)):
                copy.append(cells)
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()
