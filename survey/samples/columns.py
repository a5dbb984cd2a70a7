"""Tables that must hold something, and columns that they may leave out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from survey.errors import TableError
from survey.readers import read_csv

__all__ = ["read_rows", "refuse_lookalikes", "with_columns"]


def read_rows(path: Path) -> pd.DataFrame:
    """Read a CSV that must have rows: of nothing no figure can be made, and none is not zero."""
    table = read_csv(path)
    if table.empty:
        raise TableError(f"{path.name} has no row below the names of its columns; export it anew")
    return table


def with_columns(table: pd.DataFrame, **columns: str | pd.Series[str]) -> pd.DataFrame:
    """Add columns that were left out.

    Raises
    ------
    TableError
        A column is there under a name that differs only in case, spaces or signs: left unread,
        it would change the figures silently.
    """
    written = {_plain(str(name)): str(name) for name in table.columns}
    absent = {name: value for name, value in columns.items() if name not in table.columns}
    for name in absent:
        if _plain(name) in written:
            raise TableError(
                f"column {written[_plain(name)]!r} is probably meant as {name!r}; rename it, or "
                "it would not be read"
            )
    return table.assign(**absent)


def refuse_lookalikes(source: str, what: str, labels: Iterable[object]) -> None:
    """Stop where two labels differ only in case, spaces or signs: one was written in two ways.

    Raises
    ------
    TableError
        Two such labels; taken as two, they would split a stratum, class or domain silently.
    """
    seen: dict[str, str] = {}
    for label in dict.fromkeys(str(each) for each in labels):
        plain = "".join(label.casefold().split())
        other = seen.setdefault(plain, label)
        if other != label:
            raise TableError(
                f"{source}: {what} {label!r} and {other!r} differ only in case or spaces; write "
                "one of them everywhere"
            )


def _plain(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum())
