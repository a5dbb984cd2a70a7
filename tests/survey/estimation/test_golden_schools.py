"""California schools: R `survey` on two published samples, and the Python package svy.

The samples and the draws behind the supplied bootstrap weights are small and lie in
tests/golden; where the reference data lie beside the project they are compared with them.
"""

import csv
import json
import math
import os

import numpy as np
import pytest
from published import (
    GOLDEN,
    REFERENCE,
    api_table,
    apistrat,
    close,
    golden,
    jackknife,
    se,
    without_fpc,
)

from survey.estimation.calibration import calibrate, post_stratify
from survey.estimation.contrasts import mean_contrast, ratio_statistic
from survey.estimation.design import SurveyDesign, design_effect
from survey.estimation.direct import ratio_linear
from survey.estimation.replication import (
    Replicates,
    rao_wu_weights,
    replicate_covariance,
)
from survey.estimation.statistics import Quantity, domain_statistics

API = golden("api")["values"]


def boot50_weights(design):
    """Weights (50, n): w n_h / (n_h - 1) times how often R's bootstrap drew the school."""
    text = (GOLDEN / "apistrat_boot50_draws.csv").read_text(encoding="utf-8").splitlines()[1:]
    draws = np.array([[int(digit) for digit in line.split(",")[1]] for line in text], dtype=float)
    _, code, count = np.unique(design.stratum, return_inverse=True, return_counts=True)
    n = count[code]
    return (draws * (design.weight * n / (n - 1))[:, None]).T


@pytest.mark.shared_data
def test_the_copies_agree_with_the_reference_data():
    if not REFERENCE.is_dir():
        # Copies can be compared only where the originals lie; CI must have them.
        assert not os.environ.get("CI"), "../shared/reference is not beside the project"
        pytest.skip("the reference data are not beside the project")
    for name in ("apistrat", "apiclus2"):
        ours, _ = api_table(name)
        with (REFERENCE / f"{name}.csv").open(encoding="utf-8") as file:
            theirs = list(csv.DictReader(file))
        for column, values in ours.items():
            assert values.tolist() == [row[column] for row in theirs]
    with (REFERENCE / "apistrat_boot50_weights.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    _, number, design = apistrat()
    assert [int(row[0]) for row in rows] == number("snum").astype(int).tolist()
    given = np.array([row[1:] for row in rows], dtype=float).T
    np.testing.assert_allclose(boot50_weights(design), given, rtol=1e-14)
    pairs = {
        "api": "api_reference", "card_krueger": "card_krueger_did",
        **{n: n for n in ("area_frame", "bhf_corn", "fh_milk", "olofsson2014", "yield")},
        "strata_differ_from_map": "strata_differ_from_map",
    }  # fmt: skip
    for ours_name, theirs_name in pairs.items():
        kept = numbers(json.loads((GOLDEN / f"{ours_name}.json").read_text(encoding="utf-8")))
        source = (REFERENCE / f"{theirs_name}.json").read_text(encoding="utf-8")
        assert numbers(json.loads(source)) <= kept, theirs_name


def numbers(tree):
    """Every number in a JSON tree."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list):
        return set().union(*(numbers(branch) for branch in tree))
    return {tree} if isinstance(tree, int | float) and not isinstance(tree, bool) else set()


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
    supplied = Replicates(weight=boot50_weights(design), scale=np.full(50, 1.0 / 49.0))
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
    assert design.weight[:5].tolist() == expected["weights_first5"]
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


def test_design_effects_of_means_by_domain():
    # R 4.2.2, survey 4.1-1: svyby(~api00, ~sch.wide, s, svymean, deff = TRUE) and api99 by awards,
    # s <- svydesign(ids = ~1, strata = ~stype, fpc = ~fpc, weights = ~pw, data = apistrat).
    table, number, design = apistrat()
    for variable, domain, expected in (
        ("api00", "sch.wide", {"No": (593.746858215, 18.6191675056, 1.31225758715),
                               "Yes": (676.530443657, 10.5203892001, 1.19815719302)}),
        ("api99", "awards", {"No": (623.671596536, 15.5712031866, 1.36748923452),
                             "Yes": (632.629062815, 12.8871987980, 1.14458452496)}),
    ):  # fmt: skip
        found = domain_statistics(
            design, number(variable), domain=table[domain], quantity=Quantity.MEAN
        )
        for row in found[:-1]:
            got = (row.value, row.se, row.deff)
            assert got == pytest.approx(expected[row.domain_id], rel=1e-7)
