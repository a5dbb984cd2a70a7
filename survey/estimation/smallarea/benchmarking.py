"""Districts made to add up to a total that is known better than they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError
from survey.estimation.smallarea.inputs import Floats, checked_vector

__all__ = ["Benchmarked", "benchmark_to_total"]

METHODS = ("mse", "ratio")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Benchmarked:
    """District figures that add up to the total.

    Attributes
    ----------
    value_ha, mse : float array (k,)
        Adjusted figures and their mean squared errors with the adjustment's part in them.
    adjustment_ha : float array (k,)
        What was added to each figure.
    mse_share : float array (k,)
        Part of `mse` that the benchmarking brought, 0-1.
    gap_ha, gap_z : float
        Total minus sum before, and the same over its expected standard deviation; beyond 2 the
        model and the design disagree and one of them should be looked at, not adjusted.
    method : {"mse", "ratio"}
    """

    value_ha: Floats
    mse: Floats
    adjustment_ha: Floats
    mse_share: Floats
    gap_ha: float
    gap_z: float
    method: str


def benchmark_to_total(
    value_ha: npt.ArrayLike,
    mse: npt.ArrayLike,
    total_ha: float,
    total_variance: float,
    *,
    method: str = "mse",
    sum_mse: float | None = None,
) -> Benchmarked:
    """Spread the gap between a total and the sum of its districts over the districts.

    Parameters
    ----------
    value_ha, mse : float array (k,)
        District totals, hectares, not negative, and their mean squared errors.
    total_ha, total_variance : float
        Design-based or assisted total of the same districts and its variance.
    method : {"mse", "ratio"}
        Share of the gap proportional to the mean squared error (least known moves most), or
        to the value (keeps zeros at zero).
    sum_mse : float, optional
        Mean squared error of the sum of the districts; by default the sum of `mse`, which
        takes their errors as independent.

    Returns
    -------
    Benchmarked

    Raises
    ------
    EstimationError
        The total is not more precise than the sum of the districts (forcing good figures to
        a worse total makes them worse), or the gap would turn a district negative.

    Notes
    -----
    value_i + w_i (T - sum value), with MSE_i + w_i^2 max(gap^2, MSE(sum) + v(T)). No credit is
    taken for what the total adds in precision, because its error and the districts' come from
    the same sample.

    References
    ----------
    Wang, Fuller and Qu (2008), Survey Methodology 34, 29-36; Steorts and Ghosh (2013),
    Statistica Sinica 23, 749-767 (the benchmarked MSE is the MSE plus a non-negative term).
    """
    values = checked_vector("value_ha", value_ha, non_negative=True)
    errors = checked_vector("mse", mse, values.size, non_negative=True)
    if method not in METHODS:
        raise EstimationError(f"method {method!r} is unknown; use 'mse' or 'ratio'")
    if not (math.isfinite(total_ha) and total_ha >= 0.0):
        raise EstimationError(f"total {total_ha} ha must be finite and not negative")
    if not (math.isfinite(total_variance) and total_variance >= 0.0):
        raise EstimationError(f"total variance {total_variance} must be finite, not negative")
    own = float(errors.sum()) if sum_mse is None else float(sum_mse)
    if not total_variance < own:
        raise EstimationError(
            f"the total's standard error {math.sqrt(total_variance):.4g} ha is not below that of "
            f"the districts' sum {math.sqrt(max(own, 0.0)):.4g} ha; publish the districts "
            "unadjusted and say that they do not add up"
        )
    base = errors if method == "mse" else values
    if not base.sum() > 0.0:
        raise EstimationError(
            f"all {'mean squared errors' if method == 'mse' else 'values'} are zero, so the gap "
            "cannot be shared out; use the other method"
        )
    weight = base / base.sum()
    gap = float(total_ha - values.sum())
    adjusted = values + weight * gap
    if (adjusted < 0.0).any():
        row = int(np.flatnonzero(adjusted < 0.0)[0])
        raise EstimationError(
            f"sharing out a gap of {gap:.4g} ha turns figure {row + 1}, {values[row]:.4g} ha, "
            'negative; use method="ratio"'
        )
    expected = own + total_variance
    added = weight**2 * max(gap**2, expected)
    total_error = errors + added
    return Benchmarked(
        value_ha=adjusted,
        mse=total_error,
        adjustment_ha=weight * gap,
        mse_share=np.where(
            total_error > 0.0, added / np.where(total_error > 0.0, total_error, 1), 0
        ),
        gap_ha=gap,
        gap_z=gap / math.sqrt(expected),
        method=method,
    )
