"""Polygons on a grid: which blocks they need, and the share of each pixel that they cover."""

from __future__ import annotations

from collections.abc import Iterator

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource

from imagery.errors import GridError
from imagery.grid import Block, Grid

__all__ = ["blocks_of", "coverage", "densified", "on_grid"]

# Straight edges bend when reprojected; vertices this dense keep them in place (degrees, metres).
_DENSE = {True: 0.005, False: 500.0}


def densified(shapes: npt.NDArray[np.object_], *, is_geographic: bool) -> npt.NDArray[np.object_]:
    """Shapes with vertices so dense that straight edges stay in place when reprojected."""
    dense: npt.NDArray[np.object_] = shapely.segmentize(shapes, _DENSE[is_geographic])
    return dense


def on_grid(zones: gpd.GeoDataFrame, grid: Grid, *, source: str) -> npt.NDArray[np.object_]:
    """Zones in the grid's reference system, at least one of them on the grid."""
    if zones.crs is None:
        raise GridError("the polygons carry no coordinate reference system; set it")
    _require_polygons(zones)
    shapes = zones.geometry
    if zones.crs != grid.crs:
        dense = densified(shapes.to_numpy(), is_geographic=zones.crs.is_geographic)
        shapes = gpd.GeoSeries(dense, crs=zones.crs).to_crs(grid.crs)
    extent = shapely.box(*grid.bounds)
    found: npt.NDArray[np.object_] = shapes.to_numpy()
    if not shapely.intersects(extent, found).any():
        west, south, east, north = shapes.total_bounds
        raise GridError(
            f"no overlap: the polygons span {west:g} {south:g} {east:g} {north:g}, {source} spans "
            f"{' '.join(f'{value:g}' for value in grid.bounds)} (both in {grid.crs.to_string()}); "
            "check that both cover the same place and name the right CRS"
        )
    return found


def _require_polygons(zones: gpd.GeoDataFrame) -> None:
    """Points have no hectares, and a ring that crosses itself has two answers."""
    shapes = zones.geometry
    empty = (shapes.isna() | shapes.is_empty).to_numpy()
    kinds = shapes.geom_type.isin(["Polygon", "MultiPolygon"]).to_numpy()
    bad = np.flatnonzero(empty | ~kinds | ~shapes.is_valid.to_numpy())
    if len(bad):
        row = int(bad[0])
        what = "is empty"
        if not empty[row]:
            what = f"is a {shapes.iloc[row].geom_type}"
            if kinds[row]:
                what = f"is no valid polygon ({shapely.is_valid_reason(shapes.iloc[row])})"
        raise GridError(
            f"row {row + 1} of the polygons {what}, so it has no hectares ({len(bad)} such rows); "
            "give polygons, repaired where they cross themselves (in QGIS: Fix geometries)"
        )


def blocks_of(
    shapes: npt.NDArray[np.object_], grid: Grid, size: int, numbers: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], Block]]:
    """Blocks cut down to what the zones numbered need, with the numbers of those in them."""
    if not len(numbers):
        return
    tree = shapely.STRtree(shapes[numbers])
    for block in grid.blocks(size):
        frame = shapely.box(*grid.block_bounds(block))
        near = numbers[np.sort(tree.query(frame, predicate="intersects"))]
        if len(near):
            part = grid.window_in(block, tuple(shapely.total_bounds(shapes[near])))
            if part is not None:
                yield near, part


def coverage(
    shapes: npt.NDArray[np.object_], near: npt.NDArray[np.int64], grid: Grid, part: Block
) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
    """For each zone near a part: its number, pixels (flat) and their covered share."""
    west, south, east, north = grid.block_bounds(part)
    frame = shapely.box(west, south, east, north)
    n_pixels = part.rows * part.cols
    whole = shapely.covers(shapes[near], frame)
    for zone in near[whole]:
        yield int(zone), np.arange(n_pixels), np.ones(n_pixels)
    partial = near[~whole]
    if not len(partial):
        return
    numbers = np.arange(n_pixels, dtype=np.int32).reshape(part.shape)
    source = NumPyRasterSource(
        numbers, xmin=west, ymin=south, xmax=east, ymax=north, srs_wkt=grid.crs.to_wkt()
    )
    vectors = gpd.GeoDataFrame({"zone": partial}, geometry=list(shapes[partial]), crs=grid.crs)
    table = exact_extract(
        source, vectors, ["values", "coverage"], include_cols=["zone"], output="pandas"
    )
    for row in table.itertuples():
        pixel = np.asarray(row.values, dtype=np.int64)
        if len(pixel):
            yield int(row.zone), pixel, np.asarray(row.coverage, dtype=np.float64)
