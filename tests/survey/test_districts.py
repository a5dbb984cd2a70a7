"""What of the district table may leave, and why not the rest."""

from __future__ import annotations

from datetime import date

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from survey.districts import (
    VALUE_COLUMNS,
    estimates_table,
    published_estimates,
    unobserved_shares,
)
from survey.estimation import DomainEstimate, Thresholds
from survey.types import ESTIMATES, Crop, Estimate, EstimateType

CODES = ["0101", "0102", "0103"]
DISTRICTS = gpd.GeoDataFrame(
    {
        "district_pcode": CODES,
        "district_name": ["Upper", "Middle", "Lower"],
        "province_pcode": "01",
        "province_name": "Hills",
    },
    geometry=[shapely.box(i, 0, i + 1, 1) for i in range(3)],
    crs="EPSG:4326",
)


def frame(sizes: dict[str, int]) -> pd.DataFrame:
    codes = [code for code, size in sizes.items() for _ in range(size)]
    return pd.DataFrame(
        {
            "segment_id": [f"S{i}" for i in range(len(codes))],
            "district_pcode": codes,
            "province_pcode": "01",
            "risk_ha": 25.0,
        }
    )


def estimate(domain: str, level: str = "district", **changes: object) -> DomainEstimate:
    values: dict[str, object] = {
        "value_ha": 10.0,
        "se_ha": 1.0,
        "ci_low_ha": 8.0,
        "ci_high_ha": 12.0,
        "df": 20.0,
        "n_segments": 20,
        "n_positive": 6,
        "estimate_type": EstimateType.DIRECT,
        "method": "expansion_total",
        "why": "because",
        **changes,
    }
    return DomainEstimate(
        admin_level=level,
        domain_id=domain,
        estimate=Estimate(**values),  # type: ignore[arg-type]
    )


def published(
    *rows: DomainEstimate, sizes: dict[str, int] | None = None, today: date = date(2026, 7, 1)
) -> pd.DataFrame:
    table = ESTIMATES.check(
        estimates_table(
            {Crop.POPPY: rows},
            harvest_year=2026,
            thresholds=Thresholds(),
            method_version={Crop.POPPY: "key 3/ladder 2"},
        )
    )
    assert (table["method_version"] == "key 3/ladder 2").all()
    result = published_estimates(
        table,
        DISTRICTS,
        frame(sizes or dict.fromkeys(CODES, 20)),
        unobserved={"0101": 0.1, "0102": 0.0, "0103": 0.0, "01": 0.03, "": 0.03},
        min_risk_ha=50.0,
        min_frame_segments=10,
        release_date=date(2026, 6, 1),
        today=today,
    )
    return result.set_index("domain_id")


def test_good_figures_pass_with_their_names() -> None:
    table = published(*(estimate(code) for code in CODES), estimate("01", "province"))
    assert table.loc["0101", "value_ha"] == 10.0
    assert table.loc["0101", "reliability"] == "publishable"
    assert table.loc["0101", "unobserved_share"] == 0.1
    assert table.loc["0101", "domain_name"] == "Upper"
    assert table.loc["01", "domain_name"] == "Hills"
    assert (table["disclosure"] == "").all()


def test_quality_empties_the_value_but_is_no_disclosure() -> None:
    table = published(
        estimate("0101", se_ha=6.0, ci_low_ha=0.0, ci_high_ha=25.0), estimate("0102")
    )
    assert table.loc["0101", "reliability"] == "suppressed"
    assert table.loc["0101", list(VALUE_COLUMNS)].isna().all()
    assert table.loc["0101", "disclosure"] == ""
    assert table.loc["0101", "status"] == "detected"
    assert table.loc["0102", "value_ha"] == 10.0


def test_a_small_cell_is_hidden_and_takes_another_with_it() -> None:
    table = published(
        estimate("0101"),
        estimate("0102", value_ha=6.0, se_ha=0.4, ci_low_ha=5.0, ci_high_ha=7.0),
        estimate("0103"),
        sizes={"0101": 3, "0102": 20, "0103": 20},
    )
    assert "cell below" in table.loc["0101", "disclosure"]
    assert "total does not give" in table.loc["0102", "disclosure"]
    assert table.loc[["0101", "0102"], list(VALUE_COLUMNS)].isna().all(axis=None)
    assert table.loc["0101", "status"] == "withheld"
    # Nothing of the row tells: no count, no share, no word that says "not detected".
    counts = ["n_segments", "n_positive", "unobserved_share"]
    assert table.loc[["0101", "0102"], counts].isna().all(axis=None)
    assert (table.loc[["0101", "0102"], "why"] == "Withheld; see disclosure.").all()
    assert (table.loc[["0101", "0102"], "reliability"] == "suppressed").all()
    assert (table.loc[["0101", "0102"], "method"] == "none").all()
    assert table.loc["0103", "value_ha"] == 10.0


def test_a_province_that_would_tell_is_hidden_with_the_country() -> None:
    zero = {"value_ha": 0.0, "se_ha": np.nan, "ci_low_ha": 0.0, "n_positive": 0}
    table = published(
        estimate("0101", n_positive=6),
        estimate("0102", **zero),
        estimate("0103", **zero),
        estimate("01", "province"),
        estimate("country", "country"),
        sizes={"0101": 3, "0102": 20, "0103": 20},
    )
    hidden = table["disclosure"] != ""
    assert hidden.to_dict() == {
        "0101": True,
        "0102": False,
        "0103": False,
        "01": True,
        "country": True,
    }
    assert table.loc[hidden, list(VALUE_COLUMNS)].isna().all(axis=None)


def test_nothing_below_the_province_leaves_before_the_release_date() -> None:
    table = published(estimate("0101"), estimate("01", "province"), today=date(2026, 5, 31))
    assert table.loc["0101", list(VALUE_COLUMNS)].isna().all()
    assert table.loc["0101", "disclosure"] == "not released before 2026-06-01"
    assert table.loc["01", "value_ha"] == 10.0


def test_unobserved_share_is_of_land_not_of_segments() -> None:
    land = frame({"0101": 2, "0102": 1, "0103": 1})
    segment_map = pd.DataFrame(
        {
            "segment_id": ["S0", "S1", "S2", "S3"],
            "crop": "poppy",
            "map_ha": 0.0,
            "observed_ha": [30.0, 0.0, 25.0, 25.0],
            "unobserved_ha": [0.0, 10.0, 0.0, 0.0],
        }
    )
    both = pd.concat([segment_map, segment_map.assign(crop="cannabis")])
    shares = unobserved_shares(land, both)
    assert shares["0101"] == pytest.approx(0.25)
    assert shares["0102"] == 0.0
    assert shares["01"] == pytest.approx(10 / 90)
    assert shares[""] == pytest.approx(10 / 90)


def test_infinite_df_is_an_empty_cell() -> None:
    table = estimates_table(
        {Crop.POPPY: [estimate("0101", df=np.inf)]},
        harvest_year=2026,
        thresholds=Thresholds(),
        method_version={Crop.POPPY: "1"},
    )
    assert table["df"].isna().all()
