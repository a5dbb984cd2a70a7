"""Designs that no published table holds, against R `survey`, `nlme` and `metafor`.

tests/golden/designs.R makes the samples without random numbers and computes the values: a
stratified two-stage sample with unequal numbers in both stages and a stratum taken whole,
domains that cut across clusters, calibration in all its forms, a unit-level model with unequal
residual variances and an area-level model by three fits.
"""

import math

import numpy as np
import pytest
from published import apistrat, close, golden, jackknife, se

from survey.estimation.calibration import calibrate, post_stratify
from survey.estimation.contrasts import mean_contrast, ratio_statistic
from survey.estimation.design import SurveyDesign, design_effect, linearised_covariance
from survey.estimation.direct import ratio_linear
from survey.estimation.smallarea import fit_area_level, fit_unit_level

CASE = golden("designs")
VALUES = CASE["values"]
DATA = {key: np.array(value) for key, value in CASE["data"]["two_stage"].items()}
DOMAINS = ("p", "q", "r")
Y, X = DATA["y"].astype(float), DATA["x"].astype(float)
TWO_STAGE = SurveyDesign(
    weight=DATA["w"],
    stratum=DATA["h"],
    n_frame=DATA["N"].astype(float),
    cluster=DATA["psu"],
    n_units=DATA["M"].astype(float),
)


def inside(domain):
    return DATA["d"] == domain


def by_domain(parts):
    """Contributions (n, 3) of the three domains."""
    return np.column_stack(parts)


def test_two_stage_totals_ratios_and_their_covariance_between_domains():
    expected = VALUES["two_stage"]
    z = TWO_STAGE.weight * Y
    assert z.sum() == close(expected["total"]["est"])
    assert se(TWO_STAGE, z) == close(expected["total"]["se"])
    assert TWO_STAGE.df == expected["total"]["df"]
    assert design_effect(TWO_STAGE, Y, se(TWO_STAGE, z) ** 2) == close(expected["total"]["deff"])
    for x, key in ((np.ones(Y.size), "mean"), (X, "ratio")):
        found = ratio_statistic(TWO_STAGE, Y, x)
        assert [found.value, found.se] == close([expected[key]["est"], expected[key]["se"]])
    totals = by_domain([np.where(inside(d), z, 0.0) for d in DOMAINS])
    np.testing.assert_allclose(totals.sum(axis=0), expected["by_domain"]["est"], rtol=1e-10)
    covariance = linearised_covariance(TWO_STAGE, totals)
    np.testing.assert_allclose(covariance, expected["by_domain"]["vcov"], rtol=1e-8)
    contrast = totals[:, 0] - totals[:, 2]
    assert contrast.sum() == close(expected["contrast_p_minus_r"]["est"])
    assert se(TWO_STAGE, contrast) == close(expected["contrast_p_minus_r"]["se"])
    w = TWO_STAGE.weight
    ratios, parts = [], []
    for d in DOMAINS:
        found = ratio_statistic(TWO_STAGE, Y, X, inside(d))
        ratios.append(found.value)
        parts.append(
            np.where(inside(d), w * (Y - found.value * X), 0.0) / (w * X)[inside(d)].sum()
        )
    np.testing.assert_allclose(ratios, expected["ratio_by_domain"]["est"], rtol=1e-10)
    covariance = linearised_covariance(TWO_STAGE, by_domain(parts))
    np.testing.assert_allclose(covariance, expected["ratio_by_domain"]["vcov"], rtol=1e-8)


