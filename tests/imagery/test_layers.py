"""Feature rasters: whole or absent, made once, and composites that serve as scenes."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest_scenes import landscape

from imagery import layers
from imagery.calendars import Calendar, Season
from imagery.catalog import read_scenes
from imagery.errors import SceneError
from imagery.features import FeatureSpec, block_features, feature_names
from imagery.grid import Block
from imagery.layers import KINDS, write_layers
from imagery.raster import is_valid_cog

SEASON = Season(start=date(2025, 11, 1), end=date(2026, 1, 31))
SHARED = FeatureSpec(
    indices=("ndvi",), min_clear=2, calendar=Calendar(season=SEASON), phenology=("savi",)
)


def read(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    with rasterio.open(path) as dataset:
        return dataset.read(), dataset.descriptions


def test_every_layer_is_what_training_and_mapping_see(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    stack, spec = landscape(tmp_path / "s")
    paths = write_layers(stack, spec, tmp_path / "f", block_size=31)
    assert all(is_valid_cog(path) for path in paths)
    rows, cols = stack.grid.shape
    found = block_features(stack, spec, Block(row=0, col=0, rows=rows, cols=cols))
    names = feature_names(stack, spec)
    written: dict[str, np.ndarray] = {}
    for path in paths:
        pixels, bands = read(path)
        prefix = (
            f"{path.stem} " if path.parent.name in ("composites", "indices", "texture") else ""
        )
        if path.stem != "observations":
            written |= dict(zip([prefix + band for band in bands], pixels, strict=True))
    assert sorted(written) == sorted(names)
    clear = found.n_dates > 0
    for number, name in enumerate(names):
        expected = found.values[number]
        step, _, layer = name.partition(" ")
        if layer in stack.bands:  # what was interpolated is no observation
            expected = np.where(clear[int(step[1:]) - 1], expected, np.nan)
        np.testing.assert_array_equal(written[name], expected, err_msg=name)
    counts, bands = read(tmp_path / "f" / "observations.tif")
    assert counts.dtype == np.uint16
    assert bands[:2] == ("p01", "p02")
    assert bands[-3:] == ("gap_days", "unobserved_percent", "is_observed")
    np.testing.assert_array_equal(counts[: len(clear)], found.n_dates)
    np.testing.assert_array_equal(counts[-1] == 1, found.is_observed)
    np.testing.assert_array_equal(counts[-2] == 100, ~clear.any(axis=0))
    # Strata of other months: the pictures have no one date, so they are no scenes.
    assert not list((tmp_path / "f").rglob("*.json"))


def test_composites_serve_as_scenes(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    stack, _ = landscape(tmp_path / "s")
    write_layers(stack, SHARED, tmp_path / "f", kinds=["composites"])
    assert [path.name for path in (tmp_path / "f").iterdir()] == ["composites"]
    again = read_scenes(tmp_path / "f" / "composites")
    rows, cols = stack.grid.shape
    block = Block(row=0, col=0, rows=rows, cols=cols)
    first, second = (block_features(one, SHARED, block) for one in (stack, again))
    assert feature_names(again, SHARED) == feature_names(stack, SHARED)
    np.testing.assert_array_equal(second.values, first.values)
    np.testing.assert_array_equal(second.is_observed, first.is_observed)


def test_what_stands_is_not_made_again_and_what_was_killed_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s").mkdir()
    stack, _ = landscape(tmp_path / "s")
    made = 0

    def counted(*arguments: object) -> object:
        nonlocal made
        made += 1
        return block_features(*arguments)  # type: ignore[arg-type]

    def killed(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(layers, "block_features", counted)
    arguments = {"block_size": 16, "keep": tmp_path / "w", "kinds": ["phenology", "observations"]}
    with pytest.raises(KeyboardInterrupt):
        write_layers(stack, SHARED, tmp_path / "f", progress=killed, **arguments)
    assert not list((tmp_path / "f").rglob("*.tif"))
    paths = write_layers(stack, SHARED, tmp_path / "f", **arguments)
    assert made == 3 * 4  # windows of 16 pixels in 45 x 60: none was made twice
    assert not (tmp_path / "w").exists()
    write_layers(stack, SHARED, tmp_path / "f", **arguments)
    assert made == 12
    straight = write_layers(stack, SHARED, tmp_path / "g", **arguments)
    for one, other in zip(paths, straight, strict=True):
        np.testing.assert_array_equal(read(one)[0], read(other)[0])


def test_a_kind_that_is_none_or_not_asked_for_says_so(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    stack, _ = landscape(tmp_path / "s")
    with pytest.raises(SceneError, match="layer maps is not known; choose from composites"):
        write_layers(stack, SHARED, tmp_path, kinds=["maps"])
    with pytest.raises(SceneError, match=r"survey.toml asks for no terrain and no texture"):
        write_layers(stack, SHARED, tmp_path, kinds=["terrain", "texture"])
    assert set(KINDS) > {"terrain", "texture"}
