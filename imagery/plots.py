"""Training plots: the features of their pixels, and the land to leave out in turn."""

from __future__ import annotations

from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely

from imagery.catalog import SceneStack
from imagery.coverage import blocks_of, coverage, on_grid
from imagery.errors import TrainingError
from imagery.features import FeatureSpec, block_features, block_size_for, feature_names
from imagery.grid import Grid, PixelAreas
from survey.areas import M2_PER_HA

__all__ = ["TrainingTable", "training_pixels"]

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
    shapes = on_grid(plots, stack.grid, source="the scenes")
    features, zone_of, weight = [], [], []
    for near, part in blocks_of(
        shapes, stack.grid, block_size_for(stack, spec), np.arange(len(shapes))
    ):
        found = block_features(stack, spec, part)
        flat, clear = found.values.reshape(len(found.values), -1), found.is_observed.ravel()
        for zone, pixel, share in coverage(shapes, near, stack.grid, part):
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
