"""Bad rasters are refused with a reason, and a map appears whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest_scenes import write_scene
from pyproj import CRS

from imagery.catalog import read_scenes
from imagery.errors import GridError, SceneError, WriteError
from imagery.features import FeatureSpec, block_features
from imagery.grid import Block, Grid
from imagery.mapping import map_scenes
from imagery.raster import CogWriter, is_valid_cog, open_raster
from imagery.training import fit_crop_model

GRID = Grid(crs=CRS.from_epsg(32647), transform=Affine(10, 0, 5e5, 0, -10, 23e5), shape=(600, 700))


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_bands_are_data_never_colours_or_transparency(tmp_path: Path, bands: int) -> None:
    path = tmp_path / "m.tif"
    with CogWriter(path, GRID, bands=[f"b{i}" for i in range(bands)], nodata=255) as out:
        for block in GRID.blocks(512):
            out.write(np.full((bands, *block.shape), 7, dtype=np.uint8), block)
    assert is_valid_cog(path)
    with rasterio.open(path) as cog:
        assert not {"red", "alpha"} & {interpretation.name for interpretation in cog.colorinterp}
        assert (cog.read() == 7).all()
        assert cog.overviews(1)
    assert [file.name for file in tmp_path.iterdir()] == ["m.tif"]


def test_a_raster_of_one_pixel(tmp_path: Path) -> None:
    for number in range(3):
        write_scene(tmp_path / "s", number, np.full((6, 1, 1), 2000))
    stack = read_scenes(tmp_path / "s")
    found = block_features(
        stack, FeatureSpec(indices=("ndvi",)), Block(row=0, col=0, rows=1, cols=1)
    )
    assert found.values.shape == (21, 1, 1)
    assert found.is_observed.all()
    one = Grid(crs=GRID.crs, transform=GRID.transform, shape=(1, 1))
    with CogWriter(tmp_path / "m.tif", one, bands=["class"], nodata=0) as out:
        out.write(np.ones((1, 1, 1), dtype=np.uint8), next(one.blocks(512)))
    assert is_valid_cog(tmp_path / "m.tif")


def test_a_file_cut_in_the_middle_names_the_file_and_leaves_no_map(
    tmp_path: Path, make_scenes: Callable[..., Path]
) -> None:
    folder = make_scenes(rows=600, cols=600)
    stack = read_scenes(folder)
    spec = FeatureSpec(indices=())
    image = stack.scenes[1].path
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    rng = np.random.default_rng(0)
    label = np.repeat(["poppy", "forest"], 50).astype(object)
    plot = np.array([f"P{i // 5}" for i in range(100)], dtype=object)
    pixels = rng.random((100, 24), dtype=np.float32)
    model = fit_crop_model(pixels, label, plot, np.ones(100), seed=1)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(SceneError, match=rf"{image.name} is damaged at row \d+"):
        map_scenes(
            stack,
            model,
            spec,
            class_map=out / "c.tif",
            probability=out / "p.tif",
            crops=["poppy"],
            block_size=256,
        )
    assert list(out.iterdir()) == []


def test_an_image_that_points_elsewhere_is_not_opened(tmp_path: Path) -> None:
    secret = tmp_path / "secret.tif"
    with rasterio.open(
        secret, "w", driver="GTiff", width=4, height=4, count=1, dtype="uint8",
        crs="EPSG:32647", transform=GRID.transform,
    ) as out:  # fmt: skip
        out.write(np.ones((4, 4), dtype=np.uint8), 1)
    disguised = tmp_path / "scene.tif"
    disguised.write_text(
        '<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{secret}</SourceFilename></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    with (
        pytest.raises(SceneError, match=r"scene\.tif cannot be read as GeoTIFF"),
        open_raster(disguised),
    ):
        pass


def test_a_header_that_declares_one_giant_tile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "giant.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=30_000, height=30_000, count=1, dtype="uint8",
        crs="EPSG:32647", transform=GRID.transform, blockysize=20_480,
        tiled=True, blockxsize=20_480, sparse_ok=True,
    ):  # fmt: skip
        pass
    with pytest.raises(SceneError, match="rewrite it with tiles of 512"), open_raster(path):
        pass


def test_a_rotated_scene_is_refused_by_name(tmp_path: Path) -> None:
    sidecar = write_scene(tmp_path, 0, np.ones((6, 5, 5)))
    with rasterio.open(sidecar.with_suffix(".tif"), "r+") as image:
        image.transform = Affine(10, 1, 5e5, 1, -10, 23e5)
    with pytest.raises(GridError, match=r"2026-01-01\.tif: grid .* is rotated"):
        read_scenes(tmp_path)


def test_not_a_number_and_infinity_are_gaps(tmp_path: Path) -> None:
    for number in range(3):
        sidecar = write_scene(tmp_path, number, np.full((6, 1, 4), 2000))
        image = sidecar.with_suffix(".tif")
        with rasterio.open(image) as old:
            profile, pixels = old.profile, old.read().astype(np.float32)
        profile.update(dtype="float32", nodata=None)
        if number == 1:
            pixels[3, 0, 0] = np.nan
            pixels[0, 0, 1] = np.inf
        with rasterio.open(image, "w", **profile) as new:
            new.write(pixels)
    found = block_features(
        read_scenes(tmp_path),
        FeatureSpec(indices=("ndvi",)),
        Block(row=0, col=0, rows=1, cols=4),
    )
    assert found.n_clear.tolist() == [[2, 2, 3, 3]]
    assert np.isfinite(found.values).all()


def test_an_unwritable_folder_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(WriteError, match=r"check that .* is writable"),
        CogWriter(tmp_path / "missing" / "m.tif", GRID, bands=["class"], nodata=0),
    ):
        pass


WRITER = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from affine import Affine
from pyproj import CRS
from imagery.grid import Grid
from imagery.raster import CogWriter

limit = int(sys.argv[2])
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
grid = Grid(crs=CRS.from_epsg(32647), transform=Affine(10, 0, 5e5, 0, -10, 23e5),
            shape=(2048, 2048))
rng = np.random.default_rng(0)
with CogWriter(Path(sys.argv[1]), grid, bands=["class"], nodata=0) as out:
    for block in grid.blocks(512):
        out.write(rng.integers(0, 255, (1, *block.shape), dtype=np.uint8), block)
        print("block", flush=True)
        if not limit:
            import time
            time.sleep(0.2)
"""


@pytest.mark.parametrize("limit", [300_000, 4_400_000])
def test_a_full_disk_leaves_no_map(tmp_path: Path, limit: int) -> None:
    # The lower limit is hit by the temporary file, the higher one only by the COG with its
    # overviews.
    run = subprocess.run(
        [sys.executable, "-c", WRITER, str(tmp_path / "m.tif"), str(limit)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        check=False,
    )
    assert run.returncode == 1
    assert "WriteError: m.tif could not be written" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    path = tmp_path / "m.tif"
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "block\n"
    time.sleep(0.1)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert not path.exists()
    assert all(file.name.startswith(".m-raw-") for file in tmp_path.iterdir())
    # The next writer of the same map clears what the killed one left.
    with CogWriter(path, GRID, bands=["class"], nodata=0) as out:
        for block in GRID.blocks(512):
            out.write(np.ones((1, *block.shape), dtype=np.uint8), block)
    assert [file.name for file in tmp_path.iterdir()] == ["m.tif"]
