"""Thresholds, decisions and calibration, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import calibration_curve
from sklearn.inspection import permutation_importance
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


def test_a_threshold_by_hand() -> None:
    # The crop has 0.9 and 0.4, other land 0.6 and 0.1. From 0.11 to 0.40 both are found and one
    # of three taken is wrong: F1 = 4 / 5; up to 0.60 it is 2 / 4, up to 0.90 it is 2 / 3. Of the
    # equally good ones 0.40 is nearest to 0.5.
    crop = np.array([0.9, 0.4, 0.6, 0.1])
    label = np.array([1, 1, 0, 0], dtype=np.int32)
    scores = np.column_stack([1.0 - crop, crop])
    assert tuned_thresholds(scores, label, np.ones(4), [1])[1] == 0.40
    # Where the wrong pixel counts ten times, calling it costs more than missing 0.4: F1 of the
    # first range is 4 / 14, of the last still 2 / 3; 0.61 is nearest to 0.5.
    heavy = np.array([1.0, 1.0, 10.0, 1.0])
    assert tuned_thresholds(scores, label, heavy, [1])[1] == 0.61


def test_a_classifier_that_knows_its_probabilities_has_a_straight_curve() -> None:
    # In every tenth 20 pixels of probability 0.05, 0.15, ... of which that share is the crop.
    tenth = np.repeat(np.arange(10), 20)
    crop = 0.05 + 0.1 * tenth
    label = (np.tile(np.arange(20), 10) < 1 + 2 * tenth).astype(np.int32)
    curve = calibration(np.column_stack([1 - crop, crop]), label, np.ones(200), ("a", "b"))["b"]
    assert [point["observed"] for point in curve] == [point["predicted"] for point in curve]
    assert [point["predicted"] for point in curve] == pytest.approx(0.05 + 0.1 * np.arange(10))
    assert [point["pixels"] for point in curve] == [20.0] * 10


def test_the_calibration_curve_is_that_of_sklearn() -> None:
    rng = np.random.default_rng(11)
    crop = rng.random(2000)
    label = (rng.random(2000) < crop**2).astype(np.int32)
    curve = calibration(np.column_stack([1 - crop, crop]), label, np.ones(2000), ("a", "b"))["b"]
    observed, predicted = calibration_curve(label, crop, n_bins=10)
    assert [point["observed"] for point in curve] == pytest.approx(observed, abs=1e-4)
    assert [point["predicted"] for point in curve] == pytest.approx(predicted, abs=1e-4)


class Known(ClassifierMixin, BaseEstimator):
    """Nine to one for the class that the sign of the first feature names; blind to the others."""

    classes_ = np.array([0, 1])

    def fit(self, *_: object) -> Known:
        return self

    def predict_proba(self, pixels: np.ndarray) -> np.ndarray:
        crop = np.where(pixels[:, 0] > 0, 0.9, 0.1)
        return np.column_stack([1.0 - crop, crop])

    def __sklearn_is_fitted__(self) -> bool:
        return True


def land(n: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(n, 3)).astype(np.float32)
    return features, (features[:, 0] > 0).astype(np.int32), rng.uniform(0.5, 1.0, n)


def test_a_feature_that_decides_everything_has_the_importance_that_one_computes() -> None:
    features, label, weight = land()
    groups = ["decides", "noise", "noise"]
    rise = importance_of_groups(
        lambda _: Known().predict_proba, features, label, weight, np.arange(600) % 2, groups,
        np.random.default_rng(3),
    )  # fmt: skip
    assert list(rise) == ["decides", "noise"]
    assert rise["noise"] == 0.0
    # Shuffled, a pixel gets the other class's value with the share of the other class in its
    # fold, near a half, and its loss goes from -log 0.9 to -log 0.1. The share wrong in a
    # permutation of a fold of 300 has a standard deviation near 0.5 / sqrt(300) at most.
    tolerance = 4.0 * 0.5 / np.sqrt(300 * 2 * 3) * np.log(9.0)
    assert rise["decides"] == pytest.approx(0.5 * np.log(9.0), abs=tolerance)


def test_importance_is_that_of_sklearn() -> None:
    features, label, weight = land()
    one_fold = np.zeros(600, dtype=int)
    own = importance_of_groups(
        lambda _: Known().predict_proba, features, label, weight, one_fold, ["a", "b", "c"],
        np.random.default_rng(4),
    )  # fmt: skip
    theirs = permutation_importance(
        Known(), features, label, scoring="neg_log_loss", n_repeats=40, random_state=5,
        sample_weight=weight,
    )  # fmt: skip
    # Ours is a mean of three permutations, theirs of forty.
    tolerance = 4.0 * theirs["importances_std"][0] * np.sqrt(1 / 3 + 1 / 40)
    assert own["a"] == pytest.approx(theirs["importances_mean"][0], abs=tolerance)
    assert tolerance < 0.1 * own["a"]
    assert own["b"] == own["c"] == theirs["importances_mean"][1] == 0.0


def test_importance_does_not_depend_on_the_number_of_threads() -> None:
    features, label, weight = land()
    found = [
        importance_of_groups(
            lambda _: Known().predict_proba, features, label, weight, np.arange(600) % 5,
            ["a", "b", "c"], np.random.default_rng(6), threads=threads,
        )
        for threads in (1, 4)
    ]  # fmt: skip
    assert found[0] == found[1]


@given(st.integers(0, 2**32 - 1))
def test_a_threshold_is_a_whole_percent_and_others_have_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(3), 30)
    limits = tuned_thresholds(scores, rng.integers(0, 3, 30).astype(np.int32), np.ones(30), [2])
    assert np.isnan(limits[:2]).all()
    assert 0.01 <= limits[2] <= 0.99
