"""District totals of a fitted two-part model, with predictive limits and mean squared errors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from survey.errors import EstimationError
from survey.estimation.smallarea.amount import draw_amount, draw_share
from survey.estimation.smallarea.inputs import Bools, Floats, Ints, Labels, group_sums
from survey.estimation.zeroinflated.frame import TwoPartFrame
from survey.estimation.zeroinflated.model import TwoPartFit, fit_checked

__all__ = ["TwoPartTotals", "two_part_totals"]

# Draws whose linear predictors are held at once: 16 x 8 bytes a segment.
CHUNK = 16


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
            again = fit_checked(frame, fit.index, y[fit.index], fit.amount_kind, fit.rule)
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
