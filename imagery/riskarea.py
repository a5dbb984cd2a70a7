"""The risk area: land where the crop may grow, from rules on layers, as a raster with a version.

A pixel is outside where a rule is known to fail. Where no rule fails but a layer says nothing,
the pixel is unknown and treated as inside: no data is no reason to stop looking.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
from affine import Affine
from rasterio.features import rasterize
from rasterio.features import shapes as polygons

from imagery.classify import OUTSIDE_NAME, RISK_INSIDE, RISK_OUTSIDE, UNOBSERVED
from imagery.errors import GridError
from imagery.grid import Block, Grid
from imagery.mosaic import ClassMosaic
from imagery.raster import CogWriter, open_raster, read_block
from imagery.terrain import TERRAIN, Elevation, terrain
from imagery.zonal import class_hectares
from survey.areas import geodesic_area_ha
from survey.digests import file_digest

__all__ = ["Measure", "RiskRule", "cut_frame", "frame_effect", "risk_version", "write_risk_area"]

Bools = npt.NDArray[np.bool_]
#: Whether the rule holds, and whether it is known to, for the pixels of a block.
_Judge = Callable[[Block], tuple[Bools, Bools]]

_BLOCK = 512
_COLOURS = {
    UNOBSERVED: (0, 0, 0, 0),
    RISK_INSIDE: (214, 96, 77, 255),
    RISK_OUTSIDE: (228, 228, 228, 255),
}
_NAMES = {RISK_INSIDE: "risk area", RISK_OUTSIDE: OUTSIDE_NAME}
_VERSION = "RISK_AREA_VERSION"
# A segment with less of its land inside is out: slivers come from pixels on its border.
_LEAST_SHARE = 0.001


class Measure(StrEnum):
    """What a rule looks at."""

    ALTITUDE = "altitude_m"
    SLOPE = "slope_deg"
    LAND_COVER = "land_cover"
    DISTANCE = "distance_km"


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskRule:
    """One condition of the risk area; all of them must hold.

    Attributes
    ----------
    measure : Measure
    path : Path
        Elevation model in metres, land-cover raster (uint8; 0 and its own nodata value = no data),
        or a vector layer to which the distance is measured.
    low, high : float or None
        Smallest and largest value inside, both included.
    classes : tuple of int
        Land-cover codes inside.
    """

    measure: Measure
    path: Path
    low: float | None = None
    high: float | None = None
    classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.measure is Measure.LAND_COVER:
            if not self.classes or not set(self.classes) <= set(range(1, 256)):
                raise GridError(
                    f"risk rule on {self.path.name}: classes {list(self.classes)} must be "
                    "land-cover codes from 1 to 255 (0 is no data)"
                )
        elif self.low is None and self.high is None:
            raise GridError(f"risk rule on {self.path.name} has neither min nor max; give one")
        elif self.low is not None and self.high is not None and self.low > self.high:
            raise GridError(
                f"risk rule on {self.path.name}: min {self.low:g} is above max {self.high:g}"
            )


def risk_version(rules: Sequence[RiskRule], grid: Grid, *, label: str) -> str:
    """Label and digest of rules, contents of the layers and grid: equal for equal risk areas."""
    described = [
        [str(r.measure), r.low, r.high, sorted(r.classes), _file_digest(r.path)] for r in rules
    ]
    text = json.dumps([described, grid.crs.to_wkt(), list(grid.transform)[:6], grid.shape])
    return f"{label}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def write_risk_area(
    rules: Sequence[RiskRule],
    grid: Grid,
    to: Path,
    *,
    label: str,
    layers: Callable[[Path], gpd.GeoDataFrame],
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Write the risk area as a COG: 1 inside, 2 outside, 0 unknown; tags hold its version.

    What stands already with the same version is not made again.

    Parameters
    ----------
    rules : sequence of RiskRule
    grid : Grid
        Of the scenes, so that nothing is lost between the two.
    to : Path
    label : str
        The analyst's name for this version.
    layers : callable
        Reads a vector layer.

    Returns
    -------
    str
        `risk_version`.

    Raises
    ------
    GridError, SceneError
        A layer cannot be used, or the rules leave no land at all.
    """
    if not rules:
        raise GridError("the risk area has no rules; give at least one under [[risk.rules]]")
    version = risk_version(rules, grid, label=label)
    if to.is_file():
        with open_raster(to) as dataset:
            if dataset.tags().get(_VERSION) == version:
                return version
    judges = [_judge(rule, grid, layers) for rule in rules]
    blocks = list(grid.blocks(_BLOCK))
    n_inside = 0
    writer = CogWriter(
        to, grid, bands=["risk area"], nodata=UNOBSERVED, colours=_COLOURS,
        tags={f"CLASS_{code}": name for code, name in _NAMES.items()} | {_VERSION: version},
    )  # fmt: skip
    with writer as out:
        for done, block in enumerate(blocks, start=1):
            fails = np.zeros(block.shape, dtype=bool)
            unknown = np.zeros(block.shape, dtype=bool)
            for judge in judges:
                holds, known = judge(block)
                fails |= known & ~holds
                unknown |= ~known
            codes = np.where(fails, RISK_OUTSIDE, np.where(unknown, UNOBSERVED, RISK_INSIDE))
            n_inside += int((~fails).sum())
            out.write(codes.astype(np.uint8)[None], block)
            if progress is not None:
                progress(done, len(blocks))
        if not n_inside:
            raise GridError(
                "the rules leave no land in the risk area; check their limits and units (metres, "
                "degrees, kilometres) and that the layers cover the scenes"
            )
    return version


