"""Scenes that do not fit together are refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest_scenes import write_scene

from imagery.catalog import read_scenes
from imagery.errors import GridError, ImageryError, SceneError
from imagery.grid import Block, Lattice


def test_scenes_come_in_order_of_date(make_scenes: Callable[..., Path]) -> None:
    stack = read_scenes(make_scenes(n_dates=3))
    days = [scene.acquired for scene in stack.scenes]
    assert days == sorted(days)
    assert stack.grid.shape == (40, 50)


def test_a_declared_grid_cuts_the_scenes_as_they_are_read(
    make_scenes: Callable[..., Path],
) -> None:
    stack = read_scenes(make_scenes(rows=40, cols=50, n_dates=2))
    # Two rows above the scenes, and their first 30 columns without the first five.
    part = stack.grid.part(Block(row=-2, col=5, rows=12, cols=25))
    cut = stack.on(part)
    assert (cut.grid, len(cut.scenes)) == (part, 2)
    found, clear = cut.read(0, ("red",), Block(row=0, col=0, rows=12, cols=25))
    whole, _ = stack.read(0, ("red",), Block(row=0, col=5, rows=10, cols=25))
    np.testing.assert_array_equal(found[:, 2:], whole)
    assert clear.tolist() == [[False] * 25] * 2 + [[True] * 25] * 10
    # Pixels without bounds leave everything as it is.
    assert stack.on(Lattice.parse("EPSG:32647@10")) is stack


def test_scenes_beside_the_declared_grid_are_refused(make_scenes: Callable[..., Path]) -> None:
    stack = read_scenes(make_scenes(n_dates=2))
    for grid in (Lattice.parse("EPSG:32647@20"), Lattice.parse("EPSG:32646@10")):
        with pytest.raises(SceneError, match=r"2026-01-01.tif .* does not lie on the grid that"):
            stack.on(grid)
    with pytest.raises(SceneError, match="no scene meets the grid that the round declares"):
        stack.on(stack.grid.part(Block(row=4000, col=0, rows=5, cols=5)))


def edit(path: Path, **changes: Any) -> None:
    meta = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in meta.items() if value is not None}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"date": "2026-13-01"}, "month must be in"),
        ({"date": None}, "key 'date' is missing"),
        ({"bands": ["blue", "green"]}, "has 6 bands, its sidecar names 2"),
        ({"mask": "elsewhere.tif"}, "names elsewhere.tif, which does not exist"),
        ({"mask": "../elsewhere.tif"}, "must lie beside the image"),
        ({"scale": "much"}, "could not convert"),
        ({"mask": {"file": "2026-01-01_mask.tif"}}, "a mask needs one of"),
        ({"mask": {"file": "2026-01-01_mask.tif", "cleer": [1]}}, "unknown key cleer"),
        ({"mask": {"file": "2026-01-01_mask.tif", "band": 2, "max": 4}}, "has 1 bands, not 2"),
        ({"scale": [0.1, 0.2]}, "scale has 2 values for 6 bands"),
        ({"scale": 0}, "not a usable number"),
        ({"scale": -0.0001}, "not a usable number"),
        ({"ofset": -0.1}, "'ofset' is unknown; did you mean 'offset'"),
        ({"No_data": 0}, "'No_data' is unknown; did you mean 'nodata'"),
    ],
)
def test_malformed_sidecars(
    make_scenes: Callable[..., Path], changes: dict[str, Any], message: str
) -> None:
    folder = make_scenes(n_dates=2)
    edit(sorted(folder.glob("*.json"))[0], **changes)
    with pytest.raises(SceneError, match=message):
        read_scenes(folder)


def test_keys_of_others_may_stand_in_a_sidecar(make_scenes: Callable[..., Path]) -> None:
    folder = make_scenes(n_dates=2)
    edit(sorted(folder.glob("*.json"))[0], gsd=10, datetime="2026-01-01T04:00:00Z", instrument="x")
    assert len(read_scenes(folder).scenes) == 2


def test_a_sidecar_nested_beyond_reason_is_no_crash(make_scenes: Callable[..., Path]) -> None:
    folder = make_scenes(n_dates=2)
    sorted(folder.glob("*.json"))[0].write_text("[" * 100_000)
    with pytest.raises(SceneError, match="nested too deep"):
        read_scenes(folder)


def test_missing_folder_image_and_reference_system(
    tmp_path: Path, make_scenes: Callable[..., Path]
) -> None:
    with pytest.raises(SceneError, match="holds no scene sidecars"):
        read_scenes(tmp_path / "none")
    folder = make_scenes(n_dates=2)
    write_scene(folder, 5, np.ones((6, 40, 50)), crs=None)
    with pytest.raises(GridError, match="no coordinate reference system"):
        read_scenes(folder)


def test_shifted_grid_and_truncated_file(make_scenes: Callable[..., Path]) -> None:
    folder = make_scenes(n_dates=2)
    extra = write_scene(folder, 5, np.ones((6, 40, 50)), west=500_003.0)
    with pytest.raises(SceneError, match=r"lies on another grid .*500003 .* against .*500000 "):
        read_scenes(folder)
    image = extra.with_suffix(".tif")
    image.write_bytes(image.read_bytes()[:100])
    with pytest.raises(ImageryError, match=image.name):
        read_scenes(folder)
