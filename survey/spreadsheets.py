"""CSV files that people open in a spreadsheet program, which must run nothing in them.

A cell of text that begins with = + - @, a tab or a carriage return would be taken for a formula.
It gets an apostrophe in front, as such programs write it themselves; numbers stay numbers.
`readers.read_csv` takes the apostrophe away again.
"""

from __future__ import annotations

import pandas as pd

__all__ = ["as_written", "spreadsheet_table", "spreadsheet_text"]

_RISKY = ("=", "+", "-", "@", "\t", "\r")
_MARKED = r"^'(?=[=+\-@\t\r])"


def spreadsheet_text(value: object) -> object:
    """A cell as it may stand in a file: text never as a formula, all else as it is."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_RISKY) else value


def spreadsheet_table(table: pd.DataFrame) -> pd.DataFrame:
    """Copy of a table with every cell and every name of a column safe to open."""
    safe = table.rename(columns=spreadsheet_text)
    for name in table.select_dtypes(include=["object", "string", "category"]).columns:
        safe[spreadsheet_text(name)] = table[name].astype(object).map(spreadsheet_text)
    return safe


def as_written(table: pd.DataFrame) -> pd.DataFrame:
    """Text of a file that was made safe, as it was before; shape and names kept."""
    for column in table.columns:
        if table[column].str.startswith("'").any():
            table[column] = table[column].str.replace(_MARKED, "", regex=True)
    return table
