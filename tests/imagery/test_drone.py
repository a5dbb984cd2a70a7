"""A real drone orthomosaic through the same path: sidecar, features, training, map."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from conftest_scenes import write_scene

from imagery.catalog import read_scenes
from imagery.classify import UNOBSERVED
from imagery.features import FeatureSpec, block_features
from imagery.grid import Block
from imagery.mapping import map_scenes
from imagery.plots import training_pixels
from imagery.raster import is_valid_cog
from imagery.training import fit_crop_model
from imagery.zonal import class_hectares
from survey.areas import geodesic_area_ha

MOSAIC = (
    Path(__file__).resolve().parents[2].parent
    / "shared" / "data" / "drone-rgb" / "webodm_orthophoto.tif"
)  # fmt: skip
SPEC = FeatureSpec(indices=("vari", "gli"), min_clear=1)


def sidecar(path: Path, bands: list[str], scale: float) -> None:
    path.write_text(
        json.dumps({"date": "2026-01-01", "bands": bands, "scale": scale, "mask": None})
    )


def test_alpha_is_a_gap_and_no_feature(tmp_path: Path) -> None:
    values = np.full((4, 1, 3), 120)
    values[3] = [[255, 0, 255]]
    written = write_scene(tmp_path, 0, values)
    sidecar(written, ["red", "green", "blue", "alpha"], 1 / 255)
    found = block_features(read_scenes(tmp_path), SPEC, Block(row=0, col=0, rows=1, cols=3))
    assert found.values.shape == (5, 1, 3)
    assert found.is_observed.tolist() == [[True, False, True]]
    assert found.n_clear.tolist() == [[1, 0, 1]]


@pytest.mark.shared_data
@pytest.mark.skipif(not MOSAIC.is_file(), reason=f"{MOSAIC} is not there")
def test_a_real_mosaic_is_mapped_with_its_transparent_edge_unobserved(tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    (scenes / "2026-01-01.tif").symlink_to(MOSAIC)
    sidecar(scenes / "2026-01-01.json", ["red", "green", "blue", "alpha"], 1 / 255)
    stack = read_scenes(scenes)
    rows, cols = stack.grid.shape
    # Greenest and least green ten-metre squares stand in for interpreted plots.
    found = block_features(stack, SPEC, Block(row=0, col=0, rows=rows, cols=cols))
    green = np.where(found.is_observed, found.values[4], np.nan)
    squares = [
        (float(np.mean(green[r : r + 20, c : c + 20])), r, c)
        for r in range(0, rows - 20, 20)
        for c in range(0, cols - 20, 20)
    ]
    ranked = sorted(square for square in squares if np.isfinite(square[0]))
    chosen = [("bare", s) for s in ranked[:8]] + [("green", s) for s in ranked[-8:]]
    t = stack.grid.transform
    plots = gpd.GeoDataFrame(
        {
            "plot_id": [f"P{i}" for i in range(16)],
            "class_name": [name for name, _ in chosen],
        },
        geometry=[
            shapely.box(t.c + c * t.a, t.f + (r + 20) * t.e, t.c + (c + 20) * t.a, t.f + r * t.e)
            for _, (_, r, c) in chosen
        ],
        crs=stack.grid.crs.to_wkt(),
    )
    table = training_pixels(stack, SPEC, plots)
    model = fit_crop_model(table.features, table.class_name, table.plot_id, table.weight, seed=1)
    class_map = tmp_path / "c.tif"
    map_scenes(
        stack, model, SPEC, class_map=class_map, probability=tmp_path / "p.tif", crops=["green"]
    )
    assert is_valid_cog(class_map)
    with rasterio.open(MOSAIC) as source, rasterio.open(class_map) as found:
        np.testing.assert_array_equal(found.read(1) == UNOBSERVED, source.read(4) == 0)
    whole = gpd.GeoDataFrame(
        {"zone": ["all"]}, geometry=[shapely.box(*stack.grid.bounds)], crs=plots.crs
    )
    hectares = class_hectares(class_map, whole, "zone")
    assert hectares["ha"].sum() == pytest.approx(
        geodesic_area_ha(whole.geometry, whole.crs)[0], rel=1e-5
    )
