"""Farmer answers become indicators beside their baselines, without exposing a few people."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from survey.baselines import farmer_indicators, project_indicators


def interviews(n: int, *, villages: int, project: str = "P1", **changes: object) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "instance_id": [f"{project}-{i}" for i in range(n)],
            "district_pcode": "0101",
            "village_id": [f"{project}-V{i % villages}" for i in range(n)],
            "project_id": project,
            "sample_type": "probability",
            "household_size": 5,
            "grows_poppy": [i % 2 == 0 for i in range(n)],
            "annual_income_usd": np.linspace(500.0, 1500.0, n),
            "food_short_months": 2.0,
            "ad_satisfaction": np.nan,
            **changes,
        }
    )


def table(farmers: pd.DataFrame) -> pd.DataFrame:
    return farmer_indicators(
        farmers, "project_id", level=0.95, min_respondents=5, min_villages=2
    ).set_index(["project_id", "indicator_code"])


def test_share_of_growing_households_with_villages_as_clusters() -> None:
    row = table(interviews(8, villages=4)).loc[("P1", "poppy_household_share")]
    assert row["value"] == pytest.approx(0.5)
    assert row["n_respondents"] == 8
    assert row["n_villages"] == 4
    assert row["ci_low"] < 0.5 < row["ci_high"]
    assert row["disclosure"] == ""


def test_an_indicator_nobody_answered_is_absent_not_zero() -> None:
    assert ("P1", "ad_satisfaction") not in table(interviews(8, villages=4)).index


@pytest.mark.parametrize(("n", "villages"), [(4, 4), (9, 1)])
def test_few_respondents_or_one_village_are_flagged(n: int, villages: int) -> None:
    row = table(interviews(n, villages=villages)).loc[("P1", "food_short_months")]
    assert "fewer than 5 respondents or 2 villages" in row["disclosure"]


def test_convenience_interviews_get_no_interval_and_never_mix_with_a_sample() -> None:
    chance = interviews(6, villages=3, sample_type="convenience")
    row = table(chance).loc[("P1", "annual_income_usd")]
    assert np.isnan(row["ci_low"])
    assert "no design-based interval" in row["method"]
    drawn = interviews(6, villages=3, annual_income_usd=100.0)
    both = pd.concat([chance, drawn], ignore_index=True)
    assert table(both).loc[("P1", "annual_income_usd"), "value"] == pytest.approx(100.0)


def test_baseline_beside_latest_and_missing_latest_stays_missing() -> None:
    projects = pd.DataFrame(
        {
            "project_id": ["P1"],
            "project_name": ["Coffee"],
            "district_pcodes": [("0101", "0102")],
            "start_year": [2023],
        }
    )
    baselines = pd.DataFrame(
        {
            "project_id": ["P1", "P1"],
            "indicator_code": ["annual_income_usd", "ad_satisfaction"],
            "unit": ["USD/year", "score 1-5"],
            "direction": ["up", "up"],
            "baseline_value": [900.0, 3.0],
            "baseline_year": [2022, 2022],
            "target_value": [1500.0, np.nan],
        }
    )
    latest = table(interviews(8, villages=4)).reset_index()
    joined = project_indicators(projects, baselines, latest, harvest_year=2026).set_index(
        "indicator_code"
    )
    assert joined.loc["annual_income_usd", "latest_value"] == pytest.approx(1000.0)
    assert joined.loc["annual_income_usd", "latest_year"] == 2026
    assert joined.loc["annual_income_usd", "district_pcodes"] == "0101;0102"
    assert np.isnan(joined.loc["ad_satisfaction", "latest_value"])
    assert joined.loc["ad_satisfaction", "n_respondents"] == 0
    assert joined.loc["ad_satisfaction", "method"] == "not measured this year"


def test_intervals_stay_where_answers_can_be() -> None:
    """Two villages have one degree of freedom: a t interval would reach far outside."""
    grows = [float(i in (0, 2, 4)) for i in range(10)]
    found = table(interviews(10, villages=2, grows_poppy=grows)).loc["P1"]
    assert found.loc["poppy_household_share", "ci_low"] >= 0.0
    assert found.loc["poppy_household_share", "ci_high"] <= 1.0
    assert found.loc["annual_income_usd", "ci_low"] >= 0.0
