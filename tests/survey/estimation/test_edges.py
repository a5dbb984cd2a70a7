"""Edges: each ends in a stated rule or in an error that says what to do."""

import math

import numpy as np
import pytest

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation import (
    Frame,
    Sample,
    SurveyDesign,
    accuracy_of_matrix,
    accuracy_of_points,
    bootstrap_domain_totals,
    calibrate,
    error_adjusted_area,
    estimate_ladder,
    expansion_total,
    farm_gate_value,
    jackknife_weights,
    linearised_covariance,
    mean_contrast,
    opium_yield,
    percentile_interval,
    post_stratify,
    production,
    production_draws,
    rao_wu_weights,
    ratio_statistic,
    ratio_total,
    regression_total,
    replicate_covariance,
    shared_yield_covariance,
)
from survey.estimation.assisted import fit_regression
from survey.estimation.design import design_effect
from survey.estimation.intervals import few_upper_ha, zero_upper_ha
from survey.estimation.production import WeightUnit, to_kilograms


def frame(sizes=(10, 10), covariate=True, **changes):
    n = sum(sizes)
    stratum = np.repeat([f"h{k}" for k in range(len(sizes))], sizes)
    columns = {
        "segment_id": np.arange(n).astype(str),
        "stratum": stratum,
        "domain": np.where(np.arange(n) % 2 == 0, "D1", "D2"),
        "group": np.array(["P"] * n),
        "risk_ha": np.full(n, 20.0),
        "covariate_ha": np.linspace(0.0, 5.0, n) if covariate else None,
    }
    return Frame(**(columns | changes))


def sample(rows, y):
    return Sample(index=np.asarray(rows), y_ha=np.asarray(y, dtype=float))


def test_upper_limit_of_nothing_found_by_hand():
    # 20 segments of 20 seen in one stratum of 200: 1 - 0.05^(1/20) = 0.1391 of 200 segments
    # times the 20 ha of risk area each, because nothing was found anywhere.
    whole = frame((200,))
    none = sample(range(20), np.zeros(20))
    estimate = expansion_total(whole, none)
    assert estimate.value_ha == 0.0
    assert math.isnan(estimate.se_ha)
    assert estimate.ci_high_ha == pytest.approx((1 - 0.05 ** (1 / 20)) * 200 * 20.0)
    assert "none of the 20" in estimate.why


def test_upper_limit_uses_finds_elsewhere_and_never_exceeds_the_land():
    whole = frame((100, 100))
    seen = sample([*range(10), *range(100, 110)], [0.0] * 10 + [2.0] * 10)
    mask = whole.stratum == "h0"
    estimate = expansion_total(whole, seen, member=mask)
    assert estimate.ci_high_ha == pytest.approx((1 - 0.05 ** (1 / 10)) * 100 * 2.0)
    tiny = frame((100, 100), risk_ha=np.full(200, 2.0))
    capped = zero_upper_ha(tiny, sample([0], [0.0]), np.ones(1), tiny.stratum == "h0")
    assert capped == pytest.approx(0.95 * 100 * 2.0)
    nowhere = zero_upper_ha(whole, seen, np.ones(20), np.arange(200) == 199)
    assert math.isnan(nowhere)


def test_few_positives_reach_from_what_was_found_to_the_bound_on_their_share():
    whole = frame((400,))
    y = np.zeros(40)
    y[:2] = [1.0, 3.0]
    estimate = expansion_total(whole, sample(range(40), y))
    assert estimate.ci_low_ha <= 4.0
    bound = few_upper_ha(whole, sample(range(40), y), np.full(40, 10.0), np.ones(400, bool))
    assert estimate.ci_high_ha >= bound
    # Clopper-Pearson 97.5% limit for 2 of 40: 0.1692.
    assert bound == pytest.approx(0.16920 * 400 * 2.0, rel=1e-3)
    every = few_upper_ha(whole, sample(range(3), np.ones(3)), np.ones(3), np.arange(400) < 3)
    assert every == pytest.approx(3.0)


def test_census_strata_and_certainty_segments_have_no_variance():
    whole = frame((3, 30))
    rows = [0, 1, 2, *range(3, 13)]
    only_census = expansion_total(whole, sample(rows, [5.0, 1.0, 0.0] + [0.0] * 10))
    assert only_census.value_ha == 6.0
    assert only_census.ci_low_ha == 6.0
    assert only_census.ci_high_ha > 6.0
    one = frame((1, 30))
    certain = expansion_total(one, sample([0, *range(1, 11)], [9.0] + [1.0, 2.0] * 5))
    assert certain.se_ha > 0.0


