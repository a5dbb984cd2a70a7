"""From Frame and Sample to one Estimate for every district."""

from __future__ import annotations

import numpy as np
import pytest

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation import Frame, Sample
from survey.estimation.smallarea.districts import small_area_estimates
from survey.types import EstimateType


def made(seed=0, *, with_map=True, prevalence=0.3):
    rng = np.random.default_rng(seed)
    districts, each = 12, 40
    n = districts * each
    district = np.repeat(np.arange(districts), each)
    high = rng.random(n) < 0.5
    risk = rng.uniform(10.0, 80.0, n)
    risk[3] = 0.0
    present = rng.random(n) < prevalence * np.where(high, 1.5, 0.5)
    truth = np.where(present, 0.05 * risk * rng.gamma(2.0, 0.5, n), 0.0)
    frame = Frame(
        segment_id=np.char.mod("s%d", np.arange(n)),
        stratum=np.where(high, "high", "low"),
        domain=np.char.mod("D%02d", district),
        group=np.full(n, "P1"),
        risk_ha=risk,
        covariate_ha=0.8 * truth + 0.01 * (rng.random(n) < 0.1) if with_map else None,
    )
    take = np.resize([0, 3, 10], districts)
    index = np.concatenate(
        [d * each + rng.choice(each, k, replace=False) for d, k in enumerate(take)]
    ).astype(np.int64)
    return frame, truth, Sample(index=index, y_ha=truth[index]), district


@pytest.mark.parametrize("model", ["two_part", "unit_level"])
@pytest.mark.parametrize("with_map", [True, False])
def test_one_estimate_for_each_district(model, with_map):
    frame, truth, sample, district = made(with_map=with_map)
    got = small_area_estimates(
        frame, sample, rng=np.random.default_rng(1), model=model, n_draws=200
    )
    assert sorted(got) == sorted(set(frame.domain.tolist()))
    for code, estimate in got.items():
        inside = frame.domain == code
        seen = inside[sample.index]
        wanted = EstimateType.SMALL_AREA if seen.any() else EstimateType.SYNTHETIC
        assert estimate.estimate_type is wanted
        assert estimate.n_segments == seen.sum()
        assert estimate.n_positive == (sample.y_ha[seen] > 0).sum()
        assert estimate.ci_low_ha <= estimate.value_ha <= estimate.ci_high_ha
        assert sample.y_ha[seen].sum() <= estimate.value_ha + 1e-9
        assert estimate.ci_high_ha <= frame.risk_ha[inside].sum() + 1e-9
        assert estimate.se_ha > 0.0
    true = np.bincount(district, weights=truth).sum()
    total = sum(estimate.value_ha for estimate in got.values())
    assert abs(total / true - 1.0) < 0.35
    method = {"two_part": "two_part_linear", "unit_level": "bhf_eblup"}[model]
    assert {estimate.method for estimate in got.values()} == {method}


def test_unit_level_never_reports_less_than_was_found():
    frame, _, sample, _ = made(3)
    # Crop in one segment of a district, found large; the model shrinks it below what was seen.
    y = np.zeros(sample.size)
    y[:2] = 0.6 * frame.risk_ha[sample.index[:2]]
    only = np.isin(np.arange(frame.size), sample.index)
    only |= np.arange(frame.size) % 40 > 36  # a small frame: the sample is most of it
    row = np.cumsum(only) - 1
    small = Frame(
        **{
            name: getattr(frame, name)[only]
            for name in ("segment_id", "stratum", "domain", "group", "risk_ha")
        }
    )
    got = small_area_estimates(
        small,
        Sample(index=row[sample.index], y_ha=y),
        rng=np.random.default_rng(1),
        model="unit_level",
    )
    assert min(estimate.value_ha for estimate in got.values()) >= 0.0
    assert any("was raised to it" in estimate.why for estimate in got.values())


def test_crop_nowhere_or_no_land_or_no_such_model():
    frame, _, sample, _ = made()
    rng = np.random.default_rng(1)
    none = Sample(index=sample.index, y_ha=np.zeros(sample.size))
    with pytest.raises(TooFewUnitsError, match="found in 0"):
        small_area_estimates(frame, none, rng=rng)
    with pytest.raises(TooFewUnitsError, match="no sampled segment has risk area"):
        small_area_estimates(frame, Sample(index=np.array([3]), y_ha=np.zeros(1)), rng=rng)
    with pytest.raises(EstimationError, match="unknown"):
        small_area_estimates(frame, sample, rng=rng, model="guess")


def test_bootstrap_and_level_are_passed_on():
    frame, _, sample, _ = made()
    rng = np.random.default_rng(1)
    wide = small_area_estimates(frame, sample, rng=rng, level=0.99, n_draws=200)
    narrow = small_area_estimates(frame, sample, rng=rng, level=0.5, n_draws=200, n_bootstrap=3)
    assert all(wide[k].ci_high_ha > narrow[k].ci_high_ha for k in wide)
    assert {e.value_ha for e in wide.values()} == {e.value_ha for e in narrow.values()}
    assert any(wide[k].se_ha != narrow[k].se_ha for k in wide)
    other = small_area_estimates(frame, sample, rng=rng, n_draws=200, amount="lognormal")
    assert {estimate.method for estimate in other.values()} == {"two_part_lognormal"}


def test_truncated_variance_is_said_in_words():
    frame, _, sample, _ = made(with_map=False)
    y = 0.1 * frame.risk_ha[sample.index] * (1.0 + 0.5 * (-1.0) ** np.arange(sample.size))
    got = small_area_estimates(
        frame,
        Sample(index=sample.index, y_ha=y),
        rng=np.random.default_rng(1),
        model="unit_level",
    )
    assert all("estimated as zero" in estimate.why for estimate in got.values())


@pytest.mark.parametrize("model", ["two_part", "unit_level"])
def test_the_order_of_rows_changes_nothing(model):
    frame, _, sample, _ = made()
    one = small_area_estimates(
        frame, sample, rng=np.random.default_rng(3), model=model, n_draws=100
    )
    order = np.random.default_rng(4).permutation(frame.size)
    names = ("segment_id", "stratum", "domain", "group", "risk_ha", "covariate_ha")
    shuffled = Frame(**{name: getattr(frame, name)[order] for name in names})
    rows = np.argsort(order)[sample.index][::-1]
    two = small_area_estimates(
        shuffled,
        Sample(index=rows, y_ha=sample.y_ha[::-1]),
        rng=np.random.default_rng(3),
        model=model,
        n_draws=100,
    )
    for name, figure in one.items():
        for what in ("value_ha", "se_ha", "ci_low_ha", "ci_high_ha"):
            assert getattr(two[name], what) == pytest.approx(getattr(figure, what), rel=1e-9)
