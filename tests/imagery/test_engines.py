"""Every engine gives what LightGBM gives."""

from __future__ import annotations

import importlib.util
from typing import Any

import lightgbm
import numpy as np
import pytest

from imagery.engines import fastest

ENGINES = {
    "lightgbm": {"is_small": True},
    "xgboost": {"may_compile": False},
    "compiled": {},
}


def trained(n_missing: int = 0) -> tuple[Any, np.ndarray]:
    rng = np.random.default_rng(5)
    label = rng.integers(0, 3, 600)
    features = rng.normal(size=(600, 6)).astype(np.float32) + label[:, None]
    features[:n_missing, 1] = np.nan
    parameters = {"objective": "multiclass", "num_class": 3, "verbosity": -1, "num_threads": 1}
    booster = lightgbm.train(parameters, lightgbm.Dataset(features, label), num_boost_round=10)
    return booster, features


@pytest.mark.parametrize("options", ENGINES.values(), ids=list(ENGINES))
def test_probabilities_are_lightgbms(options: dict[str, bool]) -> None:
    booster, _ = trained()
    pixels = np.random.default_rng(6).normal(size=(5000, 6)).astype(np.float32) * 2.0
    found = fastest(booster, threads=2, **options)(pixels)
    expected = booster.predict(pixels, num_threads=1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()


@pytest.mark.parametrize("options", ENGINES.values(), ids=list(ENGINES))
@pytest.mark.parametrize("n_missing", [0, 200])
def test_pixels_on_a_threshold_zero_or_missing_take_the_same_way(
    options: dict[str, bool], n_missing: int
) -> None:
    booster, _ = trained(n_missing)
    table = booster.trees_to_dataframe()
    cut = table["threshold"].dropna().to_numpy()
    nearest = cut.astype(np.float32)
    around = np.concatenate(
        [nearest, np.nextafter(nearest, np.float32(-9)), np.nextafter(nearest, np.float32(9))]
    )
    # LightGBM takes what is smaller than 1e-35 for 0; no reflectance is.
    around = around[np.abs(around) > 1e-30]
    values = np.concatenate([around, np.array([0.0, np.nan], dtype=np.float32)])
    pixels = np.random.default_rng(1).choice(values, (4000, 6)).astype(np.float32)
    found = fastest(booster, threads=1, **options)(pixels)
    np.testing.assert_allclose(found, booster.predict(pixels, num_threads=1), atol=1e-6)


def test_the_engines_are_tested() -> None:
    for name in ("lleaves", "xgboost"):
        assert importlib.util.find_spec(name) is not None, f"{name} belongs to the environment"
