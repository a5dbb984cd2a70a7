"""Altitude, slope and aspect from an elevation model, in metres whatever the reference systems."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pyproj import Transformer

from imagery.errors import GridError, SceneError
from imagery.grid import Block, Grid
from imagery.raster import open_raster, read_block

__all__ = ["TERRAIN", "Elevation", "horn", "pixel_metres", "terrain"]

Floats = npt.NDArray[np.float64]

#: Layers of `terrain`, in order.
TERRAIN = ("altitude_m", "slope_deg", "northness", "eastness")
# Coordinates bend slowly: transformed on a lattice this fine and interpolated between, they
# are exact to about a millimetre at 10 m pixels.
_LATTICE = 32
# Points a side that a pixel is the mean of where the model is finer than the grid.
_MOST_POINTS = 8
_CHUNK = 128
# The shore of the Dead Sea and Mount Everest, with room.
_LOWEST_M, _HIGHEST_M = -1000.0, 9500.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Elevation:
    """An elevation model in metres, on any grid.

    Attributes
    ----------
    path : Path
    size_bytes, changed_ns : int
        Of the file: features of another model are other features.
    grid : Grid
    nodata : float or None
    """

    path: Path
    size_bytes: int
    changed_ns: int
    grid: Grid
    nodata: float | None

    @classmethod
    def of(cls, path: Path) -> Elevation:
        """Open and check an elevation model.

        Raises
        ------
        SceneError, GridError
            The file cannot be read, has several bands, or lacks a reference system.
        """
        with open_raster(path) as dataset:
            if dataset.count != 1:
                raise SceneError(
                    f"{path.name} has {dataset.count} bands; an elevation model has one, in metres"
                )
            grid, nodata = Grid.of(dataset, source=path.name), dataset.nodata
        stat = path.stat()
        return cls(
            path=path,
            size_bytes=stat.st_size,
            changed_ns=stat.st_mtime_ns,
            grid=grid,
            nodata=nodata,
        )

    def require_overlap(self, grid: Grid) -> None:
        """Raise where the model shows none of the grid's land.

        Raises
        ------
        GridError
        """
        there = Transformer.from_crs(grid.crs, self.grid.crs, always_xy=True)
        west, south, east, north = there.transform_bounds(*grid.bounds)
        own = self.grid.bounds
        # A place beyond the projection comes back infinite, and overlaps nothing.
        if not (west < own[2] and east > own[0] and south < own[3] and north > own[1]):
            raise GridError(
                f"{self.path.name} shows none of the scenes' land: it spans "
                f"{' '.join(f'{value:g}' for value in own)}, the scenes {west:g} {south:g} "
                f"{east:g} {north:g} (both in {self.grid.crs.to_string()}); give the elevation "
                "model of the same place"
            )


def terrain(model: Elevation, grid: Grid, block: Block) -> npt.NDArray[np.float32]:
    """Altitude (metres), slope (degrees), northness and eastness of the pixels of a block.

    The model is warped to the grid: bilinear, or the mean over each pixel where the model is
    finer. Northness and eastness are cosine and sine of the direction that the ground faces,
    both 0 on level ground; north is the grid's.

    Returns
    -------
    float32 array (4, rows, cols)
        In the order of `TERRAIN`; NaN where the model has no data.

    Raises
    ------
    SceneError
        The model is damaged, or holds values that are no altitudes in metres.
    """
    around = Block(row=block.row - 1, col=block.col - 1, rows=block.rows + 2, cols=block.cols + 2)
    height = _altitude(model, grid, around)
    across, down = pixel_metres(grid, np.arange(block.row, block.row + block.rows))
    slope, northness, eastness = horn(height, across[:, None], down[:, None])
    layers = np.stack([height[1:-1, 1:-1], slope, northness, eastness])
    return layers.astype(np.float32)


def horn(
    height: Floats, pixel_width_m: npt.ArrayLike, pixel_height_m: npt.ArrayLike
) -> tuple[Floats, Floats, Floats]:
    """Slope in degrees, northness and eastness from the eight neighbours of each pixel.

    Parameters
    ----------
    height : float array (rows + 2, cols + 2)
        Metres, first row in the north.
    pixel_width_m, pixel_height_m : float, or arrays that fit (rows, cols)

    Returns
    -------
    three float arrays (rows, cols)

    References
    ----------
    Horn (1981), Proc. IEEE 69, 14-47.
    """
    z = height
    north, middle, south = z[:-2], z[1:-1], z[2:]
    east_side = north[:, 2:] + 2.0 * middle[:, 2:] + south[:, 2:]
    west_side = north[:, :-2] + 2.0 * middle[:, :-2] + south[:, :-2]
    north_side = north[:, :-2] + 2.0 * north[:, 1:-1] + north[:, 2:]
    south_side = south[:, :-2] + 2.0 * south[:, 1:-1] + south[:, 2:]
    to_east = (east_side - west_side) / (8.0 * np.asarray(pixel_width_m))
    to_north = (north_side - south_side) / (8.0 * np.asarray(pixel_height_m))
    steepness = np.hypot(to_east, to_north)
    level = steepness == 0.0
    steep = np.where(level, 1.0, steepness)
    return (
        np.degrees(np.arctan(steepness)),
        np.where(level, 0.0, -to_north / steep),
        np.where(level, 0.0, -to_east / steep),
    )


def pixel_metres(grid: Grid, rows: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Width and height in metres of the pixels of some rows, on the ellipsoid.

    Measured at the middle column: a degree shrinks with latitude and Web Mercator stretches
    with it, while along a row the scale of common systems hardly changes.
    """
    t = grid.transform
    col = grid.shape[1] / 2.0
    x, y = t.c + col * t.a, t.f + (rows + 0.5) * t.e
    geod = grid.crs.get_geod()
    geographic = grid.crs.geodetic_crs
    if geod is None or geographic is None:
        raise SceneError(f"{grid.crs.to_string()} has no ellipsoid to measure metres on")
    to_degrees = Transformer.from_crs(grid.crs, geographic, always_xy=True)

    def apart(dx: float, dy: float) -> Floats:
        ones = np.ones(len(rows))
        one = to_degrees.transform((x - dx) * ones, y - dy)
        other = to_degrees.transform((x + dx) * ones, y + dy)
        return np.asarray(geod.inv(*one, *other)[2])

    return apart(t.a / 2.0, 0.0), apart(0.0, t.e / 2.0)


