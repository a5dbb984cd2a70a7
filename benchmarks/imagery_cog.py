"""Blocks of pixels to a valid COG: `imagery.raster.CogWriter` against rio-cogeo, in one run.

Both get the same blocks. The peer writes them to a tiled GeoTIFF, as anyone must, and translates
it with rio-cogeo's own DEFLATE profile and as many threads. Ours also reads back what it wrote,
so the peer is measured without and with a comparison of its file with the blocks. Both files
have DEFLATE, tiles of 512, as many overviews, and are valid for rio-cogeo.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS
from rio_cogeo.cogeo import cog_translate, cog_validate
from rio_cogeo.profiles import cog_profiles

from imagery.grid import Grid
from imagery.raster import CogWriter

BLOCK = 1024
RUNS = 3


def smooth(grid: Grid, bands: int, seed: int) -> np.ndarray:
    """Reflectance with fields and noise."""
    rng = np.random.default_rng(seed)
    rows, cols = grid.shape
    coarse = rng.integers(300, 4000, (bands, rows // 16 + 1, cols // 16 + 1))
    pixels = coarse.repeat(16, axis=1).repeat(16, axis=2)[:, :rows, :cols]
    return (pixels + rng.integers(-60, 60, pixels.shape)).astype(np.uint16)


def classes(grid: Grid, bands: int, seed: int) -> np.ndarray:
    """Codes in patches."""
    rng = np.random.default_rng(seed)
    rows, cols = grid.shape
    coarse = rng.integers(1, 9, (bands, rows // 8 + 1, cols // 8 + 1)).astype(np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :rows, :cols]


def ours(path: Path, grid: Grid, pixels: np.ndarray) -> None:
    is_map = pixels.dtype == np.uint8
    with CogWriter(
        path, grid, bands=[f"b{i}" for i in range(len(pixels))], nodata=0,
        dtype=pixels.dtype.name, is_categorical=is_map,
    ) as out:  # fmt: skip
        for block in grid.blocks(BLOCK):
            (top, bottom), (left, right) = block.window
            out.write(pixels[:, top:bottom, left:right], block)


def peer(path: Path, grid: Grid, pixels: np.ndarray) -> None:
    raw = path.with_suffix(".raw.tif")
    profile = {
        "driver": "GTiff", "width": grid.shape[1], "height": grid.shape[0],
        "count": len(pixels), "dtype": pixels.dtype.name, "crs": grid.crs.to_wkt(),
        "transform": grid.transform, "nodata": 0, "tiled": True, "blockxsize": 512,
        "blockysize": 512, "photometric": "MINISBLACK",
    }  # fmt: skip
    with rasterio.open(raw, "w", **profile) as out:
        for block in grid.blocks(BLOCK):
            (top, bottom), (left, right) = block.window
            out.write(pixels[:, top:bottom, left:right], window=block.window)
    is_map = pixels.dtype == np.uint8
    cog_translate(
        str(raw), str(path), cog_profiles.get("deflate"), nodata=0, in_memory=False, quiet=True,
        overview_resampling="mode" if is_map else "average",
        config={"GDAL_NUM_THREADS": "2"},
    )  # fmt: skip
    raw.unlink()


def peer_read_back(path: Path, grid: Grid, pixels: np.ndarray) -> None:
    peer(path, grid, pixels)
    with rasterio.open(path) as found:
        for block in grid.blocks(BLOCK):
            (top, bottom), (left, right) = block.window
            assert (found.read(window=block.window) == pixels[:, top:bottom, left:right]).all()


Measured = tuple[float, float, float]


def timed(
    make: Callable[[Path, Grid, np.ndarray], None], grid: Grid, pixels: np.ndarray, folder: Path
) -> Measured:
    path = folder / f"{make.__name__}.tif"
    start, busy = time.perf_counter(), time.process_time()
    make(path, grid, pixels)
    wall, cpu = time.perf_counter() - start, time.process_time() - busy
    assert cog_validate(str(path), quiet=True)[0]
    with rasterio.open(path) as found:
        assert found.compression.name == "deflate"
        assert found.block_shapes[0] == (512, 512)
        assert found.overviews(1) == _overviews(grid)
    size = path.stat().st_size / 2**20
    path.unlink()
    return wall, cpu, size


def _overviews(grid: Grid) -> list[int]:
    """Powers of two down to one tile."""
    factors = [2]
    while max(grid.shape) / factors[-1] > 512:
        factors.append(2 * factors[-1])
    return factors


def main() -> None:
    print(f"best of {RUNS}; wall s, CPU s, MiB")
    for name, side, bands, make in (
        ("scene, 4 bands of uint16", 4096, 4, smooth),
        ("class map, uint8", 8192, 1, classes),
    ):
        grid = Grid(
            crs=CRS.from_epsg(32647), transform=Affine(10, 0, 5e5, 0, -10, 23e5),
            shape=(side, side),
        )  # fmt: skip
        pixels = make(grid, bands, 1)
        runs: dict[str, list[Measured]] = {
            maker.__name__: [] for maker in (ours, peer, peer_read_back)
        }
        with tempfile.TemporaryDirectory() as folder:
            # In turn, so that other work on the machine meets all.
            for _ in range(RUNS):
                for maker in (ours, peer, peer_read_back):
                    runs[maker.__name__].append(timed(maker, grid, pixels, Path(folder)))
        mine, other, checked = (
            tuple(min(values) for values in zip(*of, strict=True)) for of in runs.values()
        )
        print(f"{name}, {side} x {side}")
        for label, found in (
            ("CogWriter", mine), ("rio-cogeo", other), ("rio-cogeo, read back", checked)
        ):  # fmt: skip
            print(
                f"  {label:22s}{found[0]:6.2f} {found[1]:6.2f} {found[2]:7.1f}"
                f"   CogWriter / this {mine[0] / found[0]:5.2f} {mine[1] / found[1]:5.2f}"
            )


if __name__ == "__main__":
    main()
