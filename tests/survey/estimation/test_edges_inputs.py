"""What must be refused in words: nothing, not a number, contradictions, too many coefficients."""

import numpy as np
import pytest

from survey.errors import DuplicateIdError, EstimationError, TooFewUnitsError
from survey.estimation import (
    Frame,
    LadderRule,
    Sample,
    SurveyDesign,
    accuracy_of_points,
    bootstrap_domain_totals,
    calibrate,
    census_with_omission,
    estimate_ladder,
    expansion_total,
    farm_gate_value,
    linearised_covariance,
    mean_yield,
    percentile_interval,
    post_stratify,
    production,
    production_draws,
    ratio_statistic,
    shared_yield_covariance,
)
from survey.estimation.smallarea import eblup_finite_pop, fit_area_level, fit_unit_level
from survey.estimation.smallarea.districts import small_area_estimates
from survey.estimation.smallarea.predictions import (
    area_level_predictions,
    unit_level_predictions,
)

NOTHING = np.array([])
PAIR = {"weight": [1.0, 1.0], "stratum": [0, 0]}
RNG = np.random.default_rng(1)
VALUES = np.random.default_rng(2).random(8)


def frame(**changes):
    n = 20
    columns = {
        "segment_id": np.arange(n),
        "stratum": np.arange(n) % 2,
        "domain": np.arange(n) // 10,
        "group": np.zeros(n, dtype=int),
        "risk_ha": np.full(n, 10.0),
        "covariate_ha": np.arange(n) * 0.1,
        **changes,
    }
    return Frame(**columns)


def areas(**changes):
    arguments = {
        "domain": list("abcdefgh"),
        "direct": np.arange(8.0),
        "variance": np.ones(8),
        "covariate": VALUES[:, None],
        "n_segments": np.full(8, 5.0),
        "risk_ha": None,
        "rng": RNG,
        **changes,
    }
    return area_level_predictions(**arguments)


