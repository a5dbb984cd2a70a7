"""Fit of presence and amount, each with a district effect."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from survey.errors import DuplicateIdError, EstimationError, TooFewUnitsError
from survey.estimation.smallarea.amount import AMOUNTS, AmountFit, fit_amount
from survey.estimation.smallarea.inputs import (
    Floats,
    Ints,
    Labels,
    checked_vector,
    refuse_collinear,
)
from survey.estimation.smallarea.presence import PresenceFit, PresencePrior, fit_presence
from survey.estimation.zeroinflated.frame import TwoPartFrame

__all__ = ["TwoPartFit", "TwoPartRule", "fit_checked", "fit_two_part"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoPartRule:
    """What the number of segments with crop allows; fixed before they are counted.

    Attributes
    ----------
    min_positive : int
        Fewer positive segments in the whole sample: no model (`TooFewUnitsError`).
    min_positive_amount, min_positive_per_coefficient : int
        Fewer positives, in all or for each amount coefficient: no model of the amounts, a
        segment with crop holds one of the shares that were seen.
    widen : float
        Factor on the distance from the value to each limit, its square on the mean squared
        error. Draws and bootstrap know nothing of a wrong model; 1.15 was chosen on one set of
        simulated populations and checked on another (docs/methods-small-area.md).
    prior : PresencePrior
    """

    min_positive: int = 5
    min_positive_amount: int = 10
    min_positive_per_coefficient: int = 5
    widen: float = 1.15
    prior: PresencePrior = field(default_factory=PresencePrior)

    def __post_init__(self) -> None:
        if not 2 <= self.min_positive <= self.min_positive_amount:
            raise EstimationError(
                f"min_positive {self.min_positive} must be at least 2 and at most "
                f"min_positive_amount {self.min_positive_amount}"
            )
        if not self.widen >= 1.0:
            raise EstimationError(f"widen {self.widen} would shorten intervals; give 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TwoPartFit:
    """A fitted two-part model.

    Attributes
    ----------
    domain : str array (m,)
        Sampled domains.
    n, n_positive : int array (m,)
        Sampled and positive units of each.
    index, y_ha : arrays (n,)
        Sampled rows of the frame and their hectares.
    amount_kind : {"linear", "lognormal"}
    has_amount_model : bool
        False where the rule fell back to one mean share for all positives.
    sigma_presence : float
        Posterior mean of the sd of district effects of presence, logit scale.
    sigma_amount : float
        Posterior mean of the sd of district effects of the amount (share, or log share).
    calibration : float
        Hectares predicted for the sampled segments over hectares found there; far from 1 the
        retransformation or the independence of the parts fails.
    why : str
        What was fitted, in words.
    """

    domain: Labels
    n: Ints
    n_positive: Ints
    index: Ints
    y_ha: Floats
    amount_kind: str
    has_amount_model: bool
    sigma_presence: float
    sigma_amount: float
    calibration: float
    why: str
    rule: TwoPartRule
    presence: PresenceFit
    amount: AmountFit


def fit_two_part(
    frame: TwoPartFrame,
    index: npt.ArrayLike,
    y_ha: npt.ArrayLike,
    *,
    amount: str = "linear",
    rule: TwoPartRule | None = None,
) -> TwoPartFit:
    """Fit presence and amount, each with a district effect.

    Presence: logit P(y > 0) = z'alpha + u_d. Amount, among segments with crop: y/size =
    x'beta + v_d + c e with c^2 inverse to size ("linear"), or log(y/size) = x'beta + v_d + e
    ("lognormal", turned back with the ratio of sums found/fitted rather than exp(sigma^2/2)).
    The parts are taken as independent given the covariates.

    Parameters
    ----------
    frame : TwoPartFrame
    index : int array (n,)
        Frame row of each sampled segment.
    y_ha : float array (n,)
        Hectares of the crop, 0 where looked and none found.
    amount : {"linear", "lognormal"}
    rule : TwoPartRule, optional

    Returns
    -------
    TwoPartFit

    Raises
    ------
    TooFewUnitsError
        Fewer positives than the rule allows, or a single sampled domain.
    EstimationError
        NaN, a collinear covariate, crop beyond the segment's size.

    References
    ----------
    Pfeffermann, Terryn and Moura (2008), Survey Methodology 34, 235-249; Chandra and Sud
    (2012), J. Stat. Theory Pract. 6, 632-643. Duan (1983), JASA 78, 605-610, for smearing.
    """
    if amount not in AMOUNTS:
        raise EstimationError(f"amount {amount!r} is unknown; use 'linear' or 'lognormal'")
    rows, found = _checked_sample(frame, index, y_ha)
    for matrix in (frame.presence, frame.amount):
        refuse_collinear(matrix)  # refuses a constant or collinear column by its number
    return fit_checked(frame, rows, found, amount, rule or TwoPartRule())


def _checked_sample(
    frame: TwoPartFrame, index: npt.ArrayLike, y_ha: npt.ArrayLike
) -> tuple[Ints, Floats]:
    rows = np.asarray(index)
    if rows.ndim != 1 or rows.size == 0 or not np.issubdtype(rows.dtype, np.integer):
        raise EstimationError(f"index has type {rows.dtype}, shape {rows.shape}; give frame rows")
    rows = rows.astype(np.int64)
    if rows.min() < 0 or rows.max() >= frame.domain.size:
        raise EstimationError(
            f"index reaches row {rows.max()} (lowest {rows.min()}), the frame has "
            f"{frame.domain.size}; the sample must come from this frame"
        )
    if np.unique(rows).size != rows.size:
        raise DuplicateIdError("index holds a frame row twice; keep one visit for each segment")
    found = checked_vector("y_ha", y_ha, rows.size, non_negative=True)
    above = found > frame.size_ha[rows] * 1.05
    if above.any():
        at = int(np.flatnonzero(above)[0])
        raise EstimationError(
            f"sampled unit {at}: {found[at]} ha of crop in {frame.size_ha[rows[at]]:.4g} ha of "
            "risk area; check the unit and the segment"
        )
    return rows, np.minimum(found, frame.size_ha[rows])


def fit_checked(
    frame: TwoPartFrame, rows: Ints, y: Floats, kind: str, rule: TwoPartRule
) -> TwoPartFit:
    """Fit to rows of the frame that were checked already, as a bootstrap does many times."""
    names, code = np.unique(frame.domain[rows], return_inverse=True)
    code = code.astype(np.int64)
    m = names.size
    if m < 2:
        raise TooFewUnitsError(
            f"all sampled segments lie in {str(names[0])!r}; the model needs two domains: use a "
            "direct estimate"
        )
    positive = y > 0.0
    n_positive = int(positive.sum())
    if n_positive < rule.min_positive:
        raise TooFewUnitsError(
            f"the crop was found in {n_positive} of {rows.size} segments, fewer than "
            f"{rule.min_positive}: no district model; give the direct total with its upper limit "
            "and the districts as not_detected or status_only"
        )
    if n_positive == rows.size:
        raise EstimationError(
            "every sampled segment holds the crop; presence has nothing to explain: use "
            "fit_unit_level"
        )
    Z = frame.presence[rows]
    presence = fit_presence(positive.astype(np.float64), Z, code, m, rule.prior)
    size = frame.size_ha[rows]
    part = fit_amount(
        y[positive] / size[positive],
        size[positive],
        frame.amount[rows][positive],
        code[positive],
        m,
        kind=kind,
        min_positive=rule.min_positive_amount,
        min_per_coefficient=rule.min_positive_per_coefficient,
    )
    expected = presence.probability(Z, code) * part.mean(frame.amount[rows], code) * size
    fallback = (
        f" {n_positive} are too few to model amounts: segments with crop are taken to hold the "
        "shares that were seen."
        if part.kind == "empirical"
        else ""
    )
    return TwoPartFit(
        domain=names,
        n=np.bincount(code, minlength=m).astype(np.int64),
        n_positive=np.bincount(code[positive], minlength=m).astype(np.int64),
        index=rows,
        y_ha=y,
        amount_kind=kind,
        has_amount_model=part.kind != "empirical",
        sigma_presence=presence.sigma_mean,
        sigma_amount=part.sigma_v,
        calibration=float(expected.sum() / y.sum()),
        why=f"Two-part model on {rows.size} segments, {n_positive} with crop, in {m} districts; "
        f"{kind} amounts.{fallback}",
        rule=rule,
        presence=presence,
        amount=part,
    )
