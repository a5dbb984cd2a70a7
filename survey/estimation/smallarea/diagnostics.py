"""Which segments and districts a unit-level model does not believe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from survey.errors import EstimationError
from survey.estimation.smallarea.inputs import Bools, Floats, Ints, Labels
from survey.estimation.smallarea.unit_level import UnitLevelFit, fit_unit_level

__all__ = ["UnitLevelDiagnostics", "diagnose_unit_level"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitLevelDiagnostics:
    """Residuals and influence of every sampled unit.

    Attributes
    ----------
    residual : float array (n,)
        (Py)_j / sqrt(P_jj): the unit against its prediction from all others, standard normal
        under the model with known variances.
    cook : float array (n,)
        Cook's distance: shift of the coefficients when the unit is left out, in units of
        their covariance, divided by p.
    is_outlier : bool array (n,)
        |residual| beyond the normal quantile at 0.05/(2n) (Bonferroni).
    effect : float array (m,)
        District effects over their standard deviation sqrt(gamma sigma2_v); zeros where the
        variance is truncated.
    domain : str array (m,)
    refit_unit : int array (r,)
        The units with the largest |residual|, each left out and the model fitted again.
    refit_sigma2_v, refit_sigma2_e : float array (r,)
        Variances without it: one outlier in the corn data halves the one and doubles the other.
    """

    residual: Floats
    cook: Floats
    is_outlier: Bools
    effect: Floats
    domain: Labels
    refit_unit: Ints
    refit_sigma2_v: Floats
    refit_sigma2_e: Floats


def diagnose_unit_level(
    fit: UnitLevelFit, *, n_refit: int = 5, alpha: float = 0.05
) -> UnitLevelDiagnostics:
    """Deletion residuals, Cook's distances, and variances without the worst units.

    Parameters
    ----------
    fit : UnitLevelFit
    n_refit : int
        How many of the most extreme units to leave out one at a time.
    alpha : float
        Chance of flagging any unit of a sample that follows the model.

    References
    ----------
    Christensen, Pearson and Johnson (1992), Technometrics 34, 38-45.
    """
    if not 0.0 < alpha < 1.0 or n_refit < 0:
        raise EstimationError(f"alpha {alpha} must lie in (0, 1), n_refit {n_refit} be >= 0")
    data = fit.data
    n, p = data.X.shape
    k = 1.0 / data.scale**2
    # gamma = lambda a / (1 + lambda a), so lambda / (1 + lambda a) = gamma / a.
    shrink = (fit.gamma / fit.precision)[data.code]
    own_sum = (fit.mean_x * fit.precision[:, None])[data.code]
    row = k[:, None] * (data.X - shrink[:, None] * own_sum) / fit.sigma2_e
    leverage = ((row @ fit.beta_cov) * row).sum(axis=1)
    p_diagonal = (k - shrink * k**2) / fit.sigma2_e - leverage
    p_diagonal = np.maximum(p_diagonal, 1e-12 * k / fit.sigma2_e)
    py = k * fit.residual / fit.sigma2_e
    residual = py / np.sqrt(p_diagonal)
    worst = np.argsort(-np.abs(residual))[:n_refit]
    refits = [_without(fit, int(unit)) for unit in worst]
    sd = np.sqrt(fit.gamma * fit.sigma2_v)
    return UnitLevelDiagnostics(
        residual=residual,
        cook=leverage * (py / p_diagonal) ** 2 / p,
        is_outlier=np.abs(residual) > float(stats.norm.ppf(1.0 - alpha / (2.0 * n))),
        effect=np.where(sd > 0.0, fit.effect / np.where(sd > 0.0, sd, 1.0), 0.0),
        domain=fit.domain,
        refit_unit=worst.astype(np.int64),
        refit_sigma2_v=np.array([pair[0] for pair in refits]),
        refit_sigma2_e=np.array([pair[1] for pair in refits]),
    )


def _without(fit: UnitLevelFit, unit: int) -> tuple[float, float]:
    data = fit.data
    keep = np.arange(data.y.size) != unit
    try:
        other = fit_unit_level(
            data.y[keep],
            data.X[keep],
            fit.domain[data.code[keep]],
            method=fit.method,
            scale=data.scale[keep],
            size=data.size[keep],
        )
    except EstimationError:
        # The model needs this unit (its column or its domain pair): said as NaN.
        return float("nan"), float("nan")
    return other.sigma2_v, other.sigma2_e
