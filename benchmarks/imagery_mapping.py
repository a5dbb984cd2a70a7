"""Mapping end to end, and that its memory does not grow with the raster.

    python -m benchmarks.imagery_mapping --size 1024 --size 2048
    python -m benchmarks.imagery_mapping --size 10980 --workers 2
    python -m benchmarks.imagery_mapping --size 2048 --dask 1 --dask 2
    python -m benchmarks.imagery_mapping --size 2048 --risk 0.2

Each size runs in a process of its own: 10 bands x 3 dates of noise with clouds, four indices,
four classes x 50 rounds = 200 trees, class and probability COG. Prints megapixels a CPU second
(workers included) and a second, and the peak resident memory of this process and of the largest
worker. With --dask only the rate between the first windows and the last counts: it is without
start-up. The CPU seconds of a window in the workers and in the command say, on a busy machine too,
what the rate of several workers could be at most.
--no-compiler leaves the extra `fast` out even where it is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from imagery.catalog import read_scenes
from imagery.classify import RISK_INSIDE, RISK_OUTSIDE
from imagery.features import FeatureSpec, block_features
from imagery.grid import Grid
from imagery.mapping import map_scenes
from imagery.training import TreeSettings, fit_crop_model

BANDS = (
    "blue", "green", "red", "rededge", "rededge2", "rededge3", "nir", "nir2", "swir1", "swir2",
)  # fmt: skip
SPEC = FeatureSpec(indices=("ndvi", "ndre", "ndmi", "nbr"), min_clear=2)
# Workers are started anew: what they find installed is decided where they start.
_WITHOUT_COMPILER = """
import importlib.util as util
find = util.find_spec
util.find_spec = lambda name, *rest: None if name == "lleaves" else find(name, *rest)
"""


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


def run(folder: Path, options: argparse.Namespace) -> None:
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
    mpx = stack.grid.shape[0] * stack.grid.shape[1] / 1e6
    risk_area = None
    if options.risk:
        risk_area = folder / "risk.tif"
        write_risk(risk_area, stack.grid, options.risk)

    def measured(name: str, **how: Any) -> None:
        moments: list[tuple[float, float, float]] = []

        def note(*_: int) -> None:
            moments.append((time.perf_counter(), time.process_time(), cluster_seconds()))

        wall, cpu = time.perf_counter(), cpu_seconds()
        map_scenes(
            stack, model, SPEC, class_map=folder / f"{name}.tif",
            probability=folder / f"{name}_p.tif", crops=["poppy"], risk_area=risk_area,
            progress=note, block_size=options.block, **how,
        )  # fmt: skip
        wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
        own, child = (
            resource.getrusage(who).ru_maxrss / 1024
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        skipped = min(4, len(moments) // 2)
        n_windows = len(moments) - skipped - 1
        a_window, here, there = (
            (last - first) / n_windows
            for first, last in zip(moments[skipped], moments[-1], strict=True)
        )
        print(
            f"{name:10s} {mpx:7.2f} Mpx   {mpx / cpu:.3f} Mpx a CPU second   {wall:.1f} s   "
            f"{mpx / wall:.3f} Mpx/s, between windows {mpx / len(moments) / a_window:.3f} Mpx/s   "
            f"peak {own:.0f} MiB, largest worker {child:.0f} MiB",
            flush=True,
        )
        if "scheduler" in how:
            print(
                f"{'':10s} a window: {a_window:.3f} s, {there:.3f} CPU s in workers, "
                f"{here:.3f} in the command",
                flush=True,
            )

    if not options.dask:
        measured(f"workers{options.workers}", workers=options.workers)
    for n_workers in options.dask or ():
        from distributed import LocalCluster

        with LocalCluster(
            n_workers=n_workers, threads_per_worker=1, dashboard_address=None
        ) as cluster:
            measured(f"dask{n_workers}", scheduler=cluster.scheduler_address)


def cpu_seconds() -> float:
    """Of this process and its ended children."""
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def cluster_seconds() -> float:
    """CPU seconds of the running children: the workers of a local cluster."""
    try:
        import psutil
    except ImportError:
        return 0.0
    children = psutil.Process().children(recursive=True)
    return float(sum(sum(child.cpu_times()[:2]) for child in children))


def write_risk(path: Path, grid: Grid, share: float) -> None:
    """The northern share of the grid is inside."""
    codes = np.full(grid.shape, RISK_OUTSIDE, dtype=np.uint8)
    codes[: round(share * grid.shape[0])] = RISK_INSIDE
    with rasterio.open(
        path, "w", driver="GTiff", width=grid.shape[1], height=grid.shape[0], count=1,
        dtype="uint8", crs=grid.crs.to_wkt(), transform=grid.transform, tiled=True,
        compress="zstd", nodata=0,
    ) as out:  # fmt: skip
        out.write(codes, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, action="append", help="pixels a side")
    parser.add_argument("--workers", type=int, default=1, help="processes that classify")
    parser.add_argument("--dask", type=int, action="append", help="workers of a local cluster")
    parser.add_argument("--block", type=int, help="pixels a side of a block")
    parser.add_argument("--risk", type=float, help="share of the land inside the risk area")
    parser.add_argument("--no-compiler", action="store_true")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.run:
        run(options.run, options)
        return
    for size in options.size or [1024, 2048]:
        with tempfile.TemporaryDirectory() as folder:
            write_scenes(Path(folder), size)
            environment = dict(os.environ)
            if options.no_compiler:
                (Path(folder) / "sitecustomize.py").write_text(_WITHOUT_COMPILER)
                environment["PYTHONPATH"] = os.pathsep.join(
                    [folder, os.environ.get("PYTHONPATH", "")]
                )
            subprocess.run(
                [sys.executable, "-m", "benchmarks.imagery_mapping", "--run", folder,
                 *sys.argv[1:]],
                check=True, env=environment,
            )  # fmt: skip


if __name__ == "__main__":
    main()
