"""Fay-Herriot against the milk example, and its edges."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation.smallarea import eblup_area_level, fit_area_level

GOLDEN = json.loads((Path(__file__).resolve().parents[2] / "golden" / "fh_milk.json").read_text())[
    "values"
]
DIRECT = np.array([row["direct"] for row in GOLDEN["areas"]])
VARIANCE = np.array([row["sd"] for row in GOLDEN["areas"]]) ** 2
MAJOR = np.array([row["major_area"] for row in GOLDEN["areas"]])
X = np.column_stack([np.ones(MAJOR.size)] + [(k == MAJOR).astype(float) for k in (2, 3, 4)])


@pytest.mark.parametrize(("name", "method"), [("REML", "reml"), ("FH", "moment")])
def test_every_value_matches_reference(name, method):
    golden = GOLDEN["fits"][name]
    fit = fit_area_level(DIRECT, VARIANCE, X, method=method)
    got = {
        "refvar": fit.sigma2_u,
        "beta": fit.beta,
        "beta_se": np.sqrt(np.diag(fit.beta_cov)),
        "eblup": fit.value,
        "g1": fit.g1,
        "g2": fit.g2,
        "g3": fit.g3,
        "mse": fit.mse,
        "gamma": fit.gamma,
        "synthetic": fit.synthetic,
        "loglik": fit.loglik,
        "var_A": fit.sigma2_u_var,
        "truncated_at_zero": fit.is_truncated,
    }
    assert set(golden) <= set(got)
    for key, values in golden.items():
        assert_allclose(got[key], values, rtol=1e-8, err_msg=key)


def test_ml_is_the_top_of_its_likelihood_and_below_reml():
    ml = fit_area_level(DIRECT, VARIANCE, X, method="ml")
    reml = fit_area_level(DIRECT, VARIANCE, X)
    assert ml.sigma2_u < reml.sigma2_u
    assert ml.loglik > reml.loglik
    # Datta and Lahiri (2000): the ML bias is negative, so its MSE estimate is raised by it.
    assert (ml.mse > ml.g1 + ml.g2 + 2.0 * ml.g3).all()


def test_equal_variances_by_hand():
    """With equal D, REML and moments agree: A = s^2 - D (Rao and Molina 2015, sec. 6.1.2)."""
    y = np.array([1.0, 4.0, 6.0, 9.0, 15.0])
    D = np.full(5, 2.0)
    wanted = np.var(y, ddof=1) - 2.0
    for method in ("reml", "moment"):
        fit = fit_area_level(y, D, np.ones((5, 1)), method=method)
        assert_allclose(fit.sigma2_u, wanted, rtol=1e-10)
        gamma = wanted / (wanted + 2.0)
        assert_allclose(fit.value, y.mean() + gamma * (y - y.mean()), rtol=1e-10)
    ml = fit_area_level(y, D, np.ones((5, 1)), method="ml")
    assert_allclose(ml.sigma2_u, np.var(y) - 2.0, rtol=1e-10)


@pytest.mark.parametrize("method", ["reml", "ml", "moment"])
def test_less_spread_than_sampling_error_is_truncated(method):
    y = np.array([1.0, 1.1, 0.9, 1.05, 0.95])
    fit = fit_area_level(y, np.full(5, 1.0), np.ones((5, 1)), method=method)
    assert fit.is_truncated
    assert_allclose(fit.value, y.mean())
    assert_allclose(fit.gamma, 0.0)
    assert (fit.mse > 0.0).all()


def test_area_without_estimate_is_synthetic():
    fit = fit_area_level(DIRECT, VARIANCE, X)
    got = eblup_area_level(fit, X[:1])
    assert got.is_synthetic.all()
    assert_allclose(got.value, fit.beta[0])
    assert_allclose(got.mse, fit.sigma2_u + fit.beta_cov[0, 0])
    assert got.mse[0] > fit.mse[0]


def test_scaling_scales():
    one = fit_area_level(DIRECT, VARIANCE, X)
    ten = fit_area_level(10.0 * DIRECT, 100.0 * VARIANCE, X)
    assert_allclose(ten.value, 10.0 * one.value, rtol=1e-9)
    assert_allclose(ten.mse, 100.0 * one.mse, rtol=1e-9)


@pytest.mark.parametrize(
    ("direct", "variance", "design", "words"),
    [
        (DIRECT, np.where(MAJOR == 2, 0.0, VARIANCE), X, "smooth_sampling_variances"),
        (DIRECT, -VARIANCE, X, "above zero"),
        (DIRECT, np.full(DIRECT.size, np.nan), X, "row 1: nan"),
        (np.where(MAJOR == 4, np.nan, DIRECT), VARIANCE, X, "direct, row"),
        (DIRECT, VARIANCE, np.column_stack([X, np.ones(MAJOR.size)]), "constant"),
        (DIRECT, VARIANCE[:5], X, "shape"),
        (DIRECT, VARIANCE, X[:5], "shape"),
    ],
)
def test_bad_input_is_refused_by_name(direct, variance, design, words):
    with pytest.raises(EstimationError, match=words):
        fit_area_level(direct, variance, design)


def test_too_few_areas_and_unknown_method():
    with pytest.raises(TooFewUnitsError, match="at least two"):
        fit_area_level([1.0], [1.0], [[1.0]])
    with pytest.raises(TooFewUnitsError, match="cannot carry"):
        fit_area_level(DIRECT[:4], VARIANCE[:4], X[:4])
    with pytest.raises(EstimationError, match="unknown"):
        fit_area_level(DIRECT, VARIANCE, X, method="bayes")
