"""Column contracts and the estimate that checks itself."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from survey.errors import DuplicateIdError, EstimationError, TableError
from survey.types import FRAME, Estimate, EstimateType


def frame_table(**changes: list[object]) -> pd.DataFrame:
    columns: dict[str, list[object]] = {
        "segment_id": ["S1", "S2"],
        "stratum_id": ["high", "low"],
        "district_pcode": ["0101", "0102"],
        "province_pcode": ["01", "01"],
        "risk_ha": ["20.5", 25],
        "is_sampled": ["true", 0],
    }
    return pd.DataFrame({**columns, **changes})


def test_contract_gives_declared_types_and_keeps_extra_columns() -> None:
    table = FRAME.check(frame_table(remark=["a", "b"]))
    assert table["risk_ha"].tolist() == [20.5, 25.0]
    assert table["is_sampled"].tolist() == [True, False]
    assert table["district_pcode"].tolist() == ["0101", "0102"]
    assert table["remark"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"risk_ha": [1, "much"]}, r"frame\.gpkg, row 2: risk_ha is 'much', not float"),
        ({"risk_ha": [1, -2]}, r"row 2: risk_ha is -2, below zero"),
        ({"risk_ha": [math.inf, 1]}, r"row 1: risk_ha is inf"),
        ({"risk_ha": [None, 1]}, r"row 1: risk_ha is empty"),
        ({"is_sampled": ["perhaps", 1]}, r"row 1: is_sampled is 'perhaps'"),
        ({"stratum_id": ["high", " "]}, r"row 2: stratum_id is empty"),
    ],
)
def test_contract_names_file_row_field_and_value(
    changes: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(TableError, match=message):
        FRAME.check(frame_table(**changes), source="frame.gpkg")


def test_missing_column_and_repeated_key() -> None:
    with pytest.raises(TableError, match="column risk_ha is missing"):
        FRAME.check(frame_table().drop(columns="risk_ha"))
    with pytest.raises(DuplicateIdError, match="segment_id 'S1' occurs more than once"):
        FRAME.check(frame_table(segment_id=["S1", "S1"]))


def estimate(**changes: object) -> Estimate:
    values: dict[str, object] = {
        "value_ha": 10.0,
        "se_ha": 2.0,
        "ci_low_ha": 6.0,
        "ci_high_ha": 14.0,
        "df": 20.0,
        "n_segments": 22,
        "n_positive": 5,
        "estimate_type": EstimateType.DIRECT,
        "method": "expansion_total",
        **changes,
    }
    return Estimate(**values)  # type: ignore[arg-type]


def test_estimate_knows_its_cv() -> None:
    assert estimate().cv == pytest.approx(0.2)
    assert math.isnan(estimate(value_ha=0.0).cv)


@pytest.mark.parametrize(
    "changes",
    [
        {"se_ha": -1.0},
        {"ci_low_ha": -0.1},
        {"ci_low_ha": 15.0},
        {"n_positive": 23},
        {"level": 95.0},
    ],
)
def test_impossible_estimates_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(EstimationError):
        estimate(**changes)
