"""Battese-Harter-Fuller against the published corn example, and its edges."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from survey.errors import DuplicateIdError, EstimationError, TooFewUnitsError
from survey.estimation.smallarea import eblup_finite_pop, eblup_model_mean, fit_unit_level

GOLDEN = json.loads(
    (Path(__file__).resolve().parents[2] / "golden" / "bhf_corn.json").read_text()
)["values"]
COUNTIES = GOLDEN["counties"]
DOMAIN = np.array([int(row["county_index"]) for row in COUNTIES])
POPULATION = np.array([row["population_segments"] for row in COUNTIES])
MEAN_X = np.array([[1.0, row["mean_corn_pixels"], row["mean_soy_pixels"]] for row in COUNTIES])


def corn(*, without_outlier: bool = True):
    rows = [row for row in GOLDEN["segments"] if not (without_outlier and row["row"] == 33)]
    y = np.array([row["corn_ha"] for row in rows])
    X = np.array([[1.0, row["corn_pixels"], row["soy_pixels"]] for row in rows])
    return y, X, np.array([int(row["county_index"]) for row in rows])


def fitted(name):
    golden = GOLDEN["fits"][name]
    y, X, domain = corn(without_outlier=golden["outlier_row33_removed"])
    assert y.size == golden["n"]
    return golden, fit_unit_level(y, X, domain, method=golden["method"].lower())


@pytest.mark.parametrize("name", ["REML_36", "ML_36", "REML_37"])
def test_fit_matches_reference(name):
    golden, fit = fitted(name)
    assert_allclose(fit.beta, golden["beta"], rtol=1e-8)
    assert_allclose(np.sqrt(np.diag(fit.beta_cov)), golden["beta_se"], rtol=1e-8)
    assert_allclose(
        [fit.sigma2_v, fit.sigma2_e], [golden["sigma2_u"], golden["sigma2_e"]], rtol=1e-8
    )
    assert_allclose(fit.avar, golden["avar_theta"], rtol=1e-8)
    assert_allclose(fit.loglik, golden["loglik"], rtol=1e-8)
    assert not fit.is_truncated


@pytest.mark.parametrize("name", ["REML_36", "ML_36", "REML_37"])
def test_every_county_matches_reference(name):
    golden, fit = fitted(name)
    model = eblup_model_mean(fit, MEAN_X, DOMAIN)
    projected = eblup_model_mean(fit, MEAN_X, DOMAIN, information="projected")
    finite = eblup_finite_pop(fit, MEAN_X, DOMAIN, POPULATION)
    row = np.searchsorted(fit.domain, DOMAIN.astype(str))  # the fit sorts its labels as text
    got = {
        "n": model.n,
        "gamma": model.gamma,
        "u": model.value - model.synthetic,
        "synthetic": model.synthetic,
        "eblup_model_mean": model.value,
        "eblup_finite_pop": finite.value,
        "g1": model.g1,
        "g2": model.g2,
        "g3": model.g3,
        "g3_P_information": projected.g3,
        "mse_no_bias_correction_g1_g2_g3": model.g1 + model.g2 + model.g3,
        "mse_pr": model.mse,
        "rmse_pr": np.sqrt(model.mse),
        "mse_pr_P_information": projected.mse,
        "mse_pr_finite": finite.mse,
        "rmse_pr_finite": np.sqrt(finite.mse),
        "sample_mean": fit.mean_y[row],
        "survey_regression": fit.mean_y[row] + (MEAN_X - fit.mean_x[row]) @ fit.beta,
    }
    for key, values in got.items():
        assert_allclose(
            values, [area[key] for area in golden["areas"]], rtol=1e-8, err_msg=f"{name} {key}"
        )
    assert_allclose(finite.value, golden["sae_1_3_eblup"], rtol=1e-6)


def test_josae_manual_to_its_two_decimals():
    _, fit = fitted("REML_36")
    value = eblup_model_mean(fit, MEAN_X, DOMAIN).value
    printed = GOLDEN["josae_manual_table3"]["eblup"]
    assert_allclose(value[: len(printed)], printed, atol=0.0051)


def test_units_of_the_covariates_do_not_matter():
    y, X, domain = corn()
    fit = fit_unit_level(y, X, domain)
    unit = np.array([1.0, 1e6, 1e-5])
    other = fit_unit_level(y, X * unit, domain)
    assert_allclose(other.beta * unit, fit.beta, rtol=1e-8)
    assert_allclose([other.sigma2_v, other.sigma2_e], [fit.sigma2_v, fit.sigma2_e], rtol=1e-9)


def test_scaling_hectares_scales_everything():
    y, X, domain = corn()
    one = eblup_finite_pop(fit_unit_level(y, X, domain), MEAN_X, DOMAIN, POPULATION)
    ten = eblup_finite_pop(fit_unit_level(10.0 * y, X, domain), MEAN_X, DOMAIN, POPULATION)
    assert_allclose(ten.value, 10.0 * one.value, rtol=1e-9)
    assert_allclose(ten.mse, 100.0 * one.mse, rtol=1e-9)


def test_order_and_names_of_domains_do_not_matter():
    y, X, domain = corn()
    order = np.random.default_rng(1).permutation(y.size)
    names = np.array([f"d{99 - k}" for k in domain])
    one = eblup_model_mean(fit_unit_level(y, X, domain), MEAN_X, DOMAIN)
    two = eblup_model_mean(
        fit_unit_level(y[order], X[order], names[order]),
        MEAN_X[::-1],
        np.array([f"d{99 - k}" for k in DOMAIN[::-1]]),
    )
    assert_allclose(two.value[::-1], one.value, rtol=1e-9)
    assert_allclose(two.mse[::-1], one.mse, rtol=1e-9)


def test_unequal_scale_equals_the_dense_likelihood():
    """Group-sum algebra against V written out in full."""
    y, X, domain = corn()
    c = np.random.default_rng(3).uniform(0.5, 2.0, y.size)
    fit = fit_unit_level(y, X, domain, scale=c)
    Z = (domain[:, None] == np.unique(domain.astype(str)).astype(int)).astype(float)

    def dense(s2v, s2e):
        V = s2e * np.diag(c**2) + s2v * Z @ Z.T
        W = np.linalg.inv(V)
        A = X.T @ W @ X
        beta = np.linalg.solve(A, X.T @ W @ y)
        r = y - X @ beta
        logdet = np.linalg.slogdet(V)[1] + np.linalg.slogdet(A)[1]
        n, p = X.shape
        loglik = -0.5 * (logdet + r @ W @ r + (n - p) * np.log(2.0 * np.pi))
        P = W - W @ X @ np.linalg.solve(A, X.T @ W)
        return loglik, beta, s2v * Z.T @ W @ r, W, P

    loglik, beta, effect, W, P = dense(fit.sigma2_v, fit.sigma2_e)
    assert_allclose(fit.loglik, loglik, rtol=1e-10)
    assert_allclose(fit.beta, beta, rtol=1e-9)
    assert_allclose(fit.effect, effect, rtol=1e-8, atol=1e-10)
    parts = [Z @ Z.T, np.diag(c**2)]
    for avar, B in ((fit.avar, W), (fit.avar_projected, P)):
        info = [[0.5 * np.trace(B @ a @ B @ b) for b in parts] for a in parts]
        assert_allclose(avar, np.linalg.inv(info), rtol=1e-8)
    for up in (1.0 - 1e-3, 1.0 + 1e-3):
        assert dense(fit.sigma2_v * up, fit.sigma2_e)[0] < loglik
        assert dense(fit.sigma2_v, fit.sigma2_e * up)[0] < loglik


def test_unsampled_domain_is_synthetic_with_the_variance_between_domains():
    _, fit = fitted("REML_36")
    x = np.array([[1.0, 300.0, 200.0]])
    got = eblup_model_mean(fit, x, ["nowhere"])
    assert got.is_synthetic.all()
    assert got.n[0] == 0
    assert_allclose(got.value, x @ fit.beta)
    assert_allclose(got.mse, fit.sigma2_v + x[0] @ fit.beta_cov @ x[0])
    finite = eblup_finite_pop(fit, x, ["nowhere"], [1e12])
    assert_allclose(finite.mse, got.mse, rtol=1e-6)


def test_census_of_a_domain_has_no_error():
    y, X, domain = corn()
    fit = fit_unit_level(y, X, domain)
    inside = domain == 12
    got = eblup_finite_pop(fit, X[inside].mean(axis=0, keepdims=True), [12], [float(inside.sum())])
    assert_allclose(got.value, y[inside].mean(), rtol=1e-12)
    assert_allclose(got.mse, 0.0, atol=1e-12)


def test_no_difference_between_domains_is_truncated_and_flagged():
    y = np.tile([1.0, 2.0, 3.0], 6)
    fit = fit_unit_level(y, np.ones((18, 1)), np.repeat(np.arange(6), 3))
    assert fit.sigma2_v == 0.0
    assert fit.is_truncated
    got = eblup_model_mean(fit, np.ones((6, 1)), np.arange(6))
    assert got.is_synthetic.all()
    assert_allclose(got.value, 2.0)
    assert (got.mse > 0.0).all()


def test_balanced_intercept_model_by_hand():
    """Analysis of variance is REML for balanced data (Searle et al. 1992, sec. 4.8)."""
    y = np.array([1.0, 3.0, 5.0, 7.0, 12.0, 14.0])
    fit = fit_unit_level(y, np.ones((6, 1)), [1, 1, 2, 2, 3, 3])
    within = 2.0  # three pairs, each with sum of squares 2, 3 df
    between = 2.0 * np.var([2.0, 6.0, 13.0], ddof=1)
    assert_allclose(fit.sigma2_e, within, rtol=1e-10)
    assert_allclose(fit.sigma2_v, (between - within) / 2.0, rtol=1e-10)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y, X, d: (np.where(np.arange(y.size) == 4, np.nan, y), X, d), "y, row 5"),
        (lambda y, X, d: (y, np.where(X[7, 1] == X, np.inf, X), d), "row 8, column 2"),
        (lambda y, X, d: (y, np.column_stack([X, np.full(y.size, 3.0)]), d), "4 is constant"),
        (lambda y, X, d: (y, np.column_stack([X, X[:, 1] + X[:, 2]]), d), "4 is a combination"),
        (lambda y, X, d: (y, np.column_stack([X, np.zeros(y.size)]), d), "zero everywhere"),
        (lambda _, X, d: (X @ [1.0, 2.0, 3.0], X, d), "without residual"),
        (lambda y, X, d: (y[:-1], X, d), "shape"),
        (lambda y, X, d: (y, X, d[:-1]), "shape"),
        (lambda y, X, d: (y, X[:, 0], d), "shape"),
    ],
)
def test_bad_input_is_refused_by_name(change, words):
    y, X, domain = change(*corn())
    with pytest.raises(EstimationError, match=words):
        fit_unit_level(y, X, domain)


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_no_variance_within_domains_is_refused(method):
    with pytest.raises(EstimationError, match="agree with each other exactly"):
        fit_unit_level(
            [1.0, 1.0, 4.0, 4.0, 6.0, 6.0], np.ones((6, 1)), [1, 1, 2, 2, 3, 3], method=method
        )


def test_samples_that_cannot_carry_the_model():
    y, X, domain = corn()
    with pytest.raises(TooFewUnitsError, match="at least two"):
        fit_unit_level(y, X, np.ones(y.size))
    with pytest.raises(TooFewUnitsError, match="no domain has two units"):
        fit_unit_level(y, X, np.arange(y.size))
    with pytest.raises(TooFewUnitsError, match="cannot carry"):
        fit_unit_level(y[:3], X[:3], [1, 1, 2])
    with pytest.raises(EstimationError, match="unknown"):
        fit_unit_level(y, X, domain, method="bayes")
    with pytest.raises(EstimationError, match="above zero"):
        fit_unit_level(y, X, domain, scale=np.zeros(y.size))


def test_bad_requests_are_refused():
    _, fit = fitted("REML_36")
    with pytest.raises(EstimationError, match="smaller than its sample"):
        eblup_finite_pop(fit, MEAN_X[-1:], DOMAIN[-1:], [2.0])
    with pytest.raises(EstimationError, match="3 columns"):
        eblup_model_mean(fit, MEAN_X[:, :2], DOMAIN)
    with pytest.raises(DuplicateIdError):
        eblup_model_mean(fit, MEAN_X[:2], [1, 1])
    with pytest.raises(EstimationError, match="information"):
        eblup_model_mean(fit, MEAN_X, DOMAIN, information="observed")