def _altitude(model: Elevation, grid: Grid, block: Block) -> Floats:
    """Metres at the pixels of a block, which may reach beyond the grid; NaN without data."""
    height = np.empty(block.shape)
    for top in range(0, block.rows, _CHUNK):
        for left in range(0, block.cols, _CHUNK):
            chunk = Block(
                row=block.row + top,
                col=block.col + left,
                rows=min(_CHUNK, block.rows - top),
                cols=min(_CHUNK, block.cols - left),
            )
            height[top : top + chunk.rows, left : left + chunk.cols] = _chunk(model, grid, chunk)
    return height


def _chunk(model: Elevation, grid: Grid, block: Block) -> Floats:
    points = _points_a_side(model, grid)
    inside = (np.arange(points) + 0.5) / points
    row = (np.arange(block.row, block.row + block.rows)[:, None] + inside).ravel()
    col = (np.arange(block.col, block.col + block.cols)[:, None] + inside).ravel()
    x, y = _coordinates(grid, model.grid, row, col)
    t = model.grid.transform
    sampled = _bilinear(model, (y - t.f) / t.e - 0.5, (x - t.c) / t.a - 0.5)
    by_pixel = sampled.reshape(block.rows, points, block.cols, points)
    return np.asarray(by_pixel.mean(axis=(1, 3)))


