"""Hectares: unit conversion and true areas of shapes on the ellipsoid."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS, Geod, Transformer

from survey.errors import GeometryError

__all__ = ["M2_PER_HA", "AreaUnit", "geodesic_area_ha", "to_hectares"]

M2_PER_HA = 10_000.0

_WGS84 = Geod(ellps="WGS84")


class AreaUnit(StrEnum):
    """Units in which field teams and partner agencies report land."""

    HECTARE = "ha"
    SQUARE_METRE = "m2"
    RAI = "rai"
    ACRE = "acre"
    JERIB = "jerib"


# Thai rai 1600 m2, international acre, Afghan jerib 2000 m2 (DOMAIN 1.5).
_HA_PER_UNIT: dict[AreaUnit, float] = {
    AreaUnit.HECTARE: 1.0,
    AreaUnit.SQUARE_METRE: 1.0 / M2_PER_HA,
    AreaUnit.RAI: 0.16,
    AreaUnit.ACRE: 0.40468564224,
    AreaUnit.JERIB: 0.2,
}


def to_hectares(value: float, unit: AreaUnit) -> float:
    """Convert an area in a local unit to hectares; keep the original beside it."""
    return value * _HA_PER_UNIT[unit]


def geodesic_area_ha(shapes: Any, crs: Any) -> npt.NDArray[np.float64]:
    """Area of polygons on the WGS 84 ellipsoid, in hectares.

    Edges are taken as straight in `crs` and as geodesics after transformation; for the
    edge lengths of districts and segments the difference is far below a thousandth.

    Parameters
    ----------
    shapes : sequence of shapely polygons, shape (n,)
    crs : anything pyproj understands
        Reference system of the coordinates, easting or longitude first.

    Returns
    -------
    float array (n,)
        Hectares, never negative; 0 for an empty shape.

    Raises
    ------
    GeometryError
        `crs` is None: an area without a reference system would be a guess.

    References
    ----------
    Karney (2013), Algorithms for geodesics, J. Geodesy 87, 43-55.
    """
    if crs is None:
        raise GeometryError(
            "shapes carry no coordinate reference system; set it (for example EPSG:4326) "
            "in the file before their area is computed"
        )
    source = CRS.from_user_input(crs)
    geometry = np.asarray(shapes, dtype=object)
    if not source.is_geographic:
        transformer = Transformer.from_crs(source, "EPSG:4326", always_xy=True)
        geometry = shapely.transform(
            geometry, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))
        )
    areas = [abs(_WGS84.geometry_area_perimeter(shape)[0]) for shape in geometry]
    return np.asarray(areas, dtype=np.float64) / M2_PER_HA
