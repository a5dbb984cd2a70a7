"""Vocabulary of the package: crops, estimates and the columns of the tables that carry them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from survey.errors import DuplicateIdError, EstimationError, TableError

__all__ = [
    "BASELINES",
    "DISTRICTS",
    "ESTIMATES",
    "FARMERS",
    "FRAME",
    "PROJECTS",
    "REFERENCE",
    "SEGMENT_MAP",
    "Crop",
    "Estimate",
    "EstimateType",
    "Note",
    "Reliability",
    "TableContract",
]


class Crop(StrEnum):
    """Crops whose cultivation is estimated."""

    POPPY = "poppy"
    CANNABIS = "cannabis"


class EstimateType(StrEnum):
    """How a figure was obtained, coarsest distinction first read by a programme manager."""

    DIRECT = "direct"
    ASSISTED = "assisted"
    SMALL_AREA = "small_area"
    SYNTHETIC = "synthetic"
    STATUS_ONLY = "status_only"


class Reliability(StrEnum):
    """Quality label of a figure; separate from disclosure."""

    PUBLISHABLE = "publishable"
    INDICATIVE = "indicative"
    NOT_DETECTED = "not_detected"
    STATUS_ONLY = "status_only"
    SUPPRESSED = "suppressed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Hectares of one crop in one domain, with everything needed to judge them.

    Attributes
    ----------
    value_ha, se_ha : float
        Point estimate and its standard error, hectares. `se_ha` is the root mean squared
        error where `estimate_type` is model-based. NaN where only an upper limit is known.
    ci_low_ha, ci_high_ha : float
        Limits of the interval at `level`, hectares, never negative; may be asymmetric.
    level : float
        Nominal coverage of the interval, 0-1.
    df : float
        Degrees of freedom behind the interval; `inf` where a source says so.
    deff : float
        Design effect against simple random sampling; NaN where not computed.
    n_segments, n_positive : int
        Sampled segments used in the domain, and those in which the crop was found.
    estimate_type : EstimateType
    method : str
        Textbook name of the estimator, e.g. ``expansion_total``.
    why : str
        One sentence: why this estimator was used here.
    """

    value_ha: float
    se_ha: float
    ci_low_ha: float
    ci_high_ha: float
    df: float
    n_segments: int
    n_positive: int
    estimate_type: EstimateType
    method: str
    why: str = ""
    level: float = 0.95
    deff: float = math.nan

    def __post_init__(self) -> None:
        if not 0.0 < self.level < 1.0:
            raise EstimationError(f"level {self.level} is not between 0 and 1")
        if self.se_ha < 0.0:
            raise EstimationError(f"standard error {self.se_ha} is negative")
        if self.ci_low_ha < 0.0 or self.ci_high_ha < self.ci_low_ha:
            raise EstimationError(
                f"interval {self.ci_low_ha} to {self.ci_high_ha} ha is negative or reversed"
            )
        if self.n_segments < 0 or not 0 <= self.n_positive <= self.n_segments:
            raise EstimationError(
                f"{self.n_positive} of {self.n_segments} segments positive is impossible"
            )

    @property
    def cv(self) -> float:
        """Coefficient of variation, a fraction; NaN where the value is zero or unknown."""
        return self.se_ha / self.value_ha if self.value_ha > 0.0 else math.nan


