"""Mapping end to end, and that its memory does not grow with the raster.

    python benchmarks/imagery_mapping.py --size 1024 --size 2048

Each size runs in a process of its own: 10 bands x 3 dates of noise with clouds, four indices,
four classes x 50 rounds = 200 trees, class and probability COG. Prints Mpx a CPU second and the
peak resident memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from imagery.catalog import read_scenes
from imagery.features import FeatureSpec, block_features
from imagery.grid import Grid
from imagery.mapping import map_scenes
from imagery.training import TreeSettings, fit_crop_model

BANDS = (
    "blue", "green", "red", "rededge", "rededge2", "rededge3", "nir", "nir2", "swir1", "swir2",
)  # fmt: skip
SPEC = FeatureSpec(indices=("ndvi", "ndre", "ndmi", "nbr"), min_clear=2)


def write_scenes(folder: Path, size: int) -> None:
    rng = np.random.default_rng(1)
    profile = {
        "driver": "GTiff", "width": size, "height": size, "crs": "EPSG:32647", "tiled": True,
        "transform": Affine(10, 0, 5e5, 0, -10, 2.3e6), "blockxsize": 512, "blockysize": 512,
        "compress": "zstd", "zstd_level": 1,
    }  # fmt: skip
    for number in range(3):
        name = f"2026-01-{10 * number + 1:02d}"
        with (
            rasterio.open(
                folder / f"{name}.tif", "w", count=10, dtype="uint16", nodata=0, **profile
            ) as image,
            rasterio.open(
                folder / f"{name}_mask.tif", "w", count=1, dtype="uint8", **profile
            ) as m,
        ):
            for row in range(0, size, 512):
                rows = min(512, size - row)
                window = ((row, row + rows), (0, size))
                image.write(
                    rng.integers(200, 5000, (10, rows, size), dtype="uint16"), window=window
                )
                m.write((rng.random((rows, size)) < 0.2).astype("uint8"), 1, window=window)
        sidecar = {"date": name, "bands": BANDS, "scale": 1e-4, "mask": f"{name}_mask.tif"}
        (folder / f"{name}.json").write_text(json.dumps(sidecar))


def run(folder: Path) -> None:
    stack = read_scenes(folder)
    found = block_features(stack, SPEC, next(Grid.blocks(stack.grid, 64)))
    pixels = np.ascontiguousarray(found.values[:, found.is_observed].T)
    order = np.argsort(pixels[:, 2])
    label = np.empty(len(pixels), dtype=object)
    for code, part in enumerate(np.array_split(order, 4)):
        label[part] = ("forest", "maize", "poppy", "water")[code]
    plot = np.array([f"P{i % 60}" for i in range(len(pixels))], dtype=object)
    model = fit_crop_model(
        pixels, label, plot, np.ones(len(pixels)), seed=1, n_folds=2,
        candidates=(TreeSettings(rounds=50, leaves=31),),
    )  # fmt: skip
    wall, cpu = time.perf_counter(), time.process_time()
    map_scenes(
        stack, model, SPEC, class_map=folder / "c.tif", probability=folder / "p.tif",
        crops=["poppy"],
    )  # fmt: skip
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    mpx = stack.grid.shape[0] * stack.grid.shape[1] / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{mpx:7.2f} Mpx   {mpx / cpu:.3f} Mpx a CPU second   {wall:.1f} s wall   "
        f"peak {peak:.0f} MiB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, action="append", help="pixels a side")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.run:
        run(options.run)
        return
    for size in options.size or [1024, 2048]:
        with tempfile.TemporaryDirectory() as folder:
            write_scenes(Path(folder), size)
            subprocess.run([sys.executable, __file__, "--run", folder], check=True)


if __name__ == "__main__":
    main()
