"""The classifier chooses its settings without looking at the plots it is judged on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imagery.classify import CropModel
from imagery.errors import TrainingError
from imagery.training import TreeSettings, fit_crop_model


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


def rare_crop() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sixty plots, six of them poppy, that overlap the others in the only useful feature."""
    rng = np.random.default_rng(11)
    label = np.repeat(np.where(np.arange(60) % 10 == 0, "poppy", "maize"), 10).astype(object)
    features = rng.normal(size=(600, 4)).astype(np.float32)
    features[:, 0] += np.where(label == "poppy", 1.2, 0.0)
    plot = np.repeat([f"P{i:02d}" for i in range(60)], 10).astype(object)
    return features, label, plot, np.ones(600)


def test_the_threshold_of_a_rare_crop_finds_more_of_it_and_the_map_uses_it() -> None:
    table = rare_crop()
    model = fit_crop_model(*table, seed=1, crops=["poppy", "cannabis"])
    assert set(model.thresholds) == {"poppy"}
    assert model.thresholds["poppy"] < 0.5
    found = model.card["producers_accuracy"]["poppy"]
    trial = model.card["thresholds_tried"]["poppy"]
    assert trial["is_used"]
    assert found == trial["producers_accuracy_with"] > trial["producers_accuracy_without"]
    scores = model.predict_proba(table[0])
    expected = np.where(scores[:, 1] >= np.float32(model.thresholds["poppy"]), 2, 1)
    np.testing.assert_array_equal(model.classes(scores), expected)
    assert (model.classes(scores) != scores.argmax(axis=1) + 1).any()


def test_a_threshold_that_gains_nothing_on_plots_left_out_is_not_used() -> None:
    model = fit_crop_model(*noisy_plots(), seed=1, crops=["poppy"])
    assert not model.card["thresholds_tried"]["poppy"]["is_used"]
    assert model.thresholds == {}
    scores = model.predict_proba(noisy_plots()[0])
    np.testing.assert_array_equal(model.classes(scores), scores.argmax(axis=1) + 1)


def test_importance_names_the_layer_and_the_date_that_matter() -> None:
    names = [f"2026-0{month} {layer}" for month in (1, 2) for layer in ("ndvi", "red", "nir")]
    card = fit_crop_model(*noisy_plots(), seed=1, feature_names=names).card
    by_layer, by_date = card["importance"]["by layer"], card["importance"]["by date"]
    assert next(iter(by_layer)) == "ndvi"
    assert by_layer["ndvi"] > 0.5 > 10 * abs(by_layer["nir"])
    assert next(iter(by_date)) == "2026-01"
    with pytest.raises(TrainingError, match="5 names were given for 6 features"):
        fit_crop_model(*noisy_plots(), seed=1, feature_names=names[:5])


def test_a_model_keeps_its_thresholds_features_and_a_card_to_read(tmp_path: Path) -> None:
    names = tuple(f"2026-01 f{i}" for i in range(4))
    model = fit_crop_model(*rare_crop(), seed=1, crops=["poppy"], feature_names=names)
    model.save(tmp_path)
    again = CropModel.load(tmp_path)
    assert again.thresholds == model.thresholds
    assert again.feature_names == names
    again.require_features(names)
    with pytest.raises(TrainingError, match="feature 2 is 'x' and was '2026-01 f1'"):
        again.require_features((names[0], "x", *names[2:]))
    with pytest.raises(TrainingError, match="there are 3 features and were 4"):
        again.require_features(names[:3])
    text = (tmp_path / "model.md").read_text()
    for word in ("not the accuracy over the land", "| poppy |", "## Calibration", "f0 |"):
        assert word in text
    stored = (tmp_path / "model.json").read_text()
    (tmp_path / "model.json").write_text(stored.replace('"poppy": 0.', '"poppy": 7.', 1))
    with pytest.raises(TrainingError, match=r"threshold poppy 7\.\d+ is not a probability"):
        CropModel.load(tmp_path)
