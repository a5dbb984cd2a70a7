"""Means of domains predicted by the unit-level model, with their mean squared errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError
from survey.estimation.smallarea.inputs import (
    Bools,
    Floats,
    Ints,
    Labels,
    checked_labels,
    checked_matrix,
    checked_vector,
)
from survey.estimation.smallarea.unit_level import UnitLevelFit

__all__ = [
    "PopulationRest",
    "UnitLevelMeans",
    "eblup_finite_pop",
    "eblup_model_mean",
    "rest_of_population",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitLevelMeans:
    """Predicted domain means and their mean squared errors, one element for each domain.

    Attributes
    ----------
    domain : str array (k,)
    n : int array (k,)
        Sampled units; 0 where the domain has none.
    value : float array (k,)
        Empirical best linear unbiased predictor.
    mse : float array (k,)
        Its estimated mean squared error, g1 + g2 + 2 g3 (with the finite-population terms
        where `eblup_finite_pop` made it).
    synthetic : float array (k,)
        X'beta alone.
    gamma : float array (k,)
        Weight of the domain's own sample, 0 where it has none.
    is_synthetic : bool array (k,)
        No unit of the domain was sampled, or the variance between domains is zero.
    g1, g2, g3 : float array (k,)
        Terms of the mean squared error: prediction of v, estimation of beta, of variances.
    """

    domain: Labels
    n: Ints
    value: Floats
    mse: Floats
    synthetic: Floats
    gamma: Floats
    is_synthetic: Bools
    g1: Floats
    g2: Floats
    g3: Floats


def _rows(fit: UnitLevelFit, domain: Labels) -> tuple[Ints, Bools]:
    """Row of the fit of each wanted domain, and whether it was sampled."""
    at = np.minimum(np.searchsorted(fit.domain, domain), fit.domain.size - 1)
    return at.astype(np.int64), np.asarray(fit.domain[at] == domain)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Terms:
    at: Ints
    sampled: Bools
    effect: Floats
    gamma: Floats
    n: Ints
    g1: Floats
    g3: Floats


def _terms(fit: UnitLevelFit, domain: Labels, information: str) -> _Terms:
    if information not in {"expected", "projected"}:
        raise EstimationError(
            f"information {information!r} is unknown; use 'expected' or 'projected'"
        )
    at, sampled = _rows(fit, domain)
    gamma = np.where(sampled, fit.gamma[at], 0.0)
    avar = fit.avar if information == "expected" else fit.avar_projected
    a = fit.precision[at]
    # Rao and Molina (2015) eqs. 7.2.5 and 7.2.21; a domain without units has g3 = 0.
    spread = (
        fit.sigma2_e**2 * avar[0, 0]
        + fit.sigma2_v**2 * avar[1, 1]
        - 2.0 * fit.sigma2_e * fit.sigma2_v * avar[0, 1]
    )
    g3 = np.where(sampled, spread / a**2 / (fit.sigma2_v + fit.sigma2_e / a) ** 3, 0.0)
    return _Terms(
        at=at,
        sampled=sampled,
        effect=np.where(sampled, fit.effect[at], 0.0),
        gamma=gamma,
        n=np.where(sampled, fit.n[at], 0),
        g1=(1.0 - gamma) * fit.sigma2_v,
        g3=g3,
    )


def _g2(fit: UnitLevelFit, terms: _Terms, mean_x: Floats) -> Floats:
    # Rao and Molina (2015) eq. 7.2.6.
    lever = mean_x - terms.gamma[:, None] * fit.mean_x[terms.at]
    result: Floats = ((lever @ fit.beta_cov) * lever).sum(axis=1)
    return result


def eblup_model_mean(
    fit: UnitLevelFit,
    mean_x: npt.ArrayLike,
    domain: npt.ArrayLike,
    *,
    information: str = "expected",
) -> UnitLevelMeans:
    """Predict the model mean X_i'beta + v_i of every domain, sampled or not.

    Parameters
    ----------
    fit : UnitLevelFit
    mean_x : float array (k, p)
        Population mean of the covariates of each domain, weighted by unit size where units
        differ in size.
    domain : str or int array (k,)
        Domains wanted, each once; those the fit does not know get X_i'beta.
    information : {"expected", "projected"}
        Form of the information of the variances in g3 (see `UnitLevelFit.avar`).

    Returns
    -------
    UnitLevelMeans
        In the order of `domain`.

    References
    ----------
    Prasad and Rao (1990), JASA 85, 163-171; Rao and Molina (2015), eqs. 7.1.16 and 7.2.12.
    Under ML a further bias term of order 1/m is not included.
    """
    labels = checked_labels("domain", domain, None, unique=True)
    means = checked_matrix("mean_x", mean_x, labels.size, fit.beta.size)
    terms = _terms(fit, labels, information)
    synthetic = means @ fit.beta
    g2 = _g2(fit, terms, means)
    return UnitLevelMeans(
        domain=labels,
        n=terms.n,
        value=synthetic + terms.effect,
        mse=terms.g1 + g2 + 2.0 * terms.g3,
        synthetic=synthetic,
        gamma=terms.gamma,
        is_synthetic=~terms.sampled | fit.is_truncated,
        g1=terms.g1,
        g2=g2,
        g3=terms.g3,
    )


def eblup_finite_pop(
    fit: UnitLevelFit,
    mean_x: npt.ArrayLike,
    domain: npt.ArrayLike,
    population: npt.ArrayLike,
    *,
    information: str = "expected",
) -> UnitLevelMeans:
    """Predict the finite-population mean: sampled units as seen, the others by the model.

    Parameters
    ----------
    fit : UnitLevelFit
    mean_x : float array (k, p)
        Population mean of the covariates, weighted by unit size.
    domain : str or int array (k,)
    population : float array (k,)
        Sum of unit sizes in the domain: number of units, or hectares where `fit` was given
        hectares as `size`. The domain's total is ``value * population``.
    information : {"expected", "projected"}

    Returns
    -------
    UnitLevelMeans
        `mse` = (1-f)^2 (g1 + g2 + 2 g3) + noise of the unsampled units, with g2 at the mean of
        the unsampled units. Their sum of (a c)^2 is taken proportional to hectares, exact for
        equal units and where c^2 is inverse to a.

    Raises
    ------
    EstimationError
        A domain's population is smaller than its sample.

    References
    ----------
    Rao and Molina (2015), Small Area Estimation, 2nd ed., eqs. 7.1.20 and 7.2.17.
    """
    labels = checked_labels("domain", domain, None, unique=True)
    means = checked_matrix("mean_x", mean_x, labels.size, fit.beta.size)
    total = checked_vector("population", population, labels.size, positive=True)
    terms = _terms(fit, labels, information)
    rest = rest_of_population(fit, means, labels, total)
    seen_y = np.where(terms.sampled, fit.size_y[terms.at], 0.0)
    value = (seen_y + rest.x @ fit.beta + rest.size * terms.effect) / total
    g2 = _g2(fit, terms, rest.x / np.where(rest.size > 0.0, rest.size, 1.0)[:, None])
    share = rest.size / total
    noise = fit.sigma2_e * rest.noise / total**2
    return UnitLevelMeans(
        domain=labels,
        n=terms.n,
        value=value,
        mse=share**2 * (terms.g1 + g2 + 2.0 * terms.g3) + noise,
        synthetic=means @ fit.beta,
        gamma=terms.gamma,
        is_synthetic=~terms.sampled | fit.is_truncated,
        g1=terms.g1,
        g2=g2,
        g3=terms.g3,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PopulationRest:
    """The unsampled part of each domain: size, sum of a x, and sum of (a c)^2.

    `at` (k,) is the domain's row in the fit and `sampled` says whether it has one.
    """

    at: Ints
    sampled: Bools
    size: Floats
    x: Floats
    noise: Floats


def rest_of_population(
    fit: UnitLevelFit, mean_x: Floats, domain: Labels, population: Floats
) -> PopulationRest:
    """Population less sample, refusing a domain whose sample is larger."""
    at, sampled = _rows(fit, domain)
    seen = np.where(sampled, fit.size[at], 0.0)
    short = population < seen * (1.0 - 1e-9)
    if short.any():
        row = int(np.flatnonzero(short)[0])
        raise EstimationError(
            f"domain {str(domain[row])!r}: population {population[row]:.6g} is smaller than its "
            f"sample {seen[row]:.6g}; give the sum of unit sizes over the whole frame"
        )
    size = np.maximum(population - seen, 0.0)
    own = fit.size_noise[at] / fit.size[at]
    each = np.where(sampled, own, fit.size_noise.sum() / fit.size.sum())
    return PopulationRest(
        at=at,
        sampled=sampled,
        size=size,
        x=population[:, None] * mean_x - np.where(sampled[:, None], fit.size_x[at], 0.0),
        noise=each * size,
    )
