"""Aggregates by hand: what is counted, what is not, and which cells may not leave."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from survey.aggregates import (
    COLUMNS,
    Limits,
    capsule_volume,
    household_aggregates,
    price_aggregates,
    protected,
    yield_aggregates,
)
from survey.disclosure import is_dominated
from survey.errors import EstimationError, TableError
from survey.estimation import share_by_cluster, total_by_cluster
from survey.forms import Submission

LIMITS = Limits()


def made(form_id: str, instance: str, **answers: str) -> Submission:
    return Submission(
        instance_id=instance, form_id=form_id, form_version="1", answers=answers, source=""
    )


def household(number: int, district: str, village: str, income: float, **more: str) -> Submission:
    answers = {
        "consent": "yes",
        "visit_date": "2026-02-03",
        "district_pcode": district,
        "village_id": village,
        "project_id": "",
        "sample_type": "probability",
        "household_size": "5",
        "area_unit": "rai",
        "annual_income_usd": str(income),
        "grows_poppy": "no",
        "poppy_area": "",
    }
    return made("farmer_survey", f"uuid:{number}", **{**answers, **more})


def sample() -> list[Submission]:
    """Two districts of three villages; a few incomes each, one village at hand in a third."""
    rows, number = [], 0
    for district in ("A", "B"):
        for village in range(3):
            for income in (100, 200, 300 + 60 * village):
                number += 1
                rows.append(household(number, district, f"V{village}", income))
    rows += [
        household(100 + n, "C", f"V{n % 2}", 500, sample_type="convenience") for n in range(6)
    ]
    rows.append(household(200, "A", "V0", 10_000, consent="no"))
    return rows


def row(table: pd.DataFrame, domain: str, variable: str, statistic: str = "mean") -> pd.Series:
    (found,) = table.loc[
        (table["domain_id"] == domain)
        & (table["variable"] == variable)
        & (table["statistic"] == statistic)
    ].to_dict("records")
    return found


def test_a_mean_by_hand() -> None:
    table = household_aggregates(sample(), "district", limits=LIMITS)
    assert tuple(table.columns) == COLUMNS
    found = row(table, "A", "annual_income_usd")
    # Villages of equal size: the mean of their means, with the error of three means.
    means = np.array([200.0, 220.0, 240.0])
    se = means.std(ddof=1) / math.sqrt(3)
    half = stats.t.ppf(0.975, 2) * se
    assert found["value"] == pytest.approx(220.0)
    assert found["se"] == pytest.approx(se)
    assert (found["low"], found["high"]) == pytest.approx((220.0 - half, 220.0 + half))
    assert (found["n"], found["n_villages"], found["unit"]) == (9, 3, "USD")
    assert (found["date"], found["disclosure"]) == ("2026-02-03", "")
    # Villages of the same code in two districts are two.
    assert row(table, "all", "annual_income_usd")["n_villages"] == 6
    assert row(table, "A", "poppy_ha")["value"] == 0.0  # who grows none grows zero


def test_what_was_at_hand_gets_no_interval_and_never_enters_the_total_of_the_drawn() -> None:
    table = household_aggregates(sample(), "district", limits=LIMITS)
    found = row(table, "C", "annual_income_usd")
    assert found["value"] == 500.0
    assert math.isnan(found["se"])
    assert math.isnan(found["low"])
    assert found["sample_type"] == "convenience"
    assert "no design-based interval" in found["method"]
    assert row(table, "all", "annual_income_usd")["value"] == pytest.approx(220.0)


def test_totals_need_weights_and_use_them() -> None:
    rows = [s for s in sample() if s.answers["district_pcode"] == "A"]
    bare = household_aggregates(rows, "district", limits=LIMITS)
    assert set(bare["statistic"]) == {"mean", "share"}
    weights = {"V0": 10.0, "V1": 20.0, "V2": 30.0}
    table = household_aggregates(rows, "district", limits=LIMITS, weights=weights)
    found = row(table, "A", "annual_income_usd", "total")
    parts = np.array([6000.0, 13_200.0, 21_600.0])
    assert found["value"] == pytest.approx(parts.sum())
    assert found["se"] == pytest.approx(math.sqrt(3) * parts.std(ddof=1))
    assert found["low"] == 0.0  # incomes are never negative
    with pytest.raises(TableError, match="no row for a village_id"):
        household_aggregates(rows, "district", limits=LIMITS, weights={"V0": 1.0})


def test_total_by_cluster_scales_and_knows_one_village() -> None:
    values, cluster = [1.0, 2.0, 3.0, math.nan], ["a", "a", "b", "b"]
    one = total_by_cluster(values, cluster, [1.0] * 4)
    two = total_by_cluster(values, cluster, [2.0] * 4)
    assert (two.value, two.se) == pytest.approx((2 * one.value, 2 * one.se))
    assert (one.n, one.n_clusters, one.value) == (3, 2, 6.0)
    assert math.isnan(total_by_cluster([1.0], ["a"], [1.0]).se)
    assert math.isnan(total_by_cluster([math.nan], ["a"], [1.0]).value)


def test_shares_stay_between_none_and_all() -> None:
    villages = [v for v in "abcde" for _ in range(4)]
    none = share_by_cluster([0.0] * 20, villages)
    # Nobody in five villages: the exact limit for five, 1 - 0.025^(1/5).
    assert (none.value, none.ci_low) == (0.0, 0.0)
    assert none.ci_high == pytest.approx(1 - 0.025 ** (1 / 5))
    some = share_by_cluster([1.0, *[0.0] * 19], villages)
    assert 0.0 < some.ci_low < some.value < some.ci_high < 1.0
    # As many effective respondents as there are: Clopper and Pearson (1934).
    each = share_by_cluster([1.0] * 3 + [0.0] * 7, range(10))
    exact = stats.binomtest(3, 10).proportion_ci(method="exact")
    assert (each.ci_low, each.ci_high) == pytest.approx((exact.low, exact.high), rel=0.15)
    assert each.ci_low <= exact.low
    with pytest.raises(EstimationError, match="zeros and ones"):
        share_by_cluster([0.5], ["a"])


def test_villages_are_for_the_analyst_alone() -> None:
    table = household_aggregates(sample(), "village", limits=LIMITS)
    found = row(table, "A/V0", "annual_income_usd")
    assert (found["value"], found["n"], found["n_villages"]) == (200.0, 3, 1)
    assert found["se"] > 0.0  # households of a village are its sample
    of_villages = protected(table).query("domain_id != 'all'")
    assert of_villages["value"].isna().all()
    assert of_villages["n"].isna().all()
    assert of_villages["date"].isna().all()


@pytest.mark.parametrize(
    ("incomes", "is_one"),
    [
        ([1000, 1, 1, 1, 1, 1], True),
        ([500, 480, 5, 5, 5, 5], True),
        ([10] * 6, False),
        ([], False),
    ],
)
def test_one_large_contributor_is_protected(incomes: list[float], is_one: bool) -> None:
    assert is_dominated(incomes) is is_one
    rows = [household(n, "A", f"V{n % 3}", income) for n, income in enumerate(incomes)]
    table = household_aggregates(rows, "district", limits=LIMITS)
    if incomes:
        reason = row(table, "A", "annual_income_usd")["disclosure"]
        assert (reason != "") is is_one


def test_a_hidden_district_cannot_be_worked_out_from_the_others() -> None:
    rows = [
        household(100 * d + n, district, f"V{n % 3}", 300 + n)
        for d, (district, size) in enumerate({"A": 9, "B": 8, "C": 3}.items())
        for n in range(size)
    ]
    table = household_aggregates(rows, "district", limits=LIMITS)
    income = table.loc[table["variable"] == "annual_income_usd"].set_index("domain_id")
    assert "fewer than 5" in income.loc["C", "disclosure"]
    shown = protected(table).query("variable == 'annual_income_usd'").set_index("domain_id")
    assert shown["value"].isna().sum() >= 2
    assert "total does not give" in " ".join(income["disclosure"])


@pytest.mark.parametrize(
    ("n_without", "is_hidden"), [(0, False), (3, True), (8, False)], ids=["same", "few", "many"]
)
def test_a_project_and_its_district_do_not_leave_a_few_households_over(
    n_without: int, is_hidden: bool
) -> None:
    rows = [
        household(100 * d + n, district, f"V{n % 3}", 300 + n, project_id=f"P{d}" if n < 9 else "")
        for d, (district, size) in enumerate({"A": 9 + n_without, "B": 9, "C": 9}.items())
        for n in range(size)
    ]
    districts = household_aggregates(rows, "district", limits=LIMITS)
    projects = household_aggregates(rows, "project", limits=LIMITS)
    assert row(districts, "A", "annual_income_usd")["disclosure"] == ""
    found = row(projects, "P0", "annual_income_usd")["disclosure"]
    assert ("table by district" in found) is is_hidden
    # Nor may the row of all projects give it back.
    shown = protected(projects).query("variable == 'annual_income_usd'")
    assert bool(shown["value"].isna().sum() >= 2) is is_hidden


def test_a_project_over_two_districts_does_not_leave_a_few_households_over() -> None:
    rows = [
        household(100 * d + n, district, f"V{n % 3}", 300 + n, project_id="P" if n < size else "")
        for d, (district, size) in enumerate({"A": 9, "B": 3}.items())
        for n in range(9)
    ]
    projects = household_aggregates(rows, "project", limits=LIMITS)
    assert "table by district" in row(projects, "P", "annual_income_usd")["disclosure"]


def test_a_share_of_all_tells_of_everybody() -> None:
    rows = [
        household(n, "A", f"V{n % 3}", 100, grows_poppy="yes", poppy_area="1") for n in range(9)
    ]
    table = household_aggregates(rows, "district", limits=LIMITS)
    assert "the same answer" in row(table, "A", "grows_poppy", "share")["disclosure"]
    assert row(table, "A", "poppy_ha")["value"] == pytest.approx(0.16)


def square(plot: str, segment: str, n_mature: int, **more: str) -> Submission:
    answers = {
        "plot_id": plot,
        "segment_id": segment,
        "visit_date": "2026-02-03",
        "sample_type": "probability",
        "n_mature": str(n_mature),
        "square_area_m2": "1",
        **more,
    }
    return Submission(
        instance_id=f"uuid:{plot}{n_mature}",
        form_id="yield_plot",
        form_version="1",
        answers=answers,
        source="",
        repeats={"capsule": [{"height_mm": "40", "diameter_mm": "30"}]},
    )


def test_yield_is_made_field_by_field() -> None:
    volume = math.pi / 6 * 30**2 * 40 / 1000
    assert capsule_volume(square("p", "s", 10)) == pytest.approx(10 * volume)
    assert capsule_volume(square("p", "s", 0)) == 0.0
    plots = [square(f"p{n}", f"s{n % 3}", 5 + n) for n in range(6)]
    plots.append(square("p0", "s0", 7))  # a second square of a field
    table = yield_aggregates(
        plots, "district", limits=LIMITS, district_of={f"s{n}": "A" for n in range(3)}
    )
    found = row(table, "A", "opium_yield")

    def kilograms(mature: float) -> float:
        b = mature * volume + 1495.0
        return (b - math.sqrt(b**2 - 395.259 * mature * volume)) / 1.795

    fields = [kilograms(6.0), *(kilograms(5 + n) for n in range(1, 6))]
    assert found["value"] == pytest.approx(np.mean(fields))
    assert (found["n"], found["n_villages"], found["unit"]) == (6, 3, "kg/ha")
    bad = square("p", "s", 3)
    bad.repeats["capsule"].clear()
    with pytest.raises(TableError, match="none measured"):
        capsule_volume(bad)


def test_prices_keep_the_unit_they_were_told_in() -> None:
    told = [
        made(
            "price_observation",
            f"uuid:{n}",
            visit_date=f"2026-0{2 + n // 6}-03",
            district_pcode=f"D{n % 2}",
            product="dry_opium",
            price=str(500 + n),
            currency="USD",
            weight_unit="viss" if n % 3 else "kg",
        )
        for n in range(12)
    ]
    table = price_aggregates(told, limits=LIMITS)
    assert set(table["unit"]) == {"USD/kg", "USD/viss"}
    assert set(table["domain_id"]) == {"2026-02", "2026-03"}
    (february,) = table.query("domain_id == '2026-02' and unit == 'USD/kg'").to_dict("records")
    expected = [(500 + n) / (1.63293 if n % 3 else 1.0) for n in range(6)]
    assert february["value"] == pytest.approx(np.mean(expected))
    assert math.isnan(february["low"])
    assert "viss converted" in february["method"]
    (viss,) = table.query("domain_id == '2026-02' and unit == 'USD/viss'").to_dict("records")
    assert viss["n"] == 4
    assert "fewer than 5" in viss["disclosure"]
    assert price_aggregates([], limits=LIMITS).empty
