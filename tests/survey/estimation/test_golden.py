"""Published figures and results of R `survey`, to the digits its README allows."""

import math

import numpy as np
import pytest
from published import close, golden, jackknife, se, without_fpc

from survey.estimation import Frame, Sample, expansion_total, ratio_total
from survey.estimation.accuracy import (
    accuracy_of_matrix,
    accuracy_of_points,
    error_adjusted_area,
)
from survey.estimation.assisted import fit_regression
from survey.estimation.calibration import calibrate
from survey.estimation.contrasts import mean_contrast, ratio_statistic
from survey.estimation.design import SurveyDesign, linearised_covariance
from survey.estimation.direct import ratio_linear
from survey.estimation.intervals import t_quantile
from survey.estimation.production import (
    mean_yield,
    opium_yield,
    production,
    shared_yield_covariance,
)
from survey.estimation.replication import (
    rao_wu_weights,
    replicate_covariance,
)

# --- area frame ------------------------------------------------------------------------------

AREA = golden("area_frame")
DISTRICTS = ["D1", "D2", "D3", "D4", "D5", "D6"]


def area_frame():
    data = AREA["data"]["frame"]
    size = len(data["stratum"])
    return Frame(
        segment_id=np.arange(size).astype(str),
        stratum=np.array(data["stratum"]).astype(str),
        domain=np.array(data["district"]),
        group=np.full(size, "all"),
        risk_ha=np.array(data["risk_area_km2"]) * 100.0,
        covariate_ha=np.array(data["mapped_poppy_ha"]),
    )


def stage(name):
    data = {key: np.array(value) for key, value in AREA["data"][name].items()}
    if name == "one_stage":
        _, code, count = np.unique(data["stratum"], return_inverse=True, return_counts=True)
        design = SurveyDesign(
            weight=data["N_h"] / count[code], stratum=code, n_frame=data["N_h"].astype(float)
        )
    else:
        design = SurveyDesign(
            weight=data["weight"],
            stratum=data["stratum"],
            n_frame=data["n_psu_in_stratum"].astype(float),
            cluster=data["psu"],
            n_units=data["n_segments_in_psu"].astype(float),
        )
    return data, design


def one_stage_sample():
    data = AREA["data"]["one_stage"]
    return Sample(index=np.array(data["frame_row"]), y_ha=np.array(data["poppy_ha"]))


def test_area_frame_public_estimators():
    frame, sample, values = area_frame(), one_stage_sample(), AREA["values"]["one_stage"]
    total = expansion_total(frame, sample)
    assert total.value_ha == close(values["ht_total_poppy_ha"]["est"])
    assert total.se_ha == close(values["ht_total_poppy_ha"]["se"])
    assert total.cv == close(values["ht_total_poppy_ha"]["cv"])
    combined = ratio_total(frame, sample)
    assert combined.value_ha == close(values["combined_ratio_total_risk"]["est"])
    assert combined.se_ha == close(values["combined_ratio_total_risk"]["se"])
    # Without the factor X / estimated X.
    assert combined.se_ha != pytest.approx(1301.018, rel=1e-3)
    mapped = ratio_total(frame, sample, size="covariate_ha")
    assert mapped.value_ha == close(values["combined_ratio_total_mapped"]["est"])
    assert mapped.se_ha == close(values["combined_ratio_total_mapped"]["se"])
    separate = ratio_total(frame, sample, kind="separate")
    assert separate.value_ha == close(values["separate_ratio_total_risk"]["est"])
    assert separate.se_ha == close(values["separate_ratio_total_risk"]["se"])


def test_area_frame_districts_cut_across_strata():
    frame, sample, values = area_frame(), one_stage_sample(), AREA["values"]["one_stage"]
    expected = values["ht_total_by_district"]
    for k, name in enumerate(DISTRICTS):
        estimate = expansion_total(frame, sample, member=frame.domain == name)
        assert estimate.value_ha == close(expected["est"][k])
        assert estimate.se_ha == close(expected["se"][k])
        assert estimate.n_segments == expected["n"][k]
        ratio = ratio_total(frame, sample, member=frame.domain == name)
        assert ratio.value_ha == close(values["district_ratio_total_risk"][name]["est"])
        assert ratio.se_ha == close(values["district_ratio_total_risk"][name]["se"])


