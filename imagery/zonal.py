"""Exact hectares of classes in polygons.

Coverage fractions are exact (exactextract) and each pixel counts with its true area on the
ellipsoid. Work goes block by block, so a polygon may be as large as a country.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
from affine import Affine
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource, RasterSource
from rasterio.features import rasterize

from imagery.classify import UNOBSERVED
from imagery.coverage import blocks_of, coverage, densified, on_grid
from imagery.errors import GridError
from imagery.grid import Block, Grid, PixelAreas
from imagery.mosaic import ClassMosaic
from survey.areas import geodesic_area_ha

__all__ = ["class_hectares", "zone_sums"]

# Side of a block: within one pixels count with nearly one area, burning holds no more than it.
_BLOCK = {"exact": 512, "centre": 4096}
_CELL = 256
# Pixels of a piece that differ more count each with its own area: coarse ones in degrees.
_EVEN = 1e-4
_FEW_CODES = 12
# Pixels a side up to which a zone counts with the pixel area at its middle (to 1e-5).
_FIELD = 128


def class_hectares(
    class_map: Path | Sequence[Path],
    zones: gpd.GeoDataFrame,
    id_column: str,
    *,
    method: str = "exact",
) -> pd.DataFrame:
    """Hectares of every class in every zone.

    Land of a zone that the raster does not reach counts as unobserved (class 0), so the
    hectares of a zone always sum to its geodesic area.

    Parameters
    ----------
    class_map : Path or sequence of Path
        uint8 raster, 0 = unobserved, 255 = outside the risk area. Several are read as one
        (`imagery.mosaic.ClassMosaic`): land that more than one covers counts once, with the
        class of the first that observed it.
    zones : GeoDataFrame
        Polygons in any reference system.
    id_column : str
        Column that identifies a zone.
    method : {"exact", "centre"}
        Share of each pixel that the zone covers, or whole pixels whose centre it holds: several
        times faster, and near enough for zones of a thousand pixels and more
        (docs/imagery.md). Fields and segments need "exact".

    Returns
    -------
    DataFrame
        Columns `id_column`, class_code, ha; only classes that occur, sorted.

    Raises
    ------
    GridError
        The zones carry no reference system, or none of them meets the raster.
    """
    mosaic = ClassMosaic([class_map] if isinstance(class_map, Path) else class_map)
    sums = zone_sums(mosaic.grid, mosaic, zones, 256, source=mosaic.source, method=method)
    rows, codes_found = np.nonzero(sums)
    return pd.DataFrame(
        {
            id_column: zones[id_column].to_numpy()[rows],
            "class_code": codes_found,
            "ha": sums[rows, codes_found],
        }
    )


class Codes(Protocol):
    """Codes of the pixels of a grid."""

    def read(self, block: Block) -> npt.NDArray[Any]:
        """Codes of a block, (rows, cols)."""

    def held_open(self) -> AbstractContextManager[None]:
        """Keep what is read from open meanwhile."""


def zone_sums(
    grid: Grid,
    codes: Codes,
    zones: gpd.GeoDataFrame,
    n_codes: int,
    *,
    source: str,
    method: str = "exact",
) -> npt.NDArray[np.float64]:
    """Hectares of every code in every zone, (zones, n_codes); code 0 takes what lies beyond."""
    if method not in _BLOCK:
        raise GridError(f"method {method!r} is not known; choose from {', '.join(_BLOCK)}")
    shapes = on_grid(zones, grid, source=source)
    areas = PixelAreas(grid)
    sums = np.zeros((len(zones), n_codes))
    is_small = np.zeros(len(zones), dtype=bool)
    if method == "exact":
        is_small = _is_small(shapes, grid, areas)
        _add_small(sums, shapes, np.flatnonzero(is_small), grid, codes, areas)
    for near, part in blocks_of(shapes, grid, _BLOCK[method], np.flatnonzero(~is_small)):
        pixels = codes.read(part)
        if method == "centre":
            for zone in near:
                sums[zone] += _by_centre(shapes[zone], grid, part, pixels, areas, n_codes)
            continue
        _add_exactly(sums, shapes, near, grid, part, pixels, areas)
    # Land that the raster does not reach; for zones inside it what is left over is rounding.
    beyond = np.flatnonzero(~shapely.covered_by(shapes, shapely.box(*grid.bounds)))
    drawn = densified(zones.geometry.to_numpy()[beyond], is_geographic=zones.crs.is_geographic)
    whole = geodesic_area_ha(drawn, zones.crs)
    outside = np.maximum(whole - sums[beyond].sum(axis=1), 0.0)
    sums[beyond, UNOBSERVED] += np.where(outside > 1e-4 * whole, outside, 0.0)
    return sums


def _is_small(
    shapes: npt.NDArray[np.object_], grid: Grid, areas: PixelAreas
) -> npt.NDArray[np.bool_]:
    """Whether a zone spans so few pixels that they may count with one area."""
    west, south, east, north = shapely.bounds(shapes).T
    is_small = np.asarray(
        ((east - west) < _FIELD * grid.transform.a)
        & ((north - south) < -_FIELD * grid.transform.e)
    )
    for zone in np.flatnonzero(is_small):
        own = grid.window_of(tuple(shapely.bounds(shapes[zone])))
        is_small[zone] = own is None or areas.spread(own) <= _EVEN
    return is_small


class _Source(RasterSource):  # type: ignore[misc]
    """Codes as exactextract reads them, window by window."""

    def __init__(self, grid: Grid, codes: Codes) -> None:
        super().__init__()
        self._grid, self._codes = grid, codes

    def res(self) -> tuple[float, float]:
        return (self._grid.transform.a, -self._grid.transform.e)

    def extent(self) -> tuple[float, float, float, float]:
        return self._grid.bounds

    def srs_wkt(self) -> str:
        return str(self._grid.crs.to_wkt())

    def nodata_value(self) -> None:
        return None

    def read_window(self, x0: int, y0: int, nx: int, ny: int) -> npt.NDArray[Any]:
        return self._codes.read(Block(row=y0, col=x0, rows=ny, cols=nx))


def _add_small(
    sums: npt.NDArray[np.float64],
    shapes: npt.NDArray[np.object_],
    small: npt.NDArray[np.int64],
    grid: Grid,
    codes: Codes,
    areas: PixelAreas,
) -> None:
    """Add the hectares of small zones, each in one piece whatever block it lies in."""
    small = small[shapely.intersects(shapes[small], shapely.box(*grid.bounds))]
    if len(small):
        whole = Block(row=0, col=0, rows=grid.shape[0], cols=grid.shape[1])
        with codes.held_open():
            _add_shares(sums, shapes, small, grid, whole, _Source(grid, codes), areas)


def _add_exactly(
    sums: npt.NDArray[np.float64],
    shapes: npt.NDArray[np.object_],
    near: npt.NDArray[np.int64],
    grid: Grid,
    part: Block,
    pixels: npt.NDArray[Any],
    areas: PixelAreas,
) -> None:
    """Add the hectares that the zones near a part have in it."""
    west, south, east, north = grid.block_bounds(part)
    is_whole = shapely.covers(shapes[near], shapely.box(west, south, east, north))
    if is_whole.any():
        area = areas.of(part).ravel()
        sums[near[is_whole]] += np.bincount(pixels.ravel(), area, minlength=sums.shape[1])
    if is_whole.all():
        return
    if areas.spread(part) > _EVEN:
        area = areas.of(part).ravel()
        for zone, pixel, share in coverage(shapes, near[~is_whole], grid, part):
            sums[zone] += np.bincount(
                pixels.ravel()[pixel], share * area[pixel], minlength=sums.shape[1]
            )
        return
    source = NumPyRasterSource(
        pixels, xmin=west, ymin=south, xmax=east, ymax=north, srs_wkt=grid.crs.to_wkt()
    )
    _add_shares(sums, shapes, near[~is_whole], grid, part, source, areas)


def _add_shares(
    sums: npt.NDArray[np.float64],
    shapes: npt.NDArray[np.object_],
    numbers: npt.NDArray[np.int64],
    grid: Grid,
    part: Block,
    source: RasterSource,
    areas: PixelAreas,
) -> None:
    """Add shares of classes by exactextract times the pixel area at the middle of each zone.

    For pieces whose pixels differ by no more than `_EVEN`.
    """
    vectors = gpd.GeoDataFrame({"zone": numbers}, geometry=list(shapes[numbers]), crs=grid.crs)
    table = exact_extract(
        source, vectors, ["count", "unique", "frac"], include_cols=["zone"], output="pandas"
    )
    for zone, count, unique, share in zip(
        table["zone"], table["count"], table["unique"], table["frac"], strict=True
    ):
        own = grid.window_in(part, tuple(shapely.bounds(shapes[zone])))
        if count > 0.0 and own is not None:
            middle = np.array([own.row + own.rows // 2]), np.array([own.col + own.cols // 2])
            area = areas.at(*middle)[0, 0]
            sums[zone, np.asarray(unique, dtype=np.int64)] += share * count * area


def _by_centre(
    shape: shapely.Geometry,
    grid: Grid,
    part: Block,
    codes: npt.NDArray[Any],
    areas: PixelAreas,
    n_codes: int,
) -> npt.NDArray[np.float64]:
    """Hectares by code (n_codes,) of the pixels of a part whose centre the shape holds."""
    sums = np.zeros(n_codes)
    own = grid.window_in(part, tuple(shapely.bounds(shape)))
    if own is None:
        return sums
    burnt = rasterize(
        [(shape, 1)],
        out_shape=own.shape,
        transform=grid.transform * Affine.translation(own.col, own.row),
        dtype="uint8",
    )
    row, col = own.row - part.row, own.col - part.col
    own_codes = codes[row : row + own.rows, col : col + own.cols]
    first = Block(row=own.row, col=own.col, rows=min(own.rows, _CELL), cols=min(own.cols, _CELL))
    if areas.spread(first) > 10 * _EVEN:
        is_in = burnt == 1
        sums += np.bincount(own_codes[is_in], areas.of(own)[is_in], minlength=n_codes)
        return sums
    inside = own_codes * burnt
    highest = int(inside.max(initial=0))
    # Pixels of a cell this small have the same area to 1e-4, and whole numbers add faster.
    tops, lefts = np.arange(0, own.rows, _CELL), np.arange(0, own.cols, _CELL)
    area = areas.at(
        own.row + np.minimum(tops + _CELL // 2, own.rows - 1),
        own.col + np.minimum(lefts + _CELL // 2, own.cols - 1),
    )
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            cell = slice(top, top + _CELL), slice(left, left + _CELL)
            count = _count(inside[cell], highest, n_codes)
            # Outside the shape the product is 0 too: what class 0 really has is the rest.
            count[UNOBSERVED] = np.count_nonzero(burnt[cell]) - int(count[1:].sum())
            sums += count * area[i, j]
    return sums


def _count(codes: npt.NDArray[Any], highest: int, n_codes: int) -> npt.NDArray[np.int64]:
    """Pixels of each code (n_codes,) above 0; comparing is faster for a few codes."""
    if highest > _FEW_CODES:
        return np.bincount(codes.ravel(), minlength=n_codes)
    count = np.zeros(n_codes, dtype=np.int64)
    for code in range(1, highest + 1):
        count[code] = np.count_nonzero(codes == code)
    return count