def frame_effect(risk_area: Path, frame: gpd.GeoDataFrame) -> pd.DataFrame:
    """What a risk area does to the segments of a frame.

    Parameters
    ----------
    frame : GeoDataFrame meeting `survey.types.FRAME`

    Returns
    -------
    DataFrame
        segment_id, stratum_id, district_pcode, is_sampled, before_ha (the frame's `risk_ha`),
        after_ha (inside or unknown), unknown_ha, and is_out: none of it is left.
    """
    hectares = class_hectares(risk_area, frame, "segment_id")
    wide = hectares.pivot_table(
        index="segment_id", columns="class_code", values="ha", aggfunc="sum", fill_value=0.0
    ).reindex(
        index=frame["segment_id"],
        columns=[UNOBSERVED, RISK_INSIDE, RISK_OUTSIDE],
        fill_value=0.0,
    )
    kept = frame[["segment_id", "stratum_id", "district_pcode", "is_sampled"]].reset_index(
        drop=True
    )
    after = (wide[UNOBSERVED] + wide[RISK_INSIDE]).to_numpy()
    effect: pd.DataFrame = kept.assign(
        before_ha=frame["risk_ha"].to_numpy(),
        after_ha=after,
        unknown_ha=wide[UNOBSERVED].to_numpy(),
        is_out=after < _LEAST_SHARE * wide.sum(axis=1).to_numpy(),
    )
    return effect


def cut_frame(
    risk_area: Path, frame: gpd.GeoDataFrame, effect: pd.DataFrame, *, version: str
) -> gpd.GeoDataFrame:
    """The frame without the land outside the risk area: another frame, of which none is drawn.

    Parameters
    ----------
    frame : GeoDataFrame meeting `survey.types.FRAME`
    effect : DataFrame
        `frame_effect` of both.
    version : str
        `risk_version`; written beside every segment as `risk_area_version`.

    Returns
    -------
    GeoDataFrame
        Segments that do not fall out, cut along the edges of pixels, their `risk_ha` computed
        anew (geodesic hectares) and `is_sampled` false; identity, stratum and district stay.

    Raises
    ------
    GridError
        No segment is left.
    """
    kept = frame.loc[~effect["is_out"].to_numpy()].copy()
    if kept.empty:
        raise GridError("no segment of the frame lies in the risk area; check its rules")
    with open_raster(risk_area) as dataset:
        grid = Grid.of(dataset, source=risk_area.name)
        shapes = kept.geometry.to_crs(grid.crs)
        outside = gpd.GeoSeries(
            [_outside(dataset, grid, tuple(shape.bounds)) for shape in shapes],
            index=kept.index, crs=grid.crs,
        ).to_crs(frame.crs)  # fmt: skip
    whole = kept.geometry.make_valid().to_numpy()
    # Pixels leave lines and points where they touch a border.
    cut = [_polygons(shape) for shape in shapely.difference(whole, outside.to_numpy())]
    kept = kept.set_geometry(gpd.GeoSeries(cut, index=kept.index, crs=frame.crs))
    return kept.assign(
        risk_ha=geodesic_area_ha(kept.geometry.to_numpy(), frame.crs),
        is_sampled=False,
        risk_area_version=version,
    )


