"""The classifier chooses its settings without looking at the plots it is judged on."""

from __future__ import annotations

import numpy as np
import pytest

from imagery.classify import TreeSettings, fit_crop_model
from imagery.errors import TrainingError


def noisy_plots(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Forty plots of ten pixels; the crop shows in the first feature only."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.where(np.arange(40) % 4 == 0, "poppy", "maize"), 10).astype(object)
    features = rng.normal(size=(400, 6)).astype(np.float32)
    features[:, 0] += np.where(label == "poppy", 2.0, -2.0)
    plot = np.repeat([f"P{i:02d}" for i in range(40)], 10).astype(object)
    return features, label, plot, np.ones(400)


def test_the_candidate_with_the_smaller_cross_validated_loss_wins() -> None:
    useless = TreeSettings(rounds=1, learning_rate=0.001)
    model = fit_crop_model(*noisy_plots(), seed=1, candidates=(useless, TreeSettings()))
    useless_loss, loss = model.card["cross_validated_log_loss"]
    assert loss < useless_loss
    assert model.card["settings"]["rounds"] == TreeSettings().rounds
    assert model.card["producers_accuracy"]["poppy"] > 0.8


def test_random_splits_are_another_model_and_seeds_repeat() -> None:
    table = noisy_plots()
    plain = fit_crop_model(*table, seed=1)
    extra = fit_crop_model(*table, seed=1, candidates=(TreeSettings(is_random_split=True),))
    again = fit_crop_model(*table, seed=1)
    pixels = table[0][:50]
    assert np.array_equal(plain.predict_proba(pixels), again.predict_proba(pixels))
    assert not np.array_equal(plain.predict_proba(pixels), extra.predict_proba(pixels))


def test_pixels_of_one_plot_never_judge_a_model_that_saw_the_plot() -> None:
    # Every plot has its own signature and the labels mean nothing: pixel-wise folds would
    # find nearly all of them again, folds of whole plots cannot.
    rng = np.random.default_rng(4)
    plot = np.repeat([f"P{i:02d}" for i in range(40)], 10).astype(object)
    label = np.repeat(rng.permutation(["poppy", "maize"] * 20), 10).astype(object)
    features = np.repeat(rng.normal(size=(40, 3)), 10, axis=0).astype(np.float32)
    model = fit_crop_model(features, label, plot, np.ones(400), seed=1)
    matrix = np.array(model.card["error_matrix_rows_map_columns_reference"])
    assert np.trace(matrix) / matrix.sum() < 0.75


def test_whole_pieces_of_land_are_left_out() -> None:
    # The label follows the piece of land, and so does the only feature: plots of the same
    # piece give the label away, other pieces do not.
    rng = np.random.default_rng(8)
    piece = np.repeat(np.arange(20), 20)
    label = np.where(np.repeat(rng.permutation([0, 1] * 10), 20) == 1, "poppy", "maize")
    plot = np.array([f"P{i // 5:02d}" for i in range(400)], dtype=object)
    features = np.column_stack([rng.normal(size=20)[piece], rng.normal(size=400)])
    table = (features.astype(np.float32), label.astype(object), plot, np.ones(400))
    blocks = np.array([f"0/{p}" for p in piece], dtype=object)

    def right(**options: object) -> float:
        model = fit_crop_model(*table, seed=2, **options)
        matrix = np.array(model.card["error_matrix_rows_map_columns_reference"])
        return float(np.trace(matrix) / matrix.sum())

    assert right() > 0.95
    assert right(spatial_block=blocks) < 0.75
    with pytest.raises(TrainingError, match="one spatial block"):
        right(spatial_block=np.full(400, "0/0", dtype=object))


def test_calibration_curve_counts_every_pixel_once() -> None:
    model = fit_crop_model(*noisy_plots(), seed=1)
    for curve in model.card["calibration"].values():
        assert sum(point["pixels"] for point in curve) == pytest.approx(400)
        assert curve[-1]["predicted"] > 0.9
        assert curve[-1]["observed"] > 0.8
        assert curve[0]["observed"] < 0.2
