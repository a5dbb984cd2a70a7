"""Seasons cut into periods, and strata with seasons of their own."""

from __future__ import annotations

import pickle
from datetime import date, timedelta

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from imagery.calendars import Calendar, Season, Step, Zones
from imagery.errors import GridError, SceneError
from imagery.grid import Block, Grid

GRID = Grid(crs=CRS(32647), transform=Affine(10, 0, 500_000, 0, -10, 2_300_000), shape=(20, 30))
SHAN = Season(start=date(2025, 9, 1), end=date(2026, 3, 31))


@pytest.mark.parametrize("step", list(Step))
def test_periods_cover_the_season_once(step: Step) -> None:
    periods = Season(start=SHAN.start, end=SHAN.end, step=step).periods
    assert len(periods) == {Step.MONTH: 7, Step.HALF_MONTH: 14}[step]
    day = SHAN.start
    while day <= SHAN.end:
        assert sum(period.holds(day) for period in periods) == 1
        day += timedelta(days=1)
    assert not any(period.holds(SHAN.end + timedelta(days=1)) for period in periods)


def test_half_months_of_a_february() -> None:
    february = Season(start=date(2024, 2, 1), end=date(2024, 2, 29)).periods
    assert [(p.first.day, p.last.day) for p in february] == [(1, 15), (16, 29)]
    assert february[0].centre == date(2024, 2, 8).toordinal()


@pytest.mark.parametrize(
    ("start", "end", "step", "message"),
    [
        ("2025-09-02", "2026-03-31", "half_month", "starts on 2025-09-02"),
        ("2025-09-16", "2026-03-31", "month", "must start on the 1st of a month"),
        ("2025-09-01", "2026-03-30", "half_month", "ends on 2026-03-30"),
        ("2026-09-01", "2026-03-31", "month", "ends before it begins"),
        ("2015-09-01", "2026-03-31", "month", "has 127 periods"),
    ],
)
def test_a_season_that_is_none_says_why(start: str, end: str, step: str, message: str) -> None:
    with pytest.raises(SceneError, match=message):
        Season(start=date.fromisoformat(start), end=date.fromisoformat(end), step=Step(step))


def zones() -> Zones:
    layer = gpd.GeoDataFrame(
        {"stratum_id": ["south", "north", "south"]},
        geometry=[
            shapely.box(500_000, 2_299_800, 500_100, 2_299_900),
            shapely.box(500_000, 2_299_900, 500_300, 2_300_000),
            shapely.box(500_200, 2_299_800, 500_300, 2_299_900),
        ],
        crs=32647,
    )
    # The strata come in degrees, as frames often do.
    return Zones.of(layer.to_crs(4326), "stratum_id", GRID)


def test_every_stratum_has_its_season_and_other_land_the_default() -> None:
    monsoon = Season(start=date(2025, 6, 1), end=date(2025, 12, 31))
    calendar = Calendar(season=SHAN, strata=(("south", monsoon),), zones=zones())
    parts = dict(calendar.parts(GRID, Block(row=0, col=0, rows=20, cols=30)))
    expected = np.zeros((20, 30), dtype=bool)
    expected[10:, :10] = expected[10:, 20:] = True
    np.testing.assert_array_equal(parts[monsoon], expected)
    np.testing.assert_array_equal(parts[SHAN], ~expected)
    # One season alone needs no picture of it.
    assert list(calendar.parts(GRID, Block(row=0, col=0, rows=5, cols=5))) == [(SHAN, None)]
    assert list(calendar.parts(GRID, Block(row=12, col=2, rows=5, cols=5))) == [(monsoon, None)]


def test_strata_need_land_and_as_many_periods() -> None:
    short = Season(start=date(2025, 6, 1), end=date(2025, 11, 30))
    with pytest.raises(SceneError, match="stratum south has 12 periods, the others 14"):
        Calendar(season=SHAN, strata=(("south", short),), zones=zones())
    with pytest.raises(SceneError, match="stratum 'east', which no zone has; zones are north, s"):
        Calendar(season=SHAN, strata=(("east", SHAN),), zones=zones())
    with pytest.raises(GridError, match="no column 'name'"):
        Zones.of(
            gpd.GeoDataFrame({"a": [1]}, geometry=[shapely.Point(0, 0)], crs=4326), "name", GRID
        )


def test_broken_zones_are_named() -> None:
    bow = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
    for shape in (bow, None):
        broken = gpd.GeoDataFrame({"stratum_id": ["a"]}, geometry=[shape], crs=4326)
        with pytest.raises(GridError, match=r"row 1 of the zones .* is no valid polygon"):
            Zones.of(broken, "stratum_id", GRID)


def test_a_calendar_travels_to_workers() -> None:
    calendar = Calendar(season=SHAN, strata=(("south", SHAN),), zones=zones())
    there = pickle.loads(pickle.dumps(calendar))  # noqa: S301
    assert there == calendar
    assert repr(there) == repr(calendar)
    block = Block(row=0, col=0, rows=20, cols=30)
    assert [season for season, _ in there.parts(GRID, block)] == [SHAN]


def test_equal_zones_are_equal_and_print_the_same() -> None:
    assert zones() == zones()
    assert repr(zones()) == repr(zones())
    other = Zones(names=("north", "south"), shapes=zones().shapes[::-1])
    assert other != zones()
    assert repr(other) != repr(zones())
