"""Totals, means and ratios by domain: rules that published values do not show."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation import (
    Quantity,
    Replicates,
    SurveyDesign,
    bootstrap_domain_totals,
    calibrate,
    domain_statistics,
    jackknife_weights,
    rao_wu_weights,
)
from survey.estimation.calibration import recalibrated

Y = np.array([2.0, 0.0, 3.5, 1.0, 0.0, 2.5, 4.0, 0.0])
X = np.array([12.0, 11.0, 14.0, 10.0, 13.0, 15.0, 16.0, 9.0])
DOMAIN = np.array(list("ppqqpqqp"))
DESIGN = SurveyDesign(
    weight=np.full(8, 5.0), stratum=np.repeat([0, 1], 4), n_frame=np.full(8, 20.0)
)


def test_by_hand():
    *_, total = domain_statistics(DESIGN, Y)
    assert total.value == 65.0
    s2 = [np.var(Y[:4], ddof=1), np.var(Y[4:], ddof=1)]
    assert total.se**2 == pytest.approx(sum(20 * 20 * 0.8 * s / 4 for s in s2))
    assert total.df == 6
    assert total.method == "total_linearised"


def test_domains_add_up_and_rows_outside_count():
    p, q, everything = domain_statistics(DESIGN, Y, domain=DOMAIN)
    assert p.value + q.value == pytest.approx(everything.value)
    assert [p.n_units, q.n_units, everything.n_units] == [4, 4, 8]
    # Rows dropped: the variance of four units as if their number had been fixed.
    dropped = 20 * 20 * 0.8 * np.var(Y[:4], ddof=1) / 4
    assert p.se**2 != pytest.approx(dropped, rel=0.05)


@given(factor=st.floats(0.01, 1000.0))
def test_scaling_scales_value_and_error(factor):
    one = domain_statistics(DESIGN, Y)[-1]
    many = domain_statistics(DESIGN, Y * factor)[-1]
    assert [many.value, many.se] == pytest.approx([one.value * factor, one.se * factor])
    ratio = domain_statistics(DESIGN, Y * factor, x=X * factor, quantity=Quantity.RATIO)[-1]
    same = domain_statistics(DESIGN, Y, x=X, quantity=Quantity.RATIO)[-1]
    assert [ratio.value, ratio.se] == pytest.approx([same.value, same.se])


def test_a_calibration_variable_has_no_error():
    columns = np.column_stack([np.ones(8), X])
    calibrated = calibrate(DESIGN, columns, [40.0, 520.0])
    total = domain_statistics(DESIGN, X, calibrated=calibrated)[-1]
    assert total.value == pytest.approx(520.0)
    assert total.se == pytest.approx(0.0, abs=1e-9)
    assert total.method == "total_calibrated_linearised"


def test_replicates_are_calibrated_one_by_one():
    columns = np.column_stack([np.ones(8), X])
    known = np.array([40.0, 520.0])

    def again(weight):
        return recalibrated(weight, columns, known)

    found = domain_statistics(
        DESIGN,
        X,
        calibrated=calibrate(DESIGN, columns, known),
        replicates=jackknife_weights(DESIGN),
        recalibrate=again,
    )[-1]
    assert found.se == pytest.approx(0.0, abs=1e-8)
    weight = jackknife_weights(DESIGN).weight[0]
    assert again(weight)[0] == 0.0
    assert again(weight) @ X == pytest.approx(520.0)


def test_bootstrap_has_percentile_limits_and_agrees_with_linearisation():
    plain = SurveyDesign(weight=DESIGN.weight, stratum=DESIGN.stratum)
    linear = domain_statistics(plain, Y)[-1]
    drawn = domain_statistics(
        plain,
        Y,
        replicates=rao_wu_weights(plain, 2000, rng=np.random.default_rng(1)),
        replicate_label="bootstrap",
    )[-1]
    assert drawn.se == pytest.approx(linear.se, rel=3 / np.sqrt(4000))
    assert drawn.percentile_low < drawn.value < drawn.percentile_high
    assert np.isnan(linear.percentile_low)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"quantity": Quantity.RATIO}, EstimationError, "a ratio needs x"),
        ({"y": Y[:3]}, EstimationError, r"y has shape \(3,\)"),
        ({"y": np.where(Y == 4.0, np.nan, Y)}, EstimationError, "y, row 7: nan is not a number"),
        ({"y": np.where(Y == 4.0, np.inf, Y)}, EstimationError, "row 7"),
        ({"domain": DOMAIN[:2]}, EstimationError, "domain has shape"),
        ({"level": 1.0}, EstimationError, "level"),
        ({"domain": np.where(DOMAIN == "p", "p", "all")}, EstimationError, "rename it"),
        (
            {"x": 0.0 * X, "quantity": Quantity.RATIO, "domain": DOMAIN},
            TooFewUnitsError, "holds none of the denominator",
        ),
        (
            {"replicates": Replicates(weight=np.ones((3, 5)), scale=np.ones(3))},
            EstimationError, r"replicate weights have shape \(3, 5\)",
        ),
        (
            {"replicates": Replicates(weight=np.full((3, 8), np.nan), scale=np.ones(3))},
            EstimationError, "not a number",
        ),
        (
            {
                "replicates": Replicates(weight=np.eye(3, 8, 8), scale=np.ones(3)),
                "quantity": Quantity.MEAN, "domain": DOMAIN,
            },
            TooFewUnitsError, "zero in a replicate",
        ),
        (
            {
                "replicates": Replicates(weight=np.eye(3, 8), scale=np.ones(3)),
                "recalibrate": lambda weight: recalibrated(weight, X[:, None], [-5.0],
                                                           distance="raking"),
            },
            EstimationError, "replicate 1 of 3 cannot be calibrated",
        ),
    ],
)  # fmt: skip
def test_refused(change, error, message):
    arguments = {"y": Y, **change}
    y = arguments.pop("y")
    with pytest.raises(error, match=message):
        domain_statistics(DESIGN, y, **arguments)


def test_a_domain_without_a_figure_does_not_take_the_others_with_it():
    no_land = np.where(DOMAIN == "p", 0.0, X)
    p, q, everything = domain_statistics(
        DESIGN, Y, x=no_land, quantity=Quantity.RATIO, domain=DOMAIN
    )
    assert np.isnan([p.value, p.se, p.ci_low, p.ci_high]).all()
    assert "none of the denominator" in p.why
    assert q.value > 0.0 < everything.value
    # One unit: some replicate is without it, so its mean has no jackknife error.
    alone = np.where(np.arange(8) == 3, "alone", "rest")
    one, rest, _ = domain_statistics(
        DESIGN, Y, quantity=Quantity.MEAN, domain=alone, replicates=jackknife_weights(DESIGN)
    )
    assert one.value == Y[3]
    assert np.isnan(one.se)
    assert "zero in a replicate" in one.why
    assert rest.se > 0.0


def test_design_effects_and_what_the_error_rests_on():
    mean = domain_statistics(DESIGN, Y, quantity=Quantity.MEAN, domain=DOMAIN)
    total = domain_statistics(DESIGN, Y)[-1]
    # The number of units is known here, so total and mean have one design effect.
    assert mean[-1].deff == pytest.approx(total.deff)
    # Of a domain's mean: against four units out of the twenty that they stand for.
    inside = DOMAIN == "p"
    srs = (1.0 - 4.0 / 20.0) * np.var(Y[inside], ddof=1) / 4.0
    assert mean[0].deff == pytest.approx(mean[0].se ** 2 / srs)
    assert [mean[0].n_positive, mean[1].n_positive] == [
        int((Y[inside] > 0.0).sum()), int((Y[~inside] > 0.0).sum()),
    ]  # fmt: skip
    assert "8 units in 2 strata, with finite population correction" in total.why
    assert np.isnan(domain_statistics(DESIGN, Y, x=X, quantity=Quantity.RATIO)[-1].deff)


def test_a_stratum_of_one_unit_taken_whole_adds_no_replicate():
    # R 4.2.2, survey 4.1-1: as.svrepdesign(type = "JKn") of the same design, total and ratio.
    stratum = np.array(list("aaabbc"))
    y, x = np.array([1.0, 4.0, 2.0, 3.0, 9.0, 5.0]), np.arange(2.0, 8.0)
    size = np.array([10.0, 10.0, 10.0, 8.0, 8.0, 1.0])
    weight = np.array([10 / 3, 10 / 3, 10 / 3, 4.0, 4.0, 1.0])
    design = SurveyDesign(weight=weight, stratum=stratum, n_frame=size)
    jackknife = jackknife_weights(design)
    total = domain_statistics(design, y, replicates=jackknife)[-1]
    linear = domain_statistics(design, y)[-1]
    assert total.se == pytest.approx(linear.se)
    ratio = domain_statistics(design, y, x=x, quantity=Quantity.RATIO, replicates=jackknife)[-1]
    assert ratio.se == pytest.approx(0.235734500507, rel=1e-10)
    assert np.ptp(rao_wu_weights(design, 50, rng=np.random.default_rng(1)).weight[:, 5]) == 0.0
    codes = np.array([0, 0, 0, 0, 0, 1])
    drawn = bootstrap_domain_totals(design, y, codes, 50, rng=np.random.default_rng(1))
    assert (drawn[:, 1, 0] == 5.0).all()
    unknown = SurveyDesign(weight=weight, stratum=stratum)
    for replicates in (
        jackknife_weights,
        lambda design: rao_wu_weights(design, 9, rng=np.random.default_rng(1)),
        lambda design: bootstrap_domain_totals(design, y, codes, 9, rng=np.random.default_rng(1)),
    ):
        with pytest.raises(TooFewUnitsError, match="stratum 'c' has 1 cluster"):
            replicates(unknown)


def test_bounds_of_a_calibration():
    columns = np.column_stack([np.ones(8), X])
    with pytest.raises(EstimationError, match="below and above 1"):
        calibrate(DESIGN, columns, [40.0, 520.0], bounds=(1.2, 2.0))
    with pytest.raises(EstimationError, match="did not reach the totals"):
        calibrate(DESIGN, columns, [40.0, 700.0], bounds=(0.9, 1.1))
