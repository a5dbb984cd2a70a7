"""How much crop a segment holds that holds any: shares with district effects."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from survey.estimation.smallarea.inputs import Bools, Floats, Ints, independent, orthonormal
from survey.estimation.smallarea.unit_level import Profile

__all__ = ["AMOUNTS", "AmountFit", "draw_amount", "draw_share", "fit_amount"]

AMOUNTS = ("linear", "lognormal")
# Ratio sigma_v / sigma_e of the amounts, with a half-normal(0, 1) prior.
RATIOS = np.array([0.02, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AmountFit:
    """Posterior of the amount part at each of g ratios sigma_v/sigma_e.

    Attributes
    ----------
    kind : {"linear", "lognormal", "empirical"}
        "empirical": too few positives for a model; shares are those seen.
    share : float array (n,)
        Shares of the sampled units with crop.
    columns : int array (q,)
        Columns of the amount matrix that the positives can carry.
    weight, ratio2, sigma2_e : float array (g,)
        Posterior weight, sigma_v^2/sigma_e^2 and residual variance.
    df : int
        Degrees of freedom of sigma2_e.
    beta, beta_root : float array (g, q), (g, q, q)
        Coefficients and the root of their covariance over sigma2_e.
    effect, effect_var, effect_beta : float array (g, m), (g, m), (g, m, q)
        District effects, their variance over sigma2_e, and how they move with beta.
    smear : float
        Mean of the retransformed residual; 1 unless lognormal.
    floor : float
        Half the smallest share seen: what a unit with crop holds at least.
    size_ha : float
        Mean size of the positives, at which sigma2_e is the variance ("linear").
    """

    kind: str
    share: Floats
    columns: Ints
    weight: Floats
    ratio2: Floats
    sigma2_e: Floats
    df: int
    beta: Floats
    beta_root: Floats
    effect: Floats
    effect_var: Floats
    effect_beta: Floats
    smear: float
    floor: float
    size_ha: float

    @property
    def sigma_v(self) -> float:
        """Posterior mean of the standard deviation of district effects."""
        return float(self.weight @ np.sqrt(self.ratio2 * self.sigma2_e))

    def mean(self, X: Floats, code: Ints) -> Floats:
        """Expected share (N,) of units that hold the crop."""
        if self.kind == "empirical":
            return np.full(code.size, float(self.share.mean()))
        known = code >= 0
        linear = X[:, self.columns] @ (self.weight @ self.beta)
        effect = self.weight @ self.effect
        linear = linear + np.where(known, effect[np.where(known, code, 0)], 0.0)
        if self.kind == "lognormal":
            linear = self.smear * np.exp(linear)
        return np.clip(linear, self.floor, 1.0)


def fit_amount(
    share: Floats,
    size: Floats,
    X: Floats,
    code: Ints,
    m: int,
    *,
    kind: str,
    min_positive: int,
    min_per_coefficient: int,
) -> AmountFit:
    """Fit the shares of units with crop; `kind` "empirical" where they are too few.

    Parameters
    ----------
    share, size : float array (n,)
        Crop share, in (0, 1], and hectares of each unit with crop.
    X : float array (n, q)
        First column ones.
    code : int array (n,)
        Domain 0..m-1.
    kind : {"linear", "lognormal"}
    min_positive, min_per_coefficient : int
        Fewer units, or fewer for each coefficient: no model.

    References
    ----------
    Duan (1983), JASA 78, 605-610, for the retransformation.
    """
    n = share.size
    columns = independent(X)
    if n < max(min_positive, min_per_coefficient * columns.size, columns.size + 3):
        return _empirical(share, size, m)
    c2 = size.mean() / size if kind == "linear" else np.ones(n)
    y = np.log(share) if kind == "lognormal" else share
    Q, R = orthonormal(X[:, columns])
    profile = Profile(Q, y, code, 1.0 / c2, m, "reml")
    if profile.rr <= 1e-20 * float((y**2).sum() + n):
        return _empirical(share, size, m)  # equal shares: nothing to model
    rows = [_amount_at(float(ratio) ** 2, profile, R) for ratio in RATIOS]
    edges = np.concatenate([[0.0], 0.5 * (RATIOS[1:] + RATIOS[:-1]), [RATIOS[-1] + 0.3]])
    log_weight = np.array([row[0] for row in rows]) - 0.5 * RATIOS**2 + np.log(np.diff(edges))
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    part = AmountFit(
        kind=kind,
        share=share,
        columns=columns,
        weight=weight,
        ratio2=RATIOS**2,
        sigma2_e=np.array([row[1] for row in rows]),
        df=profile.n - profile.p,
        beta=np.array([row[2] for row in rows]),
        beta_root=np.array([row[3] for row in rows]),
        effect=np.array([row[4] for row in rows]),
        effect_var=np.array([row[5] for row in rows]),
        effect_beta=np.array([row[6] for row in rows]),
        smear=1.0,
        floor=0.0,
        size_ha=float(size.mean()),
    )
    # Ratio of sums (Duan's smearing, weighted by what it must add up to): unlike
    # exp(sigma^2/2) it does not rest on the lognormal's upper tail.
    fitted = part.mean(X, code) * size
    smear = float((share * size).sum() / fitted.sum()) if kind == "lognormal" else 1.0
    return replace(part, smear=smear, floor=0.5 * float(share.min()))


def _empirical(share: Floats, size: Floats, m: int) -> AmountFit:
    return AmountFit(
        kind="empirical",
        share=share,
        columns=np.zeros(0, dtype=np.int64),
        weight=np.ones(1),
        ratio2=np.zeros(1),
        sigma2_e=np.zeros(1),
        df=1,
        beta=np.zeros((1, 0)),
        beta_root=np.zeros((1, 0, 0)),
        effect=np.zeros((1, m)),
        effect_var=np.zeros((1, m)),
        effect_beta=np.zeros((1, m, 0)),
        smear=1.0,
        floor=0.5 * float(share.min()),
        size_ha=float(size.mean()),
    )


def _amount_at(
    lam: float, profile: Profile, R: Floats
) -> tuple[float, float, Floats, Floats, Floats, Floats, Floats]:
    A, step, q, u = profile.solve(lam)
    d = 1.0 / (1.0 + lam * profile.a)
    back = np.linalg.inv(R)
    cov = back @ np.linalg.inv(A) @ back.T
    return (
        profile.loglik(lam),
        q / (profile.n - profile.p),
        back @ (profile.beta0 + step),
        np.linalg.cholesky(cov),
        lam * u,
        lam * d,
        -lam * d[:, None] * (profile.sx @ R),
    )


def draw_amount(
    part: AmountFit, g: int, known: Bools, at: Ints, rng: np.random.Generator
) -> tuple[Floats, Floats, float]:
    """One draw of beta, of every domain's effect (k,) and of sigma2_e at ratio g.

    `known` (k,) says which domains were sampled and `at` gives their rows in the fit.
    """
    sigma2_e = float(part.sigma2_e[g] * part.df / rng.chisquare(part.df))
    sigma_e = math.sqrt(sigma2_e)
    move = sigma_e * part.beta_root[g] @ rng.standard_normal(part.columns.size)
    v = sigma_e * math.sqrt(part.ratio2[g]) * rng.standard_normal(known.size)
    own = part.effect[g] + part.effect_beta[g] @ move
    own = own + sigma_e * np.sqrt(part.effect_var[g]) * rng.standard_normal(own.size)
    v[known] = own[at]
    return part.beta[g] + move, v, sigma2_e


def draw_share(
    part: AmountFit, linear: Floats, sigma2_e: float, size: Floats, rng: np.random.Generator
) -> Floats:
    """Shares of units with crop, given their linear predictors and sizes."""
    if part.kind == "empirical":
        return rng.choice(part.share, linear.size)
    if part.kind == "lognormal":
        # The mean factor is `smear` at the estimated variance; a drawn variance moves it.
        usual = 0.5 * float(part.weight @ part.sigma2_e)
        noise = math.sqrt(sigma2_e) * rng.standard_normal(linear.size)
        return np.minimum(part.smear * np.exp(np.minimum(linear + noise - usual, 50.0)), 1.0)
    # Same mean and variance as the linear model, but never negative.
    mean = np.clip(linear, part.floor, 1.0)
    variance = sigma2_e * part.size_ha / size
    return np.minimum(rng.gamma(mean**2 / variance, variance / mean), 1.0)
