"""No published total gives a hidden cell away."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from survey.disclosure import (
    Secondary,
    secondary_suppression,
    small_area_cells,
    small_respondent_cells,
)


def test_small_cells() -> None:
    hidden = small_area_cells(
        np.array([49.0, 50.0, 500.0]), np.array([90, 10, 9]), min_risk_ha=50, min_frame_segments=10
    )
    assert hidden.tolist() == [True, False, True]
    hidden = small_respondent_cells(
        np.array([4, 5, 30]), np.array([4, 2, 1]), min_respondents=5, min_villages=2
    )
    assert hidden.tolist() == [True, False, True]


def hide(
    primary: str,
    value: list[float],
    group: str = "",
    *,
    empty: str = "",
    upper: float | list[float] = 1000.0,
) -> Secondary:
    """One letter for each cell: x marks a primary or an empty one."""
    n = len(value)
    return secondary_suppression(
        np.array([c == "x" for c in primary.ljust(n, ".")]),
        np.array([c == "x" for c in empty.ljust(n, ".")]),
        np.array(value, dtype=float),
        np.broadcast_to(np.asarray(upper, dtype=float), n).copy(),
        np.array(list(group or "a" * n), dtype=object),
    )


def shown(result: Secondary) -> str:
    return "".join(".x"[int(cell)] for cell in result.cells)


def test_nothing_small_hides_nothing() -> None:
    result = hide("", [3.0, 4.0], empty="x.")
    assert shown(result) == ".."
    assert not result.totals
    assert not result.grand_total


def test_a_lone_small_cell_takes_the_smallest_that_blurs_it() -> None:
    # 1 ha would leave 3 known to within a third; 5 ha is the smallest that reaches half.
    assert shown(hide("x", [3.0, 9.0, 5.0, 1.0])) == "..x."
    # The other group has nothing to protect.
    assert shown(hide("x", [3.0, 9.0, 5.0, 0.1], "aaab")) == "..x."


def test_a_known_zero_protects_nothing() -> None:
    # Both hidden, but one is zero: the total minus the rest would be the other.
    assert shown(hide("xx", [3.0, 0.0, 4.0, 9.0])) == "..x."


def test_a_cell_empty_for_quality_is_taken_first_but_only_if_it_blurs() -> None:
    assert shown(hide("x", [3.0, 9.0, 5.0], empty=".x.")) == ".x."
    assert shown(hide("x", [3.0, 0.1, 5.0], empty=".x.")) == "..x"
    # Unknown to everyone is no protection: nobody knows that the sum is not all of it.
    assert shown(hide("x", [3.0, float("nan"), 5.0], empty=".x.")) == "..x"


def test_two_small_cells_protect_each_other_only_when_alike() -> None:
    assert shown(hide("xx", [3.0, 3.0, 9.0])) == "..."
    assert shown(hide("xx", [10.0, 1.0, 9.0])) == "..x"


def test_several_cells_where_none_is_enough_alone() -> None:
    assert shown(hide("x", [10.0, 2.0, 3.0, 1.0])) == ".xx."


def test_bounds_of_the_others_count() -> None:
    # 50 and 49 hidden, of which the second holds at most 50: the first is 49 to 99.
    result = hide("x", [50.0, 49.0], upper=[1000.0, 50.0])
    assert result.totals == {"a"}
    assert hide("x", [50.0, 49.0], upper=[1000.0, 500.0]).totals == frozenset()


def test_a_group_that_cannot_protect_loses_its_total_and_borrows_a_cell() -> None:
    result = hide("x", [3.0, 0.0, 2.0, 9.0, 7.0], "aabbc")
    assert shown(result) == "..x.."
    assert result.totals == {"a", "b"}
    assert not result.grand_total


def test_a_group_of_one_cell_is_its_own_total() -> None:
    result = hide("x", [3.0, 2.0, 9.0], "abb")
    assert shown(result) == ".x."
    assert result.totals == {"a", "b"}


def test_where_nothing_protects_the_grand_total_goes() -> None:
    result = hide("x", [3.0, 0.0, 1.0], "aab")
    assert shown(result) == "..."
    assert result.totals == {"a"}
    assert result.grand_total


def test_a_small_zero_needs_company_for_its_counts_only() -> None:
    assert shown(hide("x", [0.0, 0.0, 4.0])) == ".x."


def reader(
    hidden: np.ndarray, value: np.ndarray, upper: np.ndarray, sums: list[np.ndarray]
) -> list[tuple[float, float]]:
    """Smallest and largest value of each cell that fits everything published."""
    bounds = [(0.0, u) if h else (v, v) for h, v, u in zip(hidden, value, upper, strict=True)]
    result = []
    for cell in range(len(value)):
        ends = []
        for sign in (1.0, -1.0):
            c = np.zeros(len(value))
            c[cell] = sign
            solved = linprog(
                c,
                A_eq=np.array(sums) if sums else None,
                b_eq=np.array([row @ value for row in sums]) if sums else None,
                bounds=bounds,
            )
            ends.append(sign * solved.fun)
        result.append((ends[0], ends[1]))
    return result


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["small", "empty", "shown"]),
            st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0, 40.0]),
            st.sampled_from(["a", "b", "c"]),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_a_reader_with_a_solver_comes_no_closer_than_half(
    cells: list[tuple[str, float, str]],
) -> None:
    primary = np.array([cell[0] == "small" for cell in cells])
    empty = np.array([cell[0] == "empty" for cell in cells])
    value = np.array([cell[1] for cell in cells])
    group = np.array([cell[2] for cell in cells], dtype=object)
    upper = np.full(len(cells), 100.0)
    result = secondary_suppression(primary, empty, value, upper, group)
    assert not (result.cells & primary).any()
    sums = [
        (group == label).astype(float)
        for label in sorted(set(group.tolist()))
        if label not in result.totals
    ]
    if not result.grand_total:
        sums.append(np.ones(len(cells)))
    # Values withheld for quality are known to the worst-case reader.
    ends = reader(primary | result.cells, value, upper, sums)
    for (low, high), v in zip(np.array(ends)[primary], value[primary], strict=True):
        assert low <= 0.5 * v + 1e-6
        assert high >= 1.5 * v - 1e-6
