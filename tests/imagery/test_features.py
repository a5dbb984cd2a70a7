"""Features by period: composites, clouds, buffers; the same for every cut of the grid."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from conftest_scenes import dated, landscape, write_scene

from imagery.calendars import Calendar, Season, Step, Zones
from imagery.catalog import CLOUD_PROBABILITY, SceneStack, read_scenes
from imagery.composites import Composite
from imagery.errors import SceneError
from imagery.features import BlockFeatures, FeatureSpec, block_features, feature_names
from imagery.grid import Block
from imagery.texture import Texture

WINTER = Season(start=date(2026, 1, 1), end=date(2026, 3, 31), step=Step.MONTH)


def series(folder: Path, levels: dict[str, int], hidden: tuple[str, ...] = ()) -> SceneStack:
    """Scenes of one value each on a grid of 1 x 2 pixels; the second pixel may be hidden."""
    for number, (day, level) in enumerate(levels.items()):
        mask = np.array([[0, int(day in hidden)]])
        dated(write_scene(folder, number, np.full((6, 1, 2), level), mask), day)
    return read_scenes(folder)


LEVELS = {
    "2026-01-03": 1000,
    "2026-01-15": 2000,
    "2026-01-28": 6000,
    "2026-03-14": 4000,
    "2026-05-01": 9000,
}


def test_periods_by_hand(tmp_path: Path) -> None:
    stack = series(tmp_path, LEVELS, hidden=("2026-01-15", "2026-03-14"))
    spec = FeatureSpec(indices=(), min_clear=2, calendar=Calendar(season=WINTER))
    found = block_features(stack, spec, Block(row=0, col=0, rows=1, cols=2))
    names = feature_names(stack, spec)
    assert names[0] == "p01 blue"
    assert len(names) == len(found.values) == 3 * 6
    red = found.values[[names.index(f"p0{k} red") for k in (1, 2, 3)], 0]
    # January is a median; February has no scene and lies 30/58.5 of the way to March.
    share = (date(2026, 2, 14).toordinal() + 0.5 - date(2026, 1, 16).toordinal()) / 59.0
    np.testing.assert_allclose(red[:, 0], [0.2, 0.2 + share * 0.2, 0.4], rtol=1e-6)
    np.testing.assert_allclose(red[:, 1], [0.35, 0.35, 0.35], rtol=1e-6)
    assert found.n_dates[:, 0].tolist() == [[3, 2], [0, 0], [1, 0]]
    assert found.n_clear.tolist() == [[2, 1]]
    assert found.is_observed.tolist() == [[True, False]]
    assert found.gap_days.tolist() == [[59.0, 59.0]]
    nearest = FeatureSpec(
        indices=(), calendar=Calendar(season=WINTER, composite=Composite.NEAREST)
    )
    red = block_features(stack, nearest, Block(row=0, col=0, rows=1, cols=2)).values[2, 0]
    np.testing.assert_allclose(red, [0.2, 0.6], rtol=1e-6)


def with_probability(sidecar: Path, percent: np.ndarray) -> None:
    """Give a scene a second mask: the probability of cloud."""
    with rasterio.open(sidecar.with_suffix(".tif")) as image:
        profile = {**image.profile, "count": 1, "dtype": "uint8", "nodata": None}
    name = f"{sidecar.stem}_p.tif"
    with rasterio.open(sidecar.with_name(name), "w", **profile) as out:
        out.write(percent.astype(np.uint8), 1)
    meta = json.loads(sidecar.read_text())
    drawn = {"file": meta["mask"], "clear": meta.pop("mask_clear")}
    meta["mask"] = [drawn, {"file": name, "max": 60, "cloud_probability": True}]
    sidecar.write_text(json.dumps(meta))


def test_the_picture_with_the_least_cloud(tmp_path: Path) -> None:
    series(tmp_path, LEVELS, hidden=("2026-01-15",))
    spec = FeatureSpec(
        indices=("ndvi",), min_clear=1,
        calendar=Calendar(season=WINTER, composite=Composite.LEAST_CLOUD),
    )  # fmt: skip
    sidecars = sorted(tmp_path.glob("*.json"))
    percents = ([[50, 7]], [[20, 5]], [[30, 61]], [[255, 0]], [[0, 0]])
    for sidecar, percent in zip(sidecars[:-1], percents, strict=False):
        with_probability(sidecar, np.array(percent))
    block = Block(row=0, col=0, rows=1, cols=2)
    with pytest.raises(SceneError, match=r"of every scene, and 1 have none \(2026-02-10.tif\)"):
        block_features(read_scenes(tmp_path), spec, block)
    with_probability(sidecars[-1], np.array(percents[-1]))
    stack = read_scenes(tmp_path)
    found = block_features(stack, spec, block)
    names = feature_names(stack, spec)
    assert len(found.values) == len(names) == 3 * 7
    # January: 20 is the least of 50, 20, 30; beside it 5 is hidden by the other mask and 61 by
    # its own, which leaves 7. A probability of 255 is none.
    np.testing.assert_allclose(found.values[names.index("p01 red"), 0], [0.2, 0.1], rtol=1e-6)
    assert found.n_dates[:, 0].tolist() == [[3, 1], [0, 0], [0, 1]]
    np.testing.assert_allclose(found.values[names.index("p03 red"), 0], [0.2, 0.4], rtol=1e-6)


def test_of_overlapping_scenes_the_probability_is_that_of_the_pixel_taken(tmp_path: Path) -> None:
    for number, (level, hidden, percent) in enumerate(((1000, [1, 0], 9), (3000, [0, 0], 2))):
        sidecar = write_scene(tmp_path, number, np.full((6, 1, 2), level), np.array([hidden]))
        with_probability(sidecar, np.full((1, 2), percent))
        dated(sidecar, "2026-01-05")
    values, clear = read_scenes(tmp_path).read(
        0, ("red", CLOUD_PROBABILITY), Block(row=0, col=0, rows=1, cols=2)
    )
    assert clear.all()
    np.testing.assert_allclose(values[:, 0], [[0.3, 0.1], [2.0, 9.0]], rtol=1e-6)


def test_a_long_gap_is_not_made_up_for_by_many_dates(tmp_path: Path) -> None:
    stack = series(tmp_path, LEVELS)
    calendar = Calendar(season=WINTER)
    spec = FeatureSpec(indices=(), min_clear=2, calendar=calendar, max_gap_days=58)
    assert not block_features(stack, spec, Block(row=0, col=0, rows=1, cols=2)).is_observed.any()
    spec = FeatureSpec(indices=(), min_clear=2, calendar=calendar, max_gap_days=59)
    assert block_features(stack, spec, Block(row=0, col=0, rows=1, cols=2)).is_observed.all()


def test_a_season_without_scenes_says_so(tmp_path: Path) -> None:
    stack = series(tmp_path, LEVELS)
    season = Season(start=date(2025, 1, 1), end=date(2025, 3, 31))
    spec = FeatureSpec(indices=(), calendar=Calendar(season=season))
    with pytest.raises(SceneError, match="no scene lies in the season 2025-01-01 to 2025-03-31"):
        block_features(stack, spec, Block(row=0, col=0, rows=1, cols=2))


def test_two_years_with_other_dates_have_the_same_features(tmp_path: Path) -> None:
    """What a model needs to be shared: the names, and the numbers where the land is the same."""
    first = series(tmp_path / "a", {"2026-01-10": 1000, "2026-02-10": 3000, "2026-03-10": 2000})
    later = series(
        tmp_path / "b",
        {"2027-01-04": 1000, "2027-01-21": 1000, "2027-02-16": 3000, "2027-03-25": 2000},
    )
    found = []
    for stack, year in ((first, 2026), (later, 2027)):
        season = Season(start=date(year, 1, 1), end=date(year, 3, 31), step=Step.MONTH)
        spec = FeatureSpec(
            indices=("ndvi",), calendar=Calendar(season=season), phenology=("ndvi", "nir")
        )
        values = block_features(stack, spec, Block(row=0, col=0, rows=1, cols=2)).values
        found.append((feature_names(stack, spec), values))
    assert found[0][0] == found[1][0]
    assert "nir_peak_day" in found[0][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_strata_read_their_own_months(tmp_path: Path) -> None:
    stack = series(tmp_path, {"2025-10-10": 1000, "2025-11-10": 3000, "2026-01-10": 5000,
                              "2026-02-10": 7000})  # fmt: skip
    layer = gpd.GeoDataFrame(
        {"stratum_id": ["south"]},
        geometry=[shapely.box(500_010, 2_299_990, 500_020, 2_300_000)],
        crs=32647,
    )
    calendar = Calendar(
        season=Season(start=date(2026, 1, 1), end=date(2026, 2, 28), step=Step.MONTH),
        strata=(
            ("south", Season(start=date(2025, 10, 1), end=date(2025, 11, 30), step=Step.MONTH)),
        ),
        zones=Zones.of(layer, "stratum_id", stack.grid),
    )
    spec = FeatureSpec(indices=(), min_clear=1, calendar=calendar)
    red = block_features(stack, spec, Block(row=0, col=0, rows=1, cols=2)).values[[2, 8], 0]
    np.testing.assert_allclose(red, [[0.5, 0.1], [0.7, 0.3]], rtol=1e-6)


def test_the_cloud_buffer_is_a_disc_in_metres_across_block_edges(tmp_path: Path) -> None:
    mask = np.zeros((40, 40))
    mask[20, 20] = 1
    write_scene(tmp_path, 0, np.full((6, 40, 40), 2000), mask)
    stack = read_scenes(tmp_path)
    row, col = np.indices((40, 40))
    distance = 10.0 * np.hypot(row - 20, col - 20)
    spec = FeatureSpec(indices=(), min_clear=1, cloud_buffer_m=75.0)
    whole = block_features(stack, spec, Block(row=0, col=0, rows=40, cols=40))
    np.testing.assert_array_equal(whole.is_observed, distance > 75.0)
    for block in stack.grid.blocks(16):
        (top, bottom), (left, right) = block.window
        np.testing.assert_array_equal(
            block_features(stack, spec, block).is_observed,
            whole.is_observed[top:bottom, left:right],
        )


def test_features_do_not_depend_on_how_the_grid_is_cut(tmp_path: Path) -> None:
    stack, spec = landscape(tmp_path)
    rows, cols = stack.grid.shape
    whole = block_features(stack, spec, Block(row=0, col=0, rows=rows, cols=cols))
    names = feature_names(stack, spec)
    assert len(names) == len(set(names)) == len(whole.values)
    assert 0 < whole.is_observed.mean() < 1
    for size in (19, 44):
        for block in stack.grid.blocks(size):
            part = block_features(stack, spec, block)
            (top, bottom), (left, right) = block.window
            for one, other in zip(arrays(part), arrays(whole), strict=True):
                np.testing.assert_array_equal(one, other[..., top:bottom, left:right])


def arrays(found: BlockFeatures) -> tuple[np.ndarray, ...]:
    return found.values, found.is_observed, found.n_dates, found.gap_days, found.n_clear


def test_a_spec_prints_everything_that_features_depend_on(tmp_path: Path) -> None:
    """Finished windows are bound to that text."""
    _, spec = landscape(tmp_path)
    _, again = landscape(tmp_path / "again")
    dem = (tmp_path / "dem" / "dem.tif").stat()
    for part in (
        "datetime.date(2025, 11, 1)", "'south'", "Zones(", "cloud_buffer_m=12.0",
        str(dem.st_mtime_ns),
    ):  # fmt: skip
        assert part in repr(spec)
    assert repr(spec.calendar) == repr(again.calendar)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"phenology": ("mtci",)}, "band rededge2 is needed by the indices mtci"),
        ({"texture": Texture(bands=("pan",))}, "texture of pan is asked for"),
        ({"phenology": ("lai",)}, "index lai is not known"),
    ],
)
def test_what_the_scenes_cannot_give_is_named(
    tmp_path: Path, keys: dict[str, object], message: str
) -> None:
    stack = series(tmp_path, LEVELS)
    with pytest.raises(SceneError, match=message):
        block_features(stack, FeatureSpec(indices=(), **keys), Block(row=0, col=0, rows=1, cols=2))