@pytest.mark.parametrize("name", ["one_stage", "two_stage"])
def test_area_frame_totals_ratios_and_covariances(name):
    data, design = stage(name)
    values = AREA["values"][name]
    everywhere = np.ones(design.weight.size, dtype=bool)
    for crop in ("poppy", "cannabis"):
        z = design.weight * data[f"{crop}_ha"]
        assert z.sum() == close(values[f"ht_total_{crop}_ha"]["est"])
        assert se(design, z) == close(values[f"ht_total_{crop}_ha"]["se"])
    assert design.df == values["df"]
    z = design.weight * data["poppy_ha"]
    by_district = z[:, None] * (data["district"][:, None] == np.array(DISTRICTS))
    expected = values["ht_total_by_district"]
    np.testing.assert_allclose(by_district.sum(axis=0), expected["est"], rtol=1e-8)
    np.testing.assert_allclose(
        linearised_covariance(design, by_district), expected["vcov"], rtol=1e-8, atol=1e-6
    )
    ratio = ratio_statistic(design, data["poppy_ha"], data["risk_area_km2"])
    assert ratio.value == close(values["ratio_ha_per_km2"]["est"])
    assert ratio.se == close(values["ratio_ha_per_km2"]["se"])
    for size, known, key in (
        ("risk_area_km2", "risk_total", "combined_ratio_total_risk"),
        ("mapped_poppy_ha", "mapped_total", "combined_ratio_total_mapped"),
    ):
        linear = ratio_linear(
            design, data["poppy_ha"], data[size], everywhere, AREA["values"]["known"][known]
        )
        assert linear.value_ha == close(values[key]["est"])
        assert se(design, linear.z) == close(values[key]["se"])
    for district in DISTRICTS:
        inside = data["district"] == district
        expected = values["district_ratio_total_risk"][district]
        ratio = ratio_statistic(design, data["poppy_ha"], data["risk_area_km2"], inside)
        assert ratio.value == close(expected["ratio"])
        assert ratio.se == close(expected["ratio_se"])


@pytest.mark.parametrize("name", ["one_stage", "two_stage"])
def test_area_frame_intervals(name):
    data, design = stage(name)
    total = AREA["values"][name]["ht_total_poppy_ha"]
    z = design.weight * data["poppy_ha"]
    for df, key in ((design.df, "ci95_t"), (math.inf, "ci95_z")):
        half = t_quantile(0.95, df) * se(design, z)
        assert [z.sum() - half, z.sum() + half] == close(total[key])


@pytest.mark.parametrize("name", ["one_stage", "two_stage"])
def test_area_frame_greg(name):
    data, design = stage(name)
    values, known = AREA["values"][name], AREA["values"]["known"]
    ones = np.ones(design.weight.size)
    mapped, risk = data["mapped_poppy_ha"], data["risk_area_km2"]
    cases = {
        "greg_mapped": ([ones, mapped], [known["N"], known["mapped_total"]]),
        "greg_mapped_risk": (
            [ones, mapped, risk],
            [known["N"], known["mapped_total"], known["risk_total"]],
        ),
        "greg_ratio_no_intercept_var_const": ([risk], [known["risk_total"]]),
    }
    for key, (columns, totals) in cases.items():
        expected = values[key]
        x = np.column_stack(columns)
        calibrated = calibrate(design, x, totals)
        for crop in ("poppy", "cannabis"):
            if f"total_{crop}" not in expected:
                continue
            linear = calibrated.total(data[f"{crop}_ha"])
            assert linear.value_ha == close(expected[f"total_{crop}"]["est"])
            assert se(design, linear.z) == close(expected[f"total_{crop}"]["se"])
            # The regression form is the same estimator, with the same g-weighted error.
            fit = fit_regression(data[f"{crop}_ha"], x, design.weight)
            greg = fit.greg(np.array(totals, dtype=float), ones.astype(bool), leverage=False)
            assert greg.value_ha == close(expected[f"total_{crop}"]["est"])
            assert se(design, greg.z) == close(expected[f"total_{crop}"]["se"])
        if "weights_first5" in expected:
            np.testing.assert_allclose(calibrated.weight[:5], expected["weights_first5"], 1e-8)
            assert calibrated.weight.min() == close(expected["min_weight"])
            domain = expected["by_district_calibrated_weights"]
            for k, district in enumerate(DISTRICTS):
                linear = calibrated.total(data["poppy_ha"], data["district"] == district)
                assert linear.value_ha == close(domain["est"][k])
                assert se(design, linear.z) == close(domain["se"][k])


