"""A small seeded part of benchmarks/coverage.py: bias, coverage and what the naive interval does.

Tolerances come from the number of draws: four Monte Carlo errors for the bias, three for the
coverage (draws, not districts, are the independent units).
"""

import math

import pytest

from benchmarks.coverage import cell, population

RUNS = 80


@pytest.fixture(scope="module")
def rows():
    return cell(0.25, 30, RUNS, "validate", seed=5)


@pytest.mark.parametrize("level", ["district", "province"])
@pytest.mark.parametrize("estimator", ["expansion", "ratio", "regression", "ladder"])
def test_default_intervals_cover(rows, level, estimator):
    row = rows[level, estimator]
    assert row["default_coverage"] > 0.95 - 3.0 * math.sqrt(0.95 * 0.05 / RUNS)


@pytest.mark.parametrize("estimator", ["expansion", "ratio", "regression"])
def test_provinces_are_nearly_unbiased(rows, estimator):
    row = rows["province", estimator]
    assert abs(row["bias"]) < 4.0 * row["rmse"] / math.sqrt(RUNS)


def test_the_naive_interval_misses_on_the_upper_side():
    row = cell(0.05, 10, RUNS, "validate", seed=6)["province", "expansion"]
    assert row["normal_coverage"] < 0.85
    assert row["default_coverage"] > 0.95 - 3.0 * math.sqrt(0.95 * 0.05 / RUNS)
    assert row["default_below"] <= row["default_above"] + 0.02


def test_the_map_helps_and_the_sample_corrects_it(rows):
    assert rows["province", "regression"]["rmse"] < 0.8 * rows["province", "expansion"]["rmse"]
    pop = population(0.25, 500, "validate")
    covariate = pop.frame.covariate_ha
    assert covariate is not None
    counted = covariate.sum() / pop.truth_ha.sum() - 1.0
    assert abs(counted) > 3.0 * abs(rows["province", "regression"]["bias"])