def test_ultimate_clusters_and_the_jackknife_of_totals_ratios_and_domains():
    expected = VALUES["two_stage"]
    plain = SurveyDesign(weight=DATA["w"], stratum=DATA["h"], cluster=DATA["psu"])
    assert se(plain, plain.weight * Y) == close(expected["with_replacement"]["total"]["se"])
    assert ratio_statistic(plain, Y, X).se == close(expected["with_replacement"]["ratio"]["se"])
    assert jackknife(plain, lambda w: w @ Y) == close(expected["jkn"]["total"]["se"])
    assert jackknife(plain, lambda w: (w @ Y) / (w @ X)) == close(expected["jkn"]["ratio"]["se"])
    for k, d in enumerate(DOMAINS):
        y, x = np.where(inside(d), Y, 0.0), np.where(inside(d), X, 0.0)
        spread = jackknife(plain, lambda w, y=y, x=x: (w @ y) / (w @ x))
        assert spread == close(expected["jkn"]["ratio_by_domain"]["se"][k])
    # The first stage's fpc only; the stratum taken whole adds nothing.
    first = SurveyDesign(
        weight=DATA["w"], stratum=DATA["h"], n_frame=DATA["N"].astype(float), cluster=DATA["psu"]
    )
    assert jackknife(first, lambda w: w @ Y) == close(expected["jkn_fpc"]["total"]["se"])
    assert jackknife(first, lambda w: (w @ Y) / (w @ X)) == close(
        expected["jkn_fpc"]["ratio"]["se"]
    )


def check_domains(calibrated, expected):
    parts = [calibrated.total(Y, inside(d)) for d in DOMAINS]
    np.testing.assert_allclose([part.value_ha for part in parts], expected["est"], rtol=1e-9)
    covariance = linearised_covariance(TWO_STAGE, by_domain([part.z for part in parts]))
    np.testing.assert_allclose(covariance, expected["vcov"], rtol=1e-7)


def test_post_stratified_clusters_with_both_fpcs():
    expected = VALUES["calibrated"]
    post = post_stratify(TWO_STAGE, DATA["g"], expected["poststrata"])
    total = post.total(Y)
    assert [total.value_ha, se(TWO_STAGE, total.z)] == close(
        [expected["post"]["est"], expected["post"]["se"]]
    )
    check_domains(post, expected["post"]["by_domain"])
    # A ratio of two calibrated totals: linearise, then calibrate the linearised variable.
    below = post.total(X).value_ha
    ratio = total.value_ha / below
    assert ratio == close(expected["post"]["ratio"]["est"])
    assert se(TWO_STAGE, post.total((Y - ratio * X) / below).z) == close(
        expected["post"]["ratio"]["se"]
    )


def test_calibration_linear_raking_and_bounded():
    expected = VALUES["calibrated"]
    columns = np.column_stack([np.ones(Y.size), X])
    for key, totals, options in (
        ("linear", "totals", {}),
        ("raking", "totals", {"distance": "raking"}),
        ("bounded", "bounded_totals", {"bounds": tuple(expected["bounds"])}),
    ):
        result = calibrate(TWO_STAGE, columns, expected[totals], **options)
        total = result.total(Y)
        np.testing.assert_allclose(result.weight, expected[key]["weight"], rtol=1e-8)
        assert total.value_ha == close(expected[key]["est"])
        assert se(TWO_STAGE, total.z) == close(expected[key]["se"])
    check_domains(
        calibrate(TWO_STAGE, columns, expected["totals"]), expected["linear"]["by_domain"]
    )
    free = calibrate(TWO_STAGE, columns, expected["bounded_totals"]).weight / TWO_STAGE.weight
    assert [free.min(), free.max()] == close(expected["unbounded_g"])
    low, high = expected["bounds"]
    held = result.weight / TWO_STAGE.weight
    assert [held.min(), held.max()] == close(expected["bounded"]["g"])
    assert held.min() >= low - 1e-12
    assert held.max() <= high + 1e-12