def test_raw_residuals_are_not_the_g_weighted_error():
    data, design = stage("one_stage")
    known = AREA["values"]["known"]
    x = np.column_stack([np.ones(design.weight.size), data["mapped_poppy_ha"]])
    fit = fit_regression(data["poppy_ha"], x, design.weight)
    totals = np.array([known["N"], known["mapped_total"]])
    raw = fit.greg(totals, np.ones(x.shape[0], bool), g_weighted=False, leverage=False)
    assert se(design, raw.z) == pytest.approx(313.979, abs=5e-4)


@pytest.mark.parametrize("name", ["one_stage", "two_stage"])
def test_area_frame_domain_greg_uses_the_districts_own_frame(name):
    data, design = stage(name)
    values, known = AREA["values"][name]["greg_domain_district_own_totals"], AREA["values"]
    known = known["known"]
    x = np.column_stack([np.ones(design.weight.size), data["mapped_poppy_ha"]])
    fit = fit_regression(data["poppy_ha"], x, design.weight)
    np.testing.assert_allclose(fit.beta, values["beta"], rtol=1e-8)
    for k, district in enumerate(DISTRICTS):
        totals = np.array(
            [known["n_segments_by_district"][district], known["mapped_by_district"][district]],
            dtype=float,
        )
        linear = fit.greg(totals, data["district"] == district, g_weighted=False, leverage=False)
        assert linear.value_ha == close(values["est"][k])
        assert se(design, linear.z) == close(values["se"][k])
        assert float(totals @ fit.beta) == close(values["synthetic"][k])


@pytest.mark.parametrize("name", ["one_stage", "two_stage"])
def test_area_frame_difference_to_the_map(name):
    data, design = stage(name)
    values = AREA["values"][name]["difference_map"]
    z = design.weight * (data["poppy_ha"] - data["mapped_poppy_ha"])
    assert z.sum() == close(values["est"])
    assert se(design, z) == close(values["se"])
    assert z.sum() + AREA["values"]["known"]["mapped_total"] == close(values["est_total"])


def test_area_frame_replication():
    data, design = stage("one_stage")
    y, x = data["poppy_ha"], data["risk_area_km2"]
    values = AREA["values"]
    assert se(without_fpc(design), design.weight * y) == close(
        values["one_stage_nofpc"]["ht_total_poppy"]["se"]
    )
    expected = values["one_stage_jkn"]
    assert jackknife(design, lambda w: w @ y) == close(expected["ht_total_poppy"]["se"])
    assert jackknife(design, lambda w: (w @ y) / (w @ x)) == close(expected["ratio"]["se"])

    data, design = stage("two_stage")
    y, x = data["poppy_ha"], data["risk_area_km2"]
    ultimate = without_fpc(design)
    expected = values["two_stage_withreplacement"]
    assert se(ultimate, design.weight * y) == close(expected["ht_total_poppy"]["se"])
    assert ratio_statistic(ultimate, y, x).se == close(expected["ratio"]["se"])
    expected = values["two_stage_jkn_withreplacement"]
    assert jackknife(ultimate, lambda w: w @ y) == close(expected["ht_total_poppy"]["se"])
    assert jackknife(ultimate, lambda w: (w @ y) / (w @ x)) == close(expected["ratio"]["se"])
    n_replicates = 4000
    replicates = rao_wu_weights(ultimate, n_replicates, rng=np.random.default_rng(5))
    spread = math.sqrt(replicate_covariance(replicates.weight @ y, replicates.scale)[0, 0])
    expected = values["two_stage_withreplacement"]["ht_total_poppy"]["se"]
    assert spread == pytest.approx(expected, rel=3.0 / math.sqrt(2 * n_replicates))


