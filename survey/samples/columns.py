"""Columns that a table may leave out."""

from __future__ import annotations

import pandas as pd

__all__ = ["with_columns"]


def with_columns(table: pd.DataFrame, **columns: str | pd.Series[str]) -> pd.DataFrame:
    """Add columns that were left out."""
    return table.assign(**{k: v for k, v in columns.items() if k not in table.columns})
