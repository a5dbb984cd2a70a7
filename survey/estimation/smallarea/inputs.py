"""Checks shared by the small-area models: shapes, finite values, a usable design matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize

from survey.errors import DuplicateIdError, EstimationError, TooFewUnitsError

__all__ = [
    "Bools",
    "Floats",
    "Ints",
    "Labels",
    "best_root",
    "checked_labels",
    "checked_matrix",
    "checked_vector",
    "group_sums",
    "independent",
    "orthonormal",
    "refuse_collinear",
]

# `floating[Any]`, not float64: numpy's products are typed no narrower.
Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.str_]

# A column whose part orthogonal to the columns before it is smaller than this share of its own
# length adds nothing but rounding noise.
COLLINEAR = 1e-10


def checked_vector(
    name: str,
    values: npt.ArrayLike,
    size: int | None = None,
    *,
    positive: bool = False,
    non_negative: bool = False,
) -> Floats:
    """Finite float vector (size,), or an `EstimationError` that names the row."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or (size is not None and array.shape != (size,)):
        wanted = "one value for each unit" if size is None else f"{size} values"
        raise EstimationError(f"{name} has shape {array.shape}; give {wanted}")
    bad = ~np.isfinite(array)
    rule = "finite"
    if positive:
        bad |= array <= 0.0
        rule = "finite and above zero"
    elif non_negative:
        bad |= array < 0.0
        rule = "finite and not negative"
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise EstimationError(
            f"{name}, row {row + 1}: {array[row]} must be {rule}; correct the value or leave the "
            "unit out (an unseen unit is not a zero)"
        )
    return array


def checked_matrix(
    name: str, values: npt.ArrayLike, rows: int | None, columns: int | None
) -> Floats:
    """Finite float matrix (rows, columns), or an `EstimationError` that names the cell."""
    array = np.asarray(values, dtype=np.float64)
    shape_ok = array.ndim == 2 and array.shape[1] > 0
    shape_ok = shape_ok and (rows is None or array.shape[0] == rows)
    shape_ok = shape_ok and (columns is None or array.shape[1] == columns)
    if not shape_ok:
        raise EstimationError(
            f"{name} has shape {array.shape}; give a matrix of "
            f"{'any number of' if rows is None else rows} rows and "
            f"{'at least one' if columns is None else columns} columns (a column of ones is the "
            "intercept)"
        )
    bad = ~np.isfinite(array)
    if bad.any():
        row, column = (int(at[0]) for at in np.nonzero(bad))
        raise EstimationError(
            f"{name}, row {row + 1}, column {column + 1}: {array[row, column]} is not a number; "
            "fill the covariate (survey.estimation.fill_covariate) or leave the unit out"
        )
    return array


def checked_labels(name: str, values: npt.ArrayLike, size: int | None, *, unique: bool) -> Labels:
    """Label vector as str, or an error where its shape is wrong or a label repeats."""
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0 or (size is not None and array.shape != (size,)):
        wanted = "one label for each row" if size is None else f"{size} labels"
        raise EstimationError(f"{name} has shape {array.shape}; give {wanted}")
    labels = array.astype(np.str_)
    if unique:
        found, count = np.unique(labels, return_counts=True)
        if count.max() > 1:
            raise DuplicateIdError(
                f"{name} holds {str(found[count > 1][0])!r} {count.max()} times; give each "
                "domain once"
            )
    return labels


def group_sums(values: Floats, code: Ints, m: int) -> Floats:
    """Sum of `values` (n,) over each of m groups, given each unit's group 0..m-1."""
    return np.bincount(code, weights=values, minlength=m).astype(np.float64, copy=False)


def orthonormal(X: Floats) -> tuple[Floats, Floats]:
    """Q (n, p) and R (p, p) of X, refusing a column that the others already contain.

    Models are fitted to Q and the coefficients turned back with R, so that covariates of any
    unit (pixels, hectares, shares) leave the likelihood equally well conditioned.
    """
    length = _lengths(X)
    Q, R = np.linalg.qr(X / length)
    _refuse_weak(X, np.diag(R))
    return Q, R * length


def refuse_collinear(X: Floats) -> None:
    """Raise as `orthonormal` does, without paying for Q."""
    _refuse_weak(X, np.diag(np.linalg.qr(X / _lengths(X), mode="r")))


def _lengths(X: Floats) -> Floats:
    n, p = X.shape
    if n <= p:
        raise TooFewUnitsError(
            f"{n} units cannot carry {p} coefficients; use fewer covariates or pool more units"
        )
    length: Floats = np.sqrt((X**2).sum(axis=0))
    if (length == 0.0).any():
        column = int(np.flatnonzero(length == 0.0)[0])
        raise EstimationError(f"covariate column {column + 1} is zero everywhere; drop it")
    return length


def _refuse_weak(X: Floats, diagonal: Floats) -> None:
    weak = np.abs(diagonal) < COLLINEAR
    if weak.any():
        column = int(np.flatnonzero(weak)[0])
        constant = bool(np.ptp(X[:, column]) == 0.0)
        raise EstimationError(
            f"covariate column {column + 1} is "
            + ("constant, as the intercept is" if constant else "a combination of those before it")
            + "; drop it"
        )


def independent(X: Floats) -> Ints:
    """Columns (q,) that are not combinations of those before them; at most n - 1."""
    length = np.sqrt((X**2).sum(axis=0))
    scaled = X / np.where(length > 0.0, length, 1.0)
    diagonal = np.abs(np.diag(np.linalg.qr(scaled, mode="r")))
    return np.flatnonzero(diagonal > 1e-8)[: max(X.shape[0] - 1, 1)].astype(np.int64)


def best_root(
    objective: Callable[[float], float],
    score: Callable[[float], float],
    grid: Floats,
) -> float:
    """Maximiser of a profile likelihood on [0, inf): grid, then root of the score.

    The likelihood of a variance may have more than one maximum, so the grid finds the highest
    hill and Brent's method its top, on the derivative: a maximum found from function values
    is only good to the square root of machine precision.
    """
    values = np.array([objective(float(at)) for at in grid])
    top = int(np.argmax(values))
    low = float(grid[max(top - 1, 0)])
    high = float(grid[min(top + 1, grid.size - 1)])
    while top == grid.size - 1 and score(high) > 0.0 and high < 1e6 * float(grid[-1]):
        low, high = high, high * 10.0
    at_low, at_high = score(low), score(high)
    if at_low <= 0.0:
        # Falling from the start: at the left end of the grid the maximum is zero itself.
        return 0.0 if low == 0.0 else float(grid[top])
    if at_high >= 0.0:
        return high
    return float(optimize.brentq(score, low, high, xtol=1e-300, rtol=8.9e-16, maxiter=200))
