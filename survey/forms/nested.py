"""Nested records (interviews > plots > crops) to flat tables with stable keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from survey.errors import FormError
from survey.forms.records import OUTER, Submission, entry_places, repeat_of

__all__ = ["flatten_repeats", "repeat_rows"]


def flatten_repeats(
    records: Sequence[Mapping[str, Any]], *, instance_column: str = "instanceID"
) -> dict[str, pd.DataFrame]:
    """One table for the records and one for each repeat, however deep.

    Parameters
    ----------
    records : sequence of mappings
        A value that is a list of mappings is a repeat; groups (mappings) become columns
        ``group/name``; a list of plain values (several choices) becomes words with spaces.
    instance_column : str
        Column that identifies a record.

    Returns
    -------
    dict of str to DataFrame
        By path: ``""`` for the records, then ``plots``, ``plots/crops``... Column `row_key` is
        ``uuid:1/plots[2]/crops[1]``: the same for the same content whatever the order of
        records; `parent_key` is the key of the row it belongs to.

    Raises
    ------
    FormError
        A record has no identifier, or two have the same.
    """
    rows: dict[str, list[dict[str, Any]]] = {"": []}
    seen: set[str] = set()
    for number, record in enumerate(records, start=1):
        instance = str(record.get(instance_column) or "")
        if not instance:
            raise FormError(
                f"record {number} has no {instance_column}; export it with identifiers"
            )
        if instance in seen:
            raise FormError(
                f"{instance_column} {instance!r} occurs twice; keep one of the records"
            )
        seen.add(instance)
        _flatten(record, "", instance, "", rows)
    return {path: pd.DataFrame(found) for path, found in rows.items()}


def _flatten(
    record: Mapping[str, Any],
    path: str,
    key: str,
    parent: str,
    rows: dict[str, list[dict[str, Any]]],
) -> None:
    flat: dict[str, Any] = {"row_key": key, "parent_key": parent}
    rows.setdefault(path, []).append(flat)

    def walk(values: Mapping[str, Any], prefix: str) -> None:
        for name, value in values.items():
            column = f"{prefix}{name}"
            if isinstance(value, Mapping):
                walk(value, f"{column}/")
            elif isinstance(value, list) and value and isinstance(value[0], Mapping):
                for number, entry in enumerate(value, start=1):
                    below = f"{path}/{column}" if path else column
                    _flatten(entry, below, f"{key}/{column}[{number}]", key, rows)
            elif isinstance(value, list):
                flat[column] = " ".join(str(word) for word in value)
            else:
                flat[column] = value

    walk(record, "")


def repeat_rows(submissions: Sequence[Submission], repeat: str) -> pd.DataFrame:
    """The entries of one repeat of stored submissions, for example the capsules of yield plots.

    Returns
    -------
    DataFrame
        `row_key`, `parent_key` (the instanceID, or the key of the entry it stands in), then the
        answers as they were written.
    """
    rows = []
    for submission in submissions:
        for place, entry in entry_places(submission):
            if repeat_of(place) == repeat:
                key = f"{submission.instance_id}/{place.rstrip('/')}"
                answers = {name: answer for name, answer in entry.items() if name != OUTER}
                rows.append({"row_key": key, "parent_key": key.rpartition("/")[0], **answers})
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["row_key", "parent_key"])
