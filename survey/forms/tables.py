"""Sheets to submissions: one row each, its repeats in columns, in other sheets or other files.

KoboToolbox writes each repeat to a sheet of its own, whose rows name `_parent_index`; ODK Central
to a file of its own, whose rows name `PARENT_KEY`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from survey.errors import FormError
from survey.forms.collecting import (
    FORM_COLUMNS,
    INSTANCE_COLUMNS,
    VERSION_COLUMNS,
    Collected,
    first_of,
    guess_form,
    instance_of,
    newest_version,
)
from survey.forms.mapping import TableMapping
from survey.forms.questionnaires import QUESTIONS, RENAMED, repeats_of
from survey.forms.records import Submission
from survey.forms.sheets import Sheet, csv_sheet, packed_sheets

__all__ = ["Branch", "Found", "is_ours", "plant", "read_sheets", "sheets_of"]

_OWN = ("KEY", "_index")
_PARENT = ("PARENT_KEY", "_parent_index")
_PARENT_TABLE = "_parent_table_name"
_POSITION = ("Latitude", "Longitude", "Altitude", "Accuracy")
_ASKED = {question.name for questions in QUESTIONS.values() for question in questions} | {
    old for names in RENAMED.values() for old in names
}
#: Names of columns as they are written here, by their lower case: spreadsheets change it.
_COLUMN_NAMES = {
    name.lower(): name
    for name in (
        *(*INSTANCE_COLUMNS, *FORM_COLUMNS, *VERSION_COLUMNS),
        *(*_OWN, *_PARENT, _PARENT_TABLE),
        *sorted(_ASKED),
    )
}
_NESTED = {
    repeat for form_id in QUESTIONS for repeat, outer in repeats_of(form_id).items() if outer
}
#: ``plot[2]/plot_crop[1]``: an entry of a repeat in a plain table.
_ENTRY = re.compile(r"(?P<repeat>[\w-]+)\[(?P<number>\d{1,4})\]")
#: Sheet names of workbooks end here; names of their parents do not.
_SHEET_NAME = 31


@dataclass(frozen=True, slots=True)
class Branch:
    """One entry of a repeat: its answers, and the entries within it by repeat."""

    answers: dict[str, str] = field(default_factory=dict)
    within: dict[str, dict[int, Branch]] = field(default_factory=lambda: defaultdict(dict))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A submission and where it stands.

    Attributes
    ----------
    sheet : str
        Name of the sheet or of the file in an archive; empty for a single table.
    row : int or None
        Below the header, counted from 1; None for XML.
    within : tuple of (str, int)
        Sheets and rows of its entries.
    is_versioned : bool
        The file names the version of the form; else the newest is taken.
    """

    sheet: str
    row: int | None
    submission: Submission
    within: tuple[tuple[str, int], ...] = ()
    is_versioned: bool = True


def sheets_of(data: bytes, mapping: TableMapping | None) -> list[Sheet]:
    """The sheets of a CSV file, a workbook or an archive of CSV files.

    Raises
    ------
    FormError
        It cannot be read.
    """

    def is_top(cells: list[str]) -> bool:
        return _is_header(cells, mapping)

    if data.startswith(b"PK\x03\x04"):
        return packed_sheets(data, is_top)
    return [csv_sheet(data, is_top)]


def is_ours(header: Sequence[str]) -> bool:
    """Whether a sheet is the list of problems of a file that is sent back corrected."""
    return list(header[:3]) == ["file", "sheet", "row"]


def plant(into: Collected, branch: Branch) -> None:
    """Add the entries within a branch to a submission, in their order."""
    for repeat, entries in branch.within.items():
        if repeat not in into.within:
            continue
        for _, entry in sorted(entries.items()):
            answers = into.entry(repeat)
            for name, answer in entry.answers.items():
                into.put(answers, name, answer)
            plant(into, entry)


def _is_header(cells: Sequence[str], mapping: TableMapping | None) -> bool:
    """Whether a line of a sheet can be nothing but its header."""
    if mapping is not None and mapping.is_header(cells):
        return True
    names = {_COLUMN_NAMES.get(cell.strip().lower(), "") for cell in cells}
    return bool(names.intersection((*INSTANCE_COLUMNS, *_PARENT)))


