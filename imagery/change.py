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

from imagery.classify import UNOBSERVED
from imagery.errors import GridError
from imagery.grid import Block
from imagery.mosaic import ClassMosaic
from imagery.zonal import zone_sums

__all__ = ["NOTE", "transition_hectares"]

#: What must be said beside every table of transitions.
NOTE = (
    "a difference of two maps is no estimate of change: it holds the errors of both, and a shift "
    "of a pixel looks like change along every border; change is estimated from a sample"
)

_SCAN = 2048
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

    Pixels are those of the earlier map (extended where the later one reaches further); each
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
    first = ClassMosaic([before] if isinstance(before, Path) else before)
    second = ClassMosaic([after] if isinstance(after, Path) else after, grid=first.grid)
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


class _Pairs:
    """Positions in the list of the pairs of codes that occur; (0, 0) is the first of them."""

    def __init__(self, before: ClassMosaic, after: ClassMosaic) -> None:
        self._before, self._after = before, after
        counts = np.zeros(256 * 256, dtype=np.int64)
        for block in before.grid.blocks(_SCAN):
            counts += np.bincount(self._both(block).ravel(), minlength=len(counts))
        counts[0] += 1
        self.codes = np.flatnonzero(counts)
        is_seen = (self.codes // 256 != UNOBSERVED) & (self.codes % 256 != UNOBSERVED)
        if not is_seen.any():
            raise GridError(
                f"{before.source} and {after.source} share no observed land; check that both show "
                "the same place and name the right reference system"
            )
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
