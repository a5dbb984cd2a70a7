"""Fay-Herriot: district estimates and their variances drawn together by a regression."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation.smallarea.inputs import (
    Bools,
    Floats,
    best_root,
    checked_matrix,
    checked_vector,
    orthonormal,
)

__all__ = [
    "AreaLevelFit",
    "AreaLevelMeans",
    "eblup_area_level",
    "fit_area_level",
    "refit_area_level",
]

METHODS = ("reml", "ml", "moment")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AreaLevelFit:
    """A fitted Fay-Herriot model theta_i = x_i'beta + u_i, y_i = theta_i + e_i.

    Attributes
    ----------
    method : {"reml", "ml", "moment"}
    beta, beta_cov : float array (p,), (p, p)
    sigma2_u, sigma2_u_var : float
        Variance between areas beyond the regression, and its asymptotic variance.
    is_truncated : bool
        `sigma2_u` was estimated as zero: every figure equals the regression.
    loglik : float
        Full log-likelihood at the estimate.
    value, synthetic, gamma : float array (m,)
        EBLUP, x'beta, and the weight of the area's own estimate.
    mse, g1, g2, g3 : float array (m,)
        Mean squared error of `value` and its terms; `mse` carries the bias correction of the
        method.
    residual : float array (m,)
        (y - x'beta)/sqrt(sigma2_u + D), about standard normal when the model holds.
    sampling_variance, X : float array (m,), (m, p)
        D and the covariates, as they were fitted.
    """

    method: str
    beta: Floats
    beta_cov: Floats
    sigma2_u: float
    sigma2_u_var: float
    is_truncated: bool
    loglik: float
    value: Floats
    synthetic: Floats
    gamma: Floats
    mse: Floats
    g1: Floats
    g2: Floats
    g3: Floats
    residual: Floats
    sampling_variance: Floats
    X: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AreaLevelMeans:
    """Predictions for areas without a direct estimate: synthetic, and labelled so.

    Attributes
    ----------
    value, mse : float array (k,)
        x'beta, and sigma2_u + x'cov(beta)x.
    is_synthetic : bool array (k,)
        True everywhere.
    """

    value: Floats
    mse: Floats
    is_synthetic: Bools


class _Areas:
    """Weighted least squares of the direct estimates at a given variance between areas."""

    def __init__(self, y: Floats, D: Floats, X: Floats) -> None:
        self.y, self.D, self.X = y, D, X
        self.m, self.p = X.shape

    def solve(self, s2: float) -> tuple[Floats, Floats, Floats, Floats]:
        """Weights 1/(s2+D), X'WX, beta and residuals."""
        w = 1.0 / (s2 + self.D)
        A = self.X.T @ (w[:, None] * self.X)
        beta = np.linalg.solve(A, self.X.T @ (w * self.y))
        return w, A, beta, self.y - self.X @ beta

    def loglik(self, s2: float, *, restricted: bool) -> float:
        w, A, _, r = self.solve(s2)
        value = -float(np.log(w).sum()) + float((w * r**2).sum())
        if restricted:
            value += float(np.linalg.slogdet(A)[1])
            return float(-0.5 * (value + (self.m - self.p) * math.log(2.0 * math.pi)))
        return float(-0.5 * (value + self.m * math.log(2.0 * math.pi)))

    def score(self, s2: float, *, restricted: bool) -> float:
        """Twice the derivative of `loglik`: y'PPy - tr(P), or tr(V^-1) for ML."""
        w, A, _, r = self.solve(s2)
        value = float(((w * r) ** 2).sum()) - float(w.sum())
        if restricted:
            wx = w[:, None] * self.X
            value += float((wx * np.linalg.solve(A, wx.T).T).sum())
        return float(value)

    def moment(self, s2: float) -> float:
        """Fay and Herriot (1979) eq. 2.9: sum r^2/(A+D) - (m-p)."""
        w, _, _, r = self.solve(s2)
        return float((w * r**2).sum() - (self.m - self.p))

    def variance_between(self, method: str) -> float:
        unit = float(np.median(self.D))
        top = max(float(np.var(self.y)), unit)
        grid = np.concatenate([[0.0], np.geomspace(1e-5 * min(unit, top), 1e3 * top, 49)])
        if method == "moment":
            # Falling in s2, so the root is unique.
            if self.moment(0.0) <= 0.0:
                return 0.0
            return best_root(lambda s2: -abs(self.moment(s2)), self.moment, grid)
        restricted = method == "reml"
        return best_root(
            lambda s2: self.loglik(s2, restricted=restricted),
            lambda s2: self.score(s2, restricted=restricted),
            grid,
        )


def fit_area_level(
    direct: npt.ArrayLike,
    sampling_variance: npt.ArrayLike,
    X: npt.ArrayLike,
    *,
    method: str = "reml",
) -> AreaLevelFit:
    """Fit the Fay-Herriot model and predict every area that has a direct estimate.

    Assumes unbiased direct estimates with known sampling variances, independent between areas,
    and independent normal area effects. A variance of zero (an all-zero district, a single
    segment) is not known but missing: it is refused; pass the variances through
    `smooth_sampling_variances` first.

    Parameters
    ----------
    direct : float array (m,)
        Direct estimates, best per hectare of risk area so that areas are comparable.
    sampling_variance : float array (m,)
        Their sampling variances, all > 0, smoothed.
    X : float array (m, p)
        Area covariates with a column of ones.
    method : {"reml", "ml", "moment"}
        How the variance between areas is estimated.

    Returns
    -------
    AreaLevelFit

    Raises
    ------
    EstimationError
        NaN, a variance that is not above zero, a constant or collinear covariate.
    TooFewUnitsError
        Not more areas than columns.

    References
    ----------
    Fay and Herriot (1979), JASA 74, 269-277; Prasad and Rao (1990); Datta and Lahiri (2000),
    Statistica Sinica 10, 613-627 (REML, ML); Datta, Rao and Smith (2005), Biometrika 92,
    183-196 (moment); Rao and Molina (2015), secs. 6.1-6.2.
    """
    y = checked_vector("direct", direct)
    D: Floats = np.asarray(sampling_variance, dtype=np.float64)
    if D.shape == y.shape and bool((D == 0.0).any()):
        row = int(np.flatnonzero(D == 0.0)[0])
        raise EstimationError(
            f"sampling_variance, row {row + 1}: 0 would give that direct estimate full weight; "
            "smooth the variances first (smooth_sampling_variances)"
        )
    D = checked_vector("sampling_variance", D, y.size, positive=True)
    design = checked_matrix("X", X, y.size, None)
    if method not in METHODS:
        raise EstimationError(f"method {method!r} is unknown; use 'reml', 'ml' or 'moment'")
    if y.size < 2:
        raise TooFewUnitsError("one area cannot show a variance between areas; give at least two")
    Q, R = orthonormal(design)
    areas = _Areas(y, D, Q)
    return _fit_at(areas.variance_between(method), areas, design, R, method)


def refit_area_level(fit: AreaLevelFit, direct: Floats) -> AreaLevelFit:
    """Fit the same model to other direct estimates, for bootstraps."""
    Q, R = orthonormal(fit.X)
    areas = _Areas(direct, fit.sampling_variance, Q)
    return _fit_at(areas.variance_between(fit.method), areas, fit.X, R, fit.method)


def _fit_at(s2: float, areas: _Areas, X: Floats, R: Floats, method: str) -> AreaLevelFit:
    w, A, beta, r = areas.solve(s2)
    m, D = areas.m, areas.D
    inverse = np.linalg.inv(A)
    gamma = s2 * w
    synthetic = areas.X @ beta
    # Rao and Molina (2015) eqs. 6.2.1-6.2.3.
    g1 = gamma * D
    g2 = (1.0 - gamma) ** 2 * ((areas.X @ inverse) * areas.X).sum(axis=1)
    sum1, sum2 = float(w.sum()), float((w**2).sum())
    # Datta, Rao and Smith (2005) eqs. 7-9; Datta and Lahiri (2000) for the biases.
    variance = 2.0 * m / sum1**2 if method == "moment" else 2.0 / sum2
    if method == "ml":
        bias = -float(np.trace(inverse @ (areas.X.T @ ((w**2)[:, None] * areas.X)))) / sum2
    elif method == "moment":
        bias = 2.0 * (m * sum2 - sum1**2) / sum1**3
    else:
        bias = 0.0
    g3 = D**2 * w**3 * variance
    R_inv = np.linalg.inv(R)
    return AreaLevelFit(
        method=method,
        beta=R_inv @ beta,
        beta_cov=R_inv @ inverse @ R_inv.T,
        sigma2_u=s2,
        sigma2_u_var=variance,
        is_truncated=s2 == 0.0,
        loglik=areas.loglik(s2, restricted=False),
        value=synthetic + gamma * r,
        synthetic=synthetic,
        gamma=gamma,
        mse=g1 + g2 + 2.0 * g3 - (1.0 - gamma) ** 2 * bias,
        g1=g1,
        g2=g2,
        g3=g3,
        residual=r * np.sqrt(w),
        sampling_variance=D,
        X=X,
    )


def eblup_area_level(fit: AreaLevelFit, X: npt.ArrayLike) -> AreaLevelMeans:
    """Predict areas without a direct estimate from their covariates.

    Parameters
    ----------
    fit : AreaLevelFit
    X : float array (k, p)

    Returns
    -------
    AreaLevelMeans

    References
    ----------
    Rao and Molina (2015), Small Area Estimation, 2nd ed., sec. 6.1.1: gamma = 0.
    """
    design = checked_matrix("X", X, None, fit.beta.size)
    return AreaLevelMeans(
        value=design @ fit.beta,
        mse=fit.sigma2_u + ((design @ fit.beta_cov) * design).sum(axis=1),
        is_synthetic=np.ones(design.shape[0], dtype=np.bool_),
    )
