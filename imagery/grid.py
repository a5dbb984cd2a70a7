"""Grids of pixels: where they lie, how they are cut into blocks, how many hectares a pixel has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from pyproj import CRS
from pyproj.exceptions import CRSError

from imagery.errors import GridError
from survey.areas import geodesic_area_ha

__all__ = ["Block", "Grid", "Lattice", "PixelAreas", "pixel_area_ha"]

# Grids whose pixels lie on one another to this share of a pixel are one grid.
_ALIGNED = 1e-3

# Pixel areas vary slowly: a lattice this coarse, interpolated, is exact to about 1e-6.
_LATTICE_PIXELS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A rectangle of pixels: first row and column, and how many of each."""

    row: int
    col: int
    rows: int
    cols: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return (self.rows, self.cols)

    @property
    def window(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Row and column ranges, as rasterio reads them."""
        return ((self.row, self.row + self.rows), (self.col, self.col + self.cols))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A north-up grid of pixels.

    Attributes
    ----------
    crs : pyproj.CRS
    transform : affine.Affine
        Pixel (col, row) to easting/longitude and northing/latitude.
    shape : tuple of int
        Rows and columns.

    Raises
    ------
    GridError
        No reference system, or a rotated or flipped grid.
    """

    crs: CRS
    transform: Affine
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        t = self.transform
        if t.b or t.d or t.a <= 0.0 or t.e >= 0.0:
            raise GridError(
                f"grid with transform {tuple(t)[:6]} is rotated or not north-up; warp it to a "
                "north-up grid first (gdalwarp)"
            )
        if not (self.crs.is_projected or self.crs.is_geographic):
            raise GridError(
                f"its reference system {self.crs.name!r} says nothing of where on the Earth it "
                "lies; set the right one (gdal_edit.py -a_srs EPSG:...)"
            )
        if min(self.shape) < 1:
            raise GridError(f"grid of {self.shape[0]} x {self.shape[1]} pixels is empty")

    @classmethod
    def of(cls, dataset: Any, *, source: str) -> Grid:
        """Grid of an open rasterio dataset; `source` names it in messages."""
        if dataset.crs is None:
            raise GridError(
                f"{source} carries no coordinate reference system; set it (gdal_edit.py -a_srs "
                "EPSG:...), it is never guessed"
            )
        try:
            return cls(
                crs=CRS.from_user_input(dataset.crs),
                transform=dataset.transform,
                shape=(dataset.height, dataset.width),
            )
        except GridError as error:
            raise GridError(f"{source}: {error}") from error

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in the units of the reference system."""
        rows, cols = self.shape
        t = self.transform
        return (t.c, t.f + rows * t.e, t.c + cols * t.a, t.f)

    def offset_of(self, other: Grid) -> tuple[int, int] | None:
        """Row and column where the other grid begins; None where its pixels do not lie on ours.

        Both may be negative or beyond this grid: it is taken to go on in every direction.
        """
        t, o = self.transform, other.transform
        rows, cols = other.shape
        if self.crs != other.crs:
            return None
        # Pixels of slightly different size drift apart: both corners must fit.
        offsets = [(o.f - t.f) / t.e, (o.c - t.c) / t.a]
        ends = [(o.f + rows * o.e - t.f) / t.e - rows, (o.c + cols * o.a - t.c) / t.a - cols]
        whole = np.rint(offsets)
        if np.abs(np.concatenate([offsets - whole, ends - whole])).max() > _ALIGNED:
            return None
        return int(whole[0]), int(whole[1])

    def part(self, block: Block) -> Grid:
        """Grid of a block, whose rows and columns may begin beyond this grid."""
        return Grid(
            crs=self.crs,
            transform=self.transform @ Affine.translation(block.col, block.row),
            shape=block.shape,
        )

    def union(self, others: Sequence[Grid]) -> Grid:
        """Smallest grid that holds this one and others that are aligned with it.

        Raises
        ------
        GridError
            One of them is not aligned.
        """
        top = left = 0
        bottom, right = self.shape
        for other in others:
            offset = self.offset_of(other)
            if offset is None:
                raise GridError("grids whose pixels do not lie on one another have no union")
            top, left = min(top, offset[0]), min(left, offset[1])
            bottom = max(bottom, offset[0] + other.shape[0])
            right = max(right, offset[1] + other.shape[1])
        if (top, left, bottom, right) == (0, 0, *self.shape):
            return self
        return self.part(Block(row=top, col=left, rows=bottom - top, cols=right - left))

    def blocks(self, size: int) -> Iterator[Block]:
        """Blocks of at most `size` pixels a side, row by row, covering the grid once."""
        rows, cols = self.shape
        for row in range(0, rows, size):
            for col in range(0, cols, size):
                yield Block(
                    row=row, col=col, rows=min(size, rows - row), cols=min(size, cols - col)
                )

    def window_of(self, bounds: tuple[float, float, float, float]) -> Block | None:
        """Smallest block of whole pixels that holds the bounds; None where nothing overlaps."""
        west, south, east, north = bounds
        t = self.transform
        first_col = max(0, int(np.floor((west - t.c) / t.a)))
        last_col = min(self.shape[1], int(np.ceil((east - t.c) / t.a)))
        first_row = max(0, int(np.floor((north - t.f) / t.e)))
        last_row = min(self.shape[0], int(np.ceil((south - t.f) / t.e)))
        if first_col >= last_col or first_row >= last_row:
            return None
        return Block(
            row=first_row, col=first_col, rows=last_row - first_row, cols=last_col - first_col
        )

    def window_in(self, block: Block, bounds: tuple[float, float, float, float]) -> Block | None:
        """Part of a block that holds the bounds; None where nothing overlaps."""
        inside = self.window_of(bounds)
        if inside is None:
            return None
        top, left = max(inside.row, block.row), max(inside.col, block.col)
        bottom = min(inside.row + inside.rows, block.row + block.rows)
        right = min(inside.col + inside.cols, block.col + block.cols)
        if top >= bottom or left >= right:
            return None
        return Block(row=top, col=left, rows=bottom - top, cols=right - left)

    def block_bounds(self, block: Block) -> tuple[float, float, float, float]:
        """West, south, east, north of a block."""
        t = self.transform
        west = t.c + block.col * t.a
        north = t.f + block.row * t.e
        return (west, north + block.rows * t.e, west + block.cols * t.a, north)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """Pixels of one size in one reference system, everywhere: edges at multiples of the size.

    The tiles of Sentinel-2 lie on ``EPSG:326xx@10``, those of Landsat mostly do not.
    """

    crs: CRS
    pixel: float

    @classmethod
    def parse(cls, text: str) -> Lattice:
        """Read ``EPSG:32647@10``: a projected reference system and metres, or degrees.

        Raises
        ------
        GridError
            It is something else.
        """
        name, _, size = text.partition("@")
        try:
            crs, pixel = CRS.from_user_input(name), float(size)
        except (CRSError, ValueError) as error:
            raise GridError(
                f"{text!r} is no grid; write a reference system and a pixel size: EPSG:32647@10"
            ) from error
        if not 0.0 < pixel < np.inf:
            raise GridError(f"{text!r}: the pixel size must be positive")
        return cls(crs=crs, pixel=pixel)

    def around(self, bounds: tuple[float, float, float, float]) -> Grid:
        """Smallest grid of these pixels that holds the bounds."""
        west, south = (np.floor(value / self.pixel + 1e-6) for value in bounds[:2])
        east, north = (np.ceil(value / self.pixel - 1e-6) for value in bounds[2:])
        return Grid(
            crs=self.crs,
            transform=Affine(
                self.pixel, 0.0, west * self.pixel, 0.0, -self.pixel, north * self.pixel
            ),
            shape=(int(north - south), int(east - west)),
        )


class PixelAreas:
    """Area of every pixel of a grid on the ellipsoid, whatever the reference system.

    A projected square metre is not a square metre on the ground (0.08% less on the central
    meridian of a UTM zone), and a degree shrinks with latitude. Areas are computed
    geodesically, on a geographic grid for every row, on a projected one on a coarse lattice
    and interpolated between.

    Parameters
    ----------
    grid : Grid
    block : Block, optional
        Part of the grid that will be asked for; the whole by default.
    """

    def __init__(self, grid: Grid, block: Block | None = None) -> None:
        block = block or Block(row=0, col=0, rows=grid.shape[0], cols=grid.shape[1])
        self._depends_on_row_alone = bool(grid.crs.is_geographic)
        if self._depends_on_row_alone:
            self._row = np.arange(block.row, block.row + block.rows, dtype=float)
            self._col = np.array([block.col], dtype=float)
        else:
            self._row = _lattice(block.row, block.rows)
            self._col = _lattice(block.col, block.cols)
        t = grid.transform
        x, y = np.meshgrid(t.c + self._col * t.a, t.f + self._row * t.e)
        cells = shapely.box(x, y + t.e, x + t.a, y)
        self._area = geodesic_area_ha(cells.ravel(), grid.crs).reshape(cells.shape)

    def of(self, block: Block) -> npt.NDArray[np.float64]:
        """Hectares of the pixels of a block, (rows, cols)."""
        return self.at(
            np.arange(block.row, block.row + block.rows),
            np.arange(block.col, block.col + block.cols),
        )

    def at(
        self, rows: npt.NDArray[np.int64], cols: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Hectares of the pixels where the given rows and columns cross."""
        if self._depends_on_row_alone:
            return np.repeat(self._area[rows - int(self._row[0])], len(cols), axis=1)
        below = np.clip(np.searchsorted(self._row, rows, side="right") - 1, 0, None)
        above = np.minimum(below + 1, len(self._row) - 1)
        span = np.maximum(self._row[above] - self._row[below], 1.0)
        share = ((rows - self._row[below]) / span)[:, None]
        used, position = np.unique(np.concatenate([below, above]), return_inverse=True)
        lines = np.array([np.interp(cols, self._col, self._area[row]) for row in used])
        low, high = lines[position[: len(rows)]], lines[position[len(rows) :]]
        return np.asarray(low + share * (high - low))

    def spread(self, block: Block) -> float:
        """Largest pixel of a block over its smallest, less 1: of its corners, sides and middle."""
        found = self.at(
            block.row + np.array([0, block.rows // 2, block.rows - 1]),
            block.col + np.array([0, block.cols // 2, block.cols - 1]),
        )
        return float(found.max() / found.min() - 1.0)


def pixel_area_ha(grid: Grid, block: Block | None = None) -> npt.NDArray[np.float64]:
    """Area of the pixels of a block, or of the whole grid, in hectares.

    Parameters
    ----------
    grid : Grid
    block : Block, optional
        Part of the grid; the whole by default.

    Returns
    -------
    float array (rows, cols)
    """
    block = block or Block(row=0, col=0, rows=grid.shape[0], cols=grid.shape[1])
    return PixelAreas(grid, block).of(block)


def _lattice(first: int, count: int) -> npt.NDArray[np.float64]:
    nodes = max(2, int(np.ceil(count / _LATTICE_PIXELS)) + 1)
    return np.unique(np.rint(np.linspace(first, first + count - 1, nodes)))
