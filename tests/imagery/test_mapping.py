"""Features fill gaps in time, and maps do not depend on how they are cut into blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest_scenes import write_scene

from imagery import mapping
from imagery.catalog import read_scenes
from imagery.classify import UNOBSERVED
from imagery.errors import SceneError, TrainingError
from imagery.features import FeatureSpec, block_features, block_size_for
from imagery.grid import Block
from imagery.mapping import map_scenes
from imagery.raster import is_valid_cog
from imagery.training import fit_crop_model

SPEC = FeatureSpec(indices=("ndvi",), min_clear=2)
WHOLE = Block(row=0, col=0, rows=1, cols=4)


def test_masked_dates_are_interpolated_in_time_by_hand(tmp_path: Path) -> None:
    # Red and near infrared constant per date; pixel 1 is clouded on date 1, pixel 2 on the
    # first date, pixel 3 on all but one.
    masks = np.zeros((3, 1, 4))
    masks[1, 0, 1] = 1
    masks[0, 0, 2] = 1
    masks[[0, 1], 0, 3] = 1
    for number, level in enumerate((1000, 9000, 3000)):
        write_scene(tmp_path, number, np.full((6, 1, 4), level), masks[number])
    found = block_features(read_scenes(tmp_path), SPEC, WHOLE)
    red = found.values.reshape(3, 7, 1, 4)[:, 2, 0, :]
    np.testing.assert_allclose(red[:, 0], [0.1, 0.9, 0.3], rtol=1e-6)
    np.testing.assert_allclose(red[:, 1], [0.1, 0.2, 0.3], rtol=1e-6)
    np.testing.assert_allclose(red[:, 2], [0.9, 0.9, 0.3], rtol=1e-6)
    np.testing.assert_allclose(red[:, 3], [0.3, 0.3, 0.3], rtol=1e-6)
    assert found.n_clear.tolist() == [[3, 2, 2, 1]]
    assert found.is_observed.tolist() == [[True, True, True, False]]


def test_a_pixel_never_clear_has_no_features_and_nodata_is_not_clear(tmp_path: Path) -> None:
    for number in range(3):
        values = np.full((6, 1, 4), 2000)
        values[:, 0, 1] = 0  # nodata in the image itself
        mask = np.zeros((1, 4))
        mask[0, 2] = 255
        write_scene(tmp_path, number, values, mask)
    found = block_features(read_scenes(tmp_path), SPEC, WHOLE)
    assert found.n_clear.tolist() == [[3, 0, 0, 3]]
    assert np.isnan(found.values[:, 0, 1:3]).all()
    assert found.is_observed.tolist() == [[True, False, False, True]]


def test_index_without_its_band_says_so(tmp_path: Path) -> None:
    for number in range(2):
        write_scene(tmp_path, number, np.full((4, 1, 4), 2000))
    with pytest.raises(SceneError, match="band nir, swir1 is needed"):
        block_features(read_scenes(tmp_path), FeatureSpec(indices=("ndmi",)), WHOLE)
    with pytest.raises(SceneError, match="index greenness is not known"):
        block_features(read_scenes(tmp_path), FeatureSpec(indices=("greenness",)), WHOLE)


def trained(folder: Path):
    stack = read_scenes(folder)
    features = block_features(stack, SPEC, Block(row=0, col=0, rows=40, cols=50)).values
    pixels = features.reshape(len(features), -1).T
    label = np.where(pixels[:, 2] > 0.25, "poppy", "forest").astype(object)
    plot = np.array([f"P{i % 40}-{name}" for i, name in enumerate(label)], dtype=object)
    return stack, fit_crop_model(pixels, label, plot, np.ones(len(pixels)), seed=3)


def test_maps_are_valid_cogs_and_the_same_for_any_block_size(
    tmp_path: Path, make_scenes: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, model = trained(make_scenes())
    made = []
    for size in (512, 17):
        # The second time also a few rows of a block at a time.
        monkeypatch.setattr(mapping, "_TABLE_BYTES", {512: 2**26, 17: 6000}[size])
        class_map, probability = tmp_path / f"c{size}.tif", tmp_path / f"p{size}.tif"
        seen: list[tuple[int, int]] = []
        map_scenes(
            stack,
            model,
            SPEC,
            class_map=class_map,
            probability=probability,
            crops=["poppy", "cannabis"],
            progress=lambda done, total, seen=seen: seen.append((done, total)),
            block_size=size,
            observations=tmp_path / f"o{size}.tif",
        )
        assert is_valid_cog(class_map)
        assert is_valid_cog(probability)
        assert seen[-1][0] == seen[-1][1] == len(seen)
        with rasterio.open(class_map) as classes, rasterio.open(probability) as chances:
            assert classes.nodata == UNOBSERVED
            assert classes.tags()["CLASS_2"] == "poppy"
            assert classes.colormap(1)[2][3] == 255
            assert chances.descriptions == ("poppy", "cannabis")
            assert (chances.read(2) == 255).all()  # never trained: unknown, not zero
            made.append((classes.read(), chances.read()))
    np.testing.assert_array_equal(made[0][0], made[1][0])
    np.testing.assert_array_equal(made[0][1], made[1][1])


def test_what_a_map_rests_on_is_a_layer_beside_it(
    tmp_path: Path, make_scenes: Callable[..., Path]
) -> None:
    _, model = trained(make_scenes())
    mask = np.zeros((4, 40, 50))
    mask[1, :, 10:] = 1
    mask[2:, :, 20:] = 1
    mask[:, :, 30:] = 1
    for number in range(4):
        write_scene(tmp_path / "cloudy", number, np.full((6, 40, 50), 3000), mask[number])
    map_scenes(
        read_scenes(tmp_path / "cloudy"),
        model,
        SPEC,
        class_map=tmp_path / "c.tif",
        probability=tmp_path / "p.tif",
        crops=["poppy"],
        observations=tmp_path / "o.tif",
        block_size=17,
    )
    assert is_valid_cog(tmp_path / "o.tif")
    with rasterio.open(tmp_path / "o.tif") as layer, rasterio.open(tmp_path / "c.tif") as classes:
        assert layer.descriptions == ("clear_dates", "unobserved_percent", "is_observed")
        assert layer.nodata == 255
        pixels = layer.read()[:, 7, ::10]
        observed = layer.read(3) == 1
        np.testing.assert_array_equal(observed, classes.read(1) != UNOBSERVED)
    assert pixels.tolist() == [[4, 3, 1, 0, 0], [0, 25, 75, 100, 100], [1, 1, 0, 0, 0]]


def test_a_failure_on_the_way_leaves_no_file(
    tmp_path: Path, make_scenes: Callable[..., Path]
) -> None:
    folder = make_scenes()
    stack, model = trained(folder)
    out = tmp_path / "maps"
    out.mkdir()

    def fail(done: int, total: int) -> None:
        if done == 2:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        map_scenes(
            stack,
            model,
            SPEC,
            class_map=out / "c.tif",
            probability=out / "p.tif",
            crops=["poppy"],
            progress=fail,
            block_size=17,
        )
    assert list(out.iterdir()) == []


def test_model_text_survives_saving_and_a_changed_one_is_refused(
    tmp_path: Path, make_scenes: Callable[..., Path]
) -> None:
    _, model = trained(make_scenes())
    model.save(tmp_path)
    again = type(model).load(tmp_path)
    pixels = np.random.default_rng(0).random((50, model.n_features), dtype=np.float32)
    np.testing.assert_array_equal(model.predict_proba(pixels), again.predict_proba(pixels))
    assert again.card["cross_validated_by"] == "plot"
    (tmp_path / "model.txt").write_text((tmp_path / "model.txt").read_text() + " ")
    with pytest.raises(TrainingError, match="is not the model"):
        type(model).load(tmp_path)
    with pytest.raises(TrainingError, match="5 features"):
        model.predict_proba(pixels[:, :5])


@pytest.mark.parametrize(
    ("label", "message"),
    [(["poppy"] * 6, "two"), (["poppy"] * 5 + ["forest"], "single training plot")],
)
def test_too_little_training_is_refused(label: list[str], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        fit_crop_model(
            np.zeros((6, 2), dtype=np.float32),
            np.array(label, dtype=object),
            np.array(["a", "b", "c", "d", "e", "f"], dtype=object),
            np.ones(6),
            seed=1,
        )


def test_more_dates_make_smaller_blocks(make_scenes: Callable[..., Path]) -> None:
    few = read_scenes(make_scenes(n_dates=4))
    later = [
        replace(scene, acquired=scene.acquired + timedelta(days=100 * season))
        for season in range(40)
        for scene in few.scenes
    ]
    many = type(few)(scenes=tuple(later), grid=few.grid)
    assert block_size_for(few, SPEC) == 512
    assert block_size_for(many, SPEC) == 256


def test_clouds_over_the_whole_season_give_an_unobserved_map(
    tmp_path: Path, make_scenes: Callable[..., Path]
) -> None:
    _, model = trained(make_scenes())
    for number in range(4):
        write_scene(tmp_path / "cloudy", number, np.full((6, 40, 50), 3000), np.ones((40, 50)))
    map_scenes(
        read_scenes(tmp_path / "cloudy"),
        model,
        SPEC,
        class_map=tmp_path / "c.tif",
        probability=tmp_path / "p.tif",
        crops=["poppy"],
    )
    with rasterio.open(tmp_path / "c.tif") as classes, rasterio.open(tmp_path / "p.tif") as odds:
        assert (classes.read() == UNOBSERVED).all()
        assert (odds.read() == 255).all()
    assert is_valid_cog(tmp_path / "c.tif")
