"""What the reference files give beside estimates and errors: intervals, shares, cell means."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from survey.estimation.accuracy import accuracy_of_matrix, error_adjusted_area
from survey.estimation.contrasts import ratio_statistic
from survey.estimation.design import SurveyDesign, linearised_covariance
from survey.estimation.direct import ratio_linear
from survey.estimation.intervals import t_quantile
from survey.estimation.production import opium_yield

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
NAMES = ["area_frame", "api", "strata_differ_from_map", "card_krueger"]
DISTRICTS = ["D1", "D2", "D3", "D4", "D5", "D6"]


def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


def close(value, rel=1e-8):
    return pytest.approx(value, rel=rel, abs=1e-12)


def figures(tree, df=None):
    """Every estimate with a standard error, and the degrees of freedom that hold for it."""
    if isinstance(tree, dict):
        df = tree.get("df", df)
        if isinstance(tree.get("est"), float | int) and isinstance(tree.get("se"), float | int):
            yield tree, df
        for branch in tree.values():
            yield from figures(branch, df)


@pytest.mark.parametrize("name", NAMES)
def test_intervals_variances_and_coefficients_of_variation_follow(name):
    # Estimates and errors themselves are compared with ours in test_golden.py.
    seen = 0
    for figure, df in figures(golden(name)["values"]):
        est, se = figure["est"], figure["se"]
        if "cv" in figure:
            assert se / est == close(figure["cv"])
        if isinstance(figure.get("var"), float):
            assert se**2 == close(figure["var"], 1e-7)
        for key in ("ci95_normal", "ci95_z", "ci95_t"):
            if key not in figure:
                continue
            given = figure[key]
            given = [given["lower"], given["upper"]] if isinstance(given, dict) else given
            half = t_quantile(0.95, df if key == "ci95_t" else math.inf) * se
            assert [est - half, est + half] == close(given, 1e-7)
            seen += 1
    assert seen > 0 or name in ("strata_differ_from_map", "card_krueger")


def stage(name):
    data = {key: np.array(value) for key, value in golden("area_frame")["data"][name].items()}
    if name == "one_stage":
        _, code, count = np.unique(data["stratum"], return_inverse=True, return_counts=True)
        return data, SurveyDesign(
            weight=data["N_h"] / count[code], stratum=code, n_frame=data["N_h"].astype(float)
        )
    return data, SurveyDesign(
        weight=data["weight"],
        stratum=data["stratum"],
        n_frame=data["n_psu_in_stratum"].astype(float),
        cluster=data["psu"],
        n_units=data["n_segments_in_psu"].astype(float),
    )


def test_known_totals_of_the_area_frame():
    case = golden("area_frame")
    frame = {key: np.array(value) for key, value in case["data"]["frame"].items()}
    known = case["values"]["known"]
    for key, column, label in (
        ("risk_by_district", "risk_area_km2", "district"),
        ("risk_by_stratum", "risk_area_km2", "stratum"),
        ("mapped_by_district", "mapped_poppy_ha", "district"),
        ("mapped_by_stratum", "mapped_poppy_ha", "stratum"),
    ):
        for name, value in known[key].items():
            inside = frame[label].astype(str) == name
            assert frame[column][inside].sum() == close(value)
    for name in ("one_stage", "two_stage"):
        totals = case["values"][name]["greg_mapped_risk"]["calibration_totals"]
        assert totals["(Intercept)"] == known["N"] == len(frame["stratum"])
        assert totals["mapped_poppy_ha"] == close(known["mapped_total"])
        assert totals["risk_area_km2"] == close(known["risk_total"])
        totals = case["values"][name]["greg_mapped"]["calibration_totals"]
        assert totals["mapped_poppy_ha"] == close(known["mapped_total"])


@pytest.mark.parametrize("name", ["one_stage", "two_stage"])
def test_district_ratios_and_residuals(name):
    data, design = stage(name)
    case = golden("area_frame")["values"]
    values, known = case[name], case["known"]
    by_district = values["ht_total_by_district"]
    own = values["greg_domain_district_own_totals"]
    fitted = np.array(own["beta"]) @ np.vstack(
        [np.ones(design.weight.size), data["mapped_poppy_ha"]]
    )
    for k, district in enumerate(DISTRICTS):
        assert by_district["district"][k] == own["district"][k] == district
        inside = data["district"] == district
        z = np.where(inside, design.weight * data["poppy_ha"], 0.0)
        assert math.sqrt(linearised_covariance(design, z)[0, 0]) == close(by_district["se"][k])
        assert int(inside.sum()) == by_district["n"][k]
        total = known["risk_by_district"][district]
        linear = ratio_linear(design, data["poppy_ha"], data["risk_area_km2"], inside, total)
        expected = values["district_ratio_total_risk"][district]
        assert linear.value_ha == close(expected["est"])
        if name == "two_stage":
            # Here the source multiplies the ratio's error by the known size: the same.
            ratio = ratio_statistic(design, data["poppy_ha"], data["risk_area_km2"], inside)
            assert ratio.se * total == close(expected["se"])
        residual = design.weight * (data["poppy_ha"] - fitted)
        assert residual[inside].sum() == close(own["residual_ht"][k])
    ratio = ratio_statistic(design, data["poppy_ha"], data["mapped_poppy_ha"])
    assert ratio.value == close(values["combined_ratio_total_mapped"]["ratio"])


def test_estimates_do_not_depend_on_how_their_error_is_computed():
    values = golden("area_frame")["values"]
    for name, variants in (
        ("one_stage", ("one_stage_jkn", "one_stage_nofpc")),
        ("two_stage", ("two_stage_jkn_withreplacement", "two_stage_withreplacement")),
    ):
        data, design = stage(name)
        total = float(design.weight @ data["poppy_ha"])
        ratio = ratio_statistic(design, data["poppy_ha"], data["risk_area_km2"]).value
        for variant in variants:
            assert total == close(values[variant]["ht_total_poppy"]["est"])
            if "ratio" in values[variant]:
                assert ratio == close(values[variant]["ratio"]["est"])
    # 20,000 bootstrap replicates of R: within their Monte Carlo error of ours.
    data, design = stage("two_stage")
    ultimate = SurveyDesign(weight=design.weight, stratum=design.stratum, cluster=design.cluster)
    given = values["two_stage_raowu_bootstrap_20000"]
    z = design.weight * data["poppy_ha"]
    assert math.sqrt(linearised_covariance(ultimate, z)[0, 0]) == pytest.approx(
        given["ht_total_poppy_se"], rel=0.015
    )
    # A ratio is not linear: its linearised error lies a little below the bootstrap's.
    ratio = ratio_statistic(ultimate, data["poppy_ha"], data["risk_area_km2"])
    assert ratio.se == pytest.approx(given["ratio_se"], rel=0.05)


def test_olofsson_2014_shares_weights_and_rounded_figures():
    case = golden("olofsson2014")
    values, results = case["values"], case["values"]["results"]
    counts = np.array([case["data"]["matrix"][name] for name in values["classes"]], dtype=float)
    mapped = np.array(case["data"]["mapped"]["pixels"]) * 0.09
    assert mapped.tolist() == close(results["mapped_area"])
    assert mapped.sum() == close(results["total_area"])
    weight = mapped / mapped.sum()
    assert weight.tolist() == close(results["weights"])
    share = weight[:, None] * counts / counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(share, results["p_matrix"], rtol=1e-8)
    areas = error_adjusted_area(counts, mapped)
    assert sum(area.value_ha for area in areas) == close(results["total_area"])
    accuracy, published = accuracy_of_matrix(counts, mapped), values["published_rounded"]
    z = t_quantile(0.95, math.inf)
    assert values["z"] == pytest.approx(z, abs=1e-5)
    assert round(accuracy.overall, 2) == published["overall"]
    assert round(z * accuracy.overall_se, 2) == published["overall_ci"]
    for got, error, key in (
        (accuracy.users, accuracy.users_se, "users"),
        (accuracy.producers, accuracy.producers_se, "producers"),
    ):
        assert np.round(got, 2).tolist() == published[key]
        assert np.round(z * np.array(error), 2).tolist() == published[f"{key}_ci"]


@pytest.mark.parametrize("variant", ["fpc", "nofpc"])
def test_mapped_shares_of_points(variant):
    case = golden("strata_differ_from_map")
    points = {key: np.array(value) for key, value in case["data"]["points"].items()}
    sizes = case["values"]["strata_sizes"]
    _, code, n = np.unique(points["stratum"], return_inverse=True, return_counts=True)
    size = np.array([sizes[s] for s in points["stratum"]], dtype=float)
    for name, count in case["values"]["sample_sizes"].items():
        assert int((points["stratum"] == name).sum()) == count
    design = SurveyDesign(
        weight=size / n[code], stratum=code, n_frame=size if variant == "fpc" else None
    )
    for name, expected in case["values"][variant]["mapped_proportion_estimated"].items():
        got = ratio_statistic(design, (points["map"] == name).astype(float), np.ones(size.size))
        assert got.value == close(expected["est"])
        assert got.se == close(expected["se"])


def test_yield_curve_properties():
    properties = golden("yield")["values"]["properties"]
    theta = 395.259 / (4.0 * 1495.0)
    assert theta == close(properties["theta"])
    assert 2.0 * theta / 1.795 == close(properties["phi"])
    assert 1495.0 * properties["phi"] == close(properties["Ymax"])
    small = float(opium_yield([1e-4])[0])
    assert small / 1e-4 == pytest.approx(properties["slope_at_zero"], rel=1e-5)
    shared = golden("yield")["values"]["shared_yield"]
    assert sum(shared["district_production_t"]) == close(shared["total_t"])


def test_card_krueger_cell_means():
    case = golden("card_krueger")
    stores, expected = case["data"]["stores"], case["values"]["cell_means"]
    nj, after = np.array(stores["nj"]), np.array(stores["after"])
    fte = np.array([math.nan if v is None else v for v in stores["fte"]])
    for name, state, time in (
        ("PA_before", 0, 0),
        ("NJ_before", 1, 0),
        ("PA_after", 0, 1),
        ("NJ_after", 1, 1),
    ):
        inside = (nj == state) & (after == time)
        assert np.nanmean(fte[inside]) == close(expected[name])
