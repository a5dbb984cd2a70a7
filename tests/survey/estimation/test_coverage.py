"""A small seeded part of benchmarks/coverage.py: bias, coverage and what the naive interval does.

Tolerances come from the number of draws: four Monte Carlo errors for the bias, three for the
coverage (draws, not districts, are the independent units).
"""

import math
import re
from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks.coverage import cell, population

RUNS = 80
DOCS = Path(__file__).resolve().parents[3] / "docs"


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


def test_the_summary_of_the_methods_is_that_of_the_coverage_tables():
    """Lowest and highest of each row over the shares of positive segments, to two digits."""
    tables = re.findall(
        r"^## (District|Province|Country)\w*\n(.*?)(?=^## )",
        (DOCS / "coverage.md").read_text(encoding="utf-8"),
        flags=re.DOTALL | re.MULTILINE,
    )
    found = defaultdict(list)
    for level, table in tables:
        for line in re.findall(r"^\| \d+% .*", table, flags=re.MULTILINE):
            _, _, size, estimator, *_, normal, _, default, _ = line.split("|")
            key = (level.lower(), estimator.strip(), size.strip())
            found[key].append([cell.split()[0] for cell in (normal, default)])
    summary = re.findall(
        r"^\| (district|province|country) \| (.*?) \| (\d+) \| (.*?) \| (.*?) \|$",
        (DOCS / "methods.md").read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    assert len(summary) > 50
    for *key, normal, default in summary:
        rows = found[tuple(key)]
        assert len(rows) == 3
        for stated, values in zip((normal, default), zip(*rows, strict=True), strict=True):
            if stated == "-":
                assert set(values) == {"-"}
                continue
            low, high = (float(text) for text in stated.split("-"))
            assert low == pytest.approx(min(map(float, values)), abs=0.0051), key
            assert high == pytest.approx(max(map(float, values)), abs=0.0051), key
