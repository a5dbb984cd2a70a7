"""Class hectares of 300 district-sized polygons over a full Sentinel-2 tile, against peers.

    python benchmarks/imagery_zonal.py            # rasterstats is compared where installed

Prints CPU seconds (one thread each, best of two), ratios and the largest relative difference of
a polygon's total. The raster is
synthetic: patches of five classes, 10980 x 10980 uint8, in UTM and in degrees (as many pixels of
about 10 m), where every row of pixels has an area of its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from affine import Affine
from exactextract import exact_extract
from pyproj import CRS

from imagery.grid import Grid
from imagery.zonal import class_hectares

# Reference system, west, north, side of a pixel, and metres in its unit.
UTM = ("EPSG:32647", 600_000.0, 2_300_000.0, 10.0, 1.0)
DEGREES = ("EPSG:4326", 99.0, 21.0, 1e-4, 1e5)
Place = tuple[str, float, float, float, float]


def write_tile(path: Path, size: int, place: Place, rng: np.random.Generator) -> Grid:
    crs, west, north, pixel, _ = place
    transform = Affine(pixel, 0, west, 0, -pixel, north)
    patches = rng.integers(1, 6, (-(-size // 20), -(-size // 20)), dtype=np.uint8)
    codes = np.kron(patches, np.ones((20, 20), dtype=np.uint8))[:size, :size]
    with rasterio.open(
        path, "w", driver="GTiff", width=size, height=size, count=1, dtype="uint8", nodata=0,
        crs=crs, transform=transform, tiled=True, blockxsize=512, blockysize=512,
        compress="deflate",
    ) as out:  # fmt: skip
        out.write(codes, 1)
    return Grid(crs=CRS.from_user_input(crs), transform=transform, shape=(size, size))


def blobs(
    grid: Grid, count: int, radius_m: tuple[float, float], rng: np.random.Generator
) -> gpd.GeoDataFrame:
    """Irregular polygons wholly inside the tile; they may overlap."""
    west, south, east, north = grid.bounds
    margin = 1.3 * radius_m[1]
    shapes = []
    for _ in range(count):
        x, y = rng.uniform([west + margin, south + margin], [east - margin, north - margin])
        angle = np.linspace(0.0, 2.0 * np.pi, 400, endpoint=False)
        wave = 1.0 + 0.2 * np.sin(5 * angle + rng.uniform(0, 6)) + 0.05 * rng.normal(size=400)
        reach = rng.uniform(*radius_m) * wave
        shapes.append(
            shapely.Polygon(
                np.column_stack([x + reach * np.cos(angle), y + reach * np.sin(angle)])
            )
        )
    return gpd.GeoDataFrame({"zone": np.arange(count)}, geometry=shapes, crs=grid.crs.to_wkt())


def timed(label: str, run: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    best, totals = np.inf, np.empty(0)
    for _ in range(2):
        start = time.process_time()
        totals = run()
        best = min(best, time.process_time() - start)
    print(f"  {label:32s} {best:7.2f} CPU s   total {totals.sum():14.2f} ha")
    return best, totals


def compare(path: Path, zones: gpd.GeoDataFrame) -> None:
    def ours(method: str) -> np.ndarray:
        table = class_hectares(path, zones, "zone", method=method)
        table = table[table["class_code"] > 0]
        return table.groupby("zone")["ha"].sum().reindex(zones["zone"]).to_numpy()

    def exact() -> np.ndarray:
        table = exact_extract(
            str(path), zones, ["unique", "frac", "count"], include_cols=["zone"], output="pandas"
        )
        return table.sort_values("zone")["count"].to_numpy() * 100.0 / 1e4

    exact_s, exact_ha = timed("exactextract unique, frac", exact)
    fast_s, fast_ha = timed("class_hectares, centre", lambda: ours("centre"))
    own_s, own_ha = timed("class_hectares, exact", lambda: ours("exact"))
    peers = {"exactextract": exact_s}
    if importlib.util.find_spec("rasterstats"):
        from rasterstats import zonal_stats

        def peer() -> np.ndarray:
            found = zonal_stats(zones.geometry, str(path), categorical=True, nodata=0)
            return np.array([sum(classes.values()) for classes in found]) * 100.0 / 1e4

        peers["rasterstats"], _ = timed("rasterstats categorical", peer)
    else:
        print("  rasterstats is not installed: not compared")
    for name, seconds in peers.items():
        print(f"  centre / {name}: {fast_s / seconds:.2f}   exact / {name}: {own_s / seconds:.2f}")
    print(
        f"  centre against exact: total {fast_ha.sum() / own_ha.sum() - 1:+.5%}, "
        f"worst polygon {np.abs(fast_ha / own_ha - 1).max():.4%}; "
        "exact and centre hold the area on the ellipsoid, the peers are taken at 100 m2 a pixel "
        f"({own_ha.sum() / exact_ha.sum() - 1:+.4%})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=10_980)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(7)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tile.tif"
        for place in (UTM, DEGREES):
            grid = write_tile(path, options.size, place, rng)
            for what, low, high in (("districts", 1000.0, 5000.0), ("fields", 30.0, 150.0)):
                print(f"{place[0]}: 300 {what} of {low:g}-{high:g} m radius", flush=True)
                compare(path, blobs(grid, 300, (low / place[4], high / place[4]), rng))


if __name__ == "__main__":
    main()
