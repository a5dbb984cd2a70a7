"""Bootstrap, diagnostics, smoothed variances and benchmarking."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation.smallarea import (
    benchmark_to_total,
    bootstrap_area_level,
    bootstrap_unit_level,
    diagnose_unit_level,
    eblup_finite_pop,
    fit_area_level,
    fit_unit_level,
    smooth_sampling_variances,
)

GOLDEN_FILES = Path(__file__).resolve().parents[2] / "golden"
CORN = json.loads((GOLDEN_FILES / "bhf_corn.json").read_text())["values"]
MILK = json.loads((GOLDEN_FILES / "fh_milk.json").read_text())["values"]
COUNTY = np.array([int(row["county_index"]) for row in CORN["counties"]])
POPULATION = np.array([row["population_segments"] for row in CORN["counties"]])
MEAN_X = np.array(
    [[1.0, row["mean_corn_pixels"], row["mean_soy_pixels"]] for row in CORN["counties"]]
)


def corn_fit(*, without_outlier):
    rows = [row for row in CORN["segments"] if not (without_outlier and row["row"] == 33)]
    return fit_unit_level(
        [row["corn_ha"] for row in rows],
        [[1.0, row["corn_pixels"], row["soy_pixels"]] for row in rows],
        [int(row["county_index"]) for row in rows],
    )


def milk_fit():
    direct = np.array([row["direct"] for row in MILK["areas"]])
    sd = np.array([row["sd"] for row in MILK["areas"]])
    major = np.array([row["major_area"] for row in MILK["areas"]])
    X = np.column_stack([np.ones(major.size), *(major == k for k in (2, 3, 4))])
    return fit_area_level(direct, sd**2, X)


def test_unit_level_bootstrap_matches_sae():
    golden = CORN["parametric_bootstrap"]
    fit = corn_fit(without_outlier=True)
    got = bootstrap_unit_level(
        fit,
        MEAN_X,
        COUNTY,
        rng=np.random.default_rng(20261123),
        n_bootstrap=2000,
        population=POPULATION,
    )
    assert [int(d) for d in golden["domain"]] == COUNTY.tolist()
    assert_allclose(got.mse, golden["mse"], rtol=golden["tolerance_relative"])


def test_bootstrap_of_model_means_agrees_with_the_formula_and_covers_unsampled_domains():
    fit = corn_fit(without_outlier=True)
    domain = [*COUNTY.tolist(), 99]
    means = np.vstack([MEAN_X, MEAN_X[:1]])
    got = bootstrap_unit_level(fit, means, domain, rng=np.random.default_rng(5), n_bootstrap=500)
    golden = [area["mse_pr"] for area in CORN["fits"]["REML_36"]["areas"]]
    assert_allclose(got.mse[:-1], golden, rtol=0.35)
    assert_allclose(got.mse[:-1].mean(), np.mean(golden), rtol=0.1)
    assert got.mse[-1] > fit.sigma2_v * 0.8
    assert 0 <= got.n_truncated < got.n_bootstrap


def test_area_level_bootstrap_agrees_with_the_formula():
    fit = milk_fit()
    got = bootstrap_area_level(fit, rng=np.random.default_rng(5), n_bootstrap=1000)
    assert_allclose(got.mse.mean(), fit.mse.mean(), rtol=0.05)
    assert_allclose(got.mse, fit.mse, rtol=0.25)


def test_same_seed_same_bootstrap():
    fit = milk_fit()
    one, two = (bootstrap_area_level(fit, rng=np.random.default_rng(1)) for _ in range(2))
    assert_allclose(one.mse, two.mse, rtol=0.0)


def test_too_few_replicates_are_refused():
    with pytest.raises(EstimationError, match="too small"):
        bootstrap_area_level(milk_fit(), rng=np.random.default_rng(1), n_bootstrap=1)


def test_the_papers_outlier_is_found_and_its_weight_shown():
    fit = corn_fit(without_outlier=False)
    found = diagnose_unit_level(fit)
    assert np.flatnonzero(found.is_outlier).tolist() == [32]  # row 33 of the paper
    assert found.refit_unit[0] == 32
    golden = CORN["fits"]["REML_36"]
    assert_allclose(found.refit_sigma2_v[0], golden["sigma2_u"], rtol=1e-8)
    assert_allclose(found.refit_sigma2_e[0], golden["sigma2_e"], rtol=1e-8)
    assert not diagnose_unit_level(corn_fit(without_outlier=True)).is_outlier.any()


def test_deletion_residual_and_cook_by_leaving_a_unit_out():
    """Against the dense algebra at the same variances."""
    fit = corn_fit(without_outlier=False)
    found = diagnose_unit_level(fit, n_refit=0)
    data = fit.data
    Z = (data.code[:, None] == np.arange(fit.domain.size)).astype(float)
    V = fit.sigma2_e * np.eye(data.y.size) + fit.sigma2_v * Z @ Z.T
    unit = 7
    keep = np.arange(data.y.size) != unit
    W = np.linalg.inv(V[np.ix_(keep, keep)])
    X, y = data.X, data.y
    A = X[keep].T @ W @ X[keep]
    beta = np.linalg.solve(A, X[keep].T @ W @ y[keep])
    cross = V[unit, keep] @ W
    prediction = X[unit] @ beta + cross @ (y[keep] - X[keep] @ beta)
    lever = X[unit] - cross @ X[keep]
    variance = V[unit, unit] - cross @ V[keep, unit] + lever @ np.linalg.solve(A, lever)
    assert_allclose(found.residual[unit], (y[unit] - prediction) / np.sqrt(variance), rtol=1e-8)
    shift = fit.beta - beta
    assert_allclose(
        found.cook[unit], shift @ np.linalg.solve(fit.beta_cov, shift) / 3.0, rtol=1e-6
    )


def test_diagnostics_survive_a_truncated_variance_and_a_needed_unit():
    y = np.tile([1.0, 2.0, 3.0], 6)
    y[0] = 2.5
    x = np.zeros(18)
    x[0] = 1.0  # only this unit carries the column
    fit = fit_unit_level(y, np.column_stack([np.ones(18), x]), np.repeat(np.arange(6), 3))
    found = diagnose_unit_level(fit, n_refit=18)
    assert_allclose(found.effect, 0.0)
    assert np.isnan(found.refit_sigma2_v).sum() == 1
    with pytest.raises(EstimationError, match="alpha"):
        diagnose_unit_level(fit, alpha=0.0)


def test_smoothing_gives_every_area_a_positive_variance():
    n = np.array([2.0, 4.0, 8.0, 16.0, 32.0, 1.0, 10.0])
    variance = np.array([*(6.0 / n[:5]), np.nan, 0.0])
    got = smooth_sampling_variances(variance, n)
    assert_allclose(got.variance, 6.0 / n)
    assert got.is_used.tolist() == [True] * 5 + [False] * 2


def test_smoothing_recovers_a_power_of_the_predictor():
    """Mean over 12 draws: one draw of 400 variances is itself good to about 3%."""
    rng = np.random.default_rng(8)
    slopes, ratios = [], []
    for _ in range(12):
        n = rng.integers(2, 40, 400).astype(float)
        size = rng.uniform(0.01, 0.3, 400)
        true = 2.0 * size**1.4 / n
        raw = true * rng.chisquare(n - 1) / (n - 1)
        got = smooth_sampling_variances(raw, n, predictor=size)
        slopes.append(got.slope)
        ratios.append((got.variance / true).mean())
        assert 0.0 < got.r_squared < 1.0
    assert_allclose(np.mean(slopes), 1.4, atol=0.03)
    assert_allclose(np.mean(ratios), 1.0, atol=0.03)


def test_smoothed_variances_feed_fay_herriot():
    n = np.array([2.0, 4.0, 8.0, 16.0, 32.0, 1.0, 10.0])
    variance = np.array([*(6.0 / n[:5]), np.nan, 0.0])
    y = np.array([1.0, 3.0, 2.0, 4.0, 9.0, 2.0, 0.0])
    with pytest.raises(EstimationError, match="smooth_sampling_variances"):
        fit_area_level(y, np.nan_to_num(variance), np.ones((7, 1)))
    fit = fit_area_level(y, smooth_sampling_variances(variance, n).variance, np.ones((7, 1)))
    assert (fit.gamma < 1.0).all()


@pytest.mark.parametrize(
    ("variance", "n", "predictor", "error", "words"),
    [
        ([1.0, 0.0, np.nan, 1.0, 1.0], [5.0] * 5, None, TooFewUnitsError, "3 areas"),
        ([-1.0] * 6, [5.0] * 6, None, EstimationError, "row 1"),
        ([1.0] * 6, [5.0] * 5, None, EstimationError, "shape"),
        ([1.0] * 6, [0.0] * 6, None, EstimationError, "above zero"),
        ([1.0] * 6, [5.0] * 6, [0.0] * 6, EstimationError, "predictor"),
    ],
)
def test_smoothing_refuses(variance, n, predictor, error, words):
    with pytest.raises(error, match=words):
        smooth_sampling_variances(variance, n, predictor=predictor)


def test_benchmarking_by_hand():
    got = benchmark_to_total([10.0, 30.0], [4.0, 12.0], 44.0, 3.0)
    # gap 4 shared 1:3; gap^2 = 16 < 16 + 3, so each MSE gains w^2 * 19.
    assert_allclose(got.value_ha, [11.0, 33.0])
    assert_allclose(got.mse, [4.0 + 19.0 / 16.0, 12.0 + 19.0 * 9.0 / 16.0])
    assert_allclose(got.mse_share, 1.0 - np.array([4.0, 12.0]) / got.mse)
    assert_allclose(got.gap_z, 4.0 / np.sqrt(19.0))


@pytest.mark.parametrize("method", ["mse", "ratio"])
def test_benchmarked_districts_add_up_and_never_gain_precision(method):
    rng = np.random.default_rng(3)
    value, mse = rng.gamma(2.0, 10.0, 12), rng.gamma(2.0, 20.0, 12)
    got = benchmark_to_total(value, mse, 1.05 * value.sum(), 0.2 * mse.sum(), method=method)
    assert_allclose(got.value_ha.sum(), 1.05 * value.sum())
    assert (got.mse >= mse).all()


def test_ratio_keeps_zeros_and_fits_a_lower_total():
    got = benchmark_to_total([0.0, 5.0, 20.0], [4.0, 1.0, 1.0], 10.0, 1.0, method="ratio")
    assert_allclose(got.value_ha, [0.0, 2.0, 8.0])
    assert got.gap_z < -2.0
    with pytest.raises(EstimationError, match="negative"):
        benchmark_to_total([0.0, 5.0, 20.0], [4.0, 1.0, 1.0], 10.0, 1.0)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"total_variance": 16.0}, "not below"),
        ({"total_variance": 3.0, "sum_mse": 2.0}, "not below"),
        ({"total_variance": -1.0}, "total variance"),
        ({"total_variance": 1.0, "total_ha": np.nan}, "total nan"),
        ({"total_variance": 1.0, "value_ha": [-1.0, 2.0]}, "value_ha, row 1"),
        ({"total_variance": 1.0, "mse": [1.0]}, "shape"),
        ({"total_variance": 1.0, "method": "raking"}, "unknown"),
        ({"total_variance": 1.0, "value_ha": [0.0, 0.0], "method": "ratio"}, "are zero"),
    ],
)
def test_benchmarking_refuses(kwargs, words):
    given = {"value_ha": [10.0, 30.0], "mse": [4.0, 12.0], "total_ha": 44.0, **kwargs}
    with pytest.raises(EstimationError, match=words):
        benchmark_to_total(**given)


def test_finite_population_error_is_below_the_model_means():
    fit = corn_fit(without_outlier=True)
    few = eblup_finite_pop(fit, MEAN_X, COUNTY, np.full(12, 8.0))
    many = eblup_finite_pop(fit, MEAN_X, COUNTY, np.full(12, 1e9))
    assert (few.mse[fit.n[np.searchsorted(fit.domain, COUNTY.astype(str))] >= 5] < 60.0).all()
    assert_allclose(many.mse, [a["mse_pr"] for a in CORN["fits"]["REML_36"]["areas"]], rtol=1e-6)
