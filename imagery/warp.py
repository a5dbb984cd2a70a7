"""From the grid of a product to the grid of a round, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from pyproj import CRS, Transformer
from rasterio.enums import Resampling
from rasterio.warp import reproject

from imagery.errors import GridError, SceneError
from imagery.grid import Block, Grid, Lattice
from imagery.raster import read_block

__all__ = ["SourceRaster", "Warp"]

# Source pixels around a block that cubic resampling may look at, per pixel of the target.
_REACH = 3
# Source pixels a side that may be read for one block.
_MAX_SOURCE = 4096
# Source pixels a side that one pixel of the target may hold.
_MAX_RATIO = 16.0
# Pixels by which GDAL may shorten the arithmetic of a transformation.
_TOLERANCE = 0.01


@dataclass(frozen=True)
class SourceRaster:
    """An open raster of a product and the name it goes by in messages."""

    dataset: Any
    name: str

    @cached_property
    def grid(self) -> Grid:
        """Grid of the raster; refused where it has none that can be used."""
        return Grid.of(self.dataset, source=self.name)


@dataclass(frozen=True, kw_only=True)
class Warp:
    """How a product comes onto the target grid.

    Attributes
    ----------
    grid : Grid
        Where the scene will lie.
    resamples : bool
        Its pixels do not lie on those of the product.
    ratio : float
        Pixels of the product a side that one of its pixels holds.
    """

    grid: Grid
    resamples: bool
    ratio: float = 1.0

    @classmethod
    def between(cls, own: Grid, like: Grid | Lattice | None, *, name: str) -> Warp:
        """Plan for a product whose finest band lies on `own`.

        Raises
        ------
        GridError
            The product does not meet `like`, or is more than 16 times as fine.
        """
        if like is None:
            return cls(grid=own, resamples=False)
        if isinstance(like, Lattice):
            like = like.around(_bounds(own.bounds, own.crs, like.crs))
        offset = like.offset_of(own)
        if offset is not None:
            top, left = max(0, offset[0]), max(0, offset[1])
            bottom = min(like.shape[0], offset[0] + own.shape[0])
            right = min(like.shape[1], offset[1] + own.shape[1])
            if top >= bottom or left >= right:
                raise _no_overlap(name, like)
            block = Block(row=top, col=left, rows=bottom - top, cols=right - left)
            return cls(grid=like.part(block), resamples=False)
        part = like.window_of(_bounds(own.bounds, own.crs, like.crs))
        if part is None:
            raise _no_overlap(name, like)
        grid = like.part(part)
        ratio = _ratio(own, grid)
        if ratio > _MAX_RATIO:
            raise GridError(
                f"{name}: one pixel of the grid holds {ratio:.0f} of its pixels a side, more than "
                f"{_MAX_RATIO:.0f}; choose a finer grid"
            )
        return cls(grid=grid, resamples=True, ratio=ratio)

    @property
    def may_leave_gaps(self) -> bool:
        """Whether parts of the grid may lie beyond the product."""
        return self.resamples

    def block_size(self, wanted: int) -> int:
        """Pixels a side of a block whose source pixels stay within the memory budget."""
        size = wanted
        while size > 64 and size * self.ratio > _MAX_SOURCE:
            size //= 2
        return size

    def nearest(self, raster: SourceRaster, index: int, block: Block) -> npt.NDArray[Any]:
        """Codes of a mask, the nearest for each pixel; 0 beyond the raster."""
        if not self.resamples and _lies_on(raster.grid, self.grid) is not None:
            return _repeated(raster, index, self.grid, block)
        return self._warped(raster, index, block)[0]

    def nearest_inside(
        self, raster: SourceRaster, index: int, block: Block
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Values of a band, unchanged, and where the raster has pixels."""
        if self.resamples:
            return self._warped(raster, index, block)
        if _lies_on(raster.grid, self.grid) is None:
            raise SceneError(
                f"{raster.name} does not lie on the pixels of the finest band; give a grid to "
                "bring all bands to (--like)"
            )
        return _repeated(raster, index, self.grid, block), np.ones(block.shape, dtype=bool)

    def smooth(
        self,
        rasters: Sequence[SourceRaster],
        indexes: Sequence[int],
        block: Block,
        *,
        resampling: str,
        nodata: Sequence[float | None],
        alpha: Sequence[bool],
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Interpolated stored values of a block and where all of them are known.

        Missing pixels take no part; a pixel of the target is missing where any band is.
        """
        out = np.full((len(rasters), *block.shape), np.nan, dtype=np.float32)
        valid = np.ones(block.shape, dtype=bool)
        opaque = [n for n, is_alpha in enumerate(alpha) if is_alpha]
        for number, (raster, index) in enumerate(zip(rasters, indexes, strict=True)):
            if alpha[number]:
                layer, inside = self._warped(raster, index, block)
                out[number] = layer
                valid &= inside & (layer > 0)
                continue
            window = self._window(raster.grid, block)
            if window is not None:
                stored = read_block(raster.dataset, window, indexes=index)
                values = stored.astype(np.float32)
                if nodata[number] is not None:
                    values[stored == nodata[number]] = np.nan
                for n in opaque:
                    if rasters[n].grid == raster.grid:
                        seen = read_block(rasters[n].dataset, window, indexes=indexes[n])
                        values[seen == 0] = np.nan
                values[~np.isfinite(values)] = np.nan
                self._reproject(raster.grid, window, values, out[number], block, resampling)
            valid &= np.isfinite(out[number])
        return out, valid

    def _warped(
        self, raster: SourceRaster, index: int, block: Block
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Nearest values and where there are any."""
        kind = np.dtype(raster.dataset.dtypes[index - 1])
        layer = np.zeros(block.shape, dtype=kind)
        inside = np.zeros(block.shape, dtype=np.uint8)
        window = self._window(raster.grid, block)
        if window is not None:
            stored = read_block(raster.dataset, window, indexes=index)
            self._reproject(raster.grid, window, stored, layer, block, "nearest")
            everywhere = np.ones(stored.shape, dtype=np.uint8)
            self._reproject(raster.grid, window, everywhere, inside, block, "nearest")
        return layer, inside > 0

    def _window(self, own: Grid, block: Block) -> Block | None:
        """Pixels of the source that a block may look at."""
        west, south, east, north = _bounds(self.grid.block_bounds(block), self.grid.crs, own.crs)
        t = own.transform
        reach = 2 + _REACH * max(1.0, (east - west) / t.a / block.cols)
        return own.window_of(
            (west - reach * t.a, south + reach * t.e, east + reach * t.a, north - reach * t.e)
        )

    def _reproject(
        self,
        own: Grid,
        window: Block,
        source: npt.NDArray[Any],
        target: npt.NDArray[Any],
        block: Block,
        resampling: str,
    ) -> None:
        is_float = source.dtype.kind == "f"
        reproject(
            source,
            target,
            src_transform=own.part(window).transform,
            src_crs=_gdal(own.crs),
            src_nodata=np.nan if is_float else None,
            dst_transform=self.grid.part(block).transform,
            dst_crs=_gdal(self.grid.crs),
            dst_nodata=np.nan if is_float else None,
            resampling=Resampling[resampling],
            tolerance=_TOLERANCE,
            # GDAL would guess them from the extent of each block, and blur small blocks more.
            XSCALE=min(1.0, 1.0 / self.ratio),
            YSCALE=min(1.0, 1.0 / self.ratio),
        )


def _no_overlap(name: str, like: Grid) -> GridError:
    return GridError(
        f"{name} does not meet the grid "
        f"({' '.join(f'{value:g}' for value in like.bounds)} in {like.crs.to_string()}); "
        "choose the grid of the place it shows"
    )


def _ratio(own: Grid, grid: Grid) -> float:
    """Pixels of `own` a side that one pixel in the middle of `grid` holds."""
    t, o = grid.transform, own.transform
    x, y = t.c + grid.shape[1] / 2 * t.a, t.f + grid.shape[0] / 2 * t.e
    east, north = _transformer(grid.crs, own.crs).transform([x, x + t.a, x], [y, y, y + t.e])
    cols = (np.asarray(east)[1:] - east[0]) / o.a
    rows = (np.asarray(north)[1:] - north[0]) / o.e
    return float(np.hypot(cols, rows).max())


def _lies_on(own: Grid, target: Grid) -> tuple[int, int, int] | None:
    """How many target pixels a side one of `own` holds, and where the target begins in them."""
    factor = round(own.transform.a / target.transform.a)
    if factor < 1:
        return None
    fine = Grid(
        crs=own.crs,
        transform=own.transform @ Affine.scale(1.0 / factor),
        shape=(own.shape[0] * factor, own.shape[1] * factor),
    )
    offset = fine.offset_of(target)
    if offset is None:
        return None
    row, col = offset
    covers = (
        row >= 0
        and col >= 0
        and row + target.shape[0] <= fine.shape[0]
        and col + target.shape[1] <= fine.shape[1]
    )
    return (factor, row, col) if covers else None


def _repeated(raster: SourceRaster, index: int, grid: Grid, block: Block) -> npt.NDArray[Any]:
    fit = _lies_on(raster.grid, grid)
    if fit is None:
        raise SceneError(f"{raster.name} does not lie on the grid")
    factor, first_row, first_col = fit
    row, col = first_row + block.row, first_col + block.col
    top, left = row // factor, col // factor
    bottom, right = -(-(row + block.rows) // factor), -(-(col + block.cols) // factor)
    coarse = read_block(
        raster.dataset,
        Block(row=top, col=left, rows=bottom - top, cols=right - left),
        indexes=index,
    )
    fine = coarse.repeat(factor, axis=0).repeat(factor, axis=1)
    row, col = row - top * factor, col - left * factor
    return fine[row : row + block.rows, col : col + block.cols]


@lru_cache(maxsize=16)
def _transformer(source: CRS, target: CRS) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


@lru_cache(maxsize=16)
def _gdal(crs: CRS) -> Any:
    return rasterio.crs.CRS.from_wkt(crs.to_wkt())


def _bounds(
    bounds: tuple[float, float, float, float], source: CRS, target: CRS
) -> tuple[float, float, float, float]:
    if source == target:
        return bounds
    west, south, east, north = _transformer(source, target).transform_bounds(
        *bounds, densify_pts=21
    )
    if not np.isfinite([west, south, east, north]).all():
        raise GridError(
            f"bounds {' '.join(f'{value:g}' for value in bounds)} of {source.to_string()} cannot "
            f"be expressed in {target.to_string()}; check the reference systems"
        )
    return west, south, east, north
