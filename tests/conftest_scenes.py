"""Tiny scenes in a folder, as the tests of this package need them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

from imagery.calendars import Calendar, Season, Zones
from imagery.catalog import SceneStack, read_scenes
from imagery.features import FeatureSpec
from imagery.terrain import Elevation
from imagery.texture import Texture

BANDS = ("blue", "green", "red", "rededge", "nir", "swir1")


def write_scene(
    folder: Path,
    number: int,
    values: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    crs: str | None = "EPSG:32647",
    west: float = 500_000.0,
    pixel: float = 10.0,
) -> Path:
    """One scene of reflectance x 10,000 with its mask; returns the sidecar's path."""
    folder.mkdir(exist_ok=True)
    day = (date(2026, 1, 1) + timedelta(days=10 * number)).isoformat()
    bands, rows, cols = values.shape
    profile = {
        "driver": "GTiff",
        "width": cols,
        "height": rows,
        "crs": crs,
        "transform": from_origin(west, 2_300_000.0, pixel, pixel),
    }
    path = folder / f"{day}.tif"
    with rasterio.open(path, "w", **profile, count=bands, dtype="uint16", nodata=0) as out:
        out.write(values.astype(np.uint16))
    mask = np.zeros((rows, cols)) if mask is None else mask
    with rasterio.open(folder / f"{day}_mask.tif", "w", **profile, count=1, dtype="uint8") as out:
        out.write(mask.astype(np.uint8), 1)
    sidecar = path.with_suffix(".json")
    sidecar.write_text(
        json.dumps(
            {
                "date": day,
                "bands": BANDS[:bands],
                "scale": 0.0001,
                "offset": 0.0,
                "mask": f"{day}_mask.tif",
                "mask_clear": [0],
            }
        )
    )
    return sidecar


def dated(sidecar: Path, day: str) -> None:
    """Give a scene another date than its file name says."""
    meta = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**meta, "date": day}))


def landscape(folder: Path) -> tuple[SceneStack, FeatureSpec]:
    """Random land with clouds, and a spec that asks for everything there is."""
    rng = np.random.default_rng(11)
    start = date(2025, 11, 3)
    for number in range(9):
        mask = (rng.random((45, 60)) < 0.25).astype(int)
        sidecar = write_scene(folder, number, rng.integers(0, 5000, (6, 45, 60)), mask)
        dated(sidecar, (start + timedelta(days=13 * number)).isoformat())
    stack = read_scenes(folder)
    t = stack.grid.transform
    dem = folder / "dem"
    dem.mkdir()
    with rasterio.open(
        dem / "dem.tif", "w", driver="GTiff", width=40, height=40, count=1, dtype="float32",
        crs="EPSG:32647", transform=type(t)(27.0, 0, t.c - 100, 0, -27.0, t.f + 100),
    ) as out:  # fmt: skip
        out.write(rng.random((1, 40, 40), dtype=np.float32) * 500)
    layer = gpd.GeoDataFrame(
        {"stratum_id": ["south"]},
        geometry=[shapely.Point(500_250, 2_299_750).buffer(170.0)],
        crs=32647,
    )
    calendar = Calendar(
        season=Season(start=date(2025, 12, 1), end=date(2026, 1, 31)),
        strata=(("south", Season(start=date(2025, 11, 1), end=date(2025, 12, 31))),),
        zones=Zones.of(layer, "stratum_id", stack.grid),
    )
    return stack, FeatureSpec(
        indices=("ndvi", "ndmi"),
        min_clear=2,
        calendar=calendar,
        max_gap_days=40,
        cloud_buffer_m=12.0,
        phenology=("ndvi", "savi"),
        texture=Texture(bands=("green", "ndvi"), window=5, levels=8),
        elevation=Elevation.of(dem / "dem.tif"),
    )


@pytest.fixture
def make_scenes(tmp_path: Path) -> Callable[..., Path]:
    """A folder with scenes of the given size and random reflectance."""

    def make(rows: int = 40, cols: int = 50, n_dates: int = 4, seed: int = 1) -> Path:
        rng = np.random.default_rng(seed)
        folder = tmp_path / "scenes"
        for number in range(n_dates):
            write_scene(folder, number, rng.integers(200, 5000, (6, rows, cols)))
        return folder

    return make
