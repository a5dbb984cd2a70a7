"""The calendar of a round: seasons cut into periods, which may differ by stratum."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from rasterio.features import rasterize

from imagery.composites import Composite
from imagery.errors import GridError, SceneError
from imagery.grid import Block, Grid

__all__ = ["Calendar", "Period", "Season", "Step", "Zones"]

# A season of more steps is a slip of the pen, and would not fit the memory.
_MOST_PERIODS = 72
# Straight edges bend when reprojected; vertices this dense keep them in place (degrees, metres).
_DENSE = {True: 0.005, False: 500.0}


class Step(StrEnum):
    """Length of a period."""

    MONTH = "month"
    HALF_MONTH = "half_month"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Days from `first` to `last`, both included."""

    first: date
    last: date

    @property
    def centre(self) -> float:
        """Middle of the period as an ordinal day."""
        return (self.first.toordinal() + self.last.toordinal()) / 2.0

    def holds(self, day: date) -> bool:
        """Whether a day lies in the period."""
        return self.first <= day <= self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class Season:
    """A stretch of days that is cut into months or half-months (1st-15th and the rest).

    Attributes
    ----------
    start, end : date
        First and last day, both included; the first and the last day of a period.
    step : Step

    Raises
    ------
    SceneError
        The days do not begin and end a period, or lie the wrong way round.
    """

    start: date
    end: date
    step: Step = Step.HALF_MONTH

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise SceneError(f"season {self.start} to {self.end} ends before it begins")
        firsts = "1st" if self.step is Step.MONTH else "1st or 16th"
        if self.start.day not in self._first_days:
            raise SceneError(
                f"season starts on {self.start}; with step {self.step} it must start on the "
                f"{firsts} of a month"
            )
        if (self.end + timedelta(days=1)).day not in self._first_days:
            raise SceneError(
                f"season ends on {self.end}; with step {self.step} the day after its end must be "
                f"the {firsts} of a month"
            )
        if len(self.periods) > _MOST_PERIODS:
            raise SceneError(
                f"season {self.start} to {self.end} has {len(self.periods)} periods, more than "
                f"{_MOST_PERIODS}; check the years"
            )

    @property
    def _first_days(self) -> tuple[int, ...]:
        return (1,) if self.step is Step.MONTH else (1, 16)

    @property
    def periods(self) -> tuple[Period, ...]:
        """Periods in order, covering the season once."""
        periods, first = [], self.start
        while first <= self.end:
            last = first + timedelta(days=1)
            while last.day not in self._first_days:
                last += timedelta(days=1)
            periods.append(Period(first=first, last=last - timedelta(days=1)))
            first = last
        return tuple(periods)


@dataclass(frozen=True, slots=True, eq=False)
class Zones:
    """Land of the strata that have a season of their own, in a grid's reference system.

    Attributes
    ----------
    names : tuple of str
    shapes : object array (n,)
        One polygon or multipolygon for each name.
    """

    names: tuple[str, ...]
    shapes: npt.NDArray[np.object_]
    _digest: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        content = hashlib.sha256(repr(self.names).encode())
        for shape in shapely.to_wkb(self.shapes):
            content.update(shape)
        object.__setattr__(self, "_digest", content.hexdigest()[:16])

    @classmethod
    def of(cls, layer: gpd.GeoDataFrame, column: str, grid: Grid) -> Zones:
        """Zones from a layer, one for each value of a column.

        Raises
        ------
        GridError
            The layer has no reference system or no such column.
        """
        if layer.crs is None:
            raise GridError("the zones of the calendar carry no reference system; set it")
        if column not in layer.columns:
            raise GridError(
                f"the zones of the calendar have no column {column!r}; they have "
                f"{', '.join(map(str, layer.columns))}"
            )
        names = layer[column].astype(str)
        usable = layer.geometry.notna() & layer.geometry.is_valid
        if not usable.all():
            row = int(np.flatnonzero(~usable.to_numpy())[0])
            raise GridError(
                f"row {row + 1} of the zones of the calendar ({column} {names.iloc[row]!r}) is no "
                "valid polygon; repair it (in QGIS: Fix geometries)"
            )
        dense = shapely.segmentize(layer.geometry.to_numpy(), _DENSE[layer.crs.is_geographic])
        shapes = gpd.GeoSeries(dense, crs=layer.crs).to_crs(grid.crs).to_numpy()
        found = sorted(set(names))
        merged = [shapely.union_all(shapes[(names == name).to_numpy()]) for name in found]
        return cls(names=tuple(found), shapes=np.array(merged, dtype=object))

    def __repr__(self) -> str:
        return f"Zones({self._digest})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Zones) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    def burn(self, grid: Grid, block: Block) -> npt.NDArray[np.int16]:
        """Number of the zone that holds the centre of each pixel, -1 where none does."""
        frame = shapely.box(*grid.block_bounds(block))
        near = np.flatnonzero(shapely.intersects(self.shapes, frame))
        if not len(near):
            return np.full(block.shape, -1, dtype=np.int16)
        burnt: npt.NDArray[np.int16] = rasterize(
            [(self.shapes[number], int(number)) for number in near],
            out_shape=block.shape,
            transform=grid.transform * Affine.translation(block.col, block.row),
            fill=-1,
            dtype="int16",
        )
        return burnt


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Which days belong to which period, for every pixel.

    The k-th period of every stratum is the same feature, although its days differ: so strata
    that sow in different months share one model.

    Attributes
    ----------
    season : Season
        Of all land outside the strata named below.
    composite : Composite
        How the clear dates of a period become one picture.
    strata : tuple of (stratum, Season)
    zones : Zones or None
        Where the strata lie.

    Raises
    ------
    SceneError
        Seasons with different numbers of periods, or a stratum that no zone shows.
    """

    season: Season
    composite: Composite = Composite.MEDIAN
    strata: tuple[tuple[str, Season], ...] = ()
    zones: Zones | None = None

    def __post_init__(self) -> None:
        n = len(self.season.periods)
        known = () if self.zones is None else self.zones.names
        for name, season in self.strata:
            if len(season.periods) != n or season.step is not self.season.step:
                raise SceneError(
                    f"season of stratum {name} has {len(season.periods)} periods, the others "
                    f"{n}: one model needs as many for every stratum; make {season.start} to "
                    f"{season.end} as long as {self.season.start} to {self.season.end}"
                )
            if name not in known:
                raise SceneError(
                    f"the calendar names stratum {name!r}, which no zone has; zones are "
                    f"{', '.join(known) or 'not given'}"
                )

    def __len__(self) -> int:
        return len(self.season.periods)

    def parts(
        self, grid: Grid, block: Block
    ) -> Iterator[tuple[Season, npt.NDArray[np.bool_] | None]]:
        """Seasons of a block with the pixels of each; None where one holds them all."""
        if not self.strata or self.zones is None:
            yield self.season, None
            return
        zone = self.zones.burn(grid, block)
        seasons: dict[Season, npt.NDArray[np.bool_]] = {}
        own = dict(self.strata)
        for number in np.unique(zone):
            name = "" if number < 0 else self.zones.names[number]
            season = own.get(name, self.season)
            here = zone == number
            seasons[season] = seasons.get(season, np.zeros_like(here)) | here
        if len(seasons) == 1:
            yield next(iter(seasons)), None
            return
        yield from seasons.items()
