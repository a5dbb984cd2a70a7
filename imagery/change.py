"""Class transitions between two class maps, also on shifted grids and in other systems.

The difference of two maps is no estimate of change: the errors of both add up in it. Change is
estimated from a sample (`survey.estimation.change_between`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from imagery.classify import UNOBSERVED
from imagery.coverage import on_grid
from imagery.errors import GridError
from imagery.grid import Block, Grid
from imagery.mosaic import ClassMosaic, bounds_in, extended
from imagery.zonal import zone_sums

__all__ = ["NOTE", "transition_hectares"]

#: What must be said beside every table of transitions.
NOTE = (
    "a difference of two maps is no estimate of change: it holds the errors of both, and a shift "
    "of a pixel looks like change along every border; change is estimated from a sample"
)

_SCAN = 2048
# A country at 10 m has 7e9.
_MOST_PIXELS = 4 * 10**10
_UNOBSERVED_NAME = "unobserved"


def transition_hectares(
    before: Path | Sequence[Path],
    after: Path | Sequence[Path],
    zones: gpd.GeoDataFrame,
    id_column: str,
    *,
    method: str = "exact",
) -> pd.DataFrame:
    """Hectares of every pair of classes, before and after, in every zone.

    Pixels are those of the earlier map, continued where the later one reaches further; each
    takes the later map's class at its centre and counts with its true area.

    Parameters
    ----------
    before, after : Path or sequence of Path
        Class maps; several of a year are read as one (`imagery.mosaic.ClassMosaic`).
    zones : GeoDataFrame
        Polygons in any reference system.
    id_column : str
    method : {"exact", "centre"}
        As in `imagery.zonal.class_hectares`.

    Returns
    -------
    DataFrame
        `id_column`, from_code, from_name, to_code, to_name, ha. Land that either map did not
        observe, or does not reach, has code 0 there: not seen, and not unchanged.

    Raises
    ------
    GridError
        The maps do not overlap, or no zone meets them.
    """
    earlier = [before] if isinstance(before, Path) else list(before)
    later = [after] if isinstance(after, Path) else list(after)
    grid = _common_grid(ClassMosaic(earlier), ClassMosaic(later), zones)
    first, second = ClassMosaic(earlier, grid=grid), ClassMosaic(later, grid=grid)
    pairs = _Pairs(first, second)
    sums = zone_sums(
        first.grid, pairs, zones, len(pairs.codes), source=first.source, method=method
    )
    rows, found = np.nonzero(sums)
    start, end = pairs.codes[found] // 256, pairs.codes[found] % 256
    return pd.DataFrame(
        {
            id_column: zones[id_column].to_numpy()[rows],
            "from_code": start,
            "from_name": [_name(first, code) for code in start],
            "to_code": end,
            "to_name": [_name(second, code) for code in end],
            "ha": sums[rows, found],
        }
    )


def _common_grid(before: ClassMosaic, after: ClassMosaic, zones: gpd.GeoDataFrame) -> Grid:
    """The earlier map's pixels around the zones, as far as either map goes."""
    west, south, east, north = bounds_in(after.grid, before.grid)
    own = before.grid.bounds
    if not (west < own[2] and east > own[0] and south < own[3] and north > own[1]):
        raise GridError(
            f"{before.source} and {after.source} share no land; check that both show the same "
            "place and name the right reference system"
        )
    whole = extended([before.grid, after.grid])
    shapes = on_grid(zones, whole, source=f"{before.source} + {after.source}")
    around = whole.window_of(tuple(shapely.total_bounds(shapes)))
    if around is None:
        return whole
    if around.rows * around.cols > _MOST_PIXELS:
        raise GridError(
            f"the zones span {around.rows} x {around.cols} pixels of {before.source}, too many to "
            "compare; give the polygons that it covers, or cut the coarser map"
        )
    return whole.part(around)


class _Pairs:
    """Positions in the list of the pairs of codes that occur; (0, 0) is the first of them."""

    def __init__(self, before: ClassMosaic, after: ClassMosaic) -> None:
        self._before, self._after = before, after
        counts = np.zeros(256 * 256, dtype=np.int64)
        for block in before.grid.blocks(_SCAN):
            counts += np.bincount(self._both(block).ravel(), minlength=len(counts))
        counts[0] += 1
        self.codes = np.flatnonzero(counts)
        self._position = np.zeros(len(counts), dtype=np.uint16)
        self._position[self.codes] = np.arange(len(self.codes))

    def read(self, block: Block) -> npt.NDArray[np.uint16]:
        """Positions of the pairs of a block, (rows, cols)."""
        return self._position[self._both(block)]

    @contextmanager
    def held_open(self) -> Iterator[None]:
        """Keep the files of both maps open between reads."""
        with ExitStack() as files:
            files.enter_context(self._before.held_open())
            files.enter_context(self._after.held_open())
            yield

    def _both(self, block: Block) -> npt.NDArray[np.uint16]:
        return self._before.read(block).astype(np.uint16) * np.uint16(256) + self._after.read(
            block
        )


def _name(mosaic: ClassMosaic, code: int) -> str:
    return _UNOBSERVED_NAME if code == UNOBSERVED else mosaic.names.get(int(code), "")
