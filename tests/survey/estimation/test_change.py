"""Change between seasons: the panel's covariance, and refusal across a break."""

import math
from dataclasses import replace

import numpy as np
import pytest

from survey.errors import EstimationError
from survey.estimation import Frame, Sample
from survey.estimation.change import change_between, season_total
from survey.estimation.design import linearised_moments


def frame(n=60, covariate=None):
    return Frame(
        segment_id=np.char.add("s", np.arange(n).astype(str)),
        stratum=np.where(np.arange(n) % 3 == 0, "high", "low"),
        domain=np.where(np.arange(n) < n // 2, "D1", "D2"),
        group=np.array(["P"] * n),
        risk_ha=np.full(n, 50.0),
        covariate_ha=covariate,
    )


def season(rows, y, year, version="v1", **options):
    return season_total(
        frame(covariate=options.pop("covariate", None)),
        Sample(index=np.asarray(rows), y_ha=np.asarray(y, dtype=float)),
        harvest_year=year,
        method_version=version,
        **options,
    )


def test_a_full_panel_is_the_variance_of_the_differences():
    rng = np.random.default_rng(1)
    rows = np.sort(rng.choice(60, 24, replace=False))
    y1 = rng.gamma(1.0, 3.0, 24)
    y2 = y1 * 0.8 + rng.normal(0.5, 0.1, 24).clip(0)
    change = change_between(season(rows, y1, 2025), season(rows, y2, 2026))
    shifted = season(rows, y2 - y1 + 10.0, 2026)  # the change of each segment, as a total
    direct = linearised_moments(shifted.strata.design, shifted.linear.z)
    assert change.se_ha == pytest.approx(math.sqrt(direct.variance[0]))
    assert change.n_overlap == 24
    assert change.correlation > 0.9


def test_no_overlap_adds_the_variances():
    rng = np.random.default_rng(2)
    rows = rng.permutation(60)
    one = season(rows[:24], rng.gamma(1.0, 3.0, 24), 2025)
    two = season(rows[24:48], rng.gamma(1.0, 3.0, 24), 2026)
    change = change_between(one, two)
    assert (change.n_overlap, change.correlation) == (0, 0.0)
    assert 0.0 < change.p_value <= 1.0
    assert change.ci_low_ha < change.value_ha < change.ci_high_ha


def test_overlap_covariance_is_unbiased_over_draws():
    rng = np.random.default_rng(3)
    population1 = rng.gamma(1.0, 3.0, 60)
    population2 = 0.7 * population1 + rng.gamma(1.0, 0.5, 60)
    changes, variances = [], []
    for _ in range(600):
        order = np.concatenate([rng.permutation(np.arange(0, 60, 3)), 100 + rng.permutation(60)])
        high = order[:20]
        low = np.array([r for r in order[20:] - 100 if r % 3])
        first = np.concatenate([high[:10], low[:16]])
        second = np.concatenate([high[4:14], low[6:22]])
        change = change_between(
            season(first, population1[first], 2025), season(second, population2[second], 2026)
        )
        changes.append(change.value_ha)
        variances.append(change.se_ha**2)
    assert np.mean(variances) == pytest.approx(np.var(changes, ddof=1), rel=0.2)


@pytest.mark.parametrize("estimator", ["ratio", "regression"])
def test_other_estimators_and_domains(estimator):
    rng = np.random.default_rng(4)
    rows = np.sort(rng.choice(60, 30, replace=False))
    truth = rng.gamma(1.0, 3.0, 60)
    options = {
        "estimator": estimator,
        "covariate": truth + rng.gamma(1.0, 0.2, 60),
        "member": frame().domain == "D1",
    }
    change = change_between(
        season(rows, truth[rows], 2025, **options),
        season(rows, 0.5 * truth[rows], 2026, **options),
    )
    assert change.relative == pytest.approx(-0.5)


def test_by_difference_the_same_map_drops_out():
    rng = np.random.default_rng(4)
    rows = np.sort(rng.choice(60, 30, replace=False))
    truth = rng.gamma(1.0, 3.0, 60)
    covariate = truth + rng.gamma(1.0, 0.2, 60)
    changes = {
        estimator: change_between(
            season(rows, truth[rows], 2025, estimator=estimator, covariate=covariate),
            season(rows, 0.5 * truth[rows], 2026, estimator=estimator, covariate=covariate),
        )
        for estimator in ("difference", "expansion")
    }
    assert changes["difference"].value_ha == pytest.approx(changes["expansion"].value_ha)
    assert changes["difference"].se_ha == pytest.approx(changes["expansion"].se_ha)


def test_refused_across_a_break_unless_signed():
    rows, y = np.arange(20), np.linspace(0.0, 4.0, 20)
    one, two = season(rows, y, 2025), season(rows, y + 1.0, 2026, "v2")
    with pytest.raises(EstimationError, match="is not comparable with 'v1'"):
        change_between(one, two)
    signed = change_between(one, two, signed_by="head of survey")
    assert signed.signed_by == "head of survey"
    assert "signed by" in signed.why
    bridged = season(rows, y + 1.0, 2026, "v2", comparable_with=frozenset({"v1"}))
    assert change_between(one, bridged).signed_by == ""


def test_order_of_seasons_and_empty_seasons():
    rows, y = np.arange(20), np.linspace(0.0, 4.0, 20)
    with pytest.raises(EstimationError, match="swap"):
        change_between(season(rows, y, 2026), season(rows, y, 2025))
    with pytest.raises(EstimationError, match="neither season"):
        change_between(season(rows, y * 0, 2025), season(rows, y * 0, 2026))
    with pytest.raises(EstimationError, match="unknown"):
        season(rows, y, 2025, estimator="best")


def test_segments_that_changed_stratum_carry_no_covariance():
    rows, y = np.arange(20), np.linspace(0.0, 4.0, 20)
    one = season(rows, y, 2025)
    other = season(rows, y, 2026)
    moved = replace(other, stratum=np.array(["new"] * 20))
    assert change_between(one, moved).correlation == 0.0


def test_a_segment_that_changed_its_stratum_is_not_in_the_overlap():
    size = 40
    rows = np.arange(0, size, 2)
    y = np.random.default_rng(3).gamma(1.0, 2.0, rows.size)

    def season(year, moved):
        stratum = np.where(np.isin(np.arange(size), moved), "b", "a")
        stratum[-6:] = "b"
        frame = Frame(
            segment_id=np.arange(size).astype(str),
            stratum=stratum,
            domain=np.full(size, "d"),
            group=np.full(size, "p"),
            risk_ha=np.full(size, 50.0),
        )
        return season_total(
            frame, Sample(index=rows, y_ha=y), harvest_year=year, method_version="1"
        )

    found = change_between(season(2025, []), season(2026, [0, 2]))
    assert found.n_overlap == rows.size - 2
    assert f"{rows.size - 2} segments" in found.why
