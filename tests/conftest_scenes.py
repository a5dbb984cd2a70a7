"""Tiny scenes in a folder, as the tests of this package need them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

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
