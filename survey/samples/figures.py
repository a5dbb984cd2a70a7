"""Finished figures of domains, from a CSV file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from survey.areas import AreaUnit
from survey.errors import EstimationError, TableError
from survey.readers import read_csv
from survey.samples.columns import read_rows, with_columns
from survey.types import Estimate, EstimateType, Reliability, TableContract

__all__ = [
    "CELLS",
    "CHECK_SEGMENTS",
    "DETECTIONS",
    "ERADICATION",
    "FIELD_CHECKS",
    "RANGES",
    "READINGS",
    "SEASON_FIGURES",
    "SeasonFigure",
    "figure_of",
    "read_figures",
    "read_records",
    "read_season",
]

FIGURES = TableContract(
    name="figures",
    columns={
        "domain_id": "str",
        "value_ha": "float",
        "se_ha": "float",
        "ci_low_ha": "float",
        "ci_high_ha": "float",
        "level": "float",
        "df": "float",
        "n_segments": "int",
        "n_positive": "int",
        "estimate_type": "str",
        "method_version": "str",
    },
    key=("domain_id",),
    nullable=frozenset({"value_ha", "se_ha", "ci_low_ha", "ci_high_ha", "df", "method_version"}),
    non_negative=frozenset({"value_ha", "se_ha", "ci_low_ha", "ci_high_ha"}),
    allowed={"estimate_type": tuple(EstimateType)},
)
RANGES = TableContract(
    name="ranges",
    columns={"domain_id": "str", "low_ha": "float", "high_ha": "float"},
    key=("domain_id",),
    non_negative=frozenset({"low_ha", "high_ha"}),
)
DETECTIONS = TableContract(
    name="detections",
    columns={"detection_id": "str", "domain_id": "str", "detected": "float", "unit": "str"},
    key=("detection_id",),
    non_negative=frozenset({"detected"}),
    allowed={"unit": tuple(AreaUnit)},
)
CHECK_SEGMENTS = TableContract(
    name="check segments",
    columns={"segment_id": "str", "counted_ha": "float", "true_ha": "float"},
    key=("segment_id",),
    non_negative=frozenset({"counted_ha", "true_ha"}),
)
FIELD_CHECKS = TableContract(
    name="field checks",
    columns={
        "domain_id": "str",
        "called_ha": "float",
        "not_called_ha": "float",
        "called_crop": "int",
        "called_other": "int",
        "not_called_crop": "int",
        "not_called_other": "int",
    },
    key=("domain_id",),
    non_negative=frozenset(
        {
            "called_ha",
            "not_called_ha",
            "called_crop",
            "called_other",
            "not_called_crop",
            "not_called_other",
        }
    ),
)
READINGS = TableContract(
    name="interpreters' totals",
    columns={"domain_id": "str", "interpreter": "str", "total_ha": "float"},
    key=("domain_id", "interpreter"),
    non_negative=frozenset({"total_ha"}),
)
ERADICATION = TableContract(
    name="eradication events",
    columns={
        "event_id": "str",
        "domain_id": "str",
        "eradicated": "float",
        "unit": "str",
        "date": "date",
        "is_verified": "bool",
    },
    key=("event_id",),
    non_negative=frozenset({"eradicated"}),
    allowed={"unit": tuple(AreaUnit)},
)
CELLS = TableContract(
    name="cells",
    columns={
        "domain_id": "str",
        "province_pcode": "str",
        "value_ha": "float",
        "risk_ha": "float",
        "n_frame": "int",
        "reliability": "str",
    },
    key=("domain_id",),
    nullable=frozenset({"value_ha"}),
    non_negative=frozenset({"value_ha", "risk_ha", "n_frame"}),
    allowed={"reliability": tuple(Reliability)},
)
SEASON_FIGURES = TableContract(
    name="figures of a season",
    columns={
        "domain_id": "str",
        "value_ha": "float",
        "se_ha": "float",
        "df": "float",
        "n_segments": "int",
        "estimate_type": "str",
        "method_version": "str",
    },
    key=("domain_id",),
    nullable=frozenset({"value_ha", "se_ha", "df", "method_version"}),
    non_negative=frozenset({"value_ha", "se_ha"}),
    allowed={"estimate_type": tuple(EstimateType)},
)


def read_figures(path: Path) -> pd.DataFrame:
    """Finished figures of domains; what is left out is unknown, `level` 0.95."""
    raw = with_columns(read_rows(path), se_ha="", ci_low_ha="", ci_high_ha="", df="", level="0.95")
    raw = with_columns(
        raw, n_segments="0", n_positive="0", estimate_type="direct", method_version=""
    )
    return FIGURES.check(raw, source=path.name)


def read_records(path: Path, contract: TableContract, **left_out: str) -> pd.DataFrame:
    """Any other table of a contract, with what may be left out; only events may be none."""
    raw = read_csv(path) if contract is ERADICATION else read_rows(path)
    return contract.check(with_columns(raw, **left_out), source=path.name)


def figure_of(row: Mapping[Any, Any], where: str) -> Estimate:
    """One row of `read_figures` as an `Estimate`; `where` names file and row in an error."""
    try:
        return Estimate(
            value_ha=row["value_ha"],
            se_ha=row["se_ha"],
            ci_low_ha=row["ci_low_ha"],
            ci_high_ha=row["ci_high_ha"],
            df=math.inf if math.isnan(row["df"]) else row["df"],
            n_segments=int(row["n_segments"]),
            n_positive=int(row["n_positive"]),
            estimate_type=EstimateType(row["estimate_type"]),
            method="given",
            why="As given in the file.",
            level=row["level"],
        )
    except EstimationError as problem:
        raise TableError(f"{where}: {problem}") from problem


@dataclass(frozen=True, slots=True, kw_only=True)
class SeasonFigure:
    """A domain's figure of one season, and the method version it may be compared within."""

    figure: Estimate
    method_version: str


def read_season(path: Path) -> dict[str, SeasonFigure]:
    """Figures of a season by domain; files of a run and answers of `estimate totals` will do."""
    raw = with_columns(read_rows(path), df="", method_version="", estimate_type="direct", se_ha="")
    raw = with_columns(raw, n_segments="0")
    codes = [name for name in ("domain_id", "district_pcode") if name in raw.columns]
    if codes == ["district_pcode"]:
        raw = raw.rename(columns={"district_pcode": "domain_id"})
    table = SEASON_FIGURES.check(raw, source=path.name)
    result = {}
    for row in table.to_dict("records"):
        nan = math.nan
        result[str(row["domain_id"])] = SeasonFigure(
            figure=Estimate(
                value_ha=row["value_ha"],
                se_ha=row["se_ha"],
                ci_low_ha=nan,
                ci_high_ha=nan,
                df=math.inf if math.isnan(row["df"]) else row["df"],
                n_segments=int(row["n_segments"]),
                n_positive=0,
                estimate_type=EstimateType(row["estimate_type"]),
                method="given",
            ),
            method_version=row["method_version"] or "",
        )
    return result
