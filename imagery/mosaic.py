"""Class maps read as one: overlapping, on shifted grids, in several reference systems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from imagery.classify import OUTSIDE_RISK, UNOBSERVED
from imagery.errors import GridError, SceneError
from imagery.grid import Block, Grid
from imagery.raster import class_names, open_raster, read_block

__all__ = ["ClassMosaic", "bounds_in", "extended"]

# Grids nearer than this share of a pixel are the same.
_SAME = 1e-4
# Straight edges bend when reprojected.
_EDGE_POINTS = 50


class ClassMosaic:
    """Codes of one or more class maps on one grid; of several, the first that observed a pixel.

    Maps on other grids are read by nearest neighbour: every pixel of the mosaic takes the code
    of the map's pixel at its centre, so land that several maps cover is counted once.

    Parameters
    ----------
    paths : sequence of Path
        uint8 class maps, 0 = unobserved, 255 = outside the risk area, in order of precedence.
    grid : Grid, optional
        Grid to read on; by default the first map's, extended to hold all maps.

    Raises
    ------
    SceneError
        A file cannot be read, or holds something else than one band of uint8.
    GridError
        A map without reference system, rotated, or with other classes than the first.
    """

    def __init__(self, paths: Sequence[Path], *, grid: Grid | None = None) -> None:
        self._paths = tuple(paths)
        if not self._paths:
            raise GridError("no class map was given")
        self._held: dict[Path, Any] = {}
        self._grids = []
        for path in self._paths:
            with open_raster(path) as dataset:
                if dataset.count != 1 or dataset.dtypes[0] != "uint8":
                    raise SceneError(
                        f"{path.name} is no class map: it holds {dataset.count} bands of "
                        f"{dataset.dtypes[0]}, a class map one of uint8"
                    )
                self._grids.append(Grid.of(dataset, source=path.name))
        self.names = self._common_names()
        self.grid = grid or extended(self._grids)

    @property
    def source(self) -> str:
        """What to call it in messages."""
        return " + ".join(path.name for path in self._paths)

    @contextmanager
    def held_open(self) -> Iterator[None]:
        """Keep the files open between reads; burning shapes meanwhile would be slow."""
        with ExitStack() as files:
            self._held = {path: files.enter_context(open_raster(path)) for path in self._paths}
            try:
                yield
            finally:
                self._held = {}

    def read(self, block: Block) -> npt.NDArray[np.uint8]:
        """Codes of a block of `grid`, (rows, cols)."""
        codes = self._read_one(self._paths[0], self._grids[0], block)
        for path, own in zip(self._paths[1:], self._grids[1:], strict=True):
            # Land outside one map's risk area may have been looked at in the next.
            missing = (codes == UNOBSERVED) | (codes == OUTSIDE_RISK)
            if not missing.any():
                break
            found = self._read_one(path, own, block)
            missing &= found != UNOBSERVED
            codes[missing] = found[missing]
        return codes

    def _read_one(self, path: Path, own: Grid, block: Block) -> npt.NDArray[np.uint8]:
        # Closed again at once: GDAL burns shapes several times slower under its cache limit.
        held = self._held.get(path)
        with open_raster(path) if held is None else nullcontext(held) as dataset:
            shift = _shift(self.grid, own)
            if shift is None:
                with WarpedVRT(
                    dataset,
                    crs=self.grid.crs.to_wkt(),
                    transform=self.grid.transform,
                    height=self.grid.shape[0],
                    width=self.grid.shape[1],
                    resampling=Resampling.nearest,
                    src_nodata=UNOBSERVED,
                    nodata=UNOBSERVED,
                ) as warped:
                    found: npt.NDArray[np.uint8] = read_block(warped, block, indexes=1)
                    return found
            return _read_shifted(dataset, own, block, shift)

    def _common_names(self) -> dict[int, str]:
        first = class_names(self._paths[0])
        for path in self._paths[1:]:
            other = class_names(path)
            for code in sorted(set(first) & set(other)):
                if first[code] != other[code]:
                    raise GridError(
                        f"code {code} is {other[code]!r} in {path.name} and {first[code]!r} in "
                        f"{self._paths[0].name}; maps of one model can be read as one, others "
                        "cannot"
                    )
            first = {**other, **first}
        return first


def _read_shifted(
    dataset: Any, own: Grid, block: Block, shift: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Codes of a block on a grid that starts `shift` rows and columns before the map's."""
    row, col = block.row - shift[0], block.col - shift[1]
    top, left = max(row, 0), max(col, 0)
    bottom = min(row + block.rows, own.shape[0])
    right = min(col + block.cols, own.shape[1])
    if (top, left, bottom, right) == (row, col, row + block.rows, col + block.cols):
        whole: npt.NDArray[np.uint8] = read_block(
            dataset, Block(row=row, col=col, rows=block.rows, cols=block.cols), indexes=1
        )
        return whole
    codes = np.full(block.shape, UNOBSERVED, dtype=np.uint8)
    if top < bottom and left < right:
        part = Block(row=top, col=left, rows=bottom - top, cols=right - left)
        codes[top - row : bottom - row, left - col : right - col] = read_block(
            dataset, part, indexes=1
        )
    return codes


def _shift(grid: Grid, own: Grid) -> tuple[int, int] | None:
    """Rows and columns from the origin of `grid` to that of `own`; None where pixels differ."""
    a, b = grid.transform, own.transform
    if grid.crs != own.crs or not np.allclose((a.a, a.e), (b.a, b.e), rtol=1e-9, atol=0.0):
        return None
    row, col = (b.f - a.f) / a.e, (b.c - a.c) / a.a
    if abs(row - round(row)) > _SAME or abs(col - round(col)) > _SAME:
        return None
    return round(row), round(col)


def extended(grids: Sequence[Grid]) -> Grid:
    """The first grid, grown by whole pixels until it holds all."""
    first = grids[0]
    bounds = np.array([bounds_in(grid, first) for grid in grids])
    west, south = bounds[:, :2].min(axis=0)
    east, north = bounds[:, 2:].max(axis=0)
    t = first.transform
    left = int(np.floor((west - t.c) / t.a + _SAME))
    top = int(np.floor((north - t.f) / t.e + _SAME))
    right = int(np.ceil((east - t.c) / t.a - _SAME))
    bottom = int(np.ceil((south - t.f) / t.e - _SAME))
    return Grid(
        crs=first.crs,
        transform=t * Affine.translation(left, top),
        shape=(bottom - top, right - left),
    )


def bounds_in(grid: Grid, other: Grid) -> tuple[float, float, float, float]:
    """West, south, east, north of a grid in the reference system of another.

    Raises
    ------
    GridError
        It has no place there.
    """
    if grid.crs == other.crs:
        return grid.bounds
    import geopandas as gpd

    west, south, east, north = grid.bounds
    edge = shapely.segmentize(shapely.box(*grid.bounds), (east - west) / _EDGE_POINTS)
    bounds = gpd.GeoSeries([edge], crs=grid.crs).to_crs(other.crs).total_bounds
    if not np.isfinite(bounds).all():
        raise GridError(
            f"the extent {west:g} {south:g} {east:g} {north:g} in {grid.crs.to_string()} has no "
            f"place in {other.crs.to_string()}; check the reference systems"
        )
    return tuple(float(value) for value in bounds)  # type: ignore[return-value]