def points(classes=("x", "y"), size=10.0, reference="xyxy"):
    return accuracy_of_points(
        np.array(["a"] * 4),
        np.array(list("xyxy")),
        np.array(list(reference)),
        {"a": size},
        classes,
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: SurveyDesign(weight=NOTHING, stratum=NOTHING), TooFewUnitsError, "empty"),
        (lambda: SurveyDesign(weight=[np.inf], stratum=[0]), EstimationError, "finite"),
        (lambda: SurveyDesign(**PAIR, n_frame=[5, 9]), EstimationError, "'0' is 9 in row 2"),
        (lambda: SurveyDesign(**PAIR, n_frame=[np.nan] * 2), EstimationError, "nan in row 1"),
        (lambda: SurveyDesign(**PAIR, n_frame=[0, 0]), EstimationError, "one positive count"),
        (
            lambda: SurveyDesign(**PAIR, cluster=["c", "c"], n_units=[3, 4]),
            EstimationError, "n_units of cluster 'c' is 4 in row 2",
        ),
        (
            lambda: linearised_covariance(SurveyDesign(**PAIR), [1.0, np.nan]),
            EstimationError, "unit 2 has a value that is not a number",
        ),
        (
            lambda: ratio_statistic(SurveyDesign(**PAIR), [np.nan, 2.0], [1.0, 1.0]),
            EstimationError, "y, row 1: nan",
        ),
        (
            lambda: calibrate(SurveyDesign(**PAIR), np.ones((2, 1)), [np.nan]),
            EstimationError, "no value may be missing",
        ),
        (
            lambda: calibrate(SurveyDesign(**PAIR), RNG.random((2, 4)), [4.0, 5.0, 3.0, 2.0]),
            EstimationError, r"rank 2 of 4",
        ),
        (
            lambda: post_stratify(SurveyDesign(**PAIR), ["a", "b"], {"a": 0.0, "b": 3.0}),
            EstimationError, "'a' has size 0.0 but sampled units",
        ),
        (
            lambda: bootstrap_domain_totals(
                SurveyDesign(**PAIR), [1.0, 2.0], [-1, 0], 10, rng=RNG
            ),
            EstimationError, "run from 0",
        ),
        (lambda: percentile_interval([1.0, np.nan]), EstimationError, "no finite value"),
        (lambda: percentile_interval(NOTHING), EstimationError, "no finite value"),
        (lambda: points(reference="xyzy"), EstimationError, "reference class 'z'"),
        (lambda: points(size=2.0), EstimationError, "4 sampled units but 2 in the frame"),
        (lambda: points(size=np.nan), EstimationError, "finite and positive"),
        (
            lambda: census_with_omission(5.0, [1, 2, 3], [1, 2, 3]),
            TooFewUnitsError, "hold the same share",
        ),
        (
            lambda: census_with_omission(5.0, [1, 2, 3], [1, 2, 4], n_frame=2),
            EstimationError, "3 check segments cannot come from an area of 2",
        ),
        (lambda: mean_yield([-3.0, 4.0]), EstimationError, "negative"),
        (
            lambda: farm_gate_value(production(1, 1, 1, 1), np.nan),
            EstimationError, "finite and not negative",
        ),
        (
            lambda: shared_yield_covariance([1.0, np.nan], [1.0, 1.0], 2.0, 1.0),
            EstimationError, "must be known",
        ),
        (lambda: production_draws([1.0, np.nan], [1.0, 1.0]), EstimationError, "draw it again"),
        (
            lambda: fit_unit_level(VALUES[:4], RNG.random((4, 6)), [0, 0, 1, 1]),
            TooFewUnitsError, "4 units cannot carry 6 coefficients",
        ),
        (
            lambda: fit_area_level(VALUES[:3], np.ones(3), RNG.random((3, 4))),
            TooFewUnitsError, "3 units cannot carry 4 coefficients",
        ),
        (
            lambda: fit_area_level(VALUES[:6], np.ones(6), np.ones((6, 2))),
            EstimationError, "covariate column 2 is constant",
        ),
        (
            lambda: fit_area_level(VALUES[:6], np.full(6, np.inf), np.ones((6, 1))),
            EstimationError, "inf must be finite",
        ),
        (lambda: areas(domain=list("aacdefgh")), DuplicateIdError, "'a' 2 times"),
        (lambda: areas(direct=np.full(8, np.nan)), TooFewUnitsError, "no area has a direct"),
        (
            lambda: areas(direct=np.array([np.inf, 1, 2, 3, 4, 5, 6, 7])),
            EstimationError, "inf must be finite",
        ),
        (lambda: areas(n_segments=None), EstimationError, "n_segments"),
        (lambda: areas(level=0.0), EstimationError, "level"),
        (
            lambda: unit_level_predictions(
                range(8), list("aabbccdd"), VALUES, VALUES[::-1, None], wanted=["a", "a"],
                mean_x=[[1.0], [1.0]], population=[5.0, 5.0], rng=RNG,
            ),
            DuplicateIdError, "'a' 2 times",
        ),
        (
            lambda: small_area_estimates(
                frame(domain=np.zeros(20)),
                Sample(index=np.arange(16), y_ha=np.arange(16) % 2 * 1.0),
                rng=RNG,
            ),
            TooFewUnitsError, "needs two domains",
        ),
        (
            lambda: expansion_total(frame(), Sample(index=np.array([], dtype=int), y_ha=NOTHING)),
            TooFewUnitsError, "the sample is empty",
        ),
    ],
)  # fmt: skip
def test_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_all_wanted_districts_out_of_sample_are_synthetic():
    fit = fit_unit_level(
        VALUES + np.repeat([0.0, 1.0, 2.0, 3.0], 2), np.ones((8, 1)), np.repeat(list("abcd"), 2)
    )
    got = eblup_finite_pop(fit, np.ones((2, 1)), ["x", "y"], [5.0, 6.0])
    assert got.is_synthetic.all()
    assert got.value == pytest.approx(np.full(2, fit.beta[0]))
    assert (got.mse > fit.sigma2_v).all()


def test_an_area_without_a_direct_figure_is_synthetic_and_hectares_stay_in_the_land():
    found = areas(direct=np.array([np.nan, 1, 2, 3, 4, 5, 6, 7.0]), risk_ha=np.full(8, 6.5))
    first, last = found.rows[0], found.rows[-1]
    assert first.estimate_type == "synthetic"
    assert first.gamma == 0.0
    for row in found.rows:
        assert 0.0 <= row.ci_low <= row.value <= row.ci_high <= 6.5
    assert last.value <= 6.5
    assert any("smoothed over 7 of 7" in note for note in found.notes)


def test_one_district_is_its_province():
    one = frame(domain=np.zeros(20, dtype=int))
    sample = Sample(index=np.arange(14), y_ha=np.arange(14) * 0.3)
    for small_area in ("two_part", "bhf"):
        rows = estimate_ladder(
            one, sample, estimator="regression", rule=LadderRule(small_area=small_area), rng=RNG
        )
        assert len({row.estimate.value_ha for row in rows}) == 1


def test_land_without_risk_area_holds_nothing():
    rows = estimate_ladder(
        frame(risk_ha=np.zeros(20)),
        Sample(index=np.arange(14), y_ha=np.zeros(14)),
        estimator="ratio",
    )
    assert all(row.estimate.ci_high_ha == 0.0 for row in rows)
