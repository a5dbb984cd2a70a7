"""Exact hectares of classes in polygons, and training pixels of plots.

Coverage fractions are exact (exactextract) and each pixel counts with its true area on the
ellipsoid. Work goes block by block, so a polygon may be as large as a country.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
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

from imagery.catalog import SceneStack
from imagery.classify import UNOBSERVED
from imagery.errors import GridError, TrainingError
from imagery.features import FeatureSpec, block_features, block_size_for, feature_names
from imagery.grid import Block, Grid, PixelAreas
from imagery.mosaic import ClassMosaic
from survey.areas import M2_PER_HA, geodesic_area_ha

__all__ = ["TrainingTable", "class_hectares", "training_pixels", "zone_sums"]

# Side of a block: within one pixels count with nearly one area, burning holds no more than it.
_BLOCK = {"exact": 512, "centre": 4096}
_CELL = 256
# Pixels of a piece that differ more count each with its own area: coarse ones in degrees.
_EVEN = 1e-4
_FEW_CODES = 12
# Pixels a side up to which a zone counts with the pixel area at its middle (to 1e-5).
_FIELD = 128
# Straight edges bend when reprojected; vertices this dense keep them in place (degrees, metres).
_DENSE = {True: 0.005, False: 500.0}
# Fewer pieces of land than folds twice over, or a class in one of them only: left-out land would
# mostly judge how the pieces fell.
_MIN_PIECES, _MIN_PIECES_OF_CLASS = 10, 3
# Pixels mostly outside their plot show something else.
_MIN_TRAINING_COVERAGE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTable:
    """Pixels of training plots.

    Attributes
    ----------
    features : float32 array (n, f)
    class_name, plot_id : object arrays (n,)
    weight : float array (n,)
        Share of the pixel inside its plot, 0.5-1.
    spatial_block : object array (n,)
        Square piece of land that holds the middle of the plot's extent.
    feature_names : tuple of str
        Date and kind of each feature.
    """

    features: npt.NDArray[np.float32]
    class_name: npt.NDArray[np.object_]
    plot_id: npt.NDArray[np.object_]
    weight: npt.NDArray[np.float64]
    spatial_block: npt.NDArray[np.object_]
    feature_names: tuple[str, ...] = ()

    @property
    def has_land_to_leave_out(self) -> bool:
        """Whether whole pieces of land can be left out: enough of them, every class in several."""
        pieces = {
            name: set(self.spatial_block[self.class_name == name])
            for name in set(self.class_name.tolist())
        }
        return (
            len(set().union(*pieces.values())) >= _MIN_PIECES
            and min(len(own) for own in pieces.values()) >= _MIN_PIECES_OF_CLASS
        )


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
    shapes = _on_grid(zones, grid, source=source)
    areas = PixelAreas(grid)
    sums = np.zeros((len(zones), n_codes))
    is_small = np.zeros(len(zones), dtype=bool)
    if method == "exact":
        is_small = _is_small(shapes, grid, areas)
        _add_small(sums, shapes, np.flatnonzero(is_small), grid, codes, areas)
    for near, part in _parts(shapes, grid, _BLOCK[method], np.flatnonzero(~is_small)):
        pixels = codes.read(part)
        if method == "centre":
            for zone in near:
                sums[zone] += _by_centre(shapes[zone], grid, part, pixels, areas, n_codes)
            continue
        _add_exactly(sums, shapes, near, grid, part, pixels, areas)
    # Land that the raster does not reach; for zones inside it what is left over is rounding.
    beyond = np.flatnonzero(~shapely.covered_by(shapes, shapely.box(*grid.bounds)))
    drawn = shapely.segmentize(zones.geometry.to_numpy()[beyond], _DENSE[zones.crs.is_geographic])
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
        for zone, pixel, share in _coverage(shapes, near[~is_whole], grid, part):
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


def training_pixels(
    stack: SceneStack, spec: FeatureSpec, plots: gpd.GeoDataFrame, *, block_km: float = 2.0
) -> TrainingTable:
    """Features of the clear pixels that lie mostly inside a training plot.

    Parameters
    ----------
    plots : GeoDataFrame with plot_id, class_name and polygons, in any reference system
    block_km : float
        Side of the pieces of land that spatial cross-validation leaves out.

    Raises
    ------
    GridError
        No plot meets the scenes.
    TrainingError
        No plot has a clear pixel.
    """
    shapes = _on_grid(plots, stack.grid, source="the scenes")
    features, zone_of, weight = [], [], []
    for near, part in _parts(
        shapes, stack.grid, block_size_for(stack, spec), np.arange(len(shapes))
    ):
        found = block_features(stack, spec, part)
        flat, clear = found.values.reshape(len(found.values), -1), found.is_observed.ravel()
        for zone, pixel, share in _coverage(shapes, near, stack.grid, part):
            used = clear[pixel] & (share >= _MIN_TRAINING_COVERAGE)
            features.append(flat[:, pixel[used]].T)
            zone_of.append(np.full(int(used.sum()), zone))
            weight.append(share[used])
    rows = np.concatenate(zone_of) if zone_of else np.empty(0, dtype=int)
    if not len(rows):
        raise TrainingError(
            "no training plot has a pixel with enough clear dates; lower min_clear or add plots"
        )
    return TrainingTable(
        features=np.ascontiguousarray(np.concatenate(features)),
        class_name=plots["class_name"].to_numpy(dtype=object)[rows],
        plot_id=plots["plot_id"].to_numpy(dtype=object)[rows],
        weight=np.concatenate(weight),
        spatial_block=_spatial_blocks(shapes, stack.grid, block_km)[rows],
        feature_names=feature_names(stack, spec),
    )


def _spatial_blocks(
    shapes: npt.NDArray[np.object_], grid: Grid, block_km: float
) -> npt.NDArray[np.object_]:
    middle_row, middle_col = np.array([grid.shape[0] // 2]), np.array([grid.shape[1] // 2])
    pixel_m = float(np.sqrt(PixelAreas(grid).at(middle_row, middle_col)[0, 0] * M2_PER_HA))
    side = block_km * 1000.0 / pixel_m
    west, south, east, north = shapely.bounds(shapes).T
    t = grid.transform
    col = np.floor(((west + east) / 2.0 - t.c) / t.a / side)
    row = np.floor(((south + north) / 2.0 - t.f) / t.e / side)
    return np.array([f"{r:.0f}/{c:.0f}" for r, c in zip(row, col, strict=True)], dtype=object)


def _on_grid(zones: gpd.GeoDataFrame, grid: Grid, *, source: str) -> npt.NDArray[np.object_]:
    """Zones in the grid's reference system, at least one of them on the grid."""
    if zones.crs is None:
        raise GridError("the polygons carry no coordinate reference system; set it")
    _require_polygons(zones)
    shapes = zones.geometry
    if zones.crs != grid.crs:
        dense = shapely.segmentize(shapes.to_numpy(), _DENSE[zones.crs.is_geographic])
        shapes = gpd.GeoSeries(dense, crs=zones.crs).to_crs(grid.crs)
    extent = shapely.box(*grid.bounds)
    on_grid: npt.NDArray[np.object_] = shapes.to_numpy()
    if not shapely.intersects(extent, on_grid).any():
        west, south, east, north = shapes.total_bounds
        raise GridError(
            f"no overlap: the polygons span {west:g} {south:g} {east:g} {north:g}, {source} spans "
            f"{' '.join(f'{value:g}' for value in grid.bounds)} (both in {grid.crs.to_string()}); "
            "check that both cover the same place and name the right CRS"
        )
    return on_grid


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


def _parts(
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


def _coverage(
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
