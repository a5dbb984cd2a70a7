"""Published figures and results of R `survey`, to the digits its README allows."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from survey.estimation import Frame, Sample, expansion_total, ratio_total
from survey.estimation.accuracy import (
    accuracy_of_matrix,
    accuracy_of_points,
    error_adjusted_area,
)
from survey.estimation.assisted import fit_regression
from survey.estimation.calibration import calibrate, post_stratify
from survey.estimation.contrasts import mean_contrast, ratio_statistic
from survey.estimation.design import SurveyDesign, design_effect, linearised_covariance
from survey.estimation.direct import ratio_linear
from survey.estimation.intervals import t_quantile
from survey.estimation.production import (
    mean_yield,
    opium_yield,
    production,
    shared_yield_covariance,
)
from survey.estimation.replication import (
    Replicates,
    jackknife_weights,
    rao_wu_weights,
    replicate_covariance,
)

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
REFERENCE = Path(__file__).resolve().parents[3].parent / "shared" / "reference"


def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


def close(value, rel=1e-8):
    return pytest.approx(value, rel=rel, abs=1e-12)


def se(design, z):
    return math.sqrt(linearised_covariance(design, z)[0, 0])


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


def without_fpc(design):
    return SurveyDesign(weight=design.weight, stratum=design.stratum, cluster=design.cluster)


def jackknife(design, statistic, **centre):
    replicates = jackknife_weights(design)
    values = replicates.apply(statistic)
    return math.sqrt(replicate_covariance(values, replicates.scale, **centre)[0, 0])


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
    design = SurveyDesign(weight=np.ones(change.size), stratum=state)
    result = mean_contrast(design, change, [state == 1, state == 0], (1, -1))
    assert result.value == close(expected["balanced"]["did"])
    assert result.se == close(expected["balanced"]["se_two_sample"])
    wrong = expected["balanced"]["se_wrong_ignoring_pairing"]
    assert result.se != pytest.approx(wrong, rel=1e-2)


# --- California schools ----------------------------------------------------------------------

API = golden("api")["values"]
needs_api = pytest.mark.skipif(
    not (REFERENCE / "apistrat.csv").is_file(),
    reason="the school samples lie in the reference data beside the project, not in it",
)


def api_table(name):
    with (REFERENCE / f"{name}.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return table, lambda key: table[key].astype(float)


def apistrat():
    table, number = api_table("apistrat")
    design = SurveyDesign(weight=number("pw"), stratum=table["stype"], n_frame=number("fpc"))
    return table, number, design


@pytest.mark.shared_data
@needs_api
def test_apistrat_means_ratios_and_domains():
    table, number, design = apistrat()
    expected = API["apistrat"]
    ones = np.ones(design.weight.size)
    api00, enroll = number("api00"), number("enroll")
    tolerance = 1e-7
    for case, key in ((design, "mean_api00"), (without_fpc(design), "mean_api00_nofpc")):
        mean = ratio_statistic(case, api00, ones)
        assert mean.value == close(expected[key]["est"], tolerance)
        assert mean.se == close(expected[key]["se"], tolerance)
        assert mean.df == expected[key]["df"]
        assert [mean.ci_low, mean.ci_high] == close(
            [expected[key]["ci95_t"]["lower"], expected[key]["ci95_t"]["upper"]], tolerance
        )
    total = ratio_statistic(design, api00, ones)
    size = float(design.weight.sum())
    assert design_effect(design, api00, (total.se * size) ** 2) == close(
        expected["mean_api00"]["deff"], tolerance
    )
    z = design.weight * enroll
    assert z.sum() == close(expected["total_enroll"]["est"], tolerance)
    assert se(design, z) == close(expected["total_enroll"]["se"], tolerance)
    assert design_effect(design, enroll, se(design, z) ** 2) == close(
        expected["total_enroll"]["deff"], tolerance
    )
    stu = number("api.stu")
    ratio = ratio_statistic(design, stu, enroll)
    assert ratio.value == close(expected["ratio_apistu_enroll"]["est"], tolerance)
    assert ratio.se == close(expected["ratio_apistu_enroll"]["se"], tolerance)
    combined = expected["ratio_apistu_enroll_combined_total"]
    # R multiplies the ratio by the known total, so its SE carries X / estimated X.
    everywhere = ones.astype(bool)
    linear = ratio_linear(design, stu, enroll, everywhere, combined["x_total"])
    assert linear.value_ha == close(combined["total"], tolerance)
    assert se(design, linear.z) == close(combined["se"], tolerance)
    separate = expected["ratio_apistu_enroll_separate"]
    parts = [
        ratio_linear(design, stu, enroll, table["stype"] == s, x)
        for s, x in separate["stratum_enroll_totals"].items()
    ]
    assert sum(p.value_ha for p in parts) == close(separate["total"], tolerance)
    assert se(design, sum(p.z for p in parts)) == close(separate["se"], tolerance)
    wide = [table["sch.wide"] == answer for answer in ("No", "Yes")]
    for k, mask in enumerate(wide):
        mean = ratio_statistic(design, api00, ones, mask)
        assert mean.value == close(expected["mean_api00_by_schwide"]["est"][k], tolerance)
        assert mean.se == close(expected["mean_api00_by_schwide"]["se"][k], tolerance)
    contrast = mean_contrast(design, api00, wide, (-1, 1))
    assert contrast.value == close(expected["contrast_schwide_yes_minus_no"]["est"], tolerance)
    assert contrast.se == close(expected["contrast_schwide_yes_minus_no"]["se"], tolerance)
    angeles = table["cname"] == "Los Angeles"
    for y, key in ((enroll, "LA_total_enroll"), (ones, "LA_total_schools")):
        z = design.weight * np.where(angeles, y, 0.0)
        assert z.sum() == close(expected[key]["est"], tolerance)
        assert se(design, z) == close(expected[key]["se"], tolerance)
    assert int(angeles.sum()) == expected["LA_total_enroll"]["n"]


@pytest.mark.shared_data
@needs_api
def test_apistrat_calibration():
    table, number, design = apistrat()
    expected, known = API["apistrat"], API["population_totals"]
    size, tolerance = known["N"], 1e-7
    columns = np.column_stack(
        [
            np.ones(design.weight.size),
            table["stype"] == "H",
            table["stype"] == "M",
            number("api99"),
        ]
    ).astype(float)
    totals = [size, known["stype"]["H"], known["stype"]["M"], known["api99_total"]]
    linear = calibrate(design, columns, totals)
    np.testing.assert_allclose(linear.weight[:5], expected["greg_weights_first5"], rtol=1e-6)
    for y, scale, key in (
        ("api00", size, "greg_stype_api99_mean_api00"),
        ("api00", 1.0, "greg_stype_api99_total_api00"),
        ("enroll", 1.0, "greg_stype_api99_total_enroll"),
    ):
        result = linear.total(number(y))
        assert result.value_ha / scale == close(expected[key]["est"], tolerance)
        assert se(design, result.z) / scale == close(expected[key]["se"], tolerance)
    raked = calibrate(design, columns, totals, distance="raking").total(number("api00"))
    assert raked.value_ha == close(expected["raking_stype_api99_total_api00"]["est"], tolerance)
    assert se(design, raked.z) == close(
        expected["raking_stype_api99_total_api00"]["se"], tolerance
    )
    post = post_stratify(design, table["sch.wide"], known["schwide"]).total(number("api00"))
    assert post.value_ha / size == close(
        expected["poststrat_schwide_mean_api00"]["est"], tolerance
    )
    assert se(design, post.z) / size == close(
        expected["poststrat_schwide_mean_api00"]["se"], tolerance
    )


@pytest.mark.shared_data
@needs_api
def test_apistrat_replication():
    _, number, design = apistrat()
    expected = API["apistrat"]
    api00, enroll, stu = number("api00"), number("enroll"), number("api.stu")

    def mean(w):
        return (w @ api00) / w.sum()

    def ratio(w):
        return (w @ stu) / (w @ enroll)

    tolerance = 1e-7
    assert jackknife(design, mean) == close(expected["jkn_fpc_mean_api00"]["se"], tolerance)
    assert jackknife(design, ratio) == close(expected["jkn_ratio"]["se"], tolerance)
    plain = without_fpc(design)
    assert jackknife(plain, mean) == close(expected["jkn_nofpc_mean_api00"]["se"], tolerance)
    assert jackknife(plain, lambda w: w @ enroll) == close(
        expected["jkn_nofpc_total_enroll"]["se"], tolerance
    )
    with (REFERENCE / "apistrat_boot50_weights.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert [int(row[0]) for row in rows[1:]] == number("snum").astype(int).tolist()
    supplied = Replicates(
        weight=np.array([row[1:] for row in rows[1:]], dtype=float).T,
        scale=np.full(50, 1.0 / 49.0),
    )
    given = expected["bootstrap_given50_mean_api00"]
    values = supplied.apply(mean)
    spread = math.sqrt(replicate_covariance(values, supplied.scale)[0, 0])
    assert spread == close(given["se"])
    around_estimate = replicate_covariance(values, 1.0 / 49.0, centre=[given["est"]])[0, 0]
    assert math.sqrt(around_estimate) == pytest.approx(9.65556, abs=1e-5)
    spread = math.sqrt(replicate_covariance(supplied.apply(ratio), supplied.scale)[0, 0])
    assert spread == close(expected["bootstrap_given50_ratio"]["se"])
    n_replicates = 4000
    own = rao_wu_weights(plain, n_replicates, rng=np.random.default_rng(9))
    spread = math.sqrt(replicate_covariance(own.apply(mean), own.scale)[0, 0])
    assert spread == pytest.approx(
        expected["mean_api00_nofpc"]["se"], rel=3.0 / math.sqrt(2 * n_replicates)
    )


@pytest.mark.shared_data
@needs_api
def test_apistrat_awards_difference_in_differences():
    table, number, design = apistrat()
    expected = API["did_apistrat_awards"]
    change = number("api00") - number("api99")
    yes = table["awards"] == "Yes"
    result = mean_contrast(design, change, [yes, ~yes], (1, -1))
    assert result.value == close(expected["did"]["est"], 1e-7)
    assert result.se == close(expected["did"]["se"], 1e-7)
    assert result.df == expected["did"]["df"]
    assert result.se != pytest.approx(expected["WRONG_ignoring_panel"]["se"], rel=0.1)


@pytest.mark.shared_data
@needs_api
def test_apiclus2_two_stage():
    table, number = api_table("apiclus2")
    design = SurveyDesign(
        weight=number("pw"),
        stratum=np.zeros(number("pw").size, dtype=int),
        n_frame=number("fpc1"),
        cluster=table["dnum"],
        n_units=number("fpc2"),
    )
    expected = API["apiclus2"]
    ones = np.ones(design.weight.size)
    api00 = number("api00")
    for case, key in ((design, "mean_api00"), (without_fpc(design), "mean_api00_withreplacement")):
        mean = ratio_statistic(case, api00, ones)
        assert mean.value == close(expected[key]["est"])
        assert mean.se == close(expected[key]["se"])
        assert mean.df == expected[key]["df"]
    mean = ratio_statistic(design, api00, ones)
    assert design_effect(design, api00, (mean.se * design.weight.sum()) ** 2) == close(
        expected["mean_api00"]["deff"]
    )
    ratio = ratio_statistic(design, api00, number("api99"))
    assert ratio.value == close(expected["ratio_api00_api99"]["est"])
    assert ratio.se == close(expected["ratio_api00_api99"]["se"])
    assert design.weight.sum() == close(expected["n_schools_hat"]["est"])
    assert se(design, design.weight) == close(expected["n_schools_hat"]["se"])
