"""Bytes to sheets: CSV, zipped CSV, and workbooks as rows of text below a header.

Spreadsheets of a working day have a title above the header, a second sheet, dates as numbers and
formulas; what could be read in two ways is refused with a text ``problem; remedy``.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import openpyxl
from defusedxml import DefusedXmlException

from survey.errors import FormError
from survey.forms.collecting import answer_text

__all__ = [
    "MAX_ROWS",
    "Sheet",
    "archive_remarks",
    "csv_sheet",
    "packed_sheets",
    "table_name",
    "table_text",
]

MAX_ROWS = 200_000
_MAX_UNPACKED = 200_000_000
_MAX_MEMBERS = 500
#: Lines above the header in which titles and group names are looked for.
_HEADER_LINES = 6
_HIDDEN = (b'hidden="1"', b'hidden="true"')
_HIDDEN_SHEET = (b'state="hidden"', b'state="veryHidden"')
_SEPARATOR = re.compile(r"\"?sep=(?P<mark>[,;\t])\"?[^\S\n]*\r?\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A header and the rows below it, as text.

    Attributes
    ----------
    name : str
        Of the sheet or of the file in an archive; empty for a single table.
    n_above : int
        Rows above the header.
    rows : iterator of (int, list of str)
        Number below the header, counted from 1, and cells; empty rows are left out.
    """

    name: str
    header: list[str]
    n_above: int
    rows: Iterator[tuple[int, list[str]]]


def csv_sheet(data: bytes, is_header: Callable[[list[str]], bool], name: str = "") -> Sheet:
    """The one sheet of a CSV file.

    Raises
    ------
    FormError
        Not text or not CSV.
    """
    try:
        _, text, delimiter = table_text(data)
    except FormError as error:
        raise FormError(f"file {name} in it {error}" if name else str(error)) from error
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)

    def rows() -> Iterator[list[str]]:
        try:
            yield from reader
        except csv.Error as error:
            raise FormError(f"is not valid CSV ({error}); save it as 'CSV UTF-8'") from error

    return _sheet(name, rows(), is_header, pads=False)


def table_text(data: bytes) -> tuple[str, str, str]:
    """Text of a CSV file: what stands above the table, the table, and its separator.

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
    # Of the first lines, since a title may stand above the header.
    top = "\n".join(text[end:].splitlines()[:_HEADER_LINES])
    delimiter = declared["mark"] if declared else max(",;\t", key=top.count)
    return text[:end], text[end:], delimiter


def packed_sheets(data: bytes, is_header: Callable[[list[str]], bool]) -> list[Sheet]:
    """Sheets of a workbook, or of an archive of CSV files as ODK Central exports them.

    Raises
    ------
    FormError
        Not readable, of another kind, or one that unpacks to far more than it weighs.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            members = packed.infolist()
            unpacked = sum(member.file_size for member in members)
            if unpacked > _MAX_UNPACKED or len(members) > _MAX_MEMBERS:
                raise FormError(
                    f"unpacks to {unpacked / 1e6:.0f} MB in {len(members)} parts; send the rows "
                    "without pictures and formats"
                )
            names = {member.filename for member in members}
            if "xl/workbook.xml" in names:
                has_formulas = any(
                    _holds(packed, name, (b"<f>", b"<f "))
                    for name in names
                    if name.startswith("xl/worksheets/")
                )
                return _workbook(data, is_header, has_formulas=has_formulas)
            tables = [
                member
                for member in members
                if member.filename.lower().endswith(".csv") and not member.is_dir()
            ]
            if tables:
                return [
                    csv_sheet(packed.read(member), is_header, table_name(member.filename))
                    for member in sorted(tables, key=lambda member: len(member.filename))
                ]
            kind = "an OpenDocument sheet" if "content.xml" in names else "an archive without CSV"
            raise FormError(f"is {kind}; save it as .xlsx, or send the export as it came")
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        KeyError,
        ValueError,
        OSError,
        EOFError,
        RuntimeError,
        DefusedXmlException,
    ) as error:
        if isinstance(error, zipfile.BadZipFile):
            raise FormError(
                "is cut off or damaged, or no workbook and no ZIP; send it again, and if that "
                "does not help, save or export it anew"
            ) from error
        raise FormError(
            f"is no readable workbook ({error}); save it as .xlsx again, or send all of it"
        ) from error


