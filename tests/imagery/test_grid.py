"""Pixels have their true area, and blocks cover a grid once."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS

from imagery.errors import GridError
from imagery.grid import Block, Grid, pixel_area_ha
from survey.areas import geodesic_area_ha


def grid(crs: str, transform: Affine, shape: tuple[int, int]) -> Grid:
    return Grid(crs=CRS.from_user_input(crs), transform=transform, shape=shape)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32647", Affine(10, 0, 740_000, 0, -10, 2_300_000)),
        ("EPSG:4326", Affine(0.01, 0, 98.0, 0, -0.01, 21.0)),
        ("EPSG:3857", Affine(100, 0, 11_000_000, 0, -100, 2_400_000)),
    ],
)
def test_pixel_areas_sum_to_the_geodesic_area_of_the_grid(crs: str, transform: Affine) -> None:
    whole = grid(crs, transform, (600, 700))
    outline = shapely.segmentize(shapely.box(*whole.bounds), abs(transform.a))
    true_ha = geodesic_area_ha([outline], crs)[0]
    assert pixel_area_ha(whole).sum() == pytest.approx(true_ha, rel=2e-6)


def test_a_block_has_the_areas_of_its_part_of_the_grid() -> None:
    whole = grid("EPSG:32647", Affine(10, 0, 740_000, 0, -10, 2_300_000), (600, 700))
    part = Block(row=100, col=200, rows=50, cols=300)
    np.testing.assert_allclose(
        pixel_area_ha(whole, part), pixel_area_ha(whole)[100:150, 200:500], rtol=1e-7
    )


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 33))
def test_blocks_cover_every_pixel_once(rows: int, cols: int, size: int) -> None:
    seen = np.zeros((rows, cols), dtype=int)
    whole = grid("EPSG:32647", Affine(10, 0, 0, 0, -10, 0), (rows, cols))
    for block in whole.blocks(size):
        (top, bottom), (left, right) = block.window
        seen[top:bottom, left:right] += 1
    assert (seen == 1).all()


def test_rotated_and_empty_grids_are_refused() -> None:
    with pytest.raises(GridError, match="rotated"):
        grid("EPSG:32647", Affine(10, 1, 0, 1, -10, 0), (5, 5))
    with pytest.raises(GridError, match="not north-up"):
        grid("EPSG:32647", Affine(10, 0, 0, 0, 10, 0), (5, 5))
    with pytest.raises(GridError, match="empty"):
        grid("EPSG:32647", Affine(10, 0, 0, 0, -10, 0), (0, 5))
    with pytest.raises(GridError, match="'site' says nothing of where on the Earth"):
        grid('LOCAL_CS["site",UNIT["metre",1]]', Affine(10, 0, 0, 0, -10, 0), (5, 5))
