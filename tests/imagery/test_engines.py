"""Every engine gives what LightGBM gives."""

from __future__ import annotations

import importlib.util

import lightgbm
import numpy as np
import pytest

from imagery.engines import fastest


@pytest.mark.parametrize("is_small", [True, False])
def test_probabilities_are_lightgbms(is_small: bool) -> None:
    rng = np.random.default_rng(5)
    label = rng.integers(0, 3, 600)
    features = rng.normal(size=(600, 6)).astype(np.float32) + label[:, None]
    parameters = {"objective": "multiclass", "num_class": 3, "verbosity": -1, "num_threads": 1}
    booster = lightgbm.train(parameters, lightgbm.Dataset(features, label), num_boost_round=10)
    pixels = rng.normal(size=(5000, 6)).astype(np.float32) * 2.0
    found = fastest(booster, threads=2, is_small=is_small)(pixels)
    expected = booster.predict(pixels, num_threads=1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()


def test_the_compiled_engine_is_tested() -> None:
    assert importlib.util.find_spec("lleaves") is not None, "the dev extra holds it"