def archive_remarks(data: bytes) -> list[str]:
    """What nobody may have meant in a workbook or an archive that can be read.

    Returns
    -------
    list of str
        Each ``problem; remedy``.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        names = packed.namelist()
        if "xl/workbook.xml" in names:
            sheets = [name for name in names if name.startswith("xl/worksheets/")]
            is_hidden = _holds(packed, "xl/workbook.xml", _HIDDEN_SHEET) or any(
                _holds(packed, name, _HIDDEN) for name in sheets
            )
            told = "has hidden sheets, rows or columns, which were read like all others; "
            return [f"{told}show them and look whether they are meant"] if is_hidden else []
        others = [name for name in names if not name.lower().endswith((".csv", "/"))]
    if not others:
        return []
    told = f"holds other files than tables ({len(others)}), which were not read; "
    return [f"{told}pictures come with the phone's submission"]


def _holds(packed: zipfile.ZipFile, name: str, marks: tuple[bytes, ...]) -> bool:
    with packed.open(name) as part:
        end = b""
        while chunk := part.read(1 << 20):
            if any(mark in end + chunk for mark in marks):
                return True
            end = chunk[-32:]
    return False


def table_name(name: str) -> str:
    """Name of a table by that of its file in an archive."""
    return name.rsplit("/", 1)[-1].rsplit(".", 1)[0]


def _workbook(
    data: bytes, is_header: Callable[[list[str]], bool], *, has_formulas: bool
) -> list[Sheet]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # styles and extensions it leaves out
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        formulas = None
        if has_formulas:
            formulas = openpyxl.load_workbook(io.BytesIO(data), read_only=True)
    sheets = []
    for position, sheet in enumerate(book.worksheets):
        twin = None if formulas is None else formulas.worksheets[position]
        sheets.append(_sheet(sheet.title, _cells(sheet, twin), is_header, pads=True))
    return sheets


def _cells(sheet: Any, formulas: Any) -> Iterator[list[str]]:
    limit = MAX_ROWS + _HEADER_LINES + 2
    rows = sheet.iter_rows(values_only=True, max_row=limit)
    behind: Iterator[tuple[Any, ...]] = itertools.repeat(())
    if formulas is not None:
        behind = formulas.iter_rows(values_only=True, max_row=limit)
    for cells, written in zip(rows, behind, strict=False):
        # A result is missing where the file was never opened in a spreadsheet program; then the
        # formula itself stands there, which no number and no code can be.
        yield [
            answer_text(source if cell is None and isinstance(source, str) else cell)
            for cell, source in itertools.zip_longest(cells, written[: len(cells)])
        ]


def _sheet(
    name: str, rows: Iterator[list[str]], is_header: Callable[[list[str]], bool], *, pads: bool
) -> Sheet:
    """Find the header: the first line, unless a later one is clearly meant."""
    start = [_stripped(row) for row in itertools.islice(rows, _HEADER_LINES)]
    above = next((number for number, row in enumerate(start) if is_header(row)), 0)
    header = _without_empty_end(start[above]) if start else []
    return Sheet(
        name=name,
        header=header,
        n_above=above,
        rows=_below(header, itertools.chain(start[above + 1 :], map(_stripped, rows)), pads=pads),
    )


def _below(
    header: list[str], rows: Iterator[list[str]], *, pads: bool
) -> Iterator[tuple[int, list[str]]]:
    for row, cells in enumerate(rows, start=1):
        if row > MAX_ROWS:
            raise FormError(f"has more than {MAX_ROWS} rows; split it")
        if not any(cells):
            continue
        # Spreadsheets remember cells that were once filled, and drop empty ones at the end.
        if len(cells) > len(header):
            cells = _without_empty_end(cells, len(header))
        if pads:
            cells = cells + [""] * (len(header) - len(cells))
        if len(cells) != len(header):
            raise FormError(
                f"row {row} has {len(cells)} cells, the header has {len(header)}; quote texts "
                "that hold the separator"
            )
        yield row, cells


def _stripped(cells: list[str]) -> list[str]:
    return [cell.strip() for cell in cells]


def _without_empty_end(cells: list[str], least: int = 0) -> list[str]:
    """Cells up to the last that holds something, but not fewer than `least`."""
    filled = (number for number, cell in enumerate(cells, start=1) if cell)
    return cells[: max(least, *filled, 0)]


def _decode(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif b"\x00" in data:
        raise FormError(
            "holds zero bytes, so it is UTF-16 without its mark, or no text; save it as "
            "'CSV UTF-8'"
        )
    else:
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormError(
            f"is not UTF-8 text (line {line}, byte {error.start}); save it as 'CSV UTF-8', a "
            "guess could change names"
        ) from error
