"""Texture against a published matrix, another program, and itself in other blocks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagery.errors import SceneError
from imagery.texture import MEASURES, Texture, texture

GOLDEN = json.loads((Path(__file__).resolve().parents[1] / "golden" / "texture.json").read_text())
# Haralick et al. 1973, fig. 3: an image of four grey levels, and its co-occurrence matrices at
# distance 1 for 0, 45, 90 and 135 degrees.
IMAGE = [[0, 0, 1, 1], [0, 0, 1, 1], [0, 2, 2, 2], [2, 2, 3, 3]]
MATRICES = [
    [[4, 2, 1, 0], [2, 4, 0, 0], [1, 0, 6, 1], [0, 0, 1, 2]],
    [[4, 1, 0, 0], [1, 2, 2, 0], [0, 2, 4, 1], [0, 0, 1, 0]],
    [[6, 0, 2, 0], [0, 4, 2, 0], [2, 2, 2, 2], [0, 0, 2, 0]],
    [[2, 1, 3, 0], [1, 2, 1, 0], [3, 1, 0, 2], [0, 0, 2, 0]],
]


def one(grey: list[list[int]], levels: int) -> dict[str, float]:
    """All measures of a whole patch as one window; an even patch gets an empty edge."""
    values = (np.array(grey, dtype=np.float32) + np.float32(0.5)) / levels
    size = len(grey)
    window = size + 1 - size % 2
    whole = np.full((window, window), np.nan, dtype=np.float32)
    whole[:size, :size] = values
    spec = Texture(bands=("green",), measures=MEASURES, window=window, levels=levels)
    found = texture(whole, spec)
    assert found.shape == (len(MEASURES), 1, 1)
    return dict(zip(MEASURES, found[:, 0, 0].tolist(), strict=True))


def test_a_published_matrix() -> None:
    pooled = np.sum(MATRICES, axis=0) / np.sum(MATRICES)
    i, j = np.indices(pooled.shape)
    found = one(IMAGE, 4)
    assert found["contrast"] == pytest.approx((pooled * (i - j) ** 2).sum(), rel=1e-6)
    assert found["dissimilarity"] == pytest.approx((pooled * abs(i - j)).sum(), rel=1e-6)
    assert found["homogeneity"] == pytest.approx((pooled / (1 + (i - j) ** 2)).sum(), rel=1e-6)
    share = np.bincount(np.ravel(IMAGE)) / 16
    assert found["entropy"] == pytest.approx(-(share * np.log2(share)).sum(), rel=1e-6)


@pytest.mark.parametrize("case", GOLDEN["values"], ids=lambda case: f"{len(case['grey'])} px")
def test_against_another_program(case: dict[str, object]) -> None:
    found = one(case["grey"], 8)
    for measure in MEASURES:
        assert found[measure] == pytest.approx(case[measure], rel=1e-5), measure


def test_flat_ground_has_none_and_a_missing_pixel_none_either() -> None:
    spec = Texture(bands=("green",), measures=MEASURES, window=3)
    values = np.full((5, 5), 0.4, dtype=np.float32)
    values[2, 2] = np.nan
    found = dict(zip(MEASURES, texture(values, spec), strict=True))
    assert np.isnan(found["std"][1, 1])
    assert np.isnan(found["contrast"][1, 1])
    for measure, level in {"std": 0, "entropy": 0, "contrast": 0, "homogeneity": 1}.items():
        np.testing.assert_allclose(np.delete(found[measure].ravel(), 4), level, atol=1e-7)


def test_the_middle_of_a_gap_has_no_pairs_and_no_warning() -> None:
    spec = Texture(bands=("green",), measures=MEASURES, window=3)
    alone = np.full((3, 3), np.nan, dtype=np.float32)
    alone[1, 1] = 0.3
    found = dict(zip(MEASURES, texture(alone, spec)[:, 0, 0], strict=True))
    assert np.isnan(found["contrast"])  # no neighbour was seen
    assert found["entropy"] == 0.0


@given(window=st.sampled_from([3, 5, 7]), top=st.integers(0, 9), left=st.integers(0, 9))
def test_a_window_does_not_know_its_block(window: int, top: int, left: int) -> None:
    rng = np.random.default_rng(window)
    spec = Texture(bands=("green",), measures=MEASURES, window=window, levels=16)
    values = rng.random((24 + window - 1, 24 + window - 1), dtype=np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    whole = texture(values, spec)
    part = texture(values[top : top + 12 + window - 1, left : left + 13 + window - 1], spec)
    np.testing.assert_array_equal(part, whole[:, top : top + 12, left : left + 13])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"window": 4}, "odd number of pixels"),
        ({"measures": ("roughness",)}, "texture roughness is not known; choose from std"),
        ({"levels": 1}, "2 to 256 levels"),
        ({"low": 0.5, "high": 0.5}, "low < high"),
        ({"bands": ()}, "without bands"),
    ],
)
def test_a_texture_that_is_none_says_why(keys: dict[str, object], message: str) -> None:
    with pytest.raises(SceneError, match=message):
        Texture(**{"bands": ("green",), **keys})