def read_sheets(
    name: str, sheets: Sequence[Sheet], mapping: TableMapping | None, remarks: list[str]
) -> Iterator[Found]:
    """Submissions of the sheets of one file.

    Parameters
    ----------
    remarks : list of str
        Sheets that were left out are named here, as ``problem; remedy``.

    Raises
    ------
    FormError, ConfigError
        No sheet is a table of a form, or entries belong to no submission of the file.
    """
    tables = [_Table(sheet, mapping) for sheet in sheets]
    mains = [table for table in tables if table.is_main]
    if not mains:
        if mapping is not None:
            mapping.check(tables[0].sheet.header)
        if not any(table.header for table in tables):
            raise FormError("holds no row; send the file that was filled")
        raise FormError(
            f"has no instanceID column ({_columns_of(tables)}); export it with the instanceID, or "
            "give every row one"
        )
    mains = _of_a_form(mains, remarks)
    inner = _Entries([table for table in tables if table.parent], mapping, remarks)
    for table in mains:
        form_id = table.form_id()
        for row, values in table.values():
            given = mapping.row(values) if mapping is not None else values
            of = first_of(given, FORM_COLUMNS) or form_id
            collected = Collected(of)
            stem, within = inner.stem(values)
            for column, answer in _answers(given).items():
                path, _, leaf = column.rpartition("/")
                branch = _place(stem, path) if "[" in path else None
                if branch is None:
                    collected.put(collected.answers, leaf, answer)
                elif answer:
                    branch.answers[leaf] = answer
            plant(collected, stem)
            version = first_of(given, VERSION_COLUMNS)
            place = f"{name}, sheet {table.name}" if table.name else name
            yield Found(
                sheet=table.name,
                row=row,
                submission=collected.submission(
                    instance_of(given), version or newest_version(of), f"{place}, row {row}"
                ),
                within=tuple(within),
                is_versioned=bool(version),
            )
    inner.refuse_orphans()
    remarks.extend(
        f"sheet {table.name} was not read; it has no instanceID column"
        for table in tables
        if not (table.is_main or table.parent or is_ours(table.header)) and table.header
    )


def _of_a_form(mains: Sequence[_Table], remarks: list[str]) -> list[_Table]:
    """The tables that are of a form of this survey; at least one is, the others are named."""
    fitting, faults = [], []
    for table in mains:
        try:
            table.form_id()
        except FormError as error:
            faults.append((table, error))
        else:
            fitting.append(table)
    if not fitting and faults:
        raise faults[0][1]
    remarks.extend(f"sheet {table.name} was not read; it {error}" for table, error in faults)
    return fitting


def _columns_of(tables: Sequence[_Table]) -> str:
    shown = [
        (f"sheet {table.name}: " if len(tables) > 1 else "it has ") + ", ".join(table.header)
        for table in tables
    ]
    return "; ".join(shown)[:300].replace(";", ",")


class _Table:
    """A sheet with its columns under the names that are used here."""

    def __init__(self, sheet: Sheet, mapping: TableMapping | None) -> None:
        self.sheet, self.name, self._mapping = sheet, sheet.name, mapping
        header = [_COLUMN_NAMES.get(column.lower(), column) for column in sheet.header]
        self.parent = next((column for column in _PARENT if column in header), "")
        if mapping is not None:
            header = [mapping.name(column) for column in header]
        self.header = header
        known = any(column in header for column in INSTANCE_COLUMNS)
        if mapping is not None:
            known = mapping.fits(sheet.header) and (known or mapping.names_rows(header))
        self.is_main = not self.parent and known and bool(header)
        repeated = {column for column in header if column and header.count(column) > 1}
        if repeated and (self.is_main or self.parent):
            raise FormError(f"has column {', '.join(sorted(repeated))} twice; keep one of them")

    def form_id(self) -> str:
        """The form of all rows that do not name one."""
        if self._mapping is not None:
            return self._mapping.form_id
        columns = set(_answers(dict.fromkeys(self.header, "")))
        if any(column in self.header for column in FORM_COLUMNS):
            return ""
        return guess_form(columns)

    def values(self) -> Iterator[tuple[int, dict[str, str]]]:
        for row, cells in self.sheet.rows:
            yield row, dict(zip(self.header, cells, strict=False))


