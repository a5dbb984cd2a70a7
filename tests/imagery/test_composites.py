"""Composites by hand and against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagery.composites import fill_gaps, least_cloud, longest_gap, median, nearest


def picture(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)[:, None, None, None]


def test_the_median_by_hand() -> None:
    values = picture(0.4, 0.1, 0.9, 0.2)
    clear = np.ones((4, 1, 1), dtype=bool)
    assert median(values.copy(), clear)[0, 0, 0] == np.float32(0.3)  # of 0.2 and 0.4
    clear[2] = False  # the cloud
    assert median(values.copy(), clear)[0, 0, 0] == np.float32(0.2)
    assert np.isnan(median(values.copy(), np.zeros((4, 1, 1), dtype=bool))).all()


@given(n_dates=st.integers(1, 14), seed=st.integers(0, 10_000))
def test_the_median_is_that_of_numpy(n_dates: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random((n_dates, 2, 3, 4), dtype=np.float32)
    clear = rng.random((n_dates, 3, 4)) < 0.6
    found = median(values.copy(), clear)
    for row in range(3):
        for col in range(4):
            seen = values[clear[:, row, col], :, row, col]
            expected = np.median(seen, axis=0) if len(seen) else np.full(2, np.nan)
            np.testing.assert_allclose(found[:, row, col], expected, rtol=1e-6)


def test_the_nearest_clear_date_gives_all_bands() -> None:
    values = np.arange(6, dtype=np.float32).reshape(3, 2, 1, 1)
    clear = np.array([True, True, True]).reshape(3, 1, 1)
    assert nearest(values, clear, [6.0, 1.0, 5.0])[:, 0, 0].tolist() == [2.0, 3.0]
    clear[1] = False
    assert nearest(values, clear, [6.0, 1.0, 5.0])[:, 0, 0].tolist() == [4.0, 5.0]
    assert nearest(values, clear, [5.0, 1.0, 5.0])[:, 0, 0].tolist() == [0.0, 1.0]
    clear[:] = False
    assert np.isnan(nearest(values, clear, [6.0, 1.0, 5.0])).all()


def test_the_least_cloud_gives_all_bands_of_its_date() -> None:
    values = np.arange(6, dtype=np.float32).reshape(3, 2, 1, 1)
    clear = np.ones((3, 1, 1), dtype=bool)
    percent = np.array([12.0, 3.0, 30.0], dtype=np.float32).reshape(3, 1, 1)
    distance = [2.0, 9.0, 1.0]
    assert least_cloud(values, clear, percent, distance)[:, 0, 0].tolist() == [2.0, 3.0]
    clear[1] = False  # hidden by another mask, whatever its probability says
    assert least_cloud(values, clear, percent, distance)[:, 0, 0].tolist() == [0.0, 1.0]
    percent[:] = 5.0  # as likely: the nearest, and then the earlier
    assert least_cloud(values, clear, percent, distance)[:, 0, 0].tolist() == [4.0, 5.0]
    assert least_cloud(values, clear, percent, [1.0, 9.0, 1.0])[:, 0, 0].tolist() == [0.0, 1.0]
    clear[:] = False
    assert np.isnan(least_cloud(values, clear, percent, distance)).all()


def test_gaps_are_filled_from_clear_steps_only() -> None:
    days = np.array([0, 10, 30, 40, 50], dtype=np.float32)
    values = picture(9.0, 0.1, 9.0, 0.4, 9.0)
    clear = np.array([False, True, False, True, False]).reshape(5, 1, 1)
    fill_gaps(values, clear, days)
    np.testing.assert_allclose(values[:, 0, 0, 0], [0.1, 0.1, 0.3, 0.4, 0.4], rtol=1e-6)
    clear[:] = False
    fill_gaps(values, clear, days)
    assert np.isnan(values).all()


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ((1, 1, 1, 1, 1), 20.0),
        ((0, 1, 1, 1, 1), 20.0),
        ((1, 0, 1, 1, 1), 30.0),
        ((0, 0, 0, 1, 0), 40.0),
        ((1, 0, 0, 0, 0), 50.0),
    ],
)
def test_the_longest_gap_by_hand(seen: tuple[int, ...], expected: float) -> None:
    days = np.array([0, 10, 30, 40, 50], dtype=np.float32)
    clear = np.array(seen, dtype=bool).reshape(5, 1, 1)
    assert longest_gap(clear, days)[0, 0] == expected
    assert np.isnan(longest_gap(np.zeros_like(clear), days)).all()