def test_single_segment_of_a_domain_has_no_ratio_error():
    whole = frame((30,), domain=np.where(np.arange(30) == 0, "D1", "D2"))
    seen = sample(range(10), [2.0] + [1.0, 0.0, 3.0] * 3)
    with pytest.raises(TooFewUnitsError, match="leave no residual"):
        ratio_total(whole, seen, member=whole.domain == "D1")
    with pytest.raises(TooFewUnitsError, match="no sampled segment"):
        expansion_total(whole, seen, member=np.arange(30) == 29)
    with pytest.raises(TooFewUnitsError, match="none of the size"):
        ratio_total(whole, seen, member=np.arange(30) == 29)


def test_one_segment_in_all_and_no_partner_to_merge_with():
    with pytest.raises(TooFewUnitsError, match="1 segment"):
        expansion_total(frame(), sample([0], [1.0]))
    # Single segments everywhere become one stratum.
    spread = expansion_total(frame((5, 5, 5)), sample([0, 5, 10], [1.0, 2.0, 4.0]))
    assert spread.value_ha == pytest.approx(35.0)
    assert spread.se_ha > 0.0


def test_negative_regression_estimate_is_zero_with_the_arm_kept():
    n = 40
    whole = frame(
        (n,), covariate_ha=np.r_[np.linspace(0.0, 2.0, 20), np.full(20, 19.0)], domain=["D"] * n
    )
    rows = np.r_[np.arange(0, 20), 39]
    y = np.r_[np.linspace(4.0, 2.0, 20), 0.0]
    estimate = regression_total(whole, sample(rows, y), member=np.arange(n) >= 37)
    assert estimate.value_ha == 0.0
    assert estimate.ci_high_ha > 0.0


def test_options_and_levels_are_checked():
    whole = frame()
    seen = sample([0, 1, 10, 11], [1.0, 2.0, 0.0, 1.0])
    with pytest.raises(EstimationError, match="kind"):
        ratio_total(whole, seen, kind="best")
    with pytest.raises(EstimationError, match="size"):
        ratio_total(whole, seen, size="pixels")
    with pytest.raises(EstimationError, match="slope"):
        regression_total(whole, seen, slope="own")
    with pytest.raises(EstimationError, match="no complete covariate"):
        regression_total(frame(covariate=False), seen)
    with pytest.raises(EstimationError, match="level"):
        expansion_total(whole, seen, level=95.0)
    with pytest.raises(EstimationError, match="cannot carry"):
        fit_regression([1.0, 2.0], np.ones((2, 2)), [1.0, 1.0])
    with pytest.raises(EstimationError, match="missing"):
        fit_regression([1.0, 2.0], [[1.0], [math.nan]], [1.0, 1.0])


def design(**changes):
    columns = {"weight": np.ones(4), "stratum": np.array([0, 0, 1, 1])}
    return SurveyDesign(**(columns | changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": np.array([1.0, 0.0, 1.0, 1.0])}, "positive"),
        ({"stratum": np.array([0, 1])}, "stratum has shape"),
    ],
)
def test_designs_refused(change, message):
    with pytest.raises(EstimationError, match=message):
        design(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stratum": np.array([0, 0, 0, 1])}, "1 sampled unit"),
        ({"n_frame": np.array([1.0, 1.0, 9.0, 9.0])}, "2 sampled units but 1"),
        (
            {"n_frame": np.full(4, 9.0), "cluster": np.arange(4), "n_units": np.full(4, 0.5)},
            "more sampled units",
        ),
        (
            {"n_frame": np.full(4, 9.0), "cluster": np.arange(4), "n_units": np.full(4, 5.0)},
            "second-stage",
        ),
    ],
)
def test_variances_refused(change, message):
    with pytest.raises(EstimationError, match=message):
        linearised_covariance(design(**change), np.arange(4.0))


def test_contrasts_refused_and_flat_variable():
    with pytest.raises(EstimationError, match="cells"):
        mean_contrast(design(), np.arange(4.0), [], [])
    with pytest.raises(TooFewUnitsError, match="denominator"):
        ratio_statistic(design(), np.arange(4.0), np.zeros(4))
    with pytest.raises(EstimationError, match="one bool"):
        ratio_statistic(design(), np.arange(4.0), np.ones(4), [1, 0, 1, 0])
    with pytest.raises(EstimationError, match="level"):
        ratio_statistic(design(), np.arange(4.0), np.ones(4), level=0.0)
    assert math.isnan(design_effect(design(), np.ones(4), 1.0))


