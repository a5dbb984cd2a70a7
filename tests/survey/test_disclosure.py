"""No published total gives a hidden cell away."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from survey.disclosure import complementary, small_area_cells, small_respondent_cells


def test_small_cells() -> None:
    hidden = small_area_cells(
        np.array([49.0, 50.0, 500.0]), np.array([90, 10, 9]), min_risk_ha=50, min_frame_segments=10
    )
    assert hidden.tolist() == [True, False, True]
    hidden = small_respondent_cells(
        np.array([4, 5, 30]), np.array([4, 2, 1]), min_respondents=5, min_villages=2
    )
    assert hidden.tolist() == [True, False, True]


def test_a_lone_hidden_cell_takes_the_smallest_other_with_it() -> None:
    extra = complementary(
        np.array([True, False, False, False]),
        np.array([3.0, 9.0, 5.0, 1.0]),
        np.array(["a", "a", "a", "b"], dtype=object),
    )
    assert extra.tolist() == [False, False, True, False]


@given(
    st.lists(
        st.tuples(
            st.booleans(), st.floats(0, 100) | st.just(float("nan")), st.sampled_from(["a", "b"])
        ),
        max_size=12,
    )
)
def test_no_group_is_left_with_exactly_one_hidden_cell(
    cells: list[tuple[bool, float, str]],
) -> None:
    hidden = np.array([cell[0] for cell in cells], dtype=bool)
    value = np.array([cell[1] for cell in cells], dtype=float)
    group = np.array([cell[2] for cell in cells], dtype=object)
    extra = complementary(hidden, value, group)
    assert not (extra & hidden).any()
    for label in set(group.tolist()):
        inside = group == label
        if (hidden | extra)[inside].sum() == 1:
            assert inside.sum() == 1  # nothing else there to hide
