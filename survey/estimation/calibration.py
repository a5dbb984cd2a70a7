"""Calibration of weights to known totals: GREG weights, post-stratification, raking."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError
from survey.estimation.design import SurveyDesign
from survey.estimation.intervals import Linear
from survey.estimation.units import Bools, Floats

__all__ = ["Calibrated", "calibrate", "post_stratify", "recalibrated"]

MAX_ITERATIONS = 100
TOLERANCE = 1e-12
# Of bounded factors: what the free slope adds where the bounds leave none, and the least step.
LEAD = 1e-3
MIN_PART = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibrated:
    """A design whose weights reproduce known totals.

    Attributes
    ----------
    design : SurveyDesign
        With the design weights, which the variance needs.
    weight : float array (n,)
        Calibrated weights.
    x : float array (n, p)
        Calibration variables.
    """

    design: SurveyDesign
    weight: Floats
    x: Floats

    def total(self, y: npt.ArrayLike, inside: Bools | None = None) -> Linear:
        """Calibrated total of a variable, over a domain where `inside` is given.

        Residuals come from the design-weighted regression on the calibration variables and
        are multiplied by the calibrated weight.

        References
        ----------
        Deville and Sarndal (1992), JASA 87, 376-382, eq. 3.4; the choice of R `survey`.
        """
        values = np.asarray(y, dtype=np.float64)
        if inside is not None:
            values = np.where(inside, values, 0.0)
        root = np.sqrt(self.design.weight)
        beta = np.linalg.lstsq(self.x * root[:, None], values * root, rcond=None)[0]
        # Deville and Sarndal (1992) eq. 3.4: variance of sum of w_cal e.
        return Linear(
            value_ha=float(self.weight @ values), z=self.weight * (values - self.x @ beta)
        )


def calibrate(
    design: SurveyDesign,
    x: npt.ArrayLike,
    totals: npt.ArrayLike,
    *,
    distance: str = "linear",
    bounds: tuple[float, float] | None = None,
) -> Calibrated:
    """Change the weights as little as possible so that they reproduce known totals.

    Parameters
    ----------
    design : SurveyDesign
    x : float array (n, p)
        Calibration variables; a column of ones where the number of units is known.
    totals : float array (p,)
        Their totals over the frame.
    distance : {"linear", "raking"}
        Linear gives the GREG weights, which may become negative; raking keeps them positive.
    bounds : (low, high), optional
        Smallest and largest factor on a design weight, low < 1 < high.

    Raises
    ------
    EstimationError
        The totals cannot be reached: dependent columns, or a total outside what positive
        weights can give.

    References
    ----------
    Deville and Sarndal (1992), JASA 87, 376-382, cases 1 (linear), 2 (raking) and 7 (linear,
    truncated at the bounds).
    """
    columns = np.asarray(x, dtype=np.float64)
    target = np.asarray(totals, dtype=np.float64)
    if columns.ndim != 2 or columns.shape[0] != design.weight.size:
        raise EstimationError(
            f"calibration variables have shape {columns.shape}; give one row for each of the "
            f"{design.weight.size} units"
        )
    known = target.shape == (columns.shape[1],) and bool(np.isfinite(target).all())
    if not known or not np.isfinite(columns).all():
        raise EstimationError(
            f"{columns.shape[1]} calibration variables need as many known totals, got "
            f"{target.shape}; and no value may be missing"
        )
    if distance not in {"linear", "raking"}:
        raise EstimationError(f'distance {distance!r} is unknown; say "linear" or "raking"')
    low, high = bounds if bounds is not None else (-np.inf, np.inf)
    if not low < 1.0 < high:
        raise EstimationError(f"bounds {low} and {high} must lie below and above 1")
    scale = np.abs(columns).max(axis=0)
    if (scale <= 0.0).any():
        raise EstimationError(
            f"calibration variable {int(np.flatnonzero(scale <= 0.0)[0])} is zero in the whole "
            "sample; leave it out"
        )
    scaled, goal = columns / scale, target / scale
    lam = np.zeros(columns.shape[1])
    factor = np.ones(design.weight.size)
    for _ in range(MAX_ITERATIONS):
        weight = design.weight * factor
        gap = goal - scaled.T @ weight
        if np.abs(gap).max() <= TOLERANCE * max(1.0, float(np.abs(goal).max())):
            return Calibrated(design=design, weight=weight, x=columns)
        # Newton's method; a factor at its bound does not move (Deville and Sarndal 1992, sec. 2).
        slope = design.weight * (1.0 if distance == "linear" else factor)
        slope = np.where((factor > low) & (factor < high), slope, 0.0)
        hessian = (scaled * slope[:, None]).T @ scaled
        rank = int(np.linalg.matrix_rank(hessian))
        if bounds is not None and rank < columns.shape[1]:
            # Too many factors at their bounds to say how to go on: some of the free slope leads.
            hessian = hessian + LEAD * (scaled * design.weight[:, None]).T @ scaled
        step = np.linalg.lstsq(hessian, gap, rcond=1e-12)[0]
        if bounds is not None:
            step = step * _shortened(lam, step, scaled, goal, design.weight, distance, low, high)
        lam = lam + step
        factor = _factor(scaled @ lam, distance, low, high)
    raise EstimationError(
        f"calibration did not reach the totals in {MAX_ITERATIONS} steps (rank {rank} of "
        f"{columns.shape[1]}); check that the totals belong to this frame"
    )


def _factor(u: Floats, distance: str, low: float, high: float) -> Floats:
    # Deville and Sarndal (1992): F(u) = 1 + u (linear) or exp(u) (raking).
    factor = 1.0 + u if distance == "linear" else np.exp(np.clip(u, -50, 50))
    return np.clip(factor, low, high)


def _shortened(
    lam: Floats,
    step: Floats,
    scaled: Floats,
    goal: Floats,
    weight: Floats,
    distance: str,
    low: float,
    high: float,
) -> float:
    """Part of a Newton step, at most 1, up to which it still leads down the convex dual.

    Along the step the dual's slope is (weighted totals - goal) . step, from below zero.
    """

    def slope(part: float) -> float:
        factor = _factor(scaled @ (lam + part * step), distance, low, high)
        return float((scaled.T @ (weight * factor) - goal) @ step)

    at_start, part = abs(slope(0.0)), 1.0
    while part > MIN_PART and slope(part) > 0.5 * at_start:
        part *= 0.5
    return part


def post_stratify(
    design: SurveyDesign, post_stratum: npt.ArrayLike, sizes: dict[str, float]
) -> Calibrated:
    """Calibrate to the known number of units (or hectares) of each post-stratum.

    Raises
    ------
    EstimationError
        A post-stratum of the frame has no sampled unit, or a unit has an unknown one.

    References
    ----------
    Holt and Smith (1979), J. Royal Statistical Society A 142, 33-46.
    """
    labels = np.asarray(post_stratum).astype(np.str_)
    unknown = sorted(set(labels.tolist()) - set(sizes))
    missing = sorted(set(sizes) - set(labels.tolist()))
    if unknown or missing:
        raise EstimationError(
            f"post-strata without known size: {unknown}; without sampled unit: {missing}; "
            "merge them before estimating"
        )
    names = sorted(sizes)
    empty = [name for name in names if not sizes[name] > 0.0]
    if empty:
        raise EstimationError(
            f"post-stratum {empty[0]!r} has size {sizes[empty[0]]} but sampled units; correct one"
        )
    x = (labels[:, None] == np.asarray(names)[None, :]).astype(np.float64)
    return calibrate(design, x, np.asarray([sizes[name] for name in names]))


def recalibrated(
    weight: npt.ArrayLike,
    x: npt.ArrayLike,
    totals: npt.ArrayLike,
    *,
    distance: str = "linear",
    bounds: tuple[float, float] | None = None,
) -> Floats:
    """Calibrated weights (n,) of one replicate; units that it does not hold stay at zero.

    References
    ----------
    Rao, Wu and Yue (1992), Survey Methodology 18, 209-217, sec. 2: every replicate is calibrated
    anew.
    """
    given = np.asarray(weight, dtype=np.float64)
    used = given > 0.0
    design = SurveyDesign(weight=given[used], stratum=np.zeros(int(used.sum()), dtype=np.int64))
    columns = np.asarray(x, dtype=np.float64)[used]
    result = np.zeros(given.size)
    result[used] = calibrate(design, columns, totals, distance=distance, bounds=bounds).weight
    return result