@dataclass(frozen=True, slots=True)
class Note:
    """Something the analyst should know about a run.

    Attributes
    ----------
    text : str
        What, with counts: may be published.
    which : tuple of str
        Segments or submissions it is about: never published.
    """

    text: str
    which: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = ", ".join(self.which[:5]) + (" ..." if len(self.which) > 5 else "")
        return f"{self.text}: {shown}" if shown else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class TableContract:
    """Columns a table must have, checked where it enters the package.

    Attributes
    ----------
    name : str
        What the table is called in messages.
    columns : mapping of column name to ``"str"``, ``"float"``, ``"int"``, ``"bool"`` or ``"date"``
    key : tuple of str
        Columns that identify a row.
    nullable : frozenset of str
        Columns in which a value may be missing. Missing is never zero.
    non_negative : frozenset of str
        Numeric columns that must not be below zero.
    allowed : mapping of column name to its only values
        Columns of a closed set of words.
    """

    name: str
    columns: Mapping[str, str]
    key: tuple[str, ...]
    nullable: frozenset[str] = field(default_factory=frozenset)
    non_negative: frozenset[str] = field(default_factory=frozenset)
    allowed: Mapping[str, Collection[str]] = field(default_factory=dict)

    def check(self, table: pd.DataFrame, *, source: str = "") -> pd.DataFrame:
        """Return a copy with exactly the declared types; extra columns are kept.

        Raises
        ------
        TableError
            A column is missing or a value has the wrong type; the message names file, row
            (counted from 1 below the header) and column.
        DuplicateIdError
            Two rows share the key.
        """
        where = source or self.name
        missing = [column for column in self.columns if column not in table.columns]
        if missing:
            raise TableError(
                f"{where}: column {', '.join(missing)} is missing; a {self.name} table needs "
                f"{', '.join(self.columns)}"
            )
        result = table.reset_index(drop=True).copy()
        for column, kind in self.columns.items():
            result[column] = self._typed(result[column], kind, where)
        repeated = result.duplicated(list(self.key), keep="first")
        if repeated.any():
            row = int(np.flatnonzero(repeated.to_numpy())[0])
            key = ", ".join(f"{column} {result[column].iloc[row]!r}" for column in self.key)
            raise DuplicateIdError(
                f"{where}, row {row + 1}: {key} occurs more than once; keep one row for each"
            )
        return result

    def _typed(self, values: pd.Series[Any], kind: str, where: str) -> pd.Series[Any]:
        column = str(values.name)
        absent = values.isna() | (values.astype("string").str.strip() == "").fillna(False)
        if column not in self.nullable and absent.any():
            _fail(where, values, absent, "is empty", "fill it in")
        if kind == "str":
            text = values.astype("string").str.strip()
            if column in self.allowed:
                choices = list(self.allowed[column])
                wrong = ~text.isin(choices) & ~absent
                if wrong.any():
                    _fail(where, values, wrong, "{!r} is unknown", f"write {', '.join(choices)}")
            return text.astype(object).where(~absent, None)
        if kind == "bool":
            words = values.astype("string").str.strip().str.lower()
            known = words.isin(["true", "false", "1", "0"]) | absent
            if not known.all():
                _fail(where, values, ~known, f"is {{!r}}, not {kind}", "write true or false")
            return words.isin(["true", "1"])
        if kind == "date":
            dates = pd.to_datetime(values.where(~absent), errors="coerce", format="%Y-%m-%d")
            bad = dates.isna() & ~absent
            if bad.any():
                _fail(where, values, bad, "is {!r}, not a date", "write it as 2026-02-28")
            return dates
        numbers = pd.to_numeric(values.where(~absent), errors="coerce")
        bad = ~numbers.astype(float).map(math.isfinite) & ~absent
        if kind == "int":
            bad |= ~absent & (numbers % 1 != 0)
        if bad.any():
            text = values[bad].iloc[0]
            is_marked = isinstance(text, str) and any(sign in text for sign in ", \u00a0\u202f'")
            is_foreign = isinstance(text, str) and any(
                sign.isdecimal() and not sign.isascii() for sign in text
            )
            remedy = "correct the number"
            if is_marked:
                remedy = "write it with a decimal point and without thousands separators"
            elif is_foreign:
                remedy = "write it in the digits 0 to 9"
            _fail(where, values, bad, f"is {{!r}}, not {kind}", remedy)
        if column in self.non_negative and (numbers < 0).any():
            _fail(where, values, numbers < 0, "is {!r}, below zero", "correct the number")
        if kind == "int" and not absent.any():
            return numbers.astype("int64")
        return numbers.astype("float64")