def test_two_raking_margins_as_by_proportional_fitting():
    table, number, design = apistrat()
    known = golden("api")["values"]["population_totals"]
    levels = [("stype", "E"), ("stype", "H"), ("stype", "M"), ("sch.wide", "Yes")]
    columns = np.column_stack([table[name] == level for name, level in levels]).astype(float)
    totals = [
        known["stype"]["E"], known["stype"]["H"], known["stype"]["M"], known["schwide"]["Yes"],
    ]  # fmt: skip
    raked = calibrate(design, columns, totals, distance="raking")
    expected = VALUES["rake"]
    np.testing.assert_allclose(raked.weight[:10], expected["weight_first10"], rtol=1e-7)
    total = raked.total(number("enroll"))
    assert total.value_ha == close(expected["est"], 1e-7)
    margins = VALUES["raking_two_margins"]
    assert [total.value_ha, se(design, total.z)] == close([margins["est"], margins["se"]], 1e-7)
    # rake() itself takes residuals margin by margin in turn, not from one regression on both.
    assert se(design, total.z) == pytest.approx(expected["se"], rel=0.02)


def test_separate_and_combined_ratio_of_a_domain():
    table, number, design = apistrat()
    expected = VALUES["domain_ratio"]
    yes = table["sch.wide"] == "Yes"
    y, x = number("api00"), number("api99")
    combined = ratio_linear(design, y, x, yes, expected["x_total_yes"])
    assert combined.value_ha == close(expected["combined"]["est"], 1e-7)
    assert se(design, combined.z) == close(expected["combined"]["se"], 1e-7)
    parts = [
        ratio_linear(design, y, x, yes & (table["stype"] == h), total)
        for h, total in expected["x_total_yes_by_stype"].items()
    ]
    assert sum(p.value_ha for p in parts) == close(expected["separate"]["est"], 1e-7)
    assert se(design, sum(p.z for p in parts)) == close(expected["separate"]["se"], 1e-7)


def test_contrast_of_overlapping_domains_is_the_difference_of_ratios():
    both = np.ones(Y.size, dtype=bool)
    contrast = mean_contrast(TWO_STAGE, Y, [inside("p"), both], (1, -1))
    part = ratio_statistic(TWO_STAGE, Y, np.ones(Y.size), inside("p"))
    assert contrast.value == close(part.value - VALUES["two_stage"]["mean"]["est"])


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_unit_level_model_with_unequal_variances_against_nlme(method):
    data = {key: np.array(value) for key, value in CASE["data"]["unit_level"].items()}
    expected = VALUES["unequal_bhf"][method]
    columns = np.column_stack([np.ones(data["x"].size), data["x"]])
    scale = np.sqrt(data["a"].mean() / data["a"])
    fit = fit_unit_level(data["y"], columns, data["dom"], method=method.lower(), scale=scale)
    # nlme stops at its optimiser's tolerance; ours is the exact root of the score.
    assert [fit.sigma2_v, fit.sigma2_e] == close(
        [expected["sigma2_v"], expected["sigma2_e"]], 1e-5
    )
    np.testing.assert_allclose(fit.beta, expected["beta"], rtol=1e-6)
    order = np.argsort(fit.domain.astype(int))
    np.testing.assert_allclose(fit.effect[order], expected["effect"], rtol=1e-5)
    np.testing.assert_allclose(fit.beta_cov, expected["vcov"], rtol=1e-5)
    if method == "ML":
        assert fit.loglik == pytest.approx(expected["loglik"], abs=1e-6)


@pytest.mark.parametrize("method", ["REML", "ML", "moment"])
def test_area_level_model_against_metafor(method):
    data = {key: np.array(value) for key, value in CASE["data"]["area_level"].items()}
    expected = VALUES["area_level"][method]
    columns = np.column_stack([np.ones(data["x"].size), data["x"]])
    fit = fit_area_level(data["y"], data["D"], columns, method=method.lower())
    # metafor's REML and ML stop at their tolerance; Paule and Mandel's is the moment fit.
    assert fit.sigma2_u == close(expected["sigma2_u"], 1e-6)
    np.testing.assert_allclose(fit.beta, expected["beta"], rtol=1e-6)
    np.testing.assert_allclose(fit.beta_cov, expected["vcov"], rtol=1e-6)
    np.testing.assert_allclose(fit.value, expected["blup"], rtol=1e-6)
    assert math.isfinite(fit.loglik)
    assert fit.loglik == pytest.approx(expected["loglik"], abs=1e-6)