def test_calibration_refused():
    x = np.column_stack([np.ones(4), np.arange(4.0)])
    with pytest.raises(EstimationError, match="one row"):
        calibrate(design(), np.ones((3, 1)), [1.0])
    with pytest.raises(EstimationError, match="as many known totals"):
        calibrate(design(), x, [1.0])
    with pytest.raises(EstimationError, match="distance"):
        calibrate(design(), x, [4.0, 6.0], distance="chi")
    with pytest.raises(EstimationError, match="zero in the whole"):
        calibrate(design(), np.zeros((4, 1)), [1.0])
    with pytest.raises(EstimationError, match="did not reach"):
        calibrate(design(), x, [4.0, 40.0], distance="raking")
    with pytest.raises(EstimationError, match="merge them"):
        post_stratify(design(), ["a", "a", "b", "b"], {"a": 2.0, "c": 2.0})
    sizes = post_stratify(design(), ["a", "a", "b", "b"], {"a": 6.0, "b": 2.0})
    assert sizes.weight.tolist() == pytest.approx([3.0, 3.0, 1.0, 1.0])


def test_replication_refused():
    rng = np.random.default_rng(0)
    lonely = design(stratum=np.array([0, 0, 0, 1]))
    for call in (
        lambda: rao_wu_weights(lonely, 10, rng=rng),
        lambda: jackknife_weights(lonely),
        lambda: bootstrap_domain_totals(lonely, np.ones(4), np.zeros(4, int), 10, rng=rng),
    ):
        with pytest.raises(TooFewUnitsError, match="1 cluster"):
            call()
    with pytest.raises(EstimationError, match="2 or more"):
        rao_wu_weights(design(), 1, rng=rng)
    with pytest.raises(EstimationError, match="single-stage"):
        bootstrap_domain_totals(
            design(cluster=np.arange(4)), np.ones(4), np.zeros(4, int), 10, rng=rng
        )
    with pytest.raises(EstimationError, match="no finite value"):
        replicate_covariance([1.0, math.nan], 1.0)
    assert percentile_interval(np.arange(101.0), level=0.9) == pytest.approx((5.0, 95.0))


def test_error_matrices_refused_and_empty_reference_class():
    with pytest.raises(EstimationError, match="do not fit"):
        error_adjusted_area([[1, 2]], [1.0, 2.0])
    with pytest.raises(EstimationError, match="negative or missing"):
        error_adjusted_area([[-1, 2]], [1.0])
    with pytest.raises(EstimationError, match="positive"):
        error_adjusted_area([[1, 2]], [0.0])
    with pytest.raises(TooFewUnitsError, match="needs 2"):
        error_adjusted_area([[1, 0]], [5.0])
    with pytest.raises(EstimationError, match="square"):
        accuracy_of_matrix([[5, 2, 1]], [1.0])
    with pytest.raises(EstimationError, match="without points"):
        accuracy_of_points(["a", "a"], ["x", "x"], ["x", "x"], {"b": 5.0}, ("x",))
    never = error_adjusted_area([[10, 0], [20, 0]], [100.0, 900.0])[1]
    assert never.value_ha == 0.0
    assert math.isnan(never.se_ha)
    assert 0.0 < never.ci_high_ha < 1000.0
    accuracy = accuracy_of_points(
        ["a"] * 4, ["x", "x", "y", "y"], ["x", "x", "x", "y"], {"a": 9.0}, ("x", "y", "z")
    )
    assert math.isnan(accuracy.users[2])


def test_yield_and_production_refused_units_and_draws():
    with pytest.raises(EstimationError, match="capsule volumes"):
        opium_yield([-1.0])
    with pytest.raises(EstimationError, match="area_ha"):
        production(-1.0, 0.0, 1.0, 0.0)
    with pytest.raises(EstimationError, match="square"):
        shared_yield_covariance([1.0, 2.0], [1.0, 2.0, 3.0], 1.0, 0.1)
    with pytest.raises(EstimationError, match="pair them"):
        production_draws([1.0, 2.0], [1.0])
    with pytest.raises(EstimationError, match="price"):
        farm_gate_value(production(1.0, 0.1, 1.0, 0.1), -1.0)
    joi = to_kilograms(2.0, WeightUnit.JOI)
    assert (joi.kg, joi.value, joi.unit) == (pytest.approx(3.2), 2.0, WeightUnit.JOI)
    assert not joi.is_sourced
    weighed = to_kilograms(2.0, WeightUnit.VISS, kg_per_unit=1.65)
    assert weighed.kg == pytest.approx(3.3)
    assert weighed.is_sourced
    assert to_kilograms(1.0, WeightUnit.KILOGRAM).is_sourced
    for value, factor in ((-1.0, None), (1.0, 0.0)):
        with pytest.raises(EstimationError, match="must be finite"):
            to_kilograms(value, WeightUnit.JOI, kg_per_unit=factor)


