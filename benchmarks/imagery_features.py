"""Features of three dates and of 36 half-months: pixels a second, memory, and against numpy.

    python -m benchmarks.imagery_features --sizes 1024 2048

Each case runs in a process of its own, one thread. The same few images stand for all dates, each
date with a cloud mask of its own, so that the disk holds little. docs/imagery.md has the figures.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from imagery.calendars import Calendar, Season
from imagery.catalog import read_scenes
from imagery.composites import median
from imagery.features import FeatureSpec, block_features, block_size_for, feature_names
from imagery.texture import Texture

BANDS = [
    "blue", "green", "red", "rededge", "rededge2", "rededge3", "nir", "nir08", "swir1", "swir2",
]  # fmt: skip
INDICES = ("ndvi", "ndre", "ndmi", "mtci")
SEASON = Season(start=date(2025, 1, 1), end=date(2026, 6, 30))
CASES = {
    "3 dates": (3, FeatureSpec(indices=INDICES, min_clear=2)),
    "36 half-months of 72 dates": (
        72,
        FeatureSpec(indices=INDICES, min_clear=12, calendar=Calendar(season=SEASON)),
    ),
    "36 half-months and phenology": (
        72,
        FeatureSpec(
            indices=INDICES, min_clear=12, calendar=Calendar(season=SEASON), phenology=("ndvi",)
        ),
    ),
    "1 date and texture of 7 x 7": (
        1,
        FeatureSpec(indices=INDICES, min_clear=1, texture=Texture(bands=("green",), window=7)),
    ),
}
CLOUDY = 0.4


def scenes(folder: Path, size: int, n_dates: int) -> None:
    """Images of smooth noise with patches of cloud, in tiles of 512."""
    rng = np.random.default_rng(1)
    profile = {
        "driver": "GTiff", "width": size, "height": size, "crs": "EPSG:32647",
        "transform": from_origin(400_000, 2_400_000, 10, 10), "tiled": True, "blockxsize": 512,
        "blockysize": 512, "compress": "deflate", "zlevel": 1,
    }  # fmt: skip
    images = []
    for number in range(min(n_dates, 3)):
        path = folder / f"image{number}.tif"
        with rasterio.open(path, "w", **profile, count=len(BANDS), dtype="uint16") as out:
            for row in range(0, size, 512):
                rows = min(512, size - row)
                pixels = rng.integers(200, 4500, (len(BANDS), rows, size), dtype=np.uint16)
                out.write(pixels, window=((row, row + rows), (0, size)))
        images.append(path)
    step = timedelta(days=7.5)
    for number in range(n_dates):
        day = (date(2025, 1, 2) + number * step).isoformat()
        (folder / f"{day}.tif").symlink_to(images[number % len(images)])
        patches = rng.random((size // 16 + 1, size // 16 + 1)) < CLOUDY
        clouds = np.kron(patches, np.ones((16, 16), dtype=bool))[:size, :size]
        with rasterio.open(
            folder / f"{day}_mask.tif", "w", **profile, count=1, dtype="uint8"
        ) as out:
            out.write(clouds.astype(np.uint8), 1)
        sidecar = {"date": day, "bands": BANDS, "scale": 1e-4, "mask": f"{day}_mask.tif"}
        (folder / f"{day}.json").write_text(json.dumps(sidecar))


def run(folder: Path, case: str) -> None:
    """One case in this process: features of every block, kept by nobody."""
    spec = CASES[case][1]
    stack = read_scenes(folder)
    size = block_size_for(stack, spec)
    start = time.process_time()
    for block in stack.grid.blocks(size):
        observed = block_features(stack, spec, block).is_observed.mean()
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pixels = stack.grid.shape[0] * stack.grid.shape[1] / 1e6
    print(
        f"| {case} | {stack.grid.shape[0]} | {len(feature_names(stack, spec))} | {size} "
        f"| {pixels / seconds:.3f} | {peak:.0f} | {observed:.2f} |",
        flush=True,
    )


def against_numpy() -> None:
    """Median composite of six dates, ours beside `numpy.nanmedian` on the same array."""
    rng = np.random.default_rng(2)
    values = rng.random((6, 10, 256, 256), dtype=np.float32)
    clear = rng.random((6, 256, 256)) > CLOUDY
    hidden = np.where(clear[:, None], values, np.float32(np.nan))
    start = time.process_time()
    expected = np.nanmedian(np.where(clear.any(axis=0), hidden, 0), axis=0)
    theirs = time.process_time() - start
    start = time.process_time()
    found = median(values, clear)
    ours = time.process_time() - start
    same = np.allclose(found[:, clear.any(axis=0)], expected[:, clear.any(axis=0)])
    print(f"median of 6 dates: {ours / theirs:.3f} of numpy.nanmedian's time; equal: {same}")
    try:
        import bottleneck
    except ImportError:
        return
    start = time.process_time()
    bottleneck.nanmedian(hidden, axis=0)
    print(f"median of 6 dates: {ours / (time.process_time() - start):.3f} of bottleneck's time")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048])
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run(Path(options.run[0]), options.run[1])
        return
    against_numpy()
    print("| case | pixels a side | features | block | Mpx a CPU second | peak MiB | observed |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for size in options.sizes:
        for case in options.cases:
            with tempfile.TemporaryDirectory() as folder:
                scenes(Path(folder), size, CASES[case][0])
                command = [sys.executable, "-m", "benchmarks.imagery_features"]
                subprocess.run([*command, "--run", folder, case], check=True)


if __name__ == "__main__":
    main()