class _Entries:
    """Rows of the sheets of repeats, by the row they belong to."""

    def __init__(
        self, tables: Sequence[_Table], mapping: TableMapping | None, remarks: list[str]
    ) -> None:
        self._rows: dict[tuple[str, str], list[tuple[str, str, str, int, dict[str, str]]]]
        self._rows = defaultdict(list)
        self._names = {table.name[:_SHEET_NAME] for table in tables}
        for table in tables:
            repeat = _repeat_of(table, mapping)
            if not repeat:
                remarks.append(
                    f"sheet {table.name} was not read; no form of this survey has such a repeat"
                )
                continue
            for row, values in table.values():
                parent = values.get(table.parent, "")
                above = values.get(_PARENT_TABLE, "")[:_SHEET_NAME]
                # Whoever renamed the first sheet still has the repeats of the form itself.
                is_within = above in self._names or (above and repeat in _NESTED)
                key = (above if is_within else "", parent)
                answers = _answers(values)
                if mapping is not None:
                    answers = mapping.entry(repeat, answers)
                own = first_of(values, _OWN)
                self._rows[key].append((repeat, table.name, own, row, answers))

    def stem(self, values: Mapping[str, str]) -> tuple[Branch, list[tuple[str, int]]]:
        """Everything that belongs to a row of a main sheet, and where it stands."""
        stem, places = Branch(), list[tuple[str, int]]()
        for column in _OWN if self._rows else ():
            own = values.get(column, "")
            # Only one of the two is what the entries of this export name.
            if own and ("", own) in self._rows:
                self._grow(stem, ("", own), places)
        return stem, places

    def _grow(self, branch: Branch, key: tuple[str, str], places: list[tuple[str, int]]) -> None:
        for repeat, sheet, own, row, answers in self._rows.pop(key, ()):
            places.append((sheet, row))
            entries = branch.within[repeat]
            entry = entries[len(entries) + 1] = Branch(_leaves(answers))
            for table in (sheet[:_SHEET_NAME], ""):
                if own and (table, own) in self._rows and (table or own.count("/")):
                    self._grow(entry, (table, own), places)

    def refuse_orphans(self) -> None:
        """Refuse entries whose submission is not in the file: they would be lost."""
        for (_, parent), rows in self._rows.items():
            _, sheet, _, row, _ = rows[0]
            raise FormError(
                f"sheet {sheet}, row {row} belongs to {parent!r}, which is not in the file; send "
                "the export as it came, with all its sheets and rows"
            )


def _repeat_of(table: _Table, mapping: TableMapping | None) -> str:
    """The repeat that a sheet holds: by its name, else by its columns."""
    if mapping is not None and mapping.repeat(table.name) != table.name:
        return mapping.repeat(table.name)
    known = {repeat for form_id in QUESTIONS for repeat in repeats_of(form_id)}
    words = re.split(r"[/.-]", table.name.lower())
    if words[-1] in known:
        return words[-1]
    columns = set(_leaves(_answers(dict.fromkeys(table.header, ""))))
    fitting: dict[str, int] = defaultdict(int)
    for questions in QUESTIONS.values():
        for question in questions:
            if question.repeat and question.name in columns:
                fitting[question.repeat] += 1
    return max(fitting, key=lambda repeat: fitting[repeat], default="")


def _leaves(answers: Mapping[str, str]) -> dict[str, str]:
    return {column.rsplit("/", 1)[-1]: answer for column, answer in answers.items()}


def _answers(values: Mapping[str, str]) -> dict[str, str]:
    """Columns as ``group/question``; positions in four columns become one answer."""
    answers: dict[str, str] = {}
    for column, answer in values.items():
        base, _, part = column.rpartition("-")
        if part in _POSITION and base.rsplit("-", 1)[-1].rsplit("/", 1)[-1] in _ASKED:
            if part == _POSITION[0]:
                parts = [values.get(f"{base}-{each}", "") for each in _POSITION]
                filled = [each or "0" for each in parts]
                answers[base.rsplit("-", 1)[-1]] = " ".join(filled) if answer else ""
        elif column.rsplit("/", 1)[-1] not in _ASKED and part in _ASKED and base:
            answers[part] = answer  # Central joins names of groups and questions with "-"
        else:
            answers[column] = answer
    return answers


def _place(stem: Branch, path: str) -> Branch | None:
    """The entry that ``plot[2]/plot_crop[1]`` names, made if it is not there yet."""
    branch = stem
    for step in path.split("/"):
        entry = _ENTRY.fullmatch(step)
        if entry is None:
            return None
        branch = branch.within[entry["repeat"]].setdefault(int(entry["number"]), Branch())
    return branch