def test_a_ratio_to_almost_nothing_is_refused_and_the_ladder_expands():
    risk = np.r_[np.full(20, 0.001), np.full(20, 50.0)]
    frame = Frame(
        segment_id=np.arange(40).astype(str),
        stratum=np.full(40, "a"),
        domain=np.full(40, "d"),
        group=np.full(40, "p"),
        risk_ha=risk,
    )
    sample = Sample(index=np.arange(12), y_ha=np.where(np.arange(12) < 6, 0.001, 0.0))
    with pytest.raises(TooFewUnitsError, match=r"0\.00% of the domain's size"):
        ratio_total(frame, sample)
    province = next(
        row.estimate
        for row in estimate_ladder(frame, sample, estimator="ratio")
        if row.admin_level == "province"
    )
    assert province.method == "expansion_total"
    assert "carry 0.00% of the size" in province.why
    draws = production_draws([[100.0, 50.0], [120.0, 60.0]], [10.0, 20.0])
    assert draws.tolist() == [[1.0, 0.5], [2.4, 1.2]]
    assert production_draws([100.0], [10.0]).tolist() == [1.0]


def test_published_production_and_value():
    # Myanmar 2023: 47,100 ha of 22.9 kg/ha; with CVs of 13% and 8% the product has 15.3%.
    tonnes = production(47100.0, 0.13 * 47100.0, 22.9, 0.08 * 22.9)
    assert tonnes.value == pytest.approx(1078.6, abs=0.05)
    assert tonnes.se / tonnes.value == pytest.approx(0.153, abs=5e-4)
    # Lao PDR and Myanmar 2012: 13.5 kg/ha on 51,000 ha at 520 US$/kg is US$ 358 million.
    value = farm_gate_value(production(51000.0, 0.0, 13.5, 0.0), 520.0, 52.0)
    assert value.value == pytest.approx(358.0e6, rel=1e-3)
    assert value.se == pytest.approx(0.1 * value.value)


def test_design_effect_is_against_simple_random_sampling():
    # One stratum sampled simply at random is its own yardstick.
    whole = frame((40,))
    estimate = expansion_total(whole, sample(range(10), [1.0, 0.0, 2.0, 0.0, 3.0] * 2))
    assert estimate.deff == pytest.approx(1.0)


@pytest.mark.parametrize("estimator", [expansion_total, regression_total])
def test_what_rounding_leaves_of_no_residual_is_not_an_error_of_nearly_zero(estimator):
    rng = np.random.default_rng(1)
    risk = rng.uniform(10.0, 60.0, 300)
    frame = Frame(
        segment_id=np.arange(300).astype(str),
        stratum=rng.choice(["a", "b", "c"], 300),
        domain=np.full(300, "d"),
        group=np.full(300, "p"),
        risk_ha=risk,
        covariate_ha=rng.uniform(0.0, 9.0, 300),
    )
    rows = np.arange(0, 300, 4)
    y = np.full(75, 0.1) if estimator is expansion_total else frame.covariate_ha[rows] / 3.0
    with pytest.raises(TooFewUnitsError, match="leave no residual"):
        estimator(frame, Sample(index=rows, y_ha=y))


def test_covariate_constant_within_strata():
    y = np.tile([0.0, 1.0, 2.0, 0.5], 6)
    rows = [*range(12), *range(20, 32)]
    x = np.linspace(0.0, 5.0, 40)
    # Constant in one stratum only: the slope comes from the other.
    one = frame((20, 20), covariate_ha=np.where(np.arange(40) < 20, 2.0, x))
    estimate = regression_total(one, sample(rows, y))
    assert estimate.se_ha > 0.0
    first = expansion_total(one, sample(rows, y), member=one.stratum == "h0")
    own = regression_total(one, sample(rows, y), member=one.stratum == "h0")
    assert own.value_ha == pytest.approx(first.value_ha)
    # Constant in each: nothing but the strata's intercepts is left, and the ladder says so.
    each = frame((20, 20), covariate_ha=np.where(np.arange(40) < 20, 2.0, 5.0))
    with pytest.raises(EstimationError, match=r"constant|collinear"):
        regression_total(each, sample(rows, y))
    row = estimate_ladder(each, sample(rows, y), estimator="regression")[-1]
    assert row.estimate.method == "ratio_total_combined"
    assert "cannot be fitted" in row.estimate.why
