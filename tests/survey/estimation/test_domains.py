"""The ladder on a small invented frame: every rung, and what each figure says of itself."""

import math
from dataclasses import replace

import numpy as np
import pytest

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation import (
    Forced,
    Frame,
    LadderRule,
    Sample,
    difference_total,
    estimate_by_methods,
    estimate_ladder,
    expansion_total,
    reliability_of,
)
from survey.estimation.rules import with_coverage_warning
from survey.types import EstimateType, Reliability


def landscape(seed=1, n_segments=400, positive=0.4):
    rng = np.random.default_rng(seed)
    group = np.where(np.arange(n_segments) < n_segments // 2, "MR01", "MR02")
    domain = np.char.add(group, (np.arange(n_segments) % 4).astype(str))
    high = rng.random(n_segments) < 0.4
    stratum = np.char.add(group, np.where(high, "-high", "-low"))
    risk = rng.uniform(20.0, 40.0, n_segments)
    truth = np.where(
        rng.random(n_segments) < positive * np.where(high, 1.5, 0.5),
        rng.gamma(1.0, 2.0, n_segments),
        0.0,
    )
    truth = np.minimum(truth, risk)
    mapped = np.clip(0.8 * truth + rng.gamma(0.5, 0.3, n_segments), 0.0, risk)
    frame = Frame(
        segment_id=np.array([f"s{i:04d}" for i in range(n_segments)]),
        stratum=stratum,
        domain=domain,
        group=group,
        risk_ha=risk,
        covariate_ha=mapped,
    )
    return frame, truth


def draw(frame, truth, n_per_stratum, seed=2):
    rng = np.random.default_rng(seed)
    rows = np.concatenate(
        [
            rng.choice(np.flatnonzero(frame.stratum == h), n_per_stratum, replace=False)
            for h in np.unique(frame.stratum)
        ]
    )
    return Sample(index=rows, y_ha=truth[rows])


def by_id(rows):
    return {(row.admin_level, row.domain_id): row.estimate for row in rows}


@pytest.mark.parametrize("estimator", ["expansion", "ratio", "regression"])
def test_all_levels_are_there_and_the_country_is_the_sum_of_its_provinces(estimator):
    frame, truth = landscape()
    result = by_id(estimate_ladder(frame, draw(frame, truth, 25), estimator=estimator))
    assert len(result) == 8 + 2 + 1
    provinces = [value for (level, _), value in result.items() if level == "province"]
    country = result["country", "country"]
    assert country.value_ha == pytest.approx(sum(p.value_ha for p in provinces))
    # Strata lie within provinces, so the provinces' errors are independent.
    assert country.se_ha == pytest.approx(math.hypot(*[p.se_ha for p in provinces]))
    assert all(value.why and value.method for value in result.values())


def test_regression_falls_to_ratio_when_a_stratum_is_thin_whatever_was_found():
    frame, truth = landscape()
    sample = draw(frame, truth, 9)
    for found in (sample.y_ha, sample.y_ha * 0.5 + 0.1):
        rows = by_id(
            estimate_ladder(frame, Sample(index=sample.index, y_ha=found), estimator="regression")
        )
        province = rows["province", "MR01"]
        assert province.method == "ratio_total_combined"
        assert "9 segments, fewer than 10" in province.why


def test_missing_covariate_falls_to_ratio():
    frame, truth = landscape()
    bare = Frame(
        segment_id=frame.segment_id,
        stratum=frame.stratum,
        domain=frame.domain,
        group=frame.group,
        risk_ha=frame.risk_ha,
        covariate_ha=np.where(np.arange(frame.size) == 3, np.nan, 1.0),
    )
    rows = by_id(estimate_ladder(bare, draw(frame, truth, 20), estimator="regression"))
    assert rows["province", "MR01"].method == "ratio_total_combined"
    assert "cannot be fitted" in rows["province", "MR01"].why


@pytest.mark.parametrize("estimator", ["expansion", "ratio", "regression"])
def test_few_and_no_segments_give_a_labelled_synthetic_figure(estimator):
    frame, truth = landscape()
    sample = draw(frame, truth, 25)
    sampled_in = frame.domain[sample.index] != "MR010"
    sample = Sample(index=sample.index[sampled_in], y_ha=sample.y_ha[sampled_in])
    rows = by_id(estimate_ladder(frame, sample, estimator=estimator))
    unsampled = rows["district", "MR010"]
    assert unsampled.estimate_type is EstimateType.SYNTHETIC
    assert unsampled.n_segments == 0
    assert unsampled.se_ha >= 0.25 * unsampled.value_ha > 0.0
    assert reliability_of(unsampled) in {Reliability.INDICATIVE, Reliability.SUPPRESSED}
    assert rows["district", "MR011"].estimate_type is not EstimateType.SYNTHETIC


def test_synthetic_districts_add_up_to_the_separate_stratum_rates():
    frame, truth = landscape()
    rule = LadderRule(min_segments_district=1000)
    sample = draw(frame, truth, 25)
    rows = by_id(estimate_ladder(frame, sample, estimator="expansion", rule=rule))
    total = sum(value.value_ha for (level, _), value in rows.items() if level == "district")
    assert total == pytest.approx(expansion_total(frame, sample).value_ha)


def test_all_zero_sample_is_not_detected_with_an_upper_limit():
    frame, truth = landscape()
    sample = draw(frame, truth * 0.0, 20)
    rows = by_id(estimate_ladder(frame, sample, estimator="regression"))
    for estimate in rows.values():
        assert estimate.value_ha == 0.0
        assert math.isnan(estimate.se_ha)
        assert estimate.ci_high_ha > 0.0
        assert reliability_of(estimate) is Reliability.NOT_DETECTED


def test_nothing_sampled_and_nothing_found_is_status_only():
    frame, truth = landscape()
    sample = draw(frame, truth * 0.0, 20)
    keep = frame.domain[sample.index] != "MR010"
    sample = Sample(index=sample.index[keep], y_ha=sample.y_ha[keep])
    estimate = by_id(estimate_ladder(frame, sample, estimator="ratio"))["district", "MR010"]
    assert reliability_of(estimate) is Reliability.STATUS_ONLY
    assert math.isnan(estimate.value_ha)
    assert estimate.why


def test_unobserved_district_and_province_are_status_only():
    frame, truth = landscape()
    rule = LadderRule(unobserved_share={"MR011": 0.6, "MR02": 0.9, "MR012": 0.4})
    rows = by_id(estimate_ladder(frame, draw(frame, truth, 25), estimator="regression", rule=rule))
    assert rows["district", "MR011"].estimate_type is EstimateType.STATUS_ONLY
    assert rows["district", "MR012"].estimate_type is EstimateType.ASSISTED
    assert rows["province", "MR02"].estimate_type is EstimateType.STATUS_ONLY
    country = rows["country", "country"]
    assert "Without province MR02" in country.why
    assert country.value_ha == pytest.approx(rows["province", "MR01"].value_ha)


def test_unsampled_province_is_status_only_and_left_out_by_name():
    frame, truth = landscape()
    sample = draw(frame, truth, 25)
    keep = frame.group[sample.index] == "MR01"
    sample = Sample(index=sample.index[keep], y_ha=sample.y_ha[keep])
    rows = by_id(estimate_ladder(frame, sample, estimator="ratio"))
    assert rows["province", "MR02"].estimate_type is EstimateType.STATUS_ONLY
    assert "Without province MR02" in rows["country", "country"].why


def test_a_province_without_finds_widens_the_country_upwards_only():
    frame, truth = landscape()
    sample = draw(frame, np.where(frame.group == "MR02", 0.0, truth), 25)
    rows = by_id(estimate_ladder(frame, sample, estimator="expansion"))
    one, two = rows["province", "MR01"], rows["province", "MR02"]
    country = rows["country", "country"]
    assert country.value_ha == pytest.approx(one.value_ha)
    assert country.ci_low_ha == pytest.approx(one.ci_low_ha)
    arm = one.ci_high_ha - one.value_ha
    # At least MOVER; the bound on the share of positive segments may reach further.
    assert country.ci_high_ha >= one.value_ha + math.hypot(arm, two.ci_high_ha)


def test_methods_side_by_side():
    frame, truth = landscape()
    rows = estimate_by_methods(frame, draw(frame, truth, 25), level=0.9)
    methods = {row.estimate.method for row in rows if row.domain_id == "MR011"}
    assert methods == {
        "expansion_total",
        "ratio_total_combined",
        "regression_total",
        "difference_total",
        "synthetic_difference",
        "synthetic_expansion",
        "synthetic_ratio",
        "synthetic_regression",
    }
    assert {row.estimate.level for row in rows} == {0.9}


def test_a_declared_difference_needs_no_minimum_of_segments():
    frame, truth = landscape()
    thin = draw(frame, truth, 4)
    rows = {
        row.domain_id: row.estimate
        for row in estimate_ladder(frame, thin, estimator="difference")
        if row.admin_level == "province"
    }
    for code, estimate in rows.items():
        found = difference_total(frame, thin, member=frame.group == code)
        assert estimate.method == "difference_total"
        assert estimate.value_ha == pytest.approx(found.value_ha, rel=1e-12)
        assert estimate.se_ha == pytest.approx(found.se_ha, rel=1e-12)
        assert "as declared" in estimate.why
    bare = replace(frame, covariate_ha=None)
    for row in estimate_ladder(bare, thin, estimator="difference"):
        if row.admin_level == "province":
            assert row.estimate.method == "ratio_total_combined"
            assert "Difference was declared" in row.estimate.why


def test_unknown_estimator_and_bad_rules():
    frame, truth = landscape()
    with pytest.raises(EstimationError, match="unknown"):
        estimate_ladder(frame, draw(frame, truth, 5), estimator="best")
    with pytest.raises(EstimationError, match="fewer than 2"):
        LadderRule(min_segments_district=1)
    with pytest.raises(EstimationError, match="level"):
        LadderRule(level=95)
    with pytest.raises(EstimationError, match="max_unobserved_share"):
        LadderRule(max_unobserved_share=50)


@pytest.mark.parametrize("estimator", ["expansion", "ratio", "regression"])
def test_province_totals_are_unbiased_over_repeated_draws(estimator):
    frame, truth = landscape(n_segments=240)
    target = truth[frame.group == "MR01"].sum()
    values = []
    for seed in range(200):
        rows = by_id(estimate_ladder(frame, draw(frame, truth, 15, seed), estimator=estimator))
        estimate = rows["province", "MR01"]
        values.append(estimate.value_ha)
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    # GREG and ratio carry a bias of order 1/n; 4 Monte Carlo errors leave room for it.
    assert abs(np.mean(values) - target) < 4.0 * error


def test_a_province_with_an_empty_map_shares_the_others_slope():
    frame, truth = landscape()
    bare = Frame(
        segment_id=frame.segment_id,
        stratum=frame.stratum,
        domain=frame.domain,
        group=frame.group,
        risk_ha=frame.risk_ha,
        covariate_ha=np.where(frame.group == "MR02", 0.0, frame.covariate_ha),
    )
    rows = by_id(estimate_ladder(bare, draw(frame, truth, 20), estimator="regression"))
    assert rows["province", "MR01"].method == "regression_total"
    # Without a map the regression is the expansion: stratum means times stratum sizes.
    expansion = expansion_total(
        frame, draw(frame, truth, 20), member=frame.group == "MR02"
    ).value_ha
    assert rows["province", "MR02"].value_ha == pytest.approx(expansion)


def test_no_map_anywhere_falls_to_the_ratio():
    frame, truth = landscape()
    bare = Frame(
        segment_id=frame.segment_id,
        stratum=frame.stratum,
        domain=frame.domain,
        group=frame.group,
        risk_ha=frame.risk_ha,
        covariate_ha=np.zeros(frame.size),
    )
    rows = by_id(estimate_ladder(bare, draw(frame, truth, 20), estimator="regression"))
    assert rows["province", "MR02"].method == "ratio_total_combined"


@pytest.mark.parametrize("estimator", ["expansion", "ratio", "regression"])
def test_thin_and_empty_strata_are_merged_and_named(estimator):
    frame, truth = landscape()
    sample = draw(frame, truth, 20)
    strata = frame.stratum[sample.index]
    keep = strata != "MR01-low"
    keep[np.flatnonzero(strata == "MR02-low")[1:]] = False
    sample = Sample(index=sample.index[keep], y_ha=sample.y_ha[keep])
    rows = by_id(estimate_ladder(frame, sample, estimator=estimator))
    country = rows["country", "country"]
    assert "merged: MR01-low, MR02-low" in country.why
    assert country.se_ha > 0.0
    with pytest.raises(TooFewUnitsError, match="MR01-low"):
        expansion_total(frame, sample, lonely="error")
    with pytest.raises(EstimationError, match="lonely"):
        expansion_total(frame, sample, lonely="ignore")


def test_non_response_is_named_in_the_country():
    frame, truth = landscape()
    drawn = draw(frame, truth, 25)
    share = np.ones(drawn.size)
    share[:3] = 0.0
    sample = Sample.from_observed(frame, drawn.index, drawn.y_ha, share)
    country = by_id(estimate_ladder(frame, sample, estimator="ratio"))["country", "country"]
    assert "3 drawn segments could not be seen" in country.why
    assert country.n_segments == drawn.size - 3


def test_figures_whose_intervals_cover_too_little_say_so():
    frame, truth = landscape()
    thin = by_id(estimate_ladder(frame, draw(frame, truth, 8), estimator="expansion"))
    assert "can cover less than it states" in thin["province", "MR01"].why
    assert "can cover less" in thin["district", "MR010"].why
    # The country is judged by its own counts.
    assert thin["country", "country"].n_segments >= 20
    assert "segments with the crop the interval can cover less" in thin["country", "country"].why


def test_only_many_finds_are_silent_on_coverage():
    frame, truth = landscape()
    row = by_id(estimate_ladder(frame, draw(frame, truth, 25), estimator="expansion"))
    few = row["country", "country"]
    assert 0 < few.n_positive < 100
    many = with_coverage_warning(replace(few, n_positive=100, why="Expansion."))
    assert many.why == "Expansion."
    # A complete count has no error to doubt.
    assert "cover less" not in with_coverage_warning(replace(few, se_ha=0.0, why="")).why
    assert with_coverage_warning(few) == few  # said once


def with_covariate(frame, covariate):
    return Frame(
        segment_id=frame.segment_id,
        stratum=frame.stratum,
        domain=frame.domain,
        group=frame.group,
        risk_ha=frame.risk_ha,
        covariate_ha=covariate,
    )


def test_a_ratio_without_its_size_is_an_expansion():
    frame, truth = landscape()
    sample = draw(frame, truth, 20)
    rule = LadderRule(ratio_size="covariate_ha")
    for covariate, reason in ((None, "there is no ratio"), (np.zeros(frame.size), "size is zero")):
        rows = by_id(
            estimate_ladder(with_covariate(frame, covariate), sample, estimator="ratio", rule=rule)
        )
        assert rows["province", "MR01"].method == "expansion_total"
        assert reason in rows["province", "MR01"].why
    mapped = by_id(estimate_ladder(frame, sample, estimator="ratio", rule=rule))
    assert mapped["province", "MR01"].method == "ratio_total_combined_map"
    assert mapped["province", "MR01"].estimate_type is EstimateType.ASSISTED


def test_no_province_observed_leaves_no_country():
    frame, truth = landscape()
    rule = LadderRule(unobserved_share={"MR01": 1.0, "MR02": 1.0})
    rows = by_id(estimate_ladder(frame, draw(frame, truth, 20), estimator="ratio", rule=rule))
    assert rows["country", "country"].estimate_type is EstimateType.STATUS_ONLY


def test_a_perfect_map_gives_districts_without_residuals_a_floor():
    frame, truth = landscape()
    truth = np.where(frame.domain == "MR010", 0.0, truth)
    perfect = with_covariate(frame, truth)
    sample = draw(frame, truth, 25)
    rows = by_id(estimate_ladder(perfect, sample, estimator="regression"))
    inside = frame.domain == "MR011"
    assert rows["district", "MR011"].value_ha == pytest.approx(truth[inside].sum())
    few = LadderRule(min_segments_district=1000)
    rows = by_id(estimate_ladder(perfect, sample, estimator="regression", rule=few))
    assert rows["district", "MR011"].se_ha == pytest.approx(0.25 * truth[inside].sum())
    assert reliability_of(rows["district", "MR010"]) is Reliability.NOT_DETECTED


def thin(seed=2):
    """Two provinces; district MR010 keeps 3 of its segments, MR023 none."""
    frame, truth = landscape()
    sample = draw(frame, truth, 30, seed)
    home = frame.domain[sample.index]
    keep = home != "MR023"
    keep[np.flatnonzero(home == "MR010")[3:]] = False
    return frame, Sample(index=sample.index[keep], y_ha=sample.y_ha[keep])


@pytest.mark.parametrize(
    ("small_area", "method"), [("two_part", "two_part_linear"), ("bhf", "bhf_eblup")]
)
def test_thin_districts_take_the_declared_model(small_area, method):
    frame, sample = thin()
    rule = LadderRule(small_area=small_area, small_area_draws=100)
    got = by_id(
        estimate_ladder(
            frame, sample, estimator="regression", rule=rule, rng=np.random.default_rng(1)
        )
    )
    plain = by_id(estimate_ladder(frame, sample, estimator="regression"))
    few, none = got["district", "MR010"], got["district", "MR023"]
    assert few.method == none.method == method
    assert few.estimate_type is EstimateType.SMALL_AREA
    assert none.estimate_type is EstimateType.SYNTHETIC
    assert "MR010 has 3 sampled segments, fewer than 10" in few.why
    assert reliability_of(few) in {Reliability.INDICATIVE, Reliability.SUPPRESSED}
    # Everything with segments enough, and every total, is as without a model.
    assert {key for key in got if got[key] != plain[key]} == {
        ("district", "MR010"),
        ("district", "MR023"),
    }


def test_the_model_is_drawn_from_the_given_stream():
    frame, sample = thin()
    rule = LadderRule(small_area="two_part", small_area_draws=100)
    one, two, other = (
        estimate_ladder(
            frame, sample, estimator="regression", rule=rule, rng=np.random.default_rng(seed)
        )
        for seed in (1, 1, 2)
    )
    assert [repr(row) for row in one] == [repr(row) for row in two]
    # Other draws move limits, not the value.
    assert by_id(one)["district", "MR010"].value_ha == by_id(other)["district", "MR010"].value_ha
    assert one != other
    with pytest.raises(EstimationError, match="needs rng"):
        estimate_ladder(frame, sample, estimator="regression", rule=rule)


def test_a_model_that_cannot_be_fitted_leaves_the_synthetic_figure_and_says_so():
    frame, sample = thin()
    y = np.zeros(sample.size)
    y[np.flatnonzero(frame.group[sample.index] == "MR01")[-4:]] = 2.0
    rule = LadderRule(small_area="two_part", small_area_draws=100)
    got = by_id(
        estimate_ladder(
            frame,
            Sample(index=sample.index, y_ha=y),
            estimator="ratio",
            rule=rule,
            rng=np.random.default_rng(1),
        )
    )
    few = got["district", "MR010"]
    assert few.method == "synthetic_ratio"
    assert "was declared but cannot be fitted (the crop was found in 4" in few.why


def test_no_model_puts_crop_into_a_province_without_finds():
    frame, sample = thin()
    y = np.where(frame.group[sample.index] == "MR01", 0.0, sample.y_ha)
    rule = LadderRule(small_area="two_part", small_area_draws=100)
    got = by_id(
        estimate_ladder(
            frame,
            Sample(index=sample.index, y_ha=y),
            estimator="ratio",
            rule=rule,
            rng=np.random.default_rng(1),
        )
    )
    assert reliability_of(got["district", "MR010"]) is Reliability.NOT_DETECTED
    assert reliability_of(got["district", "MR011"]) is Reliability.NOT_DETECTED
    assert got["district", "MR023"].method == "two_part_linear"


def test_the_analyst_orders_a_method_and_it_is_recorded():
    frame, sample = thin()
    forced = {
        "MR010": Forced(method="expansion", reason="agreed with the agency"),
        "MR011": Forced(method="synthetic", reason="visits fled"),
        "MR012": Forced(method="two_part", reason="one outlier"),
        "MR013": Forced(method="status_only", reason="contested"),
        "MR02": Forced(method="ratio", reason="map has a seam"),
    }
    rule = LadderRule(forced=forced, small_area_draws=100)
    got = by_id(
        estimate_ladder(
            frame, sample, estimator="regression", rule=rule, rng=np.random.default_rng(1)
        )
    )
    methods = {
        "MR010": "expansion_total",
        "MR011": "synthetic_regression",
        "MR012": "two_part_linear",
        "MR013": "none",
        "MR021": "ratio_total_combined",
    }
    for code, method in methods.items():
        estimate = got["district", code]
        assert estimate.method == method
        assert "Ordered by the analyst: " in estimate.why
    assert got["province", "MR02"].method == "ratio_total_combined"
    assert got["province", "MR01"].method == "regression_total"
    provinces = [got["province", code].value_ha for code in ("MR01", "MR02")]
    assert got["country", "country"].value_ha == pytest.approx(sum(provinces))


@pytest.mark.parametrize(
    ("code", "method", "message"),
    [
        ("MR99", "ratio", "no district or province"),
        ("MR01", "two_part", "districts only"),
        ("MR023", "expansion", "gives no figure"),
        ("MR011", "bhf", "gives no figure"),
        ("MR011", "regression", "cannot be fitted"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused(code, method, message):
    frame, sample = thin()
    bare = Frame(
        segment_id=frame.segment_id,
        stratum=frame.stratum,
        domain=frame.domain,
        group=frame.group,
        risk_ha=frame.risk_ha,
    )
    y = np.zeros(sample.size) if method == "bhf" else sample.y_ha
    rule = LadderRule(forced={code: Forced(method=method, reason="test")})
    with pytest.raises(EstimationError, match=message):
        estimate_ladder(
            bare,
            Sample(index=sample.index, y_ha=y),
            estimator="expansion",
            rule=rule,
            rng=np.random.default_rng(1),
        )


def test_orders_and_models_that_do_not_exist():
    with pytest.raises(EstimationError, match="unknown"):
        Forced(method="best", reason="x")
    with pytest.raises(EstimationError, match="reason"):
        Forced(method="ratio", reason=" ")
    with pytest.raises(EstimationError, match="small_area 'best'"):
        LadderRule(small_area="best")


def test_a_declared_difference_without_a_map_falls_to_the_ratio():
    frame, truth = landscape()
    bare = Frame(
        segment_id=frame.segment_id,
        stratum=frame.stratum,
        domain=frame.domain,
        group=frame.group,
        risk_ha=frame.risk_ha,
    )
    rows = by_id(estimate_ladder(bare, draw(frame, truth, 20), estimator="difference"))
    assert rows["province", "MR01"].method == "ratio_total_combined"
    assert "Difference was declared but cannot be computed" in rows["province", "MR01"].why


def test_finds_that_the_map_explains_exactly_leave_a_total_that_rests_on_the_sample():
    frame, truth = landscape()
    in_first = frame.group == "MR01"
    alone = np.flatnonzero(in_first)[5]
    truth = np.where(in_first, 0.0, truth)
    truth[alone] = 2.0
    perfect = with_covariate(frame, np.where(in_first, truth / 2.0, frame.covariate_ha))
    sample = draw(frame, truth, 20)
    if alone not in sample.index:
        index = np.append(sample.index[1:], alone)
        sample = Sample(index=index, y_ha=truth[index])
    rows = by_id(estimate_ladder(perfect, sample, estimator="regression"))
    first = rows["province", "MR01"]
    assert first.method == "ratio_total_combined"
    assert "the map explains every find" in first.why
    assert first.n_positive == 1
    ratio = by_id(estimate_ladder(perfect, sample, estimator="ratio"))["province", "MR01"]
    assert first.value_ha == ratio.value_ha
    assert (first.ci_low_ha, first.ci_high_ha) == (ratio.ci_low_ha, ratio.ci_high_ha)
    second, country = rows["province", "MR02"], rows["country", "country"]
    assert second.method == "regression_total"
    assert country.method == "ratio_total_combined+regression_total"
    assert country.value_ha == pytest.approx(first.value_ha + second.value_ha)
    ordered = LadderRule(forced={"MR01": Forced(method="regression", reason="asked for")})
    with pytest.raises(EstimationError, match="regression was ordered but gives no figure"):
        estimate_ladder(perfect, sample, estimator="regression", rule=ordered)


@pytest.mark.parametrize("estimator", ["regression", "ratio"])
def test_finds_that_the_map_explains_exactly_are_not_left_to_a_ratio_to_the_map(estimator):
    frame, truth = landscape()
    in_first = frame.group == "MR01"
    perfect = with_covariate(frame, np.where(in_first, truth / 2.0, frame.covariate_ha))
    rows = by_id(
        estimate_ladder(
            perfect,
            draw(frame, truth, 20),
            estimator=estimator,
            rule=LadderRule(ratio_size="covariate_ha"),
        )
    )
    assert rows["province", "MR01"].method == "expansion_total"
    assert "the map explains every find" in rows["province", "MR01"].why
    assert "Without province" not in rows["country", "country"].why


def test_a_method_can_be_ordered_for_a_district_in_two_provinces():
    frame, truth = landscape()
    sample = draw(frame, truth, 20)
    domain = frame.domain.copy()
    domain[sample.index[[0, 1, -2, -1]]] = "XX"
    both = Frame(
        segment_id=frame.segment_id,
        stratum=frame.stratum,
        domain=domain,
        group=frame.group,
        risk_ha=frame.risk_ha,
    )
    assert set(frame.group[domain == "XX"]) == {"MR01", "MR02"}
    rule = LadderRule(forced={"XX": Forced(method="expansion", reason="asked for")})
    rows = by_id(estimate_ladder(both, sample, estimator="ratio", rule=rule))
    assert rows["district", "XX"].method == "expansion_total"


def test_a_stratum_that_nobody_sampled_says_what_is_assumed_of_it():
    frame, truth = landscape()
    drawn = draw(frame, truth, 20)
    label = str(frame.stratum[0])
    seen = frame.stratum[drawn.index] != label
    for keep, n_left in ((seen, 0), (seen | (np.arange(drawn.size) == np.argmin(seen)), 1)):
        sample = Sample(index=drawn.index[keep], y_ha=drawn.y_ha[keep])
        assert (frame.stratum[sample.index] == label).sum() == n_left
        rule = LadderRule(max_unobserved_share=1.0)
        rows = by_id(estimate_ladder(frame, sample, estimator="ratio", rule=rule))
        why = rows["province", "MR01"].why
        assert f"merged: {label}." in why
        assert (f"No segment was sampled in {label}: that land" in why) == (n_left == 0)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.03, EstimateType.DIRECT),
        (0.3, EstimateType.SYNTHETIC),
        (0.6, EstimateType.STATUS_ONLY),
    ],
)
def test_land_that_nobody_sampled_bounds_what_a_figure_may_claim(share, expected):
    frame, truth = landscape()
    first = np.flatnonzero(frame.group == "MR01")
    sample = draw(frame, truth, 30)
    free = np.setdiff1d(first, sample.index)
    order = free[np.argsort(free)]
    until = np.searchsorted(
        np.cumsum(frame.risk_ha[order]), share * float(frame.risk_ha[first].sum())
    )
    stratum = frame.stratum.astype(object)
    stratum[order[:until]] = "remote"
    split = replace(frame, stratum=stratum.astype(str))
    rows = by_id(estimate_ladder(split, sample, estimator="regression"))
    province, country = rows["province", "MR01"], rows["country", "country"]
    assert province.estimate_type is expected
    assert "strata without a sampled segment" in province.why or share < 0.05
    if expected is EstimateType.SYNTHETIC:
        assert reliability_of(province) is Reliability.INDICATIVE
        assert country.estimate_type is EstimateType.SYNTHETIC
    if expected is EstimateType.STATUS_ONLY:
        assert "Without province MR01" in country.why
