"""Parametric bootstrap of the mean squared error of small-area predictors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError
from survey.estimation.smallarea.area_level import AreaLevelFit, refit_area_level
from survey.estimation.smallarea.inputs import (
    Floats,
    checked_labels,
    checked_matrix,
    checked_vector,
)
from survey.estimation.smallarea.unit_level import UnitLevelFit, refitter
from survey.estimation.smallarea.unit_means import (
    eblup_finite_pop,
    eblup_model_mean,
    rest_of_population,
)

__all__ = ["BootstrapMse", "bootstrap_area_level", "bootstrap_unit_level"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BootstrapMse:
    """Mean squared errors over bootstrap populations.

    Attributes
    ----------
    mse : float array (k,)
        One for each predicted domain, squared units of y.
    n_bootstrap : int
    n_truncated : int
        Replicates whose variance between domains was estimated as zero.
    """

    mse: Floats
    n_bootstrap: int
    n_truncated: int


def bootstrap_unit_level(
    fit: UnitLevelFit,
    mean_x: npt.ArrayLike,
    domain: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    n_bootstrap: int = 200,
    population: npt.ArrayLike | None = None,
) -> BootstrapMse:
    """Mean squared error of the EBLUP when the fitted model makes new populations.

    Parameters
    ----------
    fit : UnitLevelFit
    mean_x : float array (k, p)
    domain : str or int array (k,)
        As for `eblup_model_mean`.
    rng : numpy Generator
    n_bootstrap : int
        Replicates; the result has a relative Monte Carlo error of about sqrt(2/B).
    population : float array (k,), optional
        As for `eblup_finite_pop`, whose error is then returned.

    Returns
    -------
    BootstrapMse

    References
    ----------
    Gonzalez-Manteiga et al. (2008), J. Stat. Comput. Simul. 78, 443-462.
    """
    _checked_replicates(n_bootstrap)
    labels = checked_labels("domain", domain, None, unique=True)
    means = checked_matrix("mean_x", mean_x, labels.size, fit.beta.size)
    total = (
        None
        if population is None
        else checked_vector("population", population, labels.size, positive=True)
    )
    data = fit.data
    at = {str(name): row for row, name in enumerate(labels)}
    home = np.array([at.get(str(name), -1) for name in fit.domain])
    sd_v, sd_e = math.sqrt(fit.sigma2_v), math.sqrt(fit.sigma2_e)
    fixed, fixed_means = data.X @ fit.beta, means @ fit.beta
    again = refitter(fit)
    if total is not None:
        rest = rest_of_population(fit, means, labels, total)
    squared = np.zeros(labels.size)
    truncated = 0
    for _ in range(n_bootstrap):
        v_fit = sd_v * rng.standard_normal(fit.domain.size)
        v = sd_v * rng.standard_normal(labels.size)
        v[home[home >= 0]] = v_fit[home >= 0]
        noise = sd_e * data.scale * rng.standard_normal(data.y.size)
        replicate = again(fixed + v_fit[data.code] + noise)
        truncated += replicate.is_truncated
        if total is None:
            truth = fixed_means + v
            got = eblup_model_mean(replicate, means, labels).value
        else:
            seen = np.where(rest.sampled, replicate.size_y[rest.at], 0.0)
            error = sd_e * np.sqrt(rest.noise) * rng.standard_normal(labels.size)
            truth = (seen + rest.x @ fit.beta + rest.size * v + error) / total
            got = eblup_finite_pop(replicate, means, labels, total).value
        squared += (got - truth) ** 2
    return BootstrapMse(mse=squared / n_bootstrap, n_bootstrap=n_bootstrap, n_truncated=truncated)


def bootstrap_area_level(
    fit: AreaLevelFit,
    *,
    rng: np.random.Generator,
    n_bootstrap: int = 200,
) -> BootstrapMse:
    """Mean squared error of the Fay-Herriot EBLUP over new areas and direct estimates.

    Parameters
    ----------
    fit : AreaLevelFit
    rng : numpy Generator
    n_bootstrap : int

    Returns
    -------
    BootstrapMse
        In the order of the fit's areas.

    References
    ----------
    Butar and Lahiri (2003), J. Stat. Plan. Inference 112, 63-76; Rao and Molina (2015),
    sec. 6.2.4.
    """
    _checked_replicates(n_bootstrap)
    squared = np.zeros(fit.value.size)
    truncated = 0
    sd_u, sd_e = math.sqrt(fit.sigma2_u), np.sqrt(fit.sampling_variance)
    for _ in range(n_bootstrap):
        theta = fit.synthetic + sd_u * rng.standard_normal(squared.size)
        replicate = refit_area_level(fit, theta + sd_e * rng.standard_normal(squared.size))
        truncated += replicate.is_truncated
        squared += (replicate.value - theta) ** 2
    return BootstrapMse(mse=squared / n_bootstrap, n_bootstrap=n_bootstrap, n_truncated=truncated)


def _checked_replicates(n_bootstrap: int) -> None:
    if n_bootstrap < 2:
        raise EstimationError(f"n_bootstrap {n_bootstrap} is too small; use 200 or more")
