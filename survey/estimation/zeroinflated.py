"""District totals where most segments hold nothing: a two-part unit-level model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy import special

from survey.errors import DuplicateIdError, EstimationError, TooFewUnitsError
from survey.estimation.smallarea.amount import (
    AMOUNTS,
    AmountFit,
    draw_amount,
    draw_share,
    fit_amount,
)
from survey.estimation.smallarea.inputs import (
    Bools,
    Floats,
    Ints,
    Labels,
    checked_labels,
    checked_matrix,
    checked_vector,
    group_sums,
    independent,
    refuse_collinear,
)
from survey.estimation.smallarea.presence import PresenceFit, PresencePrior, fit_presence

__all__ = [
    "TwoPartFit",
    "TwoPartFrame",
    "TwoPartRule",
    "TwoPartTotals",
    "fit_two_part",
    "two_part_frame",
    "two_part_totals",
]


# Mapped share at which log(1 + share/unit) turns from linear to logarithmic.
MAP_UNIT = 0.01
# Draws whose linear predictors are held at once: 16 x 8 bytes a segment.
CHUNK = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TwoPartFrame:
    """All segments of the frame, as the model sees them.

    Attributes
    ----------
    domain : str or int array (N,)
        District of each segment.
    size_ha : float array (N,)
        Risk area, hectares, > 0; the most crop that a segment can hold.
    presence : float array (N, p)
        Covariates of presence; first column ones, the design's strata among the others.
    amount : float array (N, q)
        Covariates of the crop share where there is crop; first column ones.
    """

    domain: Labels
    size_ha: Floats
    presence: Floats
    amount: Floats

    def __post_init__(self) -> None:
        labels = checked_labels("domain", self.domain, None, unique=False)
        object.__setattr__(self, "domain", labels)
        size = checked_vector("size_ha", self.size_ha, labels.size, positive=True)
        object.__setattr__(self, "size_ha", size)
        for name in ("presence", "amount"):
            matrix = checked_matrix(name, getattr(self, name), labels.size, None)
            if not bool((matrix[:, 0] == 1.0).all()):
                raise EstimationError(f"{name}: the first column must be the intercept, all ones")
            object.__setattr__(self, name, matrix)


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TwoPartTotals:
    """Hectares of each domain of the frame.

    Attributes
    ----------
    domain : str array (k,)
        Sorted.
    n, n_positive : int array (k,)
        Sampled and positive segments.
    value_ha : float array (k,)
        Hectares found in sampled segments plus those expected in the others.
    mse : float array (k,)
        Squared hectares: by bootstrap where replicates were asked for, else `mse_conditional`.
    mse_conditional : float array (k,)
        Variance of the predictive draws about the value, with the rule's factor.
    ci_low_ha, ci_high_ha : float array (k,)
        Equal-tailed predictive limits; never below what was found nor above the risk area.
    level : float
    is_synthetic : bool array (k,)
        No segment of the domain was sampled.
    n_redrawn : int
        Bootstrap replicates drawn again because they held too few positives.
    """

    domain: Labels
    n: Ints
    n_positive: Ints
    value_ha: Floats
    mse: Floats
    mse_conditional: Floats
    ci_low_ha: Floats
    ci_high_ha: Floats
    level: float
    is_synthetic: Bools
    n_redrawn: int


def two_part_frame(
    domain: npt.ArrayLike,
    stratum: npt.ArrayLike,
    size_ha: npt.ArrayLike,
    map_ha: npt.ArrayLike | None = None,
    *,
    amount: str = "linear",
) -> TwoPartFrame:
    """Covariates of the model from what every frame has.

    Presence: strata, log size, whether the map shows crop at all, and log(1 + share/1%) of the
    map. Both map terms are needed: a straight line in the mapped share lets false detections
    put crop into districts that have none. Amount: the mapped share ("linear") or its
    logarithm ("lognormal"). A covariate that does not vary over the frame is left out.

    Parameters
    ----------
    domain, stratum : str array (N,)
        District and sampling stratum of each segment.
    size_ha : float array (N,)
        Risk area of the segment, hectares, > 0.
    map_ha : float array (N,), optional
        Mapped hectares of the crop, gap-filled; without it strata and size alone.
    amount : {"linear", "lognormal"}
    """
    if amount not in AMOUNTS:
        raise EstimationError(f"amount {amount!r} is unknown; use 'linear' or 'lognormal'")
    size = checked_vector("size_ha", size_ha, None, positive=True)
    strata = checked_labels("stratum", stratum, size.size, unique=False)
    columns = [(strata == name).astype(np.float64) for name in np.unique(strata)[1:]]
    columns.append(np.log(size / size.mean()))
    amounts: list[Floats] = []
    if map_ha is not None:
        mapped = checked_vector("map_ha", map_ha, size.size, non_negative=True)
        share = np.minimum(mapped / size, 1.0)
        columns += [(share > 0.0).astype(np.float64), np.log1p(share / MAP_UNIT)]
        amounts.append(share if amount == "linear" else np.log(share + 0.5 * MAP_UNIT))
    return TwoPartFrame(
        domain=np.asarray(domain),
        size_ha=size,
        presence=_with_ones(columns, size.size),
        amount=_with_ones(amounts, size.size),
    )


def _with_ones(columns: list[Floats], n: int) -> Floats:
    """The intercept and every column that is not a combination of those before it."""
    matrix = np.column_stack([np.ones(n), *columns])
    return matrix[:, independent(matrix)]


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
    return _fit(frame, rows, found, amount, rule or TwoPartRule())


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


def _fit(frame: TwoPartFrame, rows: Ints, y: Floats, kind: str, rule: TwoPartRule) -> TwoPartFit:
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


def two_part_totals(
    fit: TwoPartFit,
    frame: TwoPartFrame,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    n_draws: int = 1000,
    n_bootstrap: int = 0,
) -> TwoPartTotals:
    """Hectares of every domain of the frame with predictive limits and mean squared error.

    Parameters
    ----------
    fit : TwoPartFit
    frame : TwoPartFrame
        The frame that the fit was made on.
    rng : numpy Generator
    level : float
        Nominal coverage of the limits.
    n_draws : int
        Draws from the predictive distribution, at least 100.
    n_bootstrap : int
        Parametric bootstrap replicates for `mse`; 0 for none.

    Returns
    -------
    TwoPartTotals

    Notes
    -----
    A draw takes the variances from their posterior grid, coefficients and effects from their
    normal approximation, then presence and amount of every unsampled segment. All-zero domains
    so get a positive upper limit, and limits are asymmetric.

    References
    ----------
    Laird and Louis (1987), JASA 82, 739-750, on letting the variance's uncertainty into the
    interval; Hall and Maiti (2006), JRSS B 68, 221-238, for the parametric bootstrap MSE.
    """
    if not 0.0 < level < 1.0:
        raise EstimationError(f"level {level} is not between 0 and 1")
    if n_draws < 100 or n_bootstrap < 0:
        raise EstimationError(
            f"n_draws {n_draws} must be at least 100 and n_bootstrap {n_bootstrap} not negative"
        )
    if (
        frame.domain.size <= fit.index.max()
        or (fit.domain != np.unique(frame.domain[fit.index])).any()
    ):
        raise EstimationError("the frame is not the one the model was fitted on")
    view = _View.of(frame, fit)
    value = view.value(frame, fit)
    draws = view.draw(frame, fit, rng, n_draws)
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(draws, [tail, 100.0 - tail], axis=0)
    conditional = draws.var(axis=0) + (draws.mean(axis=0) - value) ** 2
    redrawn, widen = 0, fit.rule.widen
    conditional = widen**2 * conditional
    mse = conditional
    if n_bootstrap:
        mse, redrawn = _bootstrap(fit, frame, view, rng, n_bootstrap)
        mse = widen**2 * mse
    return TwoPartTotals(
        domain=view.names,
        n=view.n,
        n_positive=view.n_positive,
        value_ha=value,
        mse=mse,
        mse_conditional=conditional,
        ci_low_ha=np.maximum(value - widen * np.maximum(value - low, 0.0), view.found),
        ci_high_ha=np.minimum(value + widen * np.maximum(high - value, 0.0), view.most),
        level=level,
        is_synthetic=view.n == 0,
        n_redrawn=redrawn,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _View:
    """The unsampled segments, and where each domain stands in frame and fit."""

    names: Labels
    domain: Ints  # (N,) domain of the frame 0..k-1
    rest: Ints  # (r,) unsampled rows
    code: Ints  # (r,) row of the fit, -1 where unsampled domain
    found: Floats  # (k,) hectares in sampled segments
    most: Floats  # (k,) the same with every unsampled segment full of crop
    n: Ints
    n_positive: Ints
    to_fit: Ints  # (k,)

    @classmethod
    def of(cls, frame: TwoPartFrame, fit: TwoPartFit) -> _View:
        names, domain = np.unique(frame.domain, return_inverse=True)
        k = names.size
        to_fit = np.full(k, -1, dtype=np.int64)
        to_fit[np.searchsorted(names, fit.domain)] = np.arange(fit.domain.size)
        unsampled = np.ones(domain.size, dtype=np.bool_)
        unsampled[fit.index] = False
        rest = np.flatnonzero(unsampled)
        known = to_fit >= 0
        found = group_sums(fit.y_ha, domain[fit.index], k)
        return cls(
            names=names,
            domain=domain.astype(np.int64),
            rest=rest.astype(np.int64),
            code=to_fit[domain[rest]],
            found=found,
            most=found + group_sums(frame.size_ha[rest], domain[rest], k),
            n=np.where(known, fit.n[to_fit], 0),
            n_positive=np.where(known, fit.n_positive[to_fit], 0),
            to_fit=to_fit,
        )

    def value(self, frame: TwoPartFrame, fit: TwoPartFit) -> Floats:
        size = frame.size_ha[self.rest]
        expected = fit.presence.probability(frame.presence[self.rest], self.code) * size
        expected = expected * fit.amount.mean(frame.amount[self.rest], self.code)
        return self.found + group_sums(expected, self.domain[self.rest], self.names.size)

    def draw(
        self, frame: TwoPartFrame, fit: TwoPartFit, rng: np.random.Generator, n_draws: int
    ) -> Floats:
        """Totals (n_draws, k) from the predictive distribution."""
        k = self.names.size
        S = fit.presence.standardise(frame.presence[self.rest])
        X = frame.amount[self.rest][:, fit.amount.columns]
        size = frame.size_ha[self.rest]
        home = self.domain[self.rest]
        known = self.to_fit >= 0
        at = self.to_fit[known]
        grid, alphas, effects = fit.presence.draw(rng, n_draws)
        at_amount = rng.choice(fit.amount.weight.size, n_draws, p=fit.amount.weight)
        totals = np.empty((n_draws, k))
        for b in range(n_draws):
            if b % CHUNK == 0:  # one matrix product for many draws
                fixed = alphas[b : b + CHUNK] @ S.T + fit.presence.shift
            u = fit.presence.sigma[grid[b]] * rng.standard_normal(k)
            u[known] = effects[b][at]
            eta = fixed[b % CHUNK] + u[home]
            hit = np.flatnonzero(rng.random(size.size) < special.expit(eta))
            beta, v, sigma2_e = draw_amount(fit.amount, int(at_amount[b]), known, at, rng)
            linear = X[hit] @ beta + v[home[hit]]
            share = draw_share(fit.amount, linear, sigma2_e, size[hit], rng)
            totals[b] = self.found + group_sums(share * size[hit], home[hit], k)
        return totals


def _bootstrap(
    fit: TwoPartFit,
    frame: TwoPartFrame,
    view: _View,
    rng: np.random.Generator,
    n_bootstrap: int,
) -> tuple[Floats, int]:
    """Mean squared error of the totals when the fitted model makes new populations."""
    k = view.names.size
    part = fit.amount
    S = fit.presence.standardise(frame.presence)
    alpha = fit.presence.weight @ fit.presence.alpha
    beta = part.weight @ part.beta
    sigma2_e = float(part.weight @ part.sigma2_e)
    eta = S @ alpha + fit.presence.shift
    linear = frame.amount[:, part.columns] @ beta
    total = np.zeros(k)
    done, redrawn = 0, 0
    while done < n_bootstrap:
        u = fit.sigma_presence * rng.standard_normal(k)
        v = fit.sigma_amount * rng.standard_normal(k)
        hit = np.flatnonzero(rng.random(eta.size) < special.expit(eta + u[view.domain]))
        y = np.zeros(eta.size)
        size = frame.size_ha[hit]
        y[hit] = size * draw_share(part, linear[hit] + v[view.domain[hit]], sigma2_e, size, rng)
        try:
            again = _fit(frame, fit.index, y[fit.index], fit.amount_kind, fit.rule)
        except EstimationError:  # too few positives, or nothing but positives
            redrawn += 1
            if redrawn > 10 * n_bootstrap:
                raise
            continue
        truth = group_sums(y, view.domain, k)
        predicted = replace(view, found=group_sums(y[fit.index], view.domain[fit.index], k))
        total += (predicted.value(frame, again) - truth) ** 2
        done += 1
    return total / n_bootstrap, redrawn
