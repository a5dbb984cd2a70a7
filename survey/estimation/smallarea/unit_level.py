"""Nested error regression of Battese, Harter and Fuller: unit-level district means."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation.smallarea.inputs import (
    Floats,
    Ints,
    Labels,
    best_root,
    checked_labels,
    checked_matrix,
    checked_vector,
    group_sums,
    orthonormal,
)

__all__ = [
    "Profile",
    "UnitLevelData",
    "UnitLevelFit",
    "fit_unit_level",
    "refitter",
]

METHODS = ("reml", "ml")
# Variance between over variance within a domain's mean, beyond which the latter is rounding.
MAX_RATIO = 1e9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitLevelData:
    """The sample as it was fitted: response, covariates, domain row, scale and unit size."""

    y: Floats
    X: Floats
    code: Ints
    scale: Floats
    size: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitLevelFit:
    """A fitted nested error regression y_ij = x_ij'beta + v_i + c_ij e_ij.

    Attributes
    ----------
    method : {"reml", "ml"}
    domain : str array (m,)
        Sampled domains, sorted.
    n : int array (m,)
        Sampled units of each.
    beta, beta_cov : float array (p,), (p, p)
        Coefficients and their covariance given the variance components.
    sigma2_v, sigma2_e : float
        Variance between domains and (at c = 1) within them, squared units of y.
    is_truncated : bool
        The variance between domains was estimated as zero: every figure is synthetic in
        substance and its analytic mean squared error too small (see `docs`).
    avar, avar_projected : float array (2, 2)
        Asymptotic covariance of (sigma2_v, sigma2_e) from the information
        tr(V^-1 V_a V^-1 V_b)/2 and from tr(P V_a P V_b)/2.
    loglik : float
        Log-likelihood at the estimate; restricted where `method` is "reml".
    effect, gamma : float array (m,)
        Predicted domain effect and shrinkage factor.
    mean_x, mean_y : float array (m, p), (m,)
        Precision-weighted sample means (weights 1/c^2).
    precision : float array (m,)
        Sum of 1/c^2 over the domain's units; n where no scale was given.
    size, size_x, size_y, size_noise : float arrays (m,), (m, p), (m,), (m,)
        Sums over the domain's sampled units of a, a x, a y and (a c)^2, with unit size a.
    residual : float array (n,)
        Conditional residual y - x'beta - v, in the order of the input.
    data : UnitLevelData
        The sample, for bootstrap and diagnostics.
    """

    method: str
    domain: Labels
    n: Ints
    beta: Floats
    beta_cov: Floats
    sigma2_v: float
    sigma2_e: float
    is_truncated: bool
    avar: Floats
    avar_projected: Floats
    loglik: float
    effect: Floats
    gamma: Floats
    mean_x: Floats
    mean_y: Floats
    precision: Floats
    size: Floats
    size_x: Floats
    size_y: Floats
    size_noise: Floats
    residual: Floats
    data: UnitLevelData


class Profile:
    """Likelihood of lambda = sigma2_v / sigma2_e with beta and sigma2_e profiled out.

    Sums over groups are made once; one evaluation then costs O(m p^2), whatever n. They are
    kept as within + between, so that nothing cancels when lambda is large.
    With k = 1/c^2, V_i = sigma2_e (diag(c^2) + lambda 11') and
    V_i^-1 = (diag(k) - lambda/(1 + lambda a_i) k k')/sigma2_e, a_i = sum k (Rao and Molina 2015,
    sec. 7.1.1).
    """

    def __init__(self, X: Floats, y: Floats, code: Ints, k: Floats, m: int, method: str) -> None:
        self.n, self.p = X.shape
        self.restricted = method == "reml"
        self.a = group_sums(k, code, m)
        self.sx = np.column_stack([group_sums(k * x, code, m) for x in X.T])
        self.kX = k[:, None] * X
        self.xx = X.T @ self.kX
        # A group may have no unit (a district without crop in the amount part).
        self.safe_a = np.where(self.a > 0.0, self.a, 1.0)
        inner = X - (self.sx / self.safe_a[:, None])[code]
        self.inner_x = inner
        self.within_xx = inner.T @ (k[:, None] * inner)
        self.log_k = float(np.log(k).sum())
        self.k, self.code, self.m, self.X = k, code, m, X
        self.set_response(y)

    def set_response(self, y: Floats) -> None:
        """Take another response on the same covariates and groups."""
        self.sy = group_sums(self.k * y, self.code, self.m)
        # Centring on the least-squares fit keeps y'Py from cancelling digits away.
        self.beta0 = np.linalg.solve(self.xx, self.kX.T @ y)
        rest = y - self.X @ self.beta0
        self.sr = group_sums(self.k * rest, self.code, self.m)
        self.rr = float((self.k * rest**2).sum())
        inner = self.k * (rest - (self.sr / self.safe_a)[self.code])
        self.within_xr = self.inner_x.T @ inner
        self.within_rr = float((inner**2 / self.k).sum())

    def solve(self, lam: float) -> tuple[Floats, Floats, float, Floats]:
        """X'H^-1X, beta - beta0, y'Py and the shrunken group sums u_i = 1'H_i^-1 r_i."""
        d = 1.0 / (1.0 + lam * self.a)
        w = d / self.safe_a
        A = self.within_xx + self.sx.T @ (w[:, None] * self.sx)
        b = self.within_xr + self.sx.T @ (w * self.sr)
        step = np.linalg.solve(A, b)
        q = self.within_rr + float((w * self.sr**2).sum()) - float(b @ step)
        u: Floats = d * (self.sr - self.sx @ step)
        return A, step, q, u

    def loglik(self, lam: float) -> float:
        """Profile log-likelihood, restricted or full."""
        A, _, q, _ = self.solve(lam)
        if q <= 0.0:
            return math.inf
        free = self.n - self.p if self.restricted else self.n
        value = free * (math.log(2.0 * math.pi * q / free) + 1.0)
        value += float(np.log1p(lam * self.a).sum()) - self.log_k
        if self.restricted:
            value += float(np.linalg.slogdet(A)[1])
        return float(-0.5 * value)

    def score(self, lam: float) -> float:
        """Twice the derivative of `loglik` in lambda."""
        A, _, q, u = self.solve(lam)
        d = 1.0 / (1.0 + lam * self.a)
        free = self.n - self.p if self.restricted else self.n
        value = free * float((u**2).sum()) / q - float((self.a * d).sum())
        if self.restricted:
            t = d[:, None] * self.sx
            value += float((t * np.linalg.solve(A, t.T).T).sum())
        return float(value)

    def maximise(self) -> float:
        """Lambda at the maximum; exactly 0 where the likelihood falls from there."""
        unit = self.m / float(self.a.sum())
        grid = np.concatenate([[0.0], unit * np.logspace(-5.0, 5.0, 41)])
        return best_root(self.loglik, self.score, grid)


def fit_unit_level(
    y: npt.ArrayLike,
    X: npt.ArrayLike,
    domain: npt.ArrayLike,
    *,
    method: str = "reml",
    scale: npt.ArrayLike | None = None,
    size: npt.ArrayLike | None = None,
) -> UnitLevelFit:
    """Fit y_ij = x_ij'beta + v_i + c_ij e_ij by exact restricted or full maximum likelihood.

    Assumes independent normal v_i and e_ij and a sampling design that the covariates explain
    (put the design's strata among them): the weights do not enter. Sampled and unsampled units
    of a domain follow the same model.

    Parameters
    ----------
    y : float array (n,)
        Response. For segments of unequal size: crop hectares per hectare of risk area.
    X : float array (n, p)
        Covariates with a column of ones for the intercept, in the same unit as `y`.
    domain : str or int array (n,)
        Domain of each unit.
    method : {"reml", "ml"}
    scale : float array (n,), optional
        c_ij > 0, the residual's standard deviation relative to the others. For shares of
        segments of a_ij hectares ``sqrt(mean(a) / a)``: the larger, the less noise.
    size : float array (n,), optional
        a_ij > 0, hectares that the unit stands for, for finite-population means; 1 by default.

    Returns
    -------
    UnitLevelFit

    Raises
    ------
    EstimationError
        NaN, a constant or collinear covariate, or a response without residual variance.
    TooFewUnitsError
        Fewer than two domains, no domain with two units, or too few units for the columns.

    References
    ----------
    Battese, Harter and Fuller (1988), JASA 83, 28-36; Rao and Molina (2015), Small Area
    Estimation, 2nd ed., sec. 7.1.
    """
    response = checked_vector("y", y)
    n = response.size
    design = checked_matrix("X", X, n, None)
    labels = checked_labels("domain", domain, n, unique=False)
    c = np.ones(n) if scale is None else checked_vector("scale", scale, n, positive=True)
    a = np.ones(n) if size is None else checked_vector("size", size, n, positive=True)
    if method not in METHODS:
        raise EstimationError(f"method {method!r} is unknown; use 'reml' or 'ml'")
    names, code = np.unique(labels, return_inverse=True)
    code = code.astype(np.int64)
    m = names.size
    count = np.bincount(code)
    if m < 2:
        raise TooFewUnitsError(
            f"all {n} units lie in domain {str(names[0])!r}; a variance between domains needs at "
            "least two: use a direct estimate"
        )
    if count.max() < 2:
        raise TooFewUnitsError(
            "no domain has two units, so the variances between and within domains cannot be told "
            "apart; use fit_area_level or a larger domain"
        )
    Q, R = orthonormal(design)
    profile = Profile(Q, response, code, 1.0 / c**2, m, method)
    # What the least-squares fit leaves, against the response: 1e-12 of it is rounding.
    if profile.rr <= 1e-24 * float((response**2 / c**2).sum()):
        raise EstimationError(
            "the covariates reproduce y without residual, so no variance can be estimated; check "
            "that y is not one of the covariates or a constant"
        )
    lam = profile.maximise()
    if lam * float(profile.a.max()) > MAX_RATIO:
        raise EstimationError(
            "the units of each domain agree with each other exactly, so the variance within "
            "domains is zero and the likelihood has no maximum; use a direct estimate"
        )
    data = UnitLevelData(y=response, X=design, code=code, scale=c, size=a)
    return _fit_at(lam, profile, data, R, names, method)


def refitter(fit: UnitLevelFit) -> Callable[[Floats], UnitLevelFit]:
    """A function that fits the same model to another response, for bootstraps."""
    data = fit.data
    Q, R = orthonormal(data.X)
    profile = Profile(Q, data.y, data.code, 1.0 / data.scale**2, fit.domain.size, fit.method)

    def again(y: Floats) -> UnitLevelFit:
        profile.set_response(y)
        other = UnitLevelData(y=y, X=data.X, code=data.code, scale=data.scale, size=data.size)
        return _fit_at(profile.maximise(), profile, other, R, fit.domain, fit.method)

    return again


def _fit_at(
    lam: float, profile: Profile, data: UnitLevelData, R: Floats, names: Labels, method: str
) -> UnitLevelFit:
    X, y, c, size = data.X, data.y, data.scale, data.size
    A, step, q, u = profile.solve(lam)
    n, p, m, code = profile.n, profile.p, profile.m, profile.code
    sigma2_e = q / (n - p if profile.restricted else n)
    sigma2_v = lam * sigma2_e
    R_inv = np.linalg.inv(R)
    beta = R_inv @ (profile.beta0 + step)
    beta_cov = sigma2_e * R_inv @ np.linalg.inv(A) @ R_inv.T
    effect = lam * u
    a, d = profile.a, 1.0 / (1.0 + lam * profile.a)

    # Rao and Molina (2015) eqs. 7.2.24-7.2.26 for c = 1: tr(V^-1 V_a V^-1 V_b)/2.
    vv = float(((a * d) ** 2).sum())
    ve = float((a * d**2).sum())
    ee = float((n - m) + (d**2).sum())
    information = np.array([[vv, ve], [ve, ee]]) / (2.0 * sigma2_e**2)
    # The same with P for V^-1: diag(c^2) = H - lambda ZZ', so tr(PHPH) = n - p,
    # tr(PHPZZ') = tr(Z'PZ) and tr(PZZ'PZZ') = |Z'PZ|^2 suffice.
    t = d[:, None] * profile.sx
    inverse_t = np.linalg.solve(A, t.T)
    tt = inverse_t @ t
    diagonal = a * d
    leverage = (t * inverse_t.T).sum(axis=1)
    trace = float((diagonal - leverage).sum())
    square = float((diagonal**2 - 2.0 * diagonal * leverage).sum() + np.trace(tt @ tt))
    p_ve = trace - lam * square
    p_ee = (n - p) - 2.0 * lam * trace + lam**2 * square
    projected = np.array([[square, p_ve], [p_ve, p_ee]]) / (2.0 * sigma2_e**2)

    def total(values: Floats) -> Floats:
        return group_sums(values, code, m)

    loglik = profile.loglik(lam)
    if profile.restricted:
        # log|X'V^-1X| of the covariates as given, not of their orthonormal form.
        loglik -= float(np.log(np.abs(np.diag(R))).sum())
    return UnitLevelFit(
        method=method,
        domain=names,
        n=np.bincount(code, minlength=m).astype(np.int64),
        beta=beta,
        beta_cov=beta_cov,
        sigma2_v=sigma2_v,
        sigma2_e=sigma2_e,
        is_truncated=lam == 0.0,
        avar=np.linalg.inv(information),
        # Under full likelihood the expected information is the one with V^-1, in both names.
        avar_projected=np.linalg.inv(projected if profile.restricted else information),
        loglik=loglik,
        effect=effect,
        gamma=lam * a * d,
        mean_x=(profile.sx @ R) / a[:, None],
        mean_y=profile.sy / a,
        precision=a,
        size=total(size),
        size_x=np.column_stack([total(size * x) for x in X.T]),
        size_y=total(size * y),
        size_noise=total((size * c) ** 2),
        residual=y - X @ beta - effect[code],
        data=data,
    )