# --- error matrices --------------------------------------------------------------------------


def test_olofsson_2014():
    case = golden("olofsson2014")
    classes = case["values"]["classes"]
    counts = [case["data"]["matrix"][name] for name in classes]
    map_ha = np.array(case["data"]["mapped"]["pixels"]) * 0.09
    expected, published = case["values"]["results"], case["values"]["published_rounded"]
    areas = error_adjusted_area(counts, map_ha)
    assert [a.value_ha for a in areas] == close(expected["area"])
    assert [a.se_ha for a in areas] == close(expected["se_area"])
    assert [a.ci_high_ha - a.value_ha for a in areas] == close(expected["ci95_half_width_area"])
    assert all(math.isinf(a.df) for a in areas)
    for area, name in zip(
        areas, ("deforestation", "gain", "stable_forest", "stable_non_forest"), strict=True
    ):
        assert round(area.value_ha) == published[f"area_{name}_ha"]
        assert area.ci_high_ha - area.value_ha == pytest.approx(
            published[f"ci95_{name}_ha"], abs=1.0
        )
    accuracy = accuracy_of_matrix(counts, map_ha)
    assert accuracy.overall == close(expected["overall_accuracy"])
    assert accuracy.overall_se == close(expected["se_overall"])
    assert accuracy.users == close(expected["users_accuracy"])
    assert accuracy.users_se == close(expected["se_users"])
    assert accuracy.producers == close(expected["producers_accuracy"])
    assert accuracy.producers_se == close(expected["se_producers"])
    assert accuracy.area_share == close(expected["area_proportion"])
    assert accuracy.area_share_se == close(expected["se_area_proportion"])


@pytest.mark.parametrize("variant", ["fpc", "nofpc"])
def test_stehman_2014_strata_differ_from_map(variant):
    case = golden("strata_differ_from_map")
    points, expected = case["data"]["points"], case["values"][variant]
    classes = ("poppy", "wheat", "orchard", "other")
    result = accuracy_of_points(
        points["stratum"],
        points["map"],
        points["reference"],
        case["values"]["strata_sizes"],
        classes,
        fpc=variant == "fpc",
    )
    assert result.overall == close(expected["overall_accuracy"]["est"])
    assert result.overall_se == close(expected["overall_accuracy"]["se"])
    for values, errors, key in (
        (result.users, result.users_se, "users"),
        (result.producers, result.producers_se, "producers"),
        (result.area_share, result.area_share_se, "area_proportion"),
    ):
        assert values == close(tuple(expected[key][c]["est"] for c in classes))
        assert errors == close(tuple(expected[key][c]["se"] for c in classes))


# --- yield -----------------------------------------------------------------------------------


def test_yield_curve_and_field_sample():
    values = golden("yield")["values"]
    table = values["table"]
    assert opium_yield([row["VC"] for row in table]).tolist() == close([row["Y"] for row in table])
    fields = values["field_sample"]
    yields = opium_yield(fields["field_capsule_volumes_cm3_per_m2"])
    assert yields.tolist() == close(fields["field_yields_kg_per_ha"])
    mean = mean_yield(yields)
    assert mean.value == close(fields["mean_yield"])
    assert mean.value != pytest.approx(fields["WRONG_yield_at_mean_volume"], rel=1e-3)
    assert mean.se == close(fields["se_mean_yield_srs_of_fields"])
    tonnes = production(fields["area_ha"], fields["area_se_ha"], mean.value, mean.se)
    assert tonnes.value == close(fields["production_t"])
    assert tonnes.se_delta == close(fields["production_se_delta_t"])
    assert tonnes.se == close(fields["production_se_exact_product_t"])


