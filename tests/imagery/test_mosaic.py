"""Overlapping maps count land once, across grids and zones; two years give transitions."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import Transformer

from imagery.change import transition_hectares
from imagery.errors import GridError, SceneError
from imagery.grid import Block
from imagery.mosaic import ClassMosaic
from imagery.zonal import class_hectares
from survey.areas import geodesic_area_ha

X, Y = 500_000.0, 2_300_000.0
NAMES = {1: "forest", 2: "poppy"}


def write_map(
    path: Path,
    codes: np.ndarray,
    *,
    crs: str = "EPSG:32647",
    west: float = X,
    north: float = Y,
    pixel: float = 10.0,
    names: dict[int, str] = NAMES,
    dtype: str = "uint8",
) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", width=codes.shape[1], height=codes.shape[0], count=1,
        dtype=dtype, nodata=0, crs=crs, transform=Affine(pixel, 0, west, 0, -pixel, north),
    ) as out:  # fmt: skip
        out.write(codes.astype(dtype), 1)
        out.update_tags(**{f"CLASS_{code}": name for code, name in names.items()})
    return path


def box(west: float, south: float, east: float, north: float) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(
        {"zone": ["Z"]}, geometry=[shapely.box(west, south, east, north)], crs="EPSG:32647"
    )


def by_code(table) -> dict[int, float]:
    return table.set_index("class_code")["ha"].to_dict()


def test_of_overlapping_maps_the_first_that_observed_counts(tmp_path: Path) -> None:
    left = write_map(tmp_path / "left.tif", np.array([[1, 1, 0], [1, 1, 1]]))
    # Two columns further east, one row further south.
    right = write_map(tmp_path / "right.tif", np.full((2, 3), 2), west=X + 20, north=Y - 10)
    both = ClassMosaic([left, right])
    assert both.grid.shape == (3, 5)
    assert both.read(Block(row=0, col=0, rows=3, cols=5)).tolist() == [
        [1, 1, 0, 0, 0],
        [1, 1, 1, 2, 2],
        [0, 0, 2, 2, 2],
    ]
    assert both.read(Block(row=1, col=2, rows=2, cols=2)).tolist() == [[1, 2], [2, 2]]
    other = ClassMosaic([right, left])
    assert other.read(Block(row=0, col=0, rows=3, cols=5))[1].tolist() == [1, 1, 2, 2, 2]
    for method in ("exact", "centre"):
        found = by_code(
            class_hectares([left, right], box(X, Y - 30, X + 50, Y), "zone", method=method)
        )
        assert found == pytest.approx({0: 0.05, 1: 0.05, 2: 0.05}, rel=1e-3)


def test_what_one_map_leaves_outside_its_risk_area_counts_where_another_saw_it(
    tmp_path: Path,
) -> None:
    left = write_map(tmp_path / "left.tif", np.array([[1, 255, 255, 255]]))
    right = write_map(tmp_path / "right.tif", np.array([[2, 2, 0, 255]]))
    found = [
        ClassMosaic(order).read(Block(row=0, col=0, rows=1, cols=4)).tolist()
        for order in ([left, right], [right, left])
    ]
    assert found == [[[1, 2, 255, 255]], [[2, 2, 255, 255]]]


def test_maps_of_two_utm_zones_count_the_overlap_once(tmp_path: Path) -> None:
    to_48 = Transformer.from_crs("EPSG:32647", "EPSG:32648", always_xy=True)
    west, north = 790_000.0, 2_200_000.0
    a = write_map(tmp_path / "a.tif", np.full((200, 200), 1), west=west, north=north)
    x, y = to_48.transform(west + 1000.0, north + 500.0)
    b = write_map(tmp_path / "b.tif", np.full((300, 300), 2), crs="EPSG:32648", west=x, north=y)
    zone = box(west, north - 2000.0, west + 2500.0, north)
    found = by_code(class_hectares([a, b], zone, "zone"))
    whole = geodesic_area_ha(zone.geometry, zone.crs)[0]
    assert sum(found.values()) == pytest.approx(whole, rel=1e-5)
    assert found[1] == pytest.approx(whole * 2000.0 / 2500.0, rel=1e-3)
    assert found[2] == pytest.approx(whole * 500.0 / 2500.0, rel=0.01)
    # The later map alone, in its own system and pixels, agrees on its own land.
    alone = by_code(class_hectares(b, zone, "zone"))
    first = by_code(class_hectares([b, a], zone, "zone"))
    assert first[2] == pytest.approx(alone[2], rel=1e-4)


def test_what_is_no_class_map_or_has_other_classes_is_refused(tmp_path: Path) -> None:
    one = write_map(tmp_path / "one.tif", np.ones((2, 2)))
    other = write_map(tmp_path / "other.tif", np.ones((2, 2)), names={1: "maize"})
    with pytest.raises(GridError, match=r"code 1 is 'maize' in other.tif and 'forest' in one.tif"):
        ClassMosaic([one, other])
    image = write_map(tmp_path / "image.tif", np.ones((2, 2)), dtype="uint16")
    with pytest.raises(SceneError, match=r"image.tif is no class map.*uint16"):
        ClassMosaic([image])


def transitions(table) -> dict[tuple[int, int], float]:
    return {(row.from_code, row.to_code): row.ha for row in table.itertuples()}


@pytest.mark.parametrize("method", ["exact", "centre"])
def test_transitions_by_hand(tmp_path: Path, method: str) -> None:
    before = write_map(tmp_path / "a.tif", np.array([[1, 1, 2], [1, 0, 2]]))
    after = write_map(tmp_path / "b.tif", np.array([[1, 2, 2], [2, 2, 0]]))
    zone = box(X, Y - 20, X + 30, Y)
    table = transition_hectares(before, after, zone, "zone", method=method)
    assert transitions(table) == pytest.approx(
        {(0, 2): 0.01, (1, 1): 0.01, (1, 2): 0.02, (2, 0): 0.01, (2, 2): 0.01}, rel=1e-3
    )
    row = table.loc[(table["from_code"] == 1) & (table["to_code"] == 2)].iloc[0]
    assert (row["from_name"], row["to_name"]) == ("forest", "poppy")
    assert table.loc[table["to_code"] == 0, "to_name"].tolist() == ["unobserved"]


def test_land_that_one_year_alone_reaches_keeps_the_class_of_that_year(tmp_path: Path) -> None:
    narrow = write_map(tmp_path / "narrow.tif", np.full((2, 2), 1))
    wide = write_map(tmp_path / "wide.tif", np.full((2, 4), 2), west=X - 10)
    zone = box(X - 10, Y - 20, X + 30, Y)
    found = transitions(transition_hectares(narrow, wide, zone, "zone"))
    assert found == pytest.approx({(0, 2): 0.04, (1, 2): 0.04}, rel=1e-3)
    found = transitions(transition_hectares(wide, narrow, zone, "zone"))
    assert found == pytest.approx({(2, 0): 0.04, (2, 1): 0.04}, rel=1e-3)


def test_a_fine_map_of_a_field_meets_a_coarse_one_of_a_country(tmp_path: Path) -> None:
    fine = write_map(tmp_path / "fine.tif", np.full((100, 100), 1), pixel=0.01)
    country = write_map(
        tmp_path / "country.tif", np.full((100, 100), 2), west=X - 5e4, north=Y + 5e4, pixel=1e3
    )
    field = box(X + 0.2, Y - 0.8, X + 0.8, Y - 0.2)
    found = transitions(transition_hectares(fine, country, field, "zone"))
    assert found == pytest.approx({(1, 2): 0.36e-4}, rel=1e-3)
    with pytest.raises(GridError, match=r"pixels of fine\.tif, too many to compare"):
        transition_hectares(fine, country, box(X - 4e4, Y - 4e4, X + 4e4, Y), "zone")


def test_shifted_grids_and_other_systems_show_no_change_where_there_is_none(
    tmp_path: Path,
) -> None:
    # One border runs north to south; the later year is cut 3 m and a row off, or in degrees.
    wide = np.where(np.arange(200) < 100, 1, 2) * np.ones((200, 1))
    before = write_map(tmp_path / "a.tif", wide)
    finer = np.where((np.arange(220) + 0.5) * 10.0 + 3.0 - 100.0 < 1000.0, 1, 2)
    shifted = write_map(
        tmp_path / "b.tif", finer * np.ones((220, 1)), west=X - 97.0, north=Y + 107.0
    )
    zone = box(X + 100, Y - 1900, X + 1900, Y - 100)
    whole = geodesic_area_ha(zone.geometry, zone.crs)[0]
    found = transitions(transition_hectares(before, shifted, zone, "zone"))
    assert sum(found.values()) == pytest.approx(whole, rel=1e-5)
    assert found[1, 1] + found[2, 2] > 0.99 * whole
    degrees = class_map_in_degrees(tmp_path / "c.tif", before)
    found = transitions(transition_hectares(before, degrees, zone, "zone"))
    assert sum(found.values()) == pytest.approx(whole, rel=1e-5)
    assert found[1, 1] + found[2, 2] > 0.99 * whole
    far = write_map(tmp_path / "far.tif", wide, west=X + 90_000)
    with pytest.raises(GridError, match="share no land"):
        transition_hectares(before, far, zone, "zone")


def class_map_in_degrees(path: Path, source: Path) -> Path:
    from rasterio.warp import Resampling, calculate_default_transform, reproject

    with rasterio.open(source) as dataset:
        transform, width, height = calculate_default_transform(
            dataset.crs, "EPSG:4326", dataset.width, dataset.height, *dataset.bounds
        )
        codes = np.zeros((height, width), dtype=np.uint8)
        reproject(
            rasterio.band(dataset, 1), codes, dst_transform=transform, dst_crs="EPSG:4326",
            resampling=Resampling.nearest,
        )  # fmt: skip
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=1, dtype="uint8", nodata=0,
        crs="EPSG:4326", transform=transform,
    ) as out:  # fmt: skip
        out.write(codes, 1)
    return path
