"""Exact hectares of classes in polygons, and training pixels of plots.

Coverage fractions are exact (exactextract) and each pixel counts with its true area on the
ellipsoid. Work goes block by block, so a polygon may be as large as a country.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
from affine import Affine
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from rasterio.features import rasterize

from imagery.catalog import SceneStack
from imagery.errors import GridError, TrainingError
from imagery.features import FeatureSpec, block_features, block_size_for, feature_names
from imagery.grid import Block, Grid, PixelAreas
from imagery.mapping import UNOBSERVED
from imagery.raster import open_raster, read_block
from survey.areas import M2_PER_HA, geodesic_area_ha

__all__ = ["TrainingTable", "class_hectares", "training_pixels"]

# Side of a block: exact coverage holds a number for every pixel and zone, burning none.
_BLOCK = {"exact": 512, "centre": 4096}
_CELL = 256
_FEW_CODES = 12
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
    class_map: Path, zones: gpd.GeoDataFrame, id_column: str, *, method: str = "exact"
) -> pd.DataFrame:
    """Hectares of every class in every zone.

    Land of a zone that the raster does not reach counts as unobserved (class 0), so the
    hectares of a zone always sum to its geodesic area.

    Parameters
    ----------
    class_map : Path
        uint8 raster, 0 = unobserved.
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
    if method not in _BLOCK:
        raise GridError(f"method {method!r} is not known; choose from {', '.join(_BLOCK)}")
    with open_raster(class_map) as dataset:
        grid = Grid.of(dataset, source=class_map.name)
    shapes = _on_grid(zones, grid, source=class_map.name)
    areas = PixelAreas(grid)
    sums = np.zeros((len(zones), 256))
    for near, part in _parts(shapes, grid, _BLOCK[method]):
        # Closed again at once: GDAL burns shapes several times slower under its cache limit.
        with open_raster(class_map) as dataset:
            codes = read_block(dataset, part, indexes=1)
        if method == "centre":
            for zone in near:
                sums[zone] += _by_centre(shapes[zone], grid, part, codes, areas)
            continue
        area, flat = areas.of(part).ravel(), codes.ravel()
        for zone, pixel, share in _coverage(shapes, near, grid, part):
            sums[zone] += np.bincount(flat[pixel], weights=share * area[pixel], minlength=256)
    # Land that the raster does not reach; for zones inside it what is left over is rounding.
    beyond = np.flatnonzero(~shapely.covered_by(shapes, shapely.box(*grid.bounds)))
    whole = geodesic_area_ha(zones.geometry.to_numpy()[beyond], zones.crs)
    outside = np.maximum(whole - sums[beyond].sum(axis=1), 0.0)
    sums[beyond, UNOBSERVED] += np.where(outside > 1e-4 * whole, outside, 0.0)
    rows, codes_found = np.nonzero(sums)
    return pd.DataFrame(
        {
            id_column: zones[id_column].to_numpy()[rows],
            "class_code": codes_found,
            "ha": sums[rows, codes_found],
        }
    )


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
    for near, part in _parts(shapes, stack.grid, block_size_for(stack, spec)):
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


def _parts(
    shapes: npt.NDArray[np.object_], grid: Grid, size: int
) -> Iterator[tuple[npt.NDArray[np.int64], Block]]:
    """Blocks cut down to what the zones in them need, with the numbers of those zones."""
    tree = shapely.STRtree(shapes)
    for block in grid.blocks(size):
        frame = shapely.box(*grid.block_bounds(block))
        near = np.sort(tree.query(frame, predicate="intersects"))
        if len(near):
            part = grid.window_in(block, tuple(shapely.total_bounds(shapes[near])))
            if part is not None:
                yield near, part


def _by_centre(
    shape: shapely.Geometry,
    grid: Grid,
    part: Block,
    codes: npt.NDArray[np.uint8],
    areas: PixelAreas,
) -> npt.NDArray[np.float64]:
    """Hectares by class code (256,) of the pixels of a part whose centre the shape holds."""
    sums = np.zeros(256)
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
    inside = codes[row : row + own.rows, col : col + own.cols] * burnt
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
            count = _count(inside[cell], highest)
            # Outside the shape the product is 0 too: what class 0 really has is the rest.
            count[UNOBSERVED] = np.count_nonzero(burnt[cell]) - int(count[1:].sum())
            sums += count * area[i, j]
    return sums


def _count(codes: npt.NDArray[np.uint8], highest: int) -> npt.NDArray[np.int64]:
    """Pixels of each code (256,) above 0; for a few codes comparing is faster than counting."""
    if highest > _FEW_CODES:
        return np.bincount(codes.ravel(), minlength=256)
    count = np.zeros(256, dtype=np.int64)
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