def test_shared_yield_correlates_districts():
    values = golden("yield")["values"]["shared_yield"]
    tonnes, covariance = shared_yield_covariance(
        values["district_area_ha"],
        np.square(values["district_area_se_ha"]),
        values["regional_yield"],
        values["regional_yield_se"],
    )
    assert tonnes.tolist() == close(values["district_production_t"])
    assert np.sqrt(np.diag(covariance)).tolist() == close(values["district_production_se_t"])
    total_se = math.sqrt(covariance.sum())
    assert total_se == close(values["total_se_t"])
    wrong = values["WRONG_total_se_t_treating_districts_independent"]
    assert total_se != pytest.approx(wrong, rel=1e-3)


def test_slope_of_the_yield_curve():
    for row in golden("yield")["values"]["table"]:
        volume, step = float(row["VC"]), 1e-3
        # One-sided at zero, where the curve begins.
        low = max(volume - step, 0.0)
        rise = opium_yield([volume + step])[0] - opium_yield([low])[0]
        assert rise / (volume + step - low) == pytest.approx(row["dY_dVC"], rel=1e-5)


# --- difference in differences ---------------------------------------------------------------


def test_card_krueger_panel_of_stores():
    case = golden("card_krueger")
    stores = case["data"]["stores"]
    unit, nj, after = (np.array(stores[key]) for key in ("id", "nj", "after"))
    fte = np.array([math.nan if v is None else v for v in stores["fte"]])
    expected = case["values"]
    # As in the source's stacked design: every store is a cluster, those without answer too.
    given = ~np.isnan(fte)
    design = SurveyDesign(weight=np.ones(fte.size), stratum=nj, cluster=unit)
    cells = [(nj == a) & (after == b) & given for a, b in ((1, 1), (1, 0), (0, 1), (0, 0))]
    result = mean_contrast(design, np.nan_to_num(fte), cells, (1, -1, -1, 1))
    assert result.value == close(expected["unbalanced"]["did"])
    assert result.se == close(expected["unbalanced"]["se_design_strat_state_psu_store"])
    assert [int(c.sum()) for c in cells] == [319, 321, 77, 77]

    # Store 407 occurs twice: pair each first row before with the row after of its own id.
    before = {u: v for u, v, b in zip(unit, fte, after, strict=True) if b == 0}
    pairs = [
        (v - before[u], s)
        for u, v, b, s in zip(unit, fte, after, nj, strict=True)
        if b == 1 and not math.isnan(v - before[u])
    ]
    change, state = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    assert [int((state == 0).sum()), int((state == 1).sum())] == expected["balanced"]["n_by_state"]
    means = [float(change[state == s].mean()) for s in (0, 1)]
    assert means == close(expected["balanced"]["mean_change"])
    design = SurveyDesign(weight=np.ones(change.size), stratum=state)
    result = mean_contrast(design, change, [state == 1, state == 0], (1, -1))
    assert result.value == close(expected["balanced"]["did"])
    assert result.se == close(expected["balanced"]["se_two_sample"])
    wrong = expected["balanced"]["se_wrong_ignoring_pairing"]
    assert result.se != pytest.approx(wrong, rel=1e-2)


def test_stehman_2014_numerical_example():
    """Forty points of Stehman (2014), table 2; the figures of his pp. 4932-4936, three digits."""
    found = accuracy_of_points(
        list("AAAAAAAAAABBBBBBBBBBCCCCCCCCCCDDDDDDDDDD"),
        list("AAAAAAABBBABBBBBBBBBBBCCCCCCBBDDDDDDDDDD"),
        list("AAAAACBABCABBBBBAABBCCCCCDDBBADDDDDDDCCB"),
        {"A": 40_000.0, "B": 30_000.0, "C": 20_000.0, "D": 10_000.0},
        ("A", "B", "C", "D"),
    )
    assert [found.area_share[0], found.area_share[2]] == pytest.approx([0.35, 0.20])
    assert [found.area_share_se[0], found.area_share_se[2]] == pytest.approx(
        [0.082, 0.064], abs=5e-4
    )
    assert (found.overall, found.overall_se) == pytest.approx((0.63, 0.085), abs=5e-4)
    assert (found.users[1], found.users_se[1]) == pytest.approx((0.574, 0.125), abs=5e-4)
    assert (found.producers[1], found.producers_se[1]) == pytest.approx((0.794, 0.117), abs=5e-4)
