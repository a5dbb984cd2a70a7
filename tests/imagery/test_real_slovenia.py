"""67 real dates of NDVI under clouds: composites and course, pixel by pixel in plain Python."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import rasterio

from benchmarks.slovenia import DATA, scenes_of
from imagery.calendars import Calendar, Season
from imagery.features import FeatureSpec, block_features, feature_names
from imagery.grid import Block

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there"),
]
Raw = tuple[list[date], np.ndarray, np.ndarray]
YEAR = Season(start=date(2017, 1, 1), end=date(2017, 12, 31))


@pytest.fixture(scope="module")
def raw() -> Raw:
    with (
        rasterio.open(DATA / "ndvi_68dates.tif") as values,
        rasterio.open(DATA / "cloud_mask_68dates.tif") as clouds,
    ):
        days = [date.fromisoformat(moment[:10]) for moment in values.descriptions]
        return days, values.read() / 1e4, clouds.read()


def curve(
    raw: tuple[list[date], np.ndarray, np.ndarray], row: int, col: int
) -> list[float | None]:
    """Median of each half-month of a pixel; of two images of a day the first."""
    days, ndvi, cloud = raw
    found = []
    for period in YEAR.periods:
        seen = {
            day: ndvi[band, row, col]
            for band, day in reversed(list(enumerate(days)))
            if period.first <= day <= period.last
        }
        clear = {
            day: cloud[band, row, col] == 0
            for band, day in reversed(list(enumerate(days)))
            if day in seen
        }
        values = [value for day, value in seen.items() if clear[day]]
        found.append(median(values) if values else None)
    return found


def test_composites_and_course_of_real_pixels(tmp_path: Path, raw) -> None:
    stack = scenes_of(tmp_path)
    spec = FeatureSpec(
        indices=(), min_clear=12, calendar=Calendar(season=YEAR), phenology=("ndvi",)
    )
    names = feature_names(stack, spec)
    rows, cols = stack.grid.shape
    found = block_features(stack, spec, Block(row=0, col=0, rows=rows, cols=cols))
    centre = np.array([period.centre for period in YEAR.periods])
    for row, col in ((3, 5), (40, 60), (55, 20), (80, 90), (99, 99)):
        expected = curve(raw, row, col)
        known = [k for k, value in enumerate(expected) if value is not None]
        values = [expected[k] for k in known]
        filled = np.interp(centre, centre[known], values)
        ours = found.values[:24, row, col]
        np.testing.assert_allclose(ours, filled, atol=2e-6)
        assert (found.n_dates[:, row, col] > 0).tolist() == [v is not None for v in expected]
        numbers = dict(zip(names[24:], found.values[24:, row, col].tolist(), strict=True))
        top = int(filled.argmax())
        assert 0.0 <= numbers["ndvi_peak"] - filled[top] < 0.05
        assert abs(numbers["ndvi_peak_day"] - (centre[top] - centre[0])) <= 8.0
        fall = filled[top:].min() - numbers["ndvi_peak"]
        assert numbers["ndvi_amplitude"] == pytest.approx(
            numbers["ndvi_peak"] - filled.min(), abs=1e-5
        )
        last = centre[top + int(filled[top:].argmin())] - centre[0]
        slope = fall / (last - numbers["ndvi_peak_day"])
        assert numbers["ndvi_senescence"] == pytest.approx(slope, rel=1e-3)
