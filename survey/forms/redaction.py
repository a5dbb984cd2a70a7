"""A raw file without some of its submissions: what is left after a withdrawal."""

from __future__ import annotations

import csv
import io
import json
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import openpyxl

from survey.forms.mapping import TableMapping
from survey.forms.records import Submission
from survey.forms.sheets import table_name, table_text
from survey.forms.submissions import read_rows
from survey.forms.tables import is_ours, sheets_of

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
    gone = [
        each
        for each in found
        if is_gone(each.submission.instance_id) or (also is not None and also(each.submission))
    ]
    if not gone:
        return data, 0
    if len(gone) == len(found):
        return None, len(gone)
    rows: dict[str, set[int]] = defaultdict(set)
    for each in gone:
        for sheet, row in ((each.sheet, each.row), *each.within):
            rows[sheet].add(row or 0)
    start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:4]
    if start[:1] in (b"{", b"["):
        return _records(data, rows[""]), len(gone)
    above = {sheet.name: sheet.n_above for sheet in sheets_of(data, mapping)}
    if start != b"PK\x03\x04":
        return _table(data, rows[""], above[""]), len(gone)
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        if "xl/workbook.xml" not in packed.namelist():
            return _archive(packed, rows, above), len(gone)
    return _workbook(data, rows, above, is_gone), len(gone)


def _table(data: bytes, rows: set[int], n_above: int) -> bytes:
    """Lines of a CSV file without those of some rows; a row may span several lines."""
    head, body, delimiter = table_text(data)
    lines = list(io.StringIO(body, newline=""))
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    kept: list[str] = []
    begin = 0
    for row, _ in enumerate(reader, start=-n_above):  # the header has number 0
        if row < 1 or row not in rows:
            kept += lines[begin : reader.line_num]
        begin = reader.line_num
    return (head + "".join(kept)).encode()


def _archive(
    packed: zipfile.ZipFile, rows: Mapping[str, set[int]], above: Mapping[str, int]
) -> bytes:
    """Files of an archive of tables without some rows; other files (photos) are left out."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as left:
        for name in packed.namelist():
            stem = table_name(name)
            if stem in above:
                left.writestr(name, _table(packed.read(name), rows.get(stem, set()), above[stem]))
    return out.getvalue()


def _records(data: bytes, rows: set[int]) -> bytes:
    content: Any = json.loads(data.decode("utf-8-sig"))
    name = next(
        (n for n in ("results", "value") if isinstance(content, dict) and n in content), ""
    )
    listed = content[name] if name else content
    kept = [record for row, record in enumerate(listed, start=1) if row not in rows]
    return json.dumps({**content, name: kept} if name else kept, ensure_ascii=False).encode()


def _workbook(
    data: bytes,
    rows: Mapping[str, set[int]],
    above: Mapping[str, int],
    is_gone: Callable[[str], bool],
) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    made = openpyxl.Workbook(write_only=True)
    for sheet in book.worksheets:
        lines = list(sheet.iter_rows(values_only=True))
        if lines and is_ours([str(cell) for cell in lines[0]]):
            continue  # a list of problems, with answers of whoever is gone
        copy = made.create_sheet(sheet.title)
        for row, cells in enumerate(lines, start=-above[sheet.title]):
            # Sheets that were not read may name the submission all the same: uuid:1/plots[2].
            named = any(
                isinstance(cell, str)
                and (is_gone(cell.partition("/")[0]) or is_gone(f"uuid:{cell}"))
                for cell in cells
            )
            if row < 1 or not (named or row in rows.get(sheet.title, ())):
                copy.append(cells)
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()
