"""Which segments hold the crop: logistic regression with district effects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from survey.errors import EstimationError
from survey.estimation.smallarea.inputs import Floats, Ints, group_sums

__all__ = ["PresenceFit", "PresencePrior", "fit_presence"]

# District effects of sd 4 on the logit scale would mean 1% here and 97% there.
SIGMAS = np.array([0.05, 0.15, 0.3, 0.45, 0.6, 0.8, 1.0, 1.25, 1.55, 1.9, 2.4, 3.2])
NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(11)
NODE_WEIGHTS = NODE_WEIGHTS / NODE_WEIGHTS.sum()
MAX_STEPS = 60
BLOCK = 256  # candidates whose linear predictors are held at once
TOLERANCE = 1e-7  # of the log-likelihood


@dataclass(frozen=True, slots=True, kw_only=True)
class PresencePrior:
    """Weak priors that keep a stratum without positives and a variance near zero finite.

    Attributes
    ----------
    slope_sd : float
        Normal prior of every coefficient but the intercept, per two standard deviations of
        its covariate.
    sigma_scale : float
        Half-normal prior of the standard deviation of district effects, logit scale.

    References
    ----------
    Gelman, Jakulin, Pittau and Su (2008), Ann. Appl. Stat. 2, 1360-1383 (scale 2.5);
    Chung et al. (2013), Psychometrika 78, 685-709, on variances estimated at zero.
    """

    slope_sd: float = 2.5
    sigma_scale: float = 1.0

    def __post_init__(self) -> None:
        if not (self.slope_sd > 0.0 and self.sigma_scale > 0.0):
            raise EstimationError("prior scales must be above zero")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PresenceFit:
    """Gaussian approximation of coefficients and effects at each of g values of sigma.

    Attributes
    ----------
    sigma, weight : float array (g,)
        Standard deviations of the district effects and their posterior weights, sum 1.
    alpha : float array (g, p)
        Coefficients of the standardised columns.
    alpha_root : float array (g, p, p)
        Root of their covariance.
    effect, effect_var : float array (g, m)
        District effects and their variances given alpha.
    effect_alpha : float array (g, m, p)
        How an effect moves when alpha does.
    sample, present, code, ridge : arrays (n, p), (n,), (n,), (p,)
        Standardised covariates, response and domain of the sample, and prior precisions.
    centre, spread : float array (p,)
        Standardisation of the columns; the intercept has centre 0 and spread 1.
    shift : float
        Added to the linear predictor so that the expected number of positive sampled units
        equals the number observed.
    """

    sigma: Floats
    weight: Floats
    alpha: Floats
    alpha_root: Floats
    effect: Floats
    effect_var: Floats
    effect_alpha: Floats
    sample: Floats
    present: Floats
    code: Ints
    ridge: Floats
    centre: Floats
    spread: Floats
    shift: float

    @property
    def sigma_mean(self) -> float:
        """Posterior mean of the standard deviation of district effects."""
        return float(self.weight @ self.sigma)

    def standardise(self, Z: Floats) -> Floats:
        """Columns as the coefficients expect them."""
        scaled: Floats = (Z - self.centre) / self.spread
        return scaled

    def probability(self, Z: Floats, code: Ints) -> Floats:
        """Expected presence (N,) of units with columns Z (N, p).

        `code` is the unit's row in the fit's domains, -1 where the domain was not sampled; its
        effect is then integrated over N(0, sigma^2), else over its own conditional normal.
        """
        return _expected(self, self.standardise(Z), code, self.shift)

    def draw(self, rng: np.random.Generator, n_draws: int) -> tuple[Ints, Floats, Floats]:
        """Draw grid rows (b,), coefficients (b, p) and effects of the fit's domains (b, m).

        Where a stratum or the unmapped land holds no positive, the posterior of its
        coefficient has a short upper and a long lower tail; the normal approximation would
        put crop there. So four times as many candidates are drawn and resampled by the ratio
        of the posterior (at the effects' conditional mode) to the approximation.
        """
        n = 4 * n_draws
        rows = np.sort(rng.choice(self.sigma.size, n, p=self.weight))
        z = rng.standard_normal((n, self.alpha.shape[1]))
        log_ratio, alpha, effect = (
            np.empty(n),
            np.empty_like(z),
            np.empty((n, self.effect.shape[1])),
        )
        for g in np.unique(rows):
            own = np.flatnonzero(rows == g)
            for at in np.array_split(own, 1 + own.size // BLOCK):
                move = z[at] @ self.alpha_root[g].T
                alpha[at] = self.alpha[g] + move
                effect[at] = self.effect[g] + move @ self.effect_alpha[g].T
                eta = alpha[at] @ self.sample.T + effect[at][:, self.code]
                value = eta @ self.present - np.logaddexp(0.0, eta).sum(axis=1)
                value -= 0.5 * (effect[at] ** 2).sum(axis=1) / self.sigma[g] ** 2
                value -= 0.5 * (alpha[at] ** 2) @ self.ridge
                log_ratio[at] = value + 0.5 * (z[at] ** 2).sum(axis=1)
            # The grid already carries the weight of each sigma: only ratios within it count.
            log_ratio[own] += np.log(own.size) - np.logaddexp.reduce(log_ratio[own])
        chance = np.exp(log_ratio - log_ratio.max())
        kept = rng.choice(n, n_draws, p=chance / chance.sum())
        rows, alpha, effect = rows[kept], alpha[kept], effect[kept]
        spread = np.sqrt(self.effect_var[rows])
        return rows, alpha, effect + spread * rng.standard_normal(effect.shape)


def _expected(fit: PresenceFit, S: Floats, code: Ints, shift: float) -> Floats:
    known = code >= 0
    at = np.where(known, code, 0)
    result = np.zeros(S.shape[0])
    for g in np.flatnonzero(fit.weight > 1e-4):
        centre = S @ fit.alpha[g] + np.where(known, fit.effect[g][at], 0.0) + shift
        sd = np.sqrt(np.where(known, fit.effect_var[g][at], fit.sigma[g] ** 2))
        for node, weight in zip(NODES, NODE_WEIGHTS, strict=True):
            result += fit.weight[g] * weight * special.expit(centre + node * sd)
    result /= fit.weight[fit.weight > 1e-4].sum()
    return result


def fit_presence(
    present: Floats, Z: Floats, code: Ints, m: int, prior: PresencePrior
) -> PresenceFit:
    """Fit logit P(present) = z'alpha + u_d, u_d ~ N(0, sigma^2).

    For each sigma of a fixed grid the joint mode of (alpha, u) is found by Newton's method on
    the block-arrow Hessian (O(n p^2) a step); the Laplace approximation of the marginal
    likelihood, times the prior, weights the grid. No optimiser for the variance: it cannot
    collapse to zero, and its uncertainty stays in the prediction.

    Parameters
    ----------
    present : float array (n,)
        1 where the crop was found.
    Z : float array (n, p)
        First column ones.
    code : int array (n,)
        Domain 0..m-1 of each unit.

    References
    ----------
    Breslow and Clayton (1993), JASA 88, 9-25; Rue, Martino and Chopin (2009), JRSS B 71,
    319-392 (grid over the variance with a Gaussian approximation inside).
    """
    p = Z.shape[1]
    centre, spread = Z.mean(axis=0), 2.0 * Z.std(axis=0)
    constant = spread <= 1e-12 * (1.0 + np.abs(centre))
    centre = np.where(constant, 0.0, centre)
    spread = np.where(constant, 1.0, spread)
    S = (Z - centre) / spread
    ridge = np.full(p, prior.slope_sd**-2)
    ridge[0] = 0.0
    share = (present.sum() + 0.5) / (present.size + 1.0)
    alpha: Floats = np.zeros(p)
    effect: Floats = np.zeros(m)
    alpha[0] = special.logit(share)
    rows = []
    for sigma in SIGMAS:
        alpha, effect, hessian = _mode(present, S, code, m, sigma, ridge, alpha, effect)
        schur, cross, diagonal = hessian
        eta = S @ alpha + effect[code]
        value = float((present * eta - np.logaddexp(0.0, eta)).sum())
        value -= 0.5 * float((effect**2).sum()) / sigma**2 + 0.5 * float((ridge * alpha**2).sum())
        value -= 0.5 * float(np.linalg.slogdet(schur)[1]) + 0.5 * float(np.log(diagonal).sum())
        value -= m * float(np.log(sigma)) + 0.5 * (sigma / prior.sigma_scale) ** 2
        root = np.linalg.cholesky(np.linalg.inv(schur))
        rows.append((value, alpha, root, effect, 1.0 / diagonal, -cross / diagonal[:, None]))
    # Trapezoid cells turn grid values into integration weights over sigma.
    edges = np.concatenate([[0.0], 0.5 * (SIGMAS[1:] + SIGMAS[:-1]), [SIGMAS[-1] + 0.4]])
    log_weight = np.array([row[0] for row in rows]) + np.log(np.diff(edges))
    weight = np.exp(log_weight - log_weight.max())
    fit = PresenceFit(
        sigma=SIGMAS,
        weight=weight / weight.sum(),
        alpha=np.array([row[1] for row in rows]),
        alpha_root=np.array([row[2] for row in rows]),
        effect=np.array([row[3] for row in rows]),
        effect_var=np.array([row[4] for row in rows]),
        effect_alpha=np.array([row[5] for row in rows]),
        sample=S,
        present=present,
        code=code,
        ridge=ridge,
        centre=centre,
        spread=spread,
        shift=0.0,
    )
    return PresenceFit(
        **{name: getattr(fit, name) for name in PresenceFit.__slots__ if name != "shift"},
        shift=_shift(fit, S, code, float(present.sum())),
    )


def _mode(
    present: Floats,
    S: Floats,
    code: Ints,
    m: int,
    sigma: float,
    ridge: Floats,
    alpha: Floats,
    effect: Floats,
) -> tuple[Floats, Floats, tuple[Floats, Floats, Floats]]:
    """Joint mode of (alpha, u) and the blocks of its Hessian (Schur, cross, diagonal)."""

    def objective(a: Floats, u: Floats) -> float:
        eta = S @ a + u[code]
        fit = float((present * eta - np.logaddexp(0.0, eta)).sum())
        return fit - 0.5 * float((u**2).sum()) / sigma**2 - 0.5 * float((ridge * a**2).sum())

    here = objective(alpha, effect)
    for _ in range(MAX_STEPS):
        mean = special.expit(S @ alpha + effect[code])
        w = mean * (1.0 - mean)
        rest = present - mean
        wS = w[:, None] * S
        cross = np.column_stack([group_sums(column, code, m) for column in wS.T])
        diagonal = group_sums(w, code, m) + sigma**-2
        schur = S.T @ wS + np.diag(ridge) - cross.T @ (cross / diagonal[:, None])
        by_alpha = S.T @ rest - ridge * alpha
        by_effect = group_sums(rest, code, m) - effect / sigma**2
        step_a = np.linalg.solve(schur, by_alpha - cross.T @ (by_effect / diagonal))
        step_u = (by_effect - cross @ step_a) / diagonal
        gain = float(by_alpha @ step_a) + float(by_effect @ step_u)
        if gain < TOLERANCE:
            return alpha, effect, (schur, cross, diagonal)
        length = 1.0
        while length > 1e-6:
            there = objective(alpha + length * step_a, effect + length * step_u)
            if there >= here:
                break
            length *= 0.5
        alpha, effect, here = alpha + length * step_a, effect + length * step_u, there
    raise EstimationError(
        "the presence model did not converge; check the covariates for extreme values and give "
        "them on a bounded scale such as shares"
    )


def _shift(fit: PresenceFit, S: Floats, code: Ints, wanted: float) -> float:
    """Newton's method on the sum of expected presences, which rises in the shift."""
    shift = 0.0
    for _ in range(30):
        p = _expected(fit, S, code, shift)
        step = (wanted - float(p.sum())) / float((p * (1.0 - p)).sum())
        shift += float(np.clip(step, -1.0, 1.0))
        if abs(step) < 1e-6:
            break
    return shift