def _points_a_side(model: Elevation, grid: Grid) -> int:
    middle = np.array([grid.shape[0] // 2])
    ours = pixel_metres(grid, middle)
    theirs = pixel_metres(model.grid, np.array([model.grid.shape[0] // 2]))
    finer = max(float(a[0] / b[0]) for a, b in zip(ours, theirs, strict=True))
    return int(np.clip(np.ceil(finer - 0.5), 1, _MOST_POINTS))


def _coordinates(grid: Grid, target: Grid, row: Floats, col: Floats) -> tuple[Floats, Floats]:
    """Coordinates in the target's reference system of points given in pixels of the grid."""
    t = grid.transform
    if grid.crs == target.crs:
        return np.meshgrid(t.c + col * t.a, t.f + row * t.e)
    # Nodes at fixed places of the grid: a point's coordinates do not depend on its block.
    row_node, row_share = np.divmod(row / _LATTICE, 1.0)
    col_node, col_share = np.divmod(col / _LATTICE, 1.0)
    row_nodes = np.arange(row_node.min(), row_node.max() + 2)
    col_nodes = np.arange(col_node.min(), col_node.max() + 2)
    node_x, node_y = np.meshgrid(
        t.c + col_nodes * _LATTICE * t.a, t.f + row_nodes * _LATTICE * t.e
    )
    moved = Transformer.from_crs(grid.crs, target.crs, always_xy=True).transform(node_x, node_y)
    r = (row_node - row_nodes[0]).astype(np.int64)
    c = (col_node - col_nodes[0]).astype(np.int64)
    found = []
    for nodes in moved:
        lines = nodes[r] + row_share[:, None] * (nodes[r + 1] - nodes[r])
        found.append(lines[:, c] + col_share * (lines[:, c + 1] - lines[:, c]))
    return found[0], found[1]


def _bilinear(model: Elevation, row: Floats, col: Floats) -> Floats:
    """Height between the centres of four pixels; the outer half pixel takes the edge's."""
    rows, cols = model.grid.shape
    inside = (row >= -0.5) & (row <= rows - 0.5) & (col >= -0.5) & (col <= cols - 0.5)
    if not inside.any():
        return np.full(row.shape, np.nan)
    row = np.clip(row, 0.0, rows - 1.0)
    col = np.clip(col, 0.0, cols - 1.0)
    top, left = row.astype(np.int64), col.astype(np.int64)
    window = Block(
        row=int(top[inside].min()),
        col=int(left[inside].min()),
        rows=min(int(top[inside].max()) + 2, rows) - int(top[inside].min()),
        cols=min(int(left[inside].max()) + 2, cols) - int(left[inside].min()),
    )
    with open_raster(model.path) as dataset:
        stored = read_block(dataset, window, indexes=1)
    height = stored.astype(np.float64)
    if model.nodata is not None:
        height[stored == model.nodata] = np.nan
    height[~np.isfinite(height)] = np.nan
    wrong = (height < _LOWEST_M) | (height > _HIGHEST_M)
    if wrong.any():
        raise SceneError(
            f"{model.path.name} holds {height[wrong][0]:g}, no altitude in metres on land; name "
            "it as nodata if pixels are missing there (gdal_edit.py -a_nodata), or convert it"
        )
    down, across = row - top, col - left
    first_row = np.clip(top - window.row, 0, window.rows - 1)
    first_col = np.clip(left - window.col, 0, window.cols - 1)
    next_row = np.minimum(first_row + 1, window.rows - 1)
    next_col = np.minimum(first_col + 1, window.cols - 1)
    found = np.zeros(row.shape)
    for r, c, weight in (
        (first_row, first_col, (1.0 - down) * (1.0 - across)),
        (first_row, next_col, (1.0 - down) * across),
        (next_row, first_col, down * (1.0 - across)),
        (next_row, next_col, down * across),
    ):
        # A neighbour without weight may lack data.
        found += np.where(weight > 0.0, weight * height[r, c], 0.0)
    found[~inside] = np.nan
    return found