def _fail(
    where: str, values: pd.Series[Any], bad: pd.Series[Any], problem: str, remedy: str
) -> NoReturn:
    row = int(np.flatnonzero(bad.to_numpy())[0])
    value = values.iloc[row]
    what = problem.format(value.item() if isinstance(value, np.generic) else value)
    raise TableError(f"{where}, row {row + 1}: {values.name} {what}; {remedy}")


DISTRICTS = TableContract(
    name="districts",
    columns={
        "district_pcode": "str",
        "district_name": "str",
        "province_pcode": "str",
        "province_name": "str",
    },
    key=("district_pcode",),
)
FRAME = TableContract(
    name="sampling frame",
    columns={
        "segment_id": "str",
        "stratum_id": "str",
        "district_pcode": "str",
        "province_pcode": "str",
        "risk_ha": "float",
        "is_sampled": "bool",
    },
    key=("segment_id",),
    non_negative=frozenset({"risk_ha"}),
)
SEGMENT_MAP = TableContract(
    name="segment map",
    columns={
        "segment_id": "str",
        "crop": "str",
        "map_ha": "float",
        "observed_ha": "float",
        "unobserved_ha": "float",
    },
    key=("segment_id", "crop"),
    non_negative=frozenset({"map_ha", "observed_ha", "unobserved_ha"}),
)
REFERENCE = TableContract(
    name="reference",
    columns={
        "segment_id": "str",
        "crop": "str",
        "reference_ha": "float",
        "observed_share": "float",
        "instance_id": "str",
    },
    key=("segment_id", "crop"),
    non_negative=frozenset({"reference_ha", "observed_share"}),
)
PROJECTS = TableContract(
    name="projects",
    columns={
        "project_id": "str",
        "project_name": "str",
        "district_pcodes": "str",
        "start_year": "int",
    },
    key=("project_id",),
)
BASELINES = TableContract(
    name="baselines",
    columns={
        "project_id": "str",
        "indicator_code": "str",
        "unit": "str",
        "direction": "str",
        "baseline_value": "float",
        "baseline_year": "int",
        "target_value": "float",
    },
    key=("project_id", "indicator_code"),
    nullable=frozenset({"target_value"}),
)
FARMERS = TableContract(
    name="farmer survey",
    columns={
        "instance_id": "str",
        "district_pcode": "str",
        "village_id": "str",
        "project_id": "str",
        "sample_type": "str",
        "consent_version": "str",
        "consent_language": "str",
        "visit_date": "date",
        "household_size": "int",
        "grows_poppy": "float",  # 1 yes, 0 no, missing where not answered
        "poppy_ha": "float",
        "annual_income_usd": "float",
        "opium_income_usd": "float",
        "food_short_months": "float",
        "ad_satisfaction": "float",
    },
    key=("instance_id",),
    nullable=frozenset(
        {
            "project_id",
            "grows_poppy",
            "poppy_ha",
            "annual_income_usd",
            "opium_income_usd",
            "food_short_months",
            "ad_satisfaction",
        }
    ),
    non_negative=frozenset({"poppy_ha", "annual_income_usd", "opium_income_usd"}),
)
ESTIMATES = TableContract(
    name="estimates",
    columns={
        "crop": "str",
        "harvest_year": "int",
        "admin_level": "str",  # district, province or country
        "domain_id": "str",
        "value_ha": "float",
        "se_ha": "float",
        "ci_low_ha": "float",
        "ci_high_ha": "float",
        "level": "float",
        "cv": "float",
        "df": "float",
        "deff": "float",
        "n_segments": "int",
        "n_positive": "int",
        "estimate_type": "str",
        "method": "str",
        "method_version": "str",  # seasons are compared only where it agrees
        "why": "str",
        "reliability": "str",
    },
    key=("crop", "harvest_year", "admin_level", "domain_id"),
    nullable=frozenset(
        {"value_ha", "se_ha", "ci_low_ha", "ci_high_ha", "level", "cv", "df", "deff"}
    ),
)
