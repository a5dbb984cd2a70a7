"""Scenes of one day on several tiles: one mosaic, every pixel once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest_scenes import write_scene

from imagery.catalog import read_scenes
from imagery.errors import GridError, SceneError
from imagery.grid import Block, Grid


def rename(sidecar: Path, name: str) -> Path:
    """Give a scene of `write_scene` another name, so that the day can have a second one."""
    meta = json.loads(sidecar.read_text())
    mask = sidecar.with_name(meta["mask"])
    mask.rename(mask.with_name(f"{name}_mask.tif"))
    sidecar.with_suffix(".tif").rename(sidecar.with_name(f"{name}.tif"))
    sidecar.unlink()
    renamed = sidecar.with_name(f"{name}.json")
    renamed.write_text(json.dumps({**meta, "mask": f"{name}_mask.tif"}))
    return renamed


def two_tiles(folder: Path) -> None:
    """Day 0 in two tiles that share three columns, the first cloudy in one; day 1 in one."""
    mask = np.zeros((4, 6))
    mask[:, 4] = 1
    rename(write_scene(folder, 0, np.full((1, 4, 6), 1000), mask), "a")
    rename(write_scene(folder, 0, np.full((1, 4, 6), 3000), west=500_030.0), "b")
    write_scene(folder, 1, np.full((1, 4, 3), 5000), west=500_060.0)


def test_overlapping_tiles_of_a_day_count_once_and_the_first_clear_one_stands(
    tmp_path: Path,
) -> None:
    two_tiles(tmp_path)
    stack = read_scenes(tmp_path)
    assert stack.grid.shape == (4, 9)
    assert stack.grid.bounds[0] == 500_000.0
    assert len(stack.scenes) == 3
    assert len(stack.dates) == 2
    assert len(stack.paths) == 6
    whole = Block(row=0, col=0, rows=4, cols=9)
    values, clear = stack.read(0, ["blue"], whole)
    assert clear.all()
    # Column 4 is cloudy in tile a, so b shows it; columns 3 and 5 are seen in both: a counts.
    np.testing.assert_allclose(values[0, 0], [0.1, 0.1, 0.1, 0.1, 0.3, 0.1, 0.3, 0.3, 0.3])
    values, clear = stack.read(1, ["blue"], whole)
    assert clear[0].tolist() == [False] * 6 + [True] * 3
    assert np.isnan(values[0, :, :6]).all()


def test_any_cut_of_the_grid_reads_the_same(tmp_path: Path) -> None:
    two_tiles(tmp_path)
    stack = read_scenes(tmp_path)
    whole, _ = stack.read(0, ["blue"], Block(row=0, col=0, rows=4, cols=9))
    parts = [stack.read(0, ["blue"], Block(row=0, col=col, rows=4, cols=1))[0] for col in range(9)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=2), whole)


def test_a_band_that_one_tile_lacks_is_named(tmp_path: Path) -> None:
    write_scene(tmp_path, 0, np.full((2, 3, 3), 1000))
    write_scene(tmp_path, 1, np.full((1, 3, 3), 1000))
    stack = read_scenes(tmp_path)
    with pytest.raises(SceneError, match="lacks band green"):
        stack.read(1, stack.bands, Block(row=0, col=0, rows=3, cols=3))


def test_alignment_of_grids(tmp_path: Path) -> None:
    write_scene(tmp_path, 0, np.ones((1, 4, 6)))
    grid = read_scenes(tmp_path).grid

    def other(west: float, pixel: float = 10.0) -> Grid:
        t = grid.transform
        return Grid(
            crs=grid.crs,
            transform=type(t)(pixel, 0, west, 0, -pixel, t.f - 20.0),
            shape=(2, 2),
        )

    assert grid.offset_of(other(499_980.0)) == (2, -2)
    assert grid.offset_of(other(500_003.0)) is None
    assert grid.offset_of(other(500_000.0, pixel=20.0)) is None
    # Off by a tenth of a millimetre: the same grid.
    assert grid.offset_of(other(500_010.0001)) == (2, 1)
    assert grid.union([other(499_980.0)]).shape == (4, 8)
    with pytest.raises(GridError, match="no union"):
        grid.union([other(500_003.0)])
