"""Thresholds, decisions and calibration, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from imagery.accuracy import (
    accuracy_of,
    calibration,
    cross_fitted_classes,
    decide,
    importance_of_groups,
    tuned_thresholds,
)

NONE = np.nan


def test_decisions_by_hand() -> None:
    scores = np.array([[0.5, 0.3, 0.2], [0.3, 0.3, 0.4], [0.1, 0.6, 0.3], [0.4, 0.35, 0.25]])
    assert decide(scores, np.full(3, NONE)).tolist() == [0, 2, 1, 0]
    # The second class needs 0.4, or it is the best of the others; ties go to the first.
    assert decide(scores, np.array([NONE, 0.4, NONE])).tolist() == [0, 2, 1, 0]
    assert decide(scores, np.array([NONE, 0.3, NONE])).tolist() == [1, 1, 1, 1]
    # Two crops: the one that exceeds its own threshold by the larger factor.
    assert decide(scores, np.array([NONE, 0.3, 0.1])).tolist() == [2, 2, 2, 2]
    # A likeliest class that misses its threshold yields to the best class without one.
    assert decide(scores, np.array([NONE, 0.7, NONE])).tolist() == [0, 2, 2, 0]
    # All have thresholds and none is reached: the likeliest.
    assert decide(scores, np.array([0.9, 0.9, 0.9])).tolist() == [0, 2, 1, 0]


def test_the_threshold_has_the_best_f1_of_all_percents() -> None:
    rng = np.random.default_rng(0)
    label = (rng.random(400) < 0.1).astype(np.int32)
    crop = np.clip(rng.normal(0.2 + 0.25 * label, 0.12), 0.0, 1.0)
    weight = rng.uniform(0.5, 1.0, 400)
    (_, limit) = tuned_thresholds(np.column_stack([1 - crop, crop]), label, weight, [1])
    by_sklearn = {
        t: f1_score(label, crop >= t, sample_weight=weight, zero_division=0.0)
        for t in np.arange(1, 100) / 100.0
    }
    assert by_sklearn[limit] == pytest.approx(max(by_sklearn.values()))


def test_no_fold_is_judged_by_a_threshold_that_saw_it() -> None:
    # In fold 0 the crop has 0.3, in fold 1 it has 0.7: each threshold fails in the other.
    crop = np.array([0.3, 0.3, 0.1, 0.1, 0.7, 0.7, 0.5, 0.5])
    label = np.array([1, 1, 0, 0, 1, 1, 0, 0], dtype=np.int32)
    fold = np.repeat([0, 1], 4)
    scores = np.column_stack([1.0 - crop, crop])
    found = cross_fitted_classes(scores, label, np.ones(8), fold, [1])
    assert found[:2].tolist() == [0, 0]
    assert found[4:].tolist() == [1, 1, 1, 1]


def test_accuracies_and_calibration_by_hand() -> None:
    label = np.array([0, 0, 1, 1], dtype=np.int32)
    weight = np.array([1.0, 1.0, 0.5, 1.5])
    card = accuracy_of(np.array([0, 1, 1, 1]), label, weight, ("a", "b"))
    assert card["error_matrix_rows_map_columns_reference"] == [[1.0, 0.0], [1.0, 2.0]]
    assert card["users_accuracy"] == {"a": 1.0, "b": pytest.approx(2 / 3, abs=1e-4)}
    assert card["producers_accuracy"] == {"a": 0.5, "b": 1.0}
    scores = np.array([[0.95, 0.05], [0.45, 0.55], [0.42, 0.58], [0.0, 1.0]])
    curve = calibration(scores, label, weight, ("a", "b"))["b"]
    assert [point["observed"] for point in curve] == [0.0, pytest.approx(1 / 3, abs=1e-4), 1.0]
    assert curve[-1]["predicted"] == 1.0


def test_only_what_the_trees_use_is_important() -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(200, 3)).astype(np.float32)
    label = (features[:, 0] > 0).astype(np.int32)

    def predict(_: int, pixels: np.ndarray) -> np.ndarray:
        crop = 1.0 / (1.0 + np.exp(-4.0 * pixels[:, 0].astype(float)))
        return np.column_stack([1.0 - crop, crop])

    fold = np.arange(200) % 2
    groups = ["used", "unused", "unused"]
    rise = importance_of_groups(predict, features, label, np.ones(200), fold, groups, rng)
    assert list(rise) == ["used", "unused"]
    assert rise["used"] > 1.0
    assert rise["unused"] == 0.0


@given(st.integers(0, 2**32 - 1))
def test_a_threshold_is_a_whole_percent_and_others_have_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(3), 30)
    limits = tuned_thresholds(scores, rng.integers(0, 3, 30).astype(np.int32), np.ones(30), [2])
    assert np.isnan(limits[:2]).all()
    assert 0.01 <= limits[2] <= 0.99
