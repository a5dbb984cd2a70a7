"""Statistical disclosure control of tables: which cells would expose people, and why.

Primary rules look at a cell alone (too few respondents, villages, segments or hectares of risk
area); secondary suppression hides more where published totals would give a hidden cell away,
exactly or nearly. Quality (`survey.estimation.reliability`) is decided elsewhere and separately.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "REASON_OVERLAP",
    "REASON_SECONDARY",
    "Secondary",
    "is_dominated",
    "overlapping_cells",
    "secondary_suppression",
    "small_area_cells",
    "small_respondent_cells",
]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# A reader must not come closer to a hidden value than half of it.
PROTECTION = 0.5
REASON_SECONDARY = "hidden so that a total does not give another cell away"
REASON_OVERLAP = "hidden so that the table by district does not leave a few respondents over"


def small_area_cells(
    risk_ha: npt.NDArray[np.float64],
    n_frame: npt.NDArray[np.int64],
    *,
    min_risk_ha: float,
    min_frame_segments: int,
) -> npt.NDArray[np.bool_]:
    """Domains so small that their hectares would point at few farms.

    Parameters
    ----------
    risk_ha : float array (n,)
        Risk area of each domain, hectares.
    n_frame : int array (n,)
        Frame segments of each domain (the population, not the sample).
    """
    return np.asarray((risk_ha < min_risk_ha) | (n_frame < min_frame_segments))


def small_respondent_cells(
    n_respondents: npt.NDArray[np.int64],
    n_villages: npt.NDArray[np.int64],
    *,
    min_respondents: int,
    min_villages: int,
) -> npt.NDArray[np.bool_]:
    """Questionnaire cells with too few respondents or villages behind them."""
    return np.asarray((n_respondents < min_respondents) | (n_villages < min_villages))


def is_dominated(contributions: npt.ArrayLike, *, p: float = 0.1) -> bool:
    """Whether the second largest contributor could work the largest out too closely.

    The p% rule: what remains of the total without the two largest must be at least p of the
    largest. All contributions must be of one sign, as incomes and areas are.

    Parameters
    ----------
    contributions : float array (n,)
        One for each respondent, >= 0.
    p : float
        Relative distance that must remain, 0-1.

    References
    ----------
    Hundepool et al. (2012), Statistical Disclosure Control, section 4.2.2.
    """
    sizes = np.sort(np.asarray(contributions, dtype=np.float64))[::-1]
    if sizes.size == 0 or sizes[0] <= 0.0:
        return False
    return bool(sizes[2:].sum() < p * sizes[0])


def overlapping_cells(
    cell: npt.NDArray[np.object_],
    other: npt.NDArray[np.object_],
    hidden: frozenset[str],
    is_small: Callable[[Bools], bool],
) -> frozenset[str]:
    """Cells of one table that another published table of the same respondents would undo.

    Whoever has both subtracts: a cell less the cells of the other table that lie wholly in it,
    and the reverse. What remains must not be a few respondents.

    Parameters
    ----------
    cell : str array (n,)
        Cell of each respondent in the table that gives way, empty for none.
    other : str array (n,)
        Cell of each respondent in the table that stands.
    hidden : frozenset of str
        Cells that are not published already.
    is_small : callable
        Whether respondents, given as a bool array (n,), are too few to tell of.

    Returns
    -------
    frozenset of str
        Further cells to hide. Only differences within one cell are looked at, not sums of cells
        that overlap in part.
    """
    more: set[str] = set()
    for each in sorted(set(cell) - {""} - hidden):
        own = cell == each
        within = [o for o in sorted(set(other[own]) - {""}) if not (~own & (other == o)).any()]
        rest = own & ~np.isin(other, within)
        if within and rest.any() and is_small(rest):
            more.add(each)
    for whole in sorted(set(other) - {""}):
        inside = other == whole
        shown = [
            c
            for c in sorted(set(cell[inside]) - {""} - hidden - more)
            if not (~inside & (cell == c)).any()
        ]
        # The smallest first: the fewest figures go.
        shown.sort(key=lambda c: int((cell == c).sum()), reverse=True)
        while shown:
            rest = inside & ~np.isin(cell, shown)
            if not rest.any() or not is_small(rest):
                break
            more.add(shown.pop())
    return frozenset(more)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Secondary:
    """What to hide besides the primary cells.

    Attributes
    ----------
    cells : bool array (n,)
        Further cells.
    totals : frozenset of str
        Groups whose own total must go as well.
    grand_total : bool
        The total over all groups must go as well.
    """

    cells: Bools
    totals: frozenset[str]
    grand_total: bool


def secondary_suppression(
    is_primary: Bools,
    is_empty: Bools,
    value: Floats,
    upper: Floats,
    group: npt.NDArray[np.object_],
    *,
    protection: float = PROTECTION,
) -> Secondary:
    """Further cells, and totals, to hide so that no primary cell can be worked out.

    A reader subtracts what is shown from a total and knows then the sum of the hidden cells,
    each between 0 and `upper`. A primary cell of value v is safe when at least two cells of
    its total are hidden and what can be worked out reaches from (1 - p) v or less to (1 + p) v
    or more. So a cell that is zero, or known to be small, protects no other. Cells that are
    empty for their quality are taken first, because hiding the rest of their row costs
    nothing; then the smallest that protects. Where a group cannot protect its cells, its total
    goes too and cells of other groups (with their totals) protect them against the grand
    total; where nothing does, the grand total goes.

    Parameters
    ----------
    is_primary : bool array (n,)
        Cells hidden to protect people.
    is_empty : bool array (n,)
        Cells without a published value for another reason. Not counted as protection: the
        rest of their row may tell their value.
    value : float array (n,)
        Cell values, whether published or not; NaN, unknown to all, protects nothing.
    upper : float array (n,)
        Largest value that a reader holds possible, such as the risk area.
    group : object array (n,)
        Label of the published total to which each cell adds.
    protection : float
        p above, a fraction.

    References
    ----------
    Hundepool et al. (2012), Statistical Disclosure Control, ch. 4: protection levels,
    feasibility intervals and secondary suppression.
    """
    held = np.nan_to_num(np.maximum(value, 0.0), nan=0.0)
    top = np.maximum(upper, held)
    cells = np.zeros(len(held), dtype=bool)
    open_groups = []
    for label in dict.fromkeys(group[is_primary].tolist()):
        inside = group == label
        chosen = _protectors(is_primary & inside, inside, is_empty, held, top, protection)
        if chosen is None:
            open_groups.append(label)
        else:
            cells |= chosen
    if not open_groups:
        return Secondary(cells=cells, totals=frozenset(), grand_total=False)
    first = is_primary & np.isin(group, open_groups)
    chosen = _protectors(
        first, np.ones_like(cells), is_primary | cells | is_empty, held, top, protection
    )
    if chosen is None:
        # No total of theirs is left to subtract from.
        return Secondary(cells=cells, totals=frozenset(open_groups), grand_total=True)
    return Secondary(
        cells=(cells | chosen) & ~is_primary,
        totals=frozenset(open_groups) | frozenset(group[chosen].tolist()),
        grand_total=False,
    )


def _protectors(
    primary: Bools, members: Bools, is_free: Bools, value: Floats, top: Floats, protection: float
) -> Bools | None:
    """Fewest further members that make `primary` safe; None where all together do not."""
    hidden = primary.copy()
    if not _is_safe(primary, hidden | members, value, top, protection):
        return None
    while not _is_safe(primary, hidden, value, top, protection):
        rest = np.flatnonzero(members & ~hidden)
        order = rest[np.lexsort((value[rest], ~is_free[rest]))]
        for candidate in order:
            alone = hidden.copy()
            alone[candidate] = True
            if _is_safe(primary, alone, value, top, protection):
                return alone & ~primary
        hidden[rest[int(np.argmax(value[rest]))]] = True
    return hidden & ~primary


def _is_safe(primary: Bools, hidden: Bools, value: Floats, top: Floats, protection: float) -> bool:
    if hidden.sum() < 2:  # alone it is the total minus the rest, its counts too
        return False
    known_sum = value[hidden].sum()
    v, u = value[primary], top[primary]
    lowest = np.maximum(known_sum - (top[hidden].sum() - u), 0.0)
    highest = np.minimum(known_sum, u)
    # Rounding of sums must not decide; what a cell can hold at most is known beforehand.
    slack = 1e-9 * max(known_sum, 1.0)
    above = highest >= np.minimum((1.0 + protection) * v, u) - slack
    below = lowest <= (1.0 - protection) * v + slack
    return bool((above & below).all())
