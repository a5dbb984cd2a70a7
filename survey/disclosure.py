"""Statistical disclosure control of tables: which cells would expose people, and why.

Primary rules look at a cell alone (too few respondents, villages, segments or hectares of risk
area); secondary suppression hides one more cell where a published total would give a hidden
one away. Quality (`survey.estimation.reliability`) is decided elsewhere and separately.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["REASON_SECONDARY", "complementary", "small_area_cells", "small_respondent_cells"]

REASON_SECONDARY = "hidden so that a total does not give another cell away"


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


def complementary(
    is_hidden: npt.NDArray[np.bool_],
    value: npt.NDArray[np.float64],
    group: npt.NDArray[np.object_],
) -> npt.NDArray[np.bool_]:
    """Further cells to hide so that no group total gives a single hidden cell away.

    A group with exactly one hidden cell loses its smallest shown cell as well: the least
    information for the protection. Groups with none or with two and more hidden keep the rest.

    Parameters
    ----------
    is_hidden : bool array (n,)
        Cells already hidden, for whatever reason.
    value : float array (n,)
        Cell values; NaN counts as largest, so that known small cells go first.
    group : object array (n,)
        Label of the published total to which each cell adds.

    Returns
    -------
    bool array (n,)
        True for the cells to hide in addition.
    """
    extra = np.zeros(len(value), dtype=bool)
    for label in dict.fromkeys(group.tolist()):
        members = np.flatnonzero(group == label)
        shown = members[~is_hidden[members]]
        if is_hidden[members].sum() == 1 and len(shown):
            size = np.where(np.isnan(value[shown]), np.inf, value[shown])
            extra[shown[int(np.argmin(size))]] = True
    return extra
