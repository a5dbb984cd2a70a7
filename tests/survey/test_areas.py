"""Hectares from the ellipsoid, and local units."""

from __future__ import annotations

import pytest
import shapely

from survey.areas import AreaUnit, geodesic_area_ha, to_hectares
from survey.errors import GeometryError


def test_one_degree_cell_at_the_equator_matches_the_ellipsoid() -> None:
    # WGS 84 authalic formula: 12,308.78 km2 between 0 and 1 degree, one degree wide.
    cell = [shapely.box(0.0, 0.0, 1.0, 1.0)]
    assert geodesic_area_ha(cell, "EPSG:4326")[0] == pytest.approx(1_230_878, rel=1e-5)


def test_projected_area_removes_the_scale_of_the_projection() -> None:
    # On the central meridian of a UTM zone the scale is 0.9996: a planar square metre is
    # 1 / 0.9996^2 true square metres.
    square = [shapely.box(499_500.0, 2_299_500.0, 500_500.0, 2_300_500.0)]
    true_ha = geodesic_area_ha(square, "EPSG:32647")[0]
    assert true_ha == pytest.approx(100.0 / 0.9996**2, rel=1e-6)


def test_area_without_reference_system_is_refused() -> None:
    with pytest.raises(GeometryError, match="no coordinate reference system"):
        geodesic_area_ha([shapely.box(0, 0, 1, 1)], None)


def test_empty_shape_has_no_area() -> None:
    assert geodesic_area_ha([shapely.Polygon()], "EPSG:32647")[0] == 0.0


@pytest.mark.parametrize(
    ("unit", "ha"),
    [("ha", 1.0), ("m2", 0.0001), ("rai", 0.16), ("acre", 0.4046856), ("jerib", 0.2)],
)
def test_units(unit: str, ha: float) -> None:
    assert to_hectares(1.0, AreaUnit(unit)) == pytest.approx(ha, rel=1e-6)