def _outside(
    dataset: Any, grid: Grid, bounds: tuple[float, float, float, float]
) -> shapely.Geometry:
    """Land within bounds that is known to lie outside; beyond the raster nothing is known."""
    block = grid.window_of(bounds)
    if block is None:
        return shapely.Polygon()
    codes = read_block(dataset, block, indexes=1)
    found = polygons(
        codes, mask=codes == RISK_OUTSIDE,
        transform=grid.transform * Affine.translation(block.col, block.row),
    )  # fmt: skip
    return shapely.union_all([shapely.geometry.shape(shape) for shape, _ in found])


def _polygons(shape: shapely.Geometry) -> shapely.Geometry:
    parts = shapely.get_parts(shapely.get_parts([shape]))
    return shapely.union_all(parts[shapely.area(parts) > 0.0])


def _judge(rule: RiskRule, grid: Grid, layers: Callable[[Path], gpd.GeoDataFrame]) -> _Judge:
    if rule.measure is Measure.LAND_COVER:
        return _by_land_cover(rule, grid)
    if rule.measure is Measure.DISTANCE:
        return _by_distance(rule, grid, layers(rule.path))
    return _by_terrain(rule, grid)


def _by_terrain(rule: RiskRule, grid: Grid) -> _Judge:
    model = Elevation.of(rule.path)
    layer = TERRAIN.index(rule.measure.value)

    def judge(block: Block) -> tuple[Bools, Bools]:
        values = terrain(model, grid, block)[layer]
        known = np.isfinite(values)
        holds = np.ones(block.shape, dtype=bool)
        if rule.low is not None:
            holds &= values >= rule.low
        if rule.high is not None:
            holds &= values <= rule.high
        return holds, known

    return judge


def _by_land_cover(rule: RiskRule, grid: Grid) -> _Judge:
    cover = ClassMosaic([rule.path], grid=grid)
    with open_raster(rule.path) as dataset:
        nodata = dataset.nodata
    if nodata in rule.classes:
        raise GridError(
            f"risk rule: class {nodata:g} is what {rule.path.name} declares as no data; take it "
            "from classes, or correct the file (gdal_edit.py -unsetnodata)"
        )
    no_data = [UNOBSERVED] if nodata is None else [UNOBSERVED, nodata]

    def judge(block: Block) -> tuple[Bools, Bools]:
        codes = cover.read(block)
        return np.isin(codes, rule.classes), ~np.isin(codes, no_data)

    return judge


def _by_distance(rule: RiskRule, grid: Grid, layer: gpd.GeoDataFrame) -> _Judge:
    """Distance to the nearest shape, by buffers: no distance raster of the whole land is held."""
    if layer.crs is None or layer.empty:
        what = "holds no shapes" if layer.crs is not None else "carries no reference system"
        raise GridError(f"risk rule: {rule.path.name} {what}")
    metres = layer.geometry.to_crs(layer.estimate_utm_crs())

    def burner(kilometres: float) -> Callable[[Block], Bools]:
        near = metres.buffer(1000.0 * kilometres).to_crs(grid.crs)
        shapes: npt.NDArray[np.object_] = near.to_numpy()
        tree = shapely.STRtree(shapes)

        def burn(block: Block) -> Bools:
            found = tree.query(shapely.box(*grid.block_bounds(block)), predicate="intersects")
            if not len(found):
                return np.zeros(block.shape, dtype=bool)
            transform: Any = grid.transform * Affine.translation(block.col, block.row)
            burnt: npt.NDArray[np.uint8] = rasterize(
                [(shape, 1) for shape in shapes[found]], out_shape=block.shape,
                transform=transform, dtype="uint8",
            )  # fmt: skip
            return burnt.astype(bool)

        return burn

    within = None if rule.high is None else burner(rule.high)
    nearer = None if rule.low is None or rule.low <= 0.0 else burner(rule.low)

    def judge(block: Block) -> tuple[Bools, Bools]:
        holds = np.ones(block.shape, dtype=bool)
        if within is not None:
            holds &= within(block)
        if nearer is not None:
            holds &= ~nearer(block)
        return holds, np.ones(block.shape, dtype=bool)

    return judge


def _file_digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise GridError(f"risk rule: {path} cannot be read: {error.strerror}") from error
