"""Positions to districts and segments: on true coordinates, before anything is displaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Transformer

__all__ = ["Locator"]


class Locator:
    """Finds the area in which points lie.

    Parameters
    ----------
    areas : GeoDataFrame
        Polygons in any declared CRS.
    code : str
        Column with their names. Where areas overlap, the first in alphabetical order is meant.
    """

    def __init__(self, areas: gpd.GeoDataFrame, code: str) -> None:
        ordered = areas.sort_values(code, kind="stable")
        self._codes = ordered[code].to_numpy()
        self._tree = shapely.STRtree(ordered.geometry.to_numpy())
        self._to_crs = Transformer.from_crs("EPSG:4326", areas.crs, always_xy=True)

    def find(self, longitude: Sequence[float], latitude: Sequence[float]) -> list[str]:
        """Code of the area of each point; empty where it lies in none.

        Parameters
        ----------
        longitude, latitude : float sequences (n,)
            Degrees, WGS 84.
        """
        x, y = self._to_crs.transform(np.asarray(longitude), np.asarray(latitude))
        points: npt.NDArray[Any] = shapely.points(np.asarray(x), np.asarray(y))
        which, area = self._tree.query(points, predicate="intersects")
        found = [""] * len(points)
        # Of several areas the first in order is written last.
        for point, index in sorted(zip(which, area, strict=True), key=lambda pair: -pair[1]):
            found[point] = str(self._codes[index])
        return found
