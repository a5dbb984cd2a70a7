"""Invented products as a sensor delivers them: rasters, archives and Landsat metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

__all__ = ["landsat_folder", "write_image", "write_sidecar", "write_tif"]


def write_tif(
    path: Path,
    pixels: np.ndarray,
    *,
    crs: str | None = "EPSG:32647",
    west: float = 500_000.0,
    north: float = 2_300_000.0,
    pixel: float = 10.0,
    nodata: float | None = None,
    **options: Any,
) -> Path:
    """Write (bands, rows, cols) as a GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands, rows, cols = pixels.shape
    with rasterio.open(
        path, "w", **{
            "driver": "GTiff", "width": cols, "height": rows, "count": bands,
            "dtype": pixels.dtype, "crs": crs, "nodata": nodata,
            "transform": Affine(pixel, 0, west, 0, -pixel, north), "photometric": "MINISBLACK",
            **options,
        },
    ) as out:  # fmt: skip
        out.write(pixels)
    return path


def write_sidecar(image: Path, /, **keys: Any) -> Path:
    """Sidecar beside an image; `mask` is null unless given."""
    sidecar = image.with_suffix(".json")
    said = {"date": "2026-01-05", "bands": ["red"], "scale": 0.0001, "mask": None, **keys}
    sidecar.write_text(json.dumps({k: v for k, v in said.items() if v != "absent"}))
    return sidecar


def write_image(path: Path, value: float = 1200, size: int = 20, **keys: Any) -> Path:
    """A plain one-band scene of one value, with its sidecar; the sidecar's path."""
    write_tif(path, np.full((1, size, size), value, dtype=np.uint16), nodata=0)
    return write_sidecar(path, **keys)


def landsat_folder(folder: Path, qa_pixel: np.ndarray, qa_radsat: np.ndarray) -> Path:
    """A Landsat 9 product with the layout and the keys of a real MTL file."""
    name = "LC09_L2SP_131047_20220129_20220131_02_T1"
    product = folder / name
    shape = qa_pixel.shape
    files = {f"SR_B{band}": f"FILE_NAME_BAND_{band}" for band in range(1, 8)}
    for band in range(1, 8):
        stored = np.full((1, *shape), 10_000 + 1000 * band, dtype=np.uint16)
        stored[0, 0, 0] = 0
        write_tif(product / f"{name}_SR_B{band}.TIF", stored, pixel=30.0, nodata=0)
    for suffix, codes in (("QA_PIXEL", qa_pixel), ("QA_RADSAT", qa_radsat)):
        write_tif(product / f"{name}_{suffix}.TIF", codes[None].astype(np.uint16), pixel=30.0)
    files["QA_PIXEL"] = "FILE_NAME_QUALITY_L1_PIXEL"
    files["QA_RADSAT"] = "FILE_NAME_QUALITY_L1_RADIOMETRIC_SATURATION"
    lines = ["GROUP = LANDSAT_METADATA_FILE", "  GROUP = PRODUCT_CONTENTS"]
    lines += [f'    LANDSAT_PRODUCT_ID = "{name}"', '    PROCESSING_LEVEL = "L2SP"']
    lines += ["    COLLECTION_NUMBER = 02"]
    lines += [f'    {key} = "{name}_{suffix}.TIF"' for suffix, key in files.items()]
    lines += ["  END_GROUP = PRODUCT_CONTENTS", "  GROUP = IMAGE_ATTRIBUTES"]
    lines += ['    SPACECRAFT_ID = "LANDSAT_9"', '    SENSOR_ID = "OLI_TIRS"']
    lines += ["    WRS_PATH = 131", "    WRS_ROW = 47", "    DATE_ACQUIRED = 2022-01-29"]
    lines += ["  END_GROUP = IMAGE_ATTRIBUTES", "  GROUP = LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"]
    lines += [f"    REFLECTANCE_MULT_BAND_{band} = 2.75e-05" for band in range(1, 8)]
    lines += [f"    REFLECTANCE_ADD_BAND_{band} = -0.2" for band in range(1, 8)]
    lines += ["  END_GROUP = LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"]
    # The same keys again, for level 1: a reader that ignores groups takes these.
    lines += ["  GROUP = LEVEL1_RADIOMETRIC_RESCALING"]
    lines += [f"    REFLECTANCE_MULT_BAND_{band} = 2.0000E-05" for band in range(1, 8)]
    lines += [f"    REFLECTANCE_ADD_BAND_{band} = -0.100000" for band in range(1, 8)]
    lines += ["  END_GROUP = LEVEL1_RADIOMETRIC_RESCALING"]
    lines += ["  GROUP = LEVEL1_PROCESSING_RECORD"]
    lines += [f'    FILE_NAME_BAND_{band} = "LEVEL1_B{band}.TIF"' for band in range(1, 8)]
    lines += ["  END_GROUP = LEVEL1_PROCESSING_RECORD", "END_GROUP = LANDSAT_METADATA_FILE", "END"]
    (product / f"{name}_MTL.txt").write_text("\n".join(lines) + "\n")
    return product
