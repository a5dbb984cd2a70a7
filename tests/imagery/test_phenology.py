"""Peak, date, amplitude and decline of curves that are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagery.composites import fill_gaps
from imagery.phenology import PHENOLOGY, phenology


def of(curve: list[float] | np.ndarray, days: list[float] | np.ndarray) -> dict[str, float]:
    values = np.asarray(curve, dtype=np.float32)[:, None, None]
    found = phenology(values, np.asarray(days, dtype=np.float32))
    return dict(zip(PHENOLOGY, found[:, 0, 0].tolist(), strict=True))


def test_a_tent_by_hand() -> None:
    found = of([0.2, 0.5, 0.8, 0.5, 0.2], [100, 110, 120, 130, 140])
    assert found["peak"] == pytest.approx(0.8)
    assert found["peak_day"] == pytest.approx(20.0)
    assert found["amplitude"] == pytest.approx(0.6)
    assert found["senescence"] == pytest.approx(-0.6 / 20.0)


def test_the_peak_lies_between_the_steps_where_the_curve_does() -> None:
    days = np.array([0.0, 15.0, 31.0, 46.0, 60.0])
    curve = 0.9 - 0.0004 * (days - 35.0) ** 2
    found = of(curve, days)
    assert found["peak_day"] == pytest.approx(35.0, abs=0.01)
    assert found["peak"] == pytest.approx(0.9, abs=1e-4)
    assert found["amplitude"] == pytest.approx(0.9 - curve.min(), abs=1e-4)


def test_a_season_that_ends_at_its_peak_has_no_decline() -> None:
    found = of([0.1, 0.2, 0.4, 0.7], [0, 10, 20, 30])
    assert found["peak_day"] == 30.0
    assert found["peak"] == pytest.approx(0.7)
    assert np.isnan(found["senescence"])
    assert of([0.7, 0.4, 0.3], [0, 10, 20])["senescence"] == pytest.approx(-0.02)


def test_bare_ground_has_no_course_and_a_pixel_never_seen_no_numbers() -> None:
    flat = of([0.15] * 6, range(6))
    assert flat == pytest.approx({"peak": 0.15, "peak_day": 0, "amplitude": 0, "senescence": 0})
    assert all(np.isnan(value) for value in of([np.nan] * 4, range(4)).values())
    single = of([0.3], [5])
    assert (single["peak"], single["amplitude"]) == (pytest.approx(0.3), 0.0)


@given(peak=st.floats(40.0, 140.0), width=st.floats(20.0, 40.0), seed=st.integers(0, 1000))
def test_a_known_season_is_found_through_its_clouds(peak: float, width: float, seed: int) -> None:
    """A bell of known date, half-monthly, with a fifth of the periods hidden at random."""
    days = np.arange(7, 187, 15, dtype=np.float32)
    curve = (0.2 + 0.6 * np.exp(-0.5 * ((days - peak) / width) ** 2)).astype(np.float32)
    clear = np.random.default_rng(seed).random(len(days)) > 0.2
    # A bell whose top was hidden cannot be known.
    clear[np.argsort(np.abs(days - peak))[:3]] = True
    values = curve[:, None, None, None].copy()
    values[~clear] = 9.9
    fill_gaps(values, clear[:, None, None], days)
    found = of(values[:, 0, 0, 0], days)
    assert found["peak_day"] + days[0] == pytest.approx(peak, abs=2.5)
    assert found["peak"] == pytest.approx(0.8, abs=0.02)
    assert found["senescence"] < 0.0
