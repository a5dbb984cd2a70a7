"""Hectares in polygons are exact, whatever the reference system."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import CRS, Geod, Transformer

from imagery.catalog import read_scenes
from imagery.errors import GridError, TrainingError
from imagery.features import FeatureSpec
from imagery.grid import Grid, pixel_area_ha
from imagery.plots import training_pixels
from imagery.zonal import class_hectares
from survey.areas import geodesic_area_ha

X, Y = 500_000.0, 2_300_000.0


def write_map(path: Path, codes: np.ndarray, crs: str = "EPSG:32647", pixel: float = 10.0) -> Grid:
    transform = (
        Affine(pixel, 0, X, 0, -pixel, Y)
        if crs == "EPSG:32647"
        else Affine(pixel, 0, 98.0, 0, -pixel, 21.0)
    )
    with rasterio.open(
        path, "w", driver="GTiff", width=codes.shape[1], height=codes.shape[0], count=1,
        dtype="uint8", nodata=0, crs=crs, transform=transform, tiled=True, blockxsize=256,
        blockysize=256,
    ) as out:  # fmt: skip
        out.write(codes.astype(np.uint8), 1)
    return Grid(crs=CRS.from_user_input(crs), transform=transform, shape=codes.shape)


def zones(*shapes: shapely.Geometry, crs: str = "EPSG:32647") -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(
        {"zone": [f"Z{i}" for i in range(len(shapes))]}, geometry=list(shapes), crs=crs
    )


def test_half_pixels_by_hand(tmp_path: Path) -> None:
    grid = write_map(tmp_path / "m.tif", np.array([[1, 2], [1, 0]]))
    pixel = pixel_area_ha(grid)[0, 0]
    # Covers the left column wholly and half of the right one.
    table = class_hectares(tmp_path / "m.tif", zones(shapely.box(X, Y - 20, X + 15, Y)), "zone")
    ha = table.set_index("class_code")["ha"]
    assert ha[1] == pytest.approx(2.0 * pixel, rel=1e-6)
    assert ha[2] == pytest.approx(0.5 * pixel, rel=1e-6)
    assert ha[0] == pytest.approx(0.5 * pixel, rel=1e-6)


@pytest.mark.parametrize("crs", ["EPSG:32647", "EPSG:4326", "EPSG:3857"])
def test_hectares_of_a_small_map_computed_independently(tmp_path: Path, crs: str) -> None:
    """Each pixel cut with shapely and its ground measured by pyproj: nothing of ours."""
    rng = np.random.default_rng(5)
    codes = rng.integers(0, 4, (12, 9)).astype(np.uint8)
    pixel = 0.0001 if crs == "EPSG:4326" else 10.0
    west, north = {
        "EPSG:32647": (500_000.0, 2_300_000.0), "EPSG:4326": (98.0, 21.0),
        "EPSG:3857": (11_000_000.0, 2_400_000.0),
    }[crs]  # fmt: skip
    with rasterio.open(
        tmp_path / "m.tif", "w", driver="GTiff", width=9, height=12, count=1, dtype="uint8",
        nodata=0, crs=crs, transform=Affine(pixel, 0, west, 0, -pixel, north),
    ) as out:  # fmt: skip
        out.write(codes, 1)

    def at(*points: tuple[float, float]) -> shapely.Polygon:
        return shapely.Polygon([(west + x * pixel, north - y * pixel) for x, y in points])

    field = at((0.3, 0.2), (8.1, 2.7), (6.4, 11.9), (2.2, 9.5))
    hollow = at((1, 1), (8, 1), (8, 11), (1, 11)) - at((3.5, 3.5), (6.5, 4), (5, 8.2))
    beyond = at((-2, 4), (4, 4), (4, 8), (-2, 8))
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform
    ground = Geod(ellps="WGS84")

    def hectares(shape: shapely.Geometry) -> float:
        degrees = shapely.transform(shape, to_degrees, interleaved=False)
        return (
            abs(ground.geometry_area_perimeter(shapely.geometry.polygon.orient(degrees))[0]) / 1e4
        )

    shapes = [field, hollow, beyond]
    expected = np.zeros((3, 4))
    for row, col in np.ndindex(codes.shape):
        cell = at((col, row), (col + 1, row), (col + 1, row + 1), (col, row + 1))
        for number, shape in enumerate(shapes):
            for part in shapely.get_parts(shapely.intersection(cell, shape)):
                if part.area > 0.0:
                    expected[number, codes[row, col]] += hectares(part)
    # What of the third lies beyond the raster is unobserved.
    expected[2, 0] += hectares(at((-2, 4), (0, 4), (0, 8), (-2, 8)))
    table = class_hectares(tmp_path / "m.tif", zones(*shapes, crs=crs), "zone")
    found = table.pivot_table(index="zone", columns="class_code", values="ha", fill_value=0.0)
    np.testing.assert_allclose(found.to_numpy(), expected, rtol=2e-5)
    if crs == "EPSG:32647":
        # By hand: 6 x 4 pixels of 100 m2, and 0.9996^2 of the map's area on the ground less.
        assert found.loc["Z2"].sum() == pytest.approx(0.24 / 0.9996**2, rel=1e-5)


def test_shapes_without_hectares_are_named(tmp_path: Path) -> None:
    write_map(tmp_path / "m.tif", np.ones((10, 10)))
    good = shapely.box(X, Y - 50, X + 50, Y)
    bow = shapely.Polygon([(X, Y), (X + 50, Y - 50), (X + 50, Y), (X, Y - 50)])
    for bad, message in (
        (shapely.Point(X + 5, Y - 5), "row 2 of the polygons is a Point"),
        (shapely.Polygon(), "row 2 of the polygons is empty"),
        (None, "row 2 of the polygons is empty"),
        (bow, r"row 2 of the polygons is no valid polygon \(Self-intersection"),
    ):
        with pytest.raises(GridError, match=message):
            class_hectares(tmp_path / "m.tif", zones(good, bad), "zone")


@pytest.mark.parametrize(("crs", "pixel"), [("EPSG:32647", 10.0), ("EPSG:4326", 0.0001)])
def test_a_partition_sums_to_the_whole_across_blocks(
    tmp_path: Path, crs: str, pixel: float
) -> None:
    rng = np.random.default_rng(5)
    codes = rng.integers(0, 4, (1100, 700))
    grid = write_map(tmp_path / "m.tif", codes, crs, pixel)
    west, south, east, north = grid.bounds
    middle_x, middle_y = west + 0.371 * (east - west), south + 0.618 * (north - south)
    parts = zones(
        shapely.Polygon([(west, south), (middle_x, south), (middle_x, middle_y), (west, north)]),
        shapely.Polygon(
            [(middle_x, south), (east, south), (east, north), (west, north), (middle_x, middle_y)]
        ),
        crs=crs,
    )
    table = class_hectares(tmp_path / "m.tif", parts, "zone")
    by_class = table.groupby("class_code")["ha"].sum()
    area = pixel_area_ha(grid)
    for code in range(4):
        assert by_class[code] == pytest.approx(area[codes == code].sum(), rel=1e-6)
    whole = table.groupby("zone")["ha"].sum()
    np.testing.assert_allclose(whole, geodesic_area_ha(parts.geometry, crs), rtol=1e-4)


def test_small_fields_are_exact_and_other_reference_systems_agree(tmp_path: Path) -> None:
    write_map(tmp_path / "m.tif", np.ones((200, 200)))
    rng = np.random.default_rng(7)
    fields = [
        shapely.affinity.rotate(
            shapely.box(X + x, Y - y - 40, X + x + 60, Y - y), float(angle), origin="center"
        )
        for x, y, angle in rng.uniform([100, 100, 0], [1700, 1700, 180], (30, 3))
    ]
    utm = zones(*fields)
    found = class_hectares(tmp_path / "m.tif", utm, "zone").set_index("zone")["ha"]
    true_ha = geodesic_area_ha(utm.geometry, utm.crs)
    np.testing.assert_allclose(found[utm["zone"]], true_ha, rtol=1e-5)
    degrees = class_hectares(tmp_path / "m.tif", utm.to_crs("EPSG:4326"), "zone")
    np.testing.assert_allclose(degrees.set_index("zone")["ha"][utm["zone"]], true_ha, rtol=1e-5)


def test_land_beyond_the_raster_is_unobserved_not_absent(tmp_path: Path) -> None:
    write_map(tmp_path / "m.tif", np.ones((10, 10)))
    half_out = zones(shapely.box(X - 100, Y - 100, X + 100, Y))
    ha = class_hectares(tmp_path / "m.tif", half_out, "zone").set_index("class_code")["ha"]
    assert ha[0] == pytest.approx(1.0, rel=1e-3)
    assert ha[1] == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("method", ["exact", "centre"])
def test_coarse_degrees_count_each_pixel_with_its_own_area(tmp_path: Path, method: str) -> None:
    # A kilometre a pixel: over the 500 rows of a block the area changes by several percent.
    codes = np.ones((600, 500))
    codes[300:] = 2
    grid = write_map(tmp_path / "m.tif", codes, "EPSG:4326", 0.01)
    west, south, east, north = grid.bounds

    def polygon(*corners: tuple[float, float]) -> shapely.Polygon:
        return shapely.Polygon([(west + col * 0.01, north - row * 0.01) for row, col in corners])

    inside = polygon((10.3, 10.2), (590.7, 50.1), (540.2, 390.9))
    small = polygon((250.5, 420.2), (350.4, 420.3), (350.2, 499.6))
    beyond = polygon((-100, -100), (150, -100), (150, 80), (-100, 80))
    found = class_hectares(
        tmp_path / "m.tif", zones(inside, small, beyond, crs="EPSG:4326"), "zone", method=method
    )
    # Straight in degrees, as pixels are: what a geodesic between far corners is not.
    expected = geodesic_area_ha(shapely.segmentize([inside, small, beyond], 0.002), "EPSG:4326")
    rel = 1e-6 if method == "exact" else 5e-3
    assert found.groupby("zone")["ha"].sum().to_numpy() == pytest.approx(expected, rel=rel)
    south_half = shapely.intersection(inside, shapely.box(west, south, east, north - 3.0))
    assert found.set_index(["zone", "class_code"])["ha"]["Z0", 2] == pytest.approx(
        geodesic_area_ha(shapely.segmentize([south_half], 0.002), "EPSG:4326")[0], rel=rel
    )


def test_no_overlap_and_no_reference_system(tmp_path: Path) -> None:
    write_map(tmp_path / "m.tif", np.ones((10, 10)))
    with pytest.raises(GridError, match="no overlap: the polygons span 600000"):
        class_hectares(tmp_path / "m.tif", zones(shapely.box(6e5, 2e6, 6.1e5, 2.1e6)), "zone")
    bare = gpd.GeoDataFrame({"zone": ["Z"]}, geometry=[shapely.box(0, 0, 1, 1)])
    with pytest.raises(GridError, match="no coordinate reference system"):
        class_hectares(tmp_path / "m.tif", bare, "zone")


def test_training_pixels_lie_mostly_inside_their_plot(make_scenes: Callable[..., Path]) -> None:
    stack = read_scenes(make_scenes())
    plots = gpd.GeoDataFrame(
        {"plot_id": ["A", "B"], "class_name": ["poppy", "forest"]},
        # A: 2 x 2 whole pixels and a column covered by 40%; B: two columns, 70% and 100%.
        geometry=[shapely.box(X, Y - 20, X + 24, Y), shapely.box(X + 103, Y - 10, X + 120, Y)],
        crs="EPSG:32647",
    )
    table = training_pixels(stack, FeatureSpec(indices=()), plots)
    assert table.plot_id.tolist() == ["A"] * 4 + ["B"] * 2
    np.testing.assert_allclose(sorted(table.weight[4:]), [0.7, 1.0], atol=1e-6)
    assert table.features.shape == (6, 4 * 6)
    assert set(table.spatial_block) == {"0/0"}
    pieces = training_pixels(stack, FeatureSpec(indices=()), plots, block_km=0.1).spatial_block
    assert pieces.tolist() == ["0/0"] * 4 + ["0/1"] * 2
    with pytest.raises(TrainingError, match="no training plot has a pixel"):
        training_pixels(stack, FeatureSpec(indices=(), min_clear=9), plots)


@pytest.mark.parametrize(("crs", "pixel"), [("EPSG:32647", 10.0), ("EPSG:4326", 0.0001)])
def test_pixel_centres_agree_with_exact_coverage_for_districts(
    tmp_path: Path, crs: str, pixel: float
) -> None:
    rng = np.random.default_rng(3)
    codes = np.kron(rng.integers(0, 4, (30, 25)), np.ones((40, 40)))
    grid = write_map(tmp_path / "m.tif", codes, crs, pixel)
    west, south, east, north = grid.bounds
    middle = west + 0.4137 * (east - west)
    # Two districts that share a border, and one across both that overlaps them.
    parts = zones(
        shapely.Polygon([(west, south), (middle, south), (middle, north), (west, north)]),
        shapely.Polygon([(middle, south), (east, south), (east, north), (middle, north)]),
        shapely.Point((west + east) / 2, (south + north) / 2).buffer(0.3 * (north - south)),
        crs=crs,
    )
    exact, centre = (
        class_hectares(tmp_path / "m.tif", parts, "zone", method=method).set_index(
            ["zone", "class_code"]
        )["ha"]
        for method in ("exact", "centre")
    )
    np.testing.assert_allclose(centre[exact.index], exact, rtol=3e-3)
    halves = centre.loc[["Z0", "Z1"]].groupby("class_code").sum()
    area = pixel_area_ha(grid)
    for code in range(4):
        assert halves[code] == pytest.approx(area[codes == code].sum(), rel=1e-5)
    with pytest.raises(GridError, match="method 'guess' is not known"):
        class_hectares(tmp_path / "m.tif", parts, "zone", method="guess")
