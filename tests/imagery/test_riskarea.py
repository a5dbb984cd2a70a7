"""The risk area follows its rules, keeps unknown land, and says what it does to the frame."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import CRS

from imagery.errors import GridError
from imagery.grid import Grid
from imagery.raster import is_valid_cog
from imagery.riskarea import (
    Measure,
    RiskRule,
    cut_frame,
    frame_effect,
    risk_version,
    write_risk_area,
)

X, Y = 500_000.0, 2_300_000.0
GRID = Grid(crs=CRS.from_epsg(32647), transform=Affine(10, 0, X, 0, -10, Y), shape=(100, 200))


def write(path: Path, values: np.ndarray, **profile: object) -> Path:
    options = {
        "driver": "GTiff", "width": values.shape[1], "height": values.shape[0], "count": 1,
        "dtype": values.dtype.name, "crs": "EPSG:32647", "transform": GRID.transform, **profile,
    }  # fmt: skip
    with rasterio.open(path, "w", **options) as out:
        out.write(values, 1)
    return path


def no_layers(path: Path) -> gpd.GeoDataFrame:
    raise AssertionError(path)


def codes_of(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        codes: np.ndarray = dataset.read(1)
    return codes


@pytest.fixture
def ramp(tmp_path: Path) -> Path:
    """Rises by 5 m a pixel to the east (26.6 degrees), level from column 100; two columns void."""
    height = np.minimum(np.arange(200), 100) * 5.0 * np.ones((100, 1))
    height[:, 150:152] = -9999.0
    return write(tmp_path / "dem.tif", height.astype(np.float32), nodata=-9999.0)


def test_altitude_and_slope_by_hand_and_unknown_land_stays_in(ramp: Path, tmp_path: Path) -> None:
    to = tmp_path / "risk.tif"
    rule = RiskRule(measure=Measure.ALTITUDE, path=ramp, low=200.0, high=400.0)
    write_risk_area([rule], GRID, to, label="1", layers=no_layers)
    codes = codes_of(to)
    assert (codes[:, 41:80] == 1).all()
    assert (codes[:, :39] == 2).all()
    assert (codes[:, 82:148] == 2).all()
    assert (codes[:, 150:152] == 0).all()
    steep = RiskRule(measure=Measure.SLOPE, path=ramp, high=20.0)
    write_risk_area([steep], GRID, to, label="1", layers=no_layers)
    codes = codes_of(to)
    assert (codes[2:-2, 5:95] == 2).all()
    assert (codes[2:-2, 105:145] == 1).all()
    assert is_valid_cog(to)
    # Both rules: never at the same place.
    both = RiskRule(measure=Measure.ALTITUDE, path=ramp, low=200.0, high=300.0)
    low = RiskRule(measure=Measure.ALTITUDE, path=ramp, high=100.0)
    write_risk_area([both, low], GRID, tmp_path / "n.tif", label="1", layers=no_layers)
    assert set(np.unique(codes_of(tmp_path / "n.tif"))) == {0, 2}


def test_land_cover_and_distance_by_hand(tmp_path: Path) -> None:
    cover = np.full((50, 200), 30, dtype=np.uint8)  # reaches half of the grid
    cover[:, 100:] = 80
    path = write(tmp_path / "cover.tif", cover, nodata=0)
    rule = RiskRule(measure=Measure.LAND_COVER, path=path, classes=(30, 40))
    to = tmp_path / "risk.tif"
    write_risk_area([rule], GRID, to, label="1", layers=no_layers)
    codes = codes_of(to)
    assert (codes[:50, :100] == 1).all()
    assert (codes[:50, 100:] == 2).all()
    assert (codes[50:] == 0).all()

    road = gpd.GeoDataFrame(
        geometry=[shapely.LineString([(X - 500, Y - 500), (X + 3000, Y - 500)])], crs="EPSG:32647"
    ).to_crs("EPSG:4326")
    (tmp_path / "roads.gpkg").write_bytes(b"not read here")
    near = RiskRule(measure=Measure.DISTANCE, path=tmp_path / "roads.gpkg", low=0.1, high=0.3)
    write_risk_area([near], GRID, to, label="1", layers=lambda _: road)
    inside = codes_of(to) == 1
    distance = np.abs((np.arange(100) + 0.5) * 10.0 - 500.0)
    expected = (distance > 100.0) & (distance < 300.0)
    assert (inside == expected[:, None]).mean() > 0.99


def test_land_that_the_land_cover_declares_as_missing_stays_in(tmp_path: Path) -> None:
    cover = np.full((100, 200), 30, dtype=np.uint8)
    cover[:, 100:150], cover[:, 150:] = 255, 80
    path = write(tmp_path / "cover.tif", cover, nodata=255)
    to = tmp_path / "risk.tif"
    rule = RiskRule(measure=Measure.LAND_COVER, path=path, classes=(30,))
    write_risk_area([rule], GRID, to, label="1", layers=no_layers)
    thirds = np.split(codes_of(to), [100, 150], axis=1)
    assert [np.unique(part).tolist() for part in thirds] == [[1], [0], [2]]
    lying = RiskRule(measure=Measure.LAND_COVER, path=path, classes=(30, 255))
    with pytest.raises(GridError, match=r"class 255 is what cover\.tif declares as no data"):
        write_risk_area([lying], GRID, to, label="1", layers=no_layers)


def test_the_version_follows_rules_layers_and_label(ramp: Path, tmp_path: Path) -> None:
    rule = RiskRule(measure=Measure.ALTITUDE, path=ramp, low=200.0)
    first = risk_version([rule], GRID, label="2026")
    assert first.startswith("2026-")
    assert risk_version([rule], GRID, label="2026") == first
    assert risk_version([rule], GRID, label="2027") != first
    other = RiskRule(measure=Measure.ALTITUDE, path=ramp, low=201.0)
    assert risk_version([other], GRID, label="2026") != first
    to = tmp_path / "risk.tif"
    assert write_risk_area([rule], GRID, to, label="2026", layers=no_layers) == first
    with rasterio.open(to) as dataset:
        assert dataset.tags()["RISK_AREA_VERSION"] == first
    made = to.stat().st_mtime_ns
    write_risk_area([rule], GRID, to, label="2026", layers=no_layers)
    assert to.stat().st_mtime_ns == made
    ramp.write_bytes(ramp.read_bytes() + b"\0")
    assert risk_version([rule], GRID, label="2026") != first


def test_rules_that_cannot_be_meant_are_refused(ramp: Path, tmp_path: Path) -> None:
    for options, message in (
        ({"measure": Measure.SLOPE}, "has neither min nor max"),
        ({"measure": Measure.SLOPE, "low": 9.0, "high": 1.0}, "min 9 is above max 1"),
        ({"measure": Measure.LAND_COVER, "classes": (0,)}, "0 is no data"),
    ):
        with pytest.raises(GridError, match=message):
            RiskRule(path=ramp, **options)  # type: ignore[arg-type]
    to = tmp_path / "risk.tif"
    solid = write(tmp_path / "solid.tif", np.zeros((100, 200), dtype=np.float32))
    never = RiskRule(measure=Measure.ALTITUDE, path=solid, low=9000.0)
    with pytest.raises(GridError, match="leave no land"):
        write_risk_area([never], GRID, to, label="1", layers=no_layers)
    assert not to.exists()
    assert not list(tmp_path.glob(".risk*"))


def test_the_effect_on_the_frame(tmp_path: Path) -> None:
    codes = np.ones((100, 200), dtype=np.uint8)
    codes[:, 100:] = 2
    codes[50:, :50] = 0
    risk = write(tmp_path / "risk.tif", codes, nodata=0)
    shapes = [
        shapely.box(X + a, Y - 1000, X + b, Y) for a, b in ((0, 500), (500, 1500), (1500, 2000))
    ]
    frame = gpd.GeoDataFrame(
        {
            "segment_id": ["S1", "S2", "S3"],
            "stratum_id": ["high", "high", "low"],
            "district_pcode": ["D1", "D1", "D2"],
            "is_sampled": [True, False, True],
            "risk_ha": [50.0, 100.0, 50.0],
        },
        geometry=shapes,
        crs="EPSG:32647",
    )  # fmt: skip
    effect = frame_effect(risk, frame).set_index("segment_id")
    np.testing.assert_allclose(effect["after_ha"], [50.0, 50.0, 0.0], rtol=2e-3)
    np.testing.assert_allclose(effect["unknown_ha"], [25.0, 0.0, 0.0], rtol=2e-3)
    assert effect["is_out"].tolist() == [False, False, True]


def test_a_frame_is_cut_along_pixels_and_keeps_unknown_land(tmp_path: Path) -> None:
    codes = np.ones((100, 200), dtype=np.uint8)
    codes[:, 100:] = 2
    codes[:50, :50] = 0
    risk = write(tmp_path / "risk.tif", codes, nodata=0)
    # The last reaches 500 m beyond the raster to the south: nothing is known there.
    shapes = [
        shapely.box(X, Y - 1000, X + 500, Y), shapely.box(X + 500, Y - 1000, X + 1500, Y),
        shapely.box(X + 1500, Y - 1000, X + 2000, Y), shapely.box(X + 1000, Y - 1500, X + 1400, Y),
    ]  # fmt: skip
    frame = gpd.GeoDataFrame(
        {
            "segment_id": ["S1", "S2", "S3", "S4"],
            "stratum_id": ["high"] * 4,
            "district_pcode": ["D1"] * 4,
            "is_sampled": [True] * 4,
            "risk_ha": [50.0, 100.0, 50.0, 60.0],
        },
        geometry=shapes,
        crs="EPSG:32647",
    )  # fmt: skip
    effect = frame_effect(risk, frame)
    cut = cut_frame(risk, frame, effect, version="1-abc").set_index("segment_id")
    assert list(cut.index) == ["S1", "S2", "S4"]
    assert cut.loc["S2"].geometry.equals(shapely.box(X + 500, Y - 1000, X + 1000, Y))
    assert cut.loc["S4"].geometry.equals(shapely.box(X + 1000, Y - 1500, X + 1400, Y - 1000))
    np.testing.assert_allclose(cut["risk_ha"], [50.0, 50.0, 20.0], rtol=2e-3)
    after = effect.set_index("segment_id")["after_ha"]
    np.testing.assert_allclose(cut["risk_ha"], after[cut.index], rtol=1e-4)
    assert not cut["is_sampled"].any()
    assert set(cut["risk_area_version"]) == {"1-abc"}
    # In degrees the same land is left.
    abroad = cut_frame(risk, frame.to_crs("EPSG:4326"), effect, version="1-abc")
    np.testing.assert_allclose(abroad["risk_ha"], cut["risk_ha"], rtol=1e-4)
    with pytest.raises(GridError, match="no segment of the frame lies in the risk area"):
        cut_frame(risk, frame.iloc[[2]], effect.iloc[[2]], version="1")
