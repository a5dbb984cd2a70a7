"""Slope and aspect by hand, and in metres whatever the reference system."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS, Geod, Transformer

from imagery.errors import GridError, SceneError
from imagery.grid import Block, Grid
from imagery.terrain import Elevation, horn, pixel_metres, terrain


def grid(crs: int, west: float, north: float, pixel: float, shape: tuple[int, int]) -> Grid:
    return Grid(crs=CRS(crs), transform=Affine(pixel, 0, west, 0, -pixel, north), shape=shape)


def written(path: Path, at: Grid, height: np.ndarray, nodata: float | None = None) -> Elevation:
    with rasterio.open(
        path, "w", driver="GTiff", width=at.shape[1], height=at.shape[0], count=1,
        dtype="float32", crs=at.crs.to_wkt(), transform=at.transform, nodata=nodata,
    ) as out:  # fmt: skip
        out.write(height.astype(np.float32), 1)
    return Elevation.of(path)


def test_published_slope_and_aspect() -> None:
    """The worked examples of Esri's manual for Horn's method: slope, then aspect."""
    slope, _, _ = horn(np.array([[50, 45, 50], [30, 30, 30], [8, 10, 10]], dtype=float), 5.0, 5.0)
    assert slope[0, 0] == pytest.approx(75.25762, abs=1e-4)
    ground = np.array([[101, 92, 85], [101, 92, 85], [101, 91, 84]], dtype=float)
    _, northness, eastness = horn(ground, 1.0, 1.0)
    assert np.degrees(np.arctan2(eastness, northness))[0, 0] == pytest.approx(92.64, abs=0.01)


def test_level_ground_faces_nowhere() -> None:
    slope, northness, eastness = horn(np.full((3, 3), 7.0), 10.0, 10.0)
    assert slope[0, 0] == northness[0, 0] == eastness[0, 0] == 0.0


def hill(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Rises 20 cm a metre to the north at 21 degrees north, so it faces south."""
    metre = Geod(ellps="WGS84").inv(97.0, 21.0, 97.0, 21.001)[2] / 0.001
    return 900.0 + 0.2 * metre * (latitude - 21.0) + 0.0 * longitude


def test_slope_is_in_metres_on_degrees_metres_and_web_mercator(tmp_path: Path) -> None:
    model_grid = grid(4326, 96.98, 21.02, 0.0003, (140, 140))
    row, col = np.indices(model_grid.shape) + 0.5
    model = written(tmp_path / "dem.tif", model_grid, hill(21.02 - row * 0.0003, col))
    expected = np.degrees(np.arctan(0.2))
    x, y = Transformer.from_crs(4326, 3857, always_xy=True).transform(97.0, 21.0)
    for scenes in (
        grid(4326, 97.0, 21.0, 0.0001, (30, 40)),
        grid(32647, 292_200, 2_323_600, 10.0, (30, 40)),
        grid(3857, x, y, 10.7, (30, 40)),
    ):
        block = Block(row=0, col=0, rows=30, cols=40)
        altitude, slope, northness, eastness = terrain(model, scenes, block)
        assert np.isfinite(altitude).all()
        np.testing.assert_allclose(slope.mean(), expected, rtol=0.01)
        # North of the grid, which is a degree off true north two degrees from the meridian.
        assert (northness < -0.999).all()
        assert abs(eastness).max() < 0.05


def test_pixels_are_measured_on_the_ellipsoid() -> None:
    width, height = pixel_metres(grid(4326, 97.0, 60.0, 0.001, (4, 4)), np.array([0]))
    geod = Geod(ellps="WGS84")
    assert width[0] == pytest.approx(geod.inv(97.0, 59.9995, 97.001, 59.9995)[2], rel=1e-6)
    assert height[0] == pytest.approx(geod.inv(97.0, 60.0, 97.0, 59.999)[2], rel=1e-6)
    mercator = pixel_metres(grid(3857, 0.0, 8_399_737.0, 10.0, (4, 4)), np.array([0]))
    assert mercator[0][0] == pytest.approx(5.0, rel=0.01)  # 60 degrees north


def test_altitude_between_pixels_beyond_the_model_and_on_a_finer_one(tmp_path: Path) -> None:
    scenes = grid(32647, 500_000, 2_300_000, 10.0, (6, 6))
    coarse = grid(32647, 500_000, 2_300_000, 20.0, (3, 2))
    model = written(
        tmp_path / "coarse.tif", coarse, np.array([[0, 40], [0, 40], [0, -1]]), nodata=-1
    )
    altitude = terrain(model, scenes, Block(row=0, col=0, rows=6, cols=6))[0]
    np.testing.assert_allclose(altitude[0, :4], [0.0, 10.0, 30.0, 40.0], atol=1e-5)
    assert np.isnan(altitude[:, 4:]).all()  # beyond the model
    assert np.isnan(altitude[5, 1:4]).all()  # beside its hole
    fine = grid(32647, 500_000, 2_300_000, 2.0, (30, 30))
    model = written(tmp_path / "fine.tif", fine, np.tile([0.0, 10.0, 0.0, 10.0, 5.0], (30, 6)))
    altitude = terrain(model, scenes, Block(row=0, col=0, rows=6, cols=6))[0]
    np.testing.assert_allclose(altitude, 5.0, atol=1e-5)  # the mean over each pixel


def test_the_same_to_the_last_bit_in_any_block(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    model_grid = grid(4326, 96.995, 21.005, 0.00027, (60, 60))
    model = written(tmp_path / "dem.tif", model_grid, rng.random((60, 60)) * 900)
    scenes = grid(32647, 292_200, 2_323_600, 10.0, (90, 100))
    whole = terrain(model, scenes, Block(row=0, col=0, rows=90, cols=100))
    for block in scenes.blocks(37):
        (top, bottom), (left, right) = block.window
        np.testing.assert_array_equal(
            terrain(model, scenes, block), whole[:, top:bottom, left:right]
        )


def test_a_model_of_another_place_is_refused(tmp_path: Path) -> None:
    model = written(tmp_path / "dem.tif", grid(4326, 10.0, 50.0, 0.01, (4, 4)), np.zeros((4, 4)))
    model.require_overlap(grid(32632, 573_000, 5_535_500, 10.0, (6, 6)))
    with pytest.raises(GridError, match=r"dem.tif shows none of the scenes' land: it spans 10 49"):
        model.require_overlap(grid(32647, 500_000, 2_300_000, 10.0, (6, 6)))


def test_a_fill_value_that_no_nodata_names_is_no_altitude(tmp_path: Path) -> None:
    at = grid(32647, 500_000, 2_300_000, 10.0, (4, 4))
    heights = np.full((4, 4), 700.0)
    heights[1, 2] = -9999.0
    model = written(tmp_path / "dem.tif", at, heights)
    with pytest.raises(SceneError, match=r"dem\.tif holds -9999, no altitude in metres"):
        terrain(model, at, Block(row=0, col=0, rows=4, cols=4))


def test_a_model_that_is_none_says_why(tmp_path: Path) -> None:
    at = grid(32647, 500_000, 2_300_000, 10.0, (4, 4))
    profile = {"driver": "GTiff", "width": 4, "height": 4, "dtype": "uint8"}
    with rasterio.open(
        tmp_path / "rgb.tif", "w", count=3, crs=at.crs.to_wkt(), transform=at.transform, **profile
    ):
        pass
    with pytest.raises(SceneError, match=r"rgb.tif has 3 bands; an elevation model has one"):
        Elevation.of(tmp_path / "rgb.tif")
    with rasterio.open(tmp_path / "no.tif", "w", count=1, transform=at.transform, **profile):
        pass
    with pytest.raises(GridError, match="no coordinate reference system"):
        Elevation.of(tmp_path / "no.tif")
