"""Replicate weights: Rao-Wu bootstrap, stratified jackknife, weights supplied by others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation.design import SurveyDesign
from survey.estimation.units import Floats

__all__ = [
    "Replicates",
    "bootstrap_domain_totals",
    "jackknife_weights",
    "percentile_interval",
    "rao_wu_weights",
    "replicate_covariance",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replicates:
    """Analysis weights of each replicate and how their spread becomes a variance.

    Attributes
    ----------
    weight : float array (R, n)
        Weights to analyse each replicate with (design weights already included).
    scale : float array (R,)
        Factor of the squared deviation of each replicate.
    """

    weight: Floats
    scale: Floats

    def apply(self, statistic: Callable[[Floats], npt.ArrayLike]) -> Floats:
        """Evaluate a statistic of the weights (n,) in every replicate: (R, k)."""
        return np.asarray(
            [np.atleast_1d(np.asarray(statistic(w), dtype=np.float64)) for w in self.weight]
        )


def rao_wu_weights(
    design: SurveyDesign, n_replicates: int, *, rng: np.random.Generator
) -> Replicates:
    """Rescaled bootstrap of first-stage units with n_h - 1 draws, without fpc.

    Assumes clusters drawn with replacement or a small share of all; a census stratum keeps
    no place here. The linearised variance carries the fpc instead.

    Raises
    ------
    TooFewUnitsError
        A stratum has a single cluster.

    References
    ----------
    Rao and Wu (1988), JASA 83, 231-241; Rao, Wu and Yue (1992), Survey Methodology 18,
    209-217: w* = w n_h / (n_h - 1) times the number of draws.
    """
    if n_replicates < 2:
        raise EstimationError(f"{n_replicates} replicates give no variance; ask for 2 or more")
    _, cluster, of_cluster = design.stages()
    count = np.empty((n_replicates, of_cluster.size))
    for h in np.unique(of_cluster):
        members = np.flatnonzero(of_cluster == h)
        n = members.size
        if _is_alone(design, n, _row(cluster, members[0])):
            count[:, members] = 1.0
            continue
        draws = rng.multinomial(n - 1, np.full(n, 1.0 / n), size=n_replicates)
        # Rao, Wu and Yue (1992) eq. 3.1 with m_h = n_h - 1.
        count[:, members] = draws * (n / (n - 1))
    return Replicates(
        weight=design.weight[None, :] * count[:, cluster],
        scale=np.full(n_replicates, 1.0 / (n_replicates - 1)),
    )


def jackknife_weights(design: SurveyDesign) -> Replicates:
    """Stratified delete-one-cluster jackknife (JKn), with fpc where the design has one.

    References
    ----------
    Wolter (2007), Introduction to Variance Estimation, 2nd ed., eq. 4.5.4 ff.
    """
    stratum, cluster, of_cluster = design.stages()
    n_h = np.bincount(of_cluster)
    weight = np.repeat(design.weight[None, :], of_cluster.size, axis=0)
    scale = np.empty(of_cluster.size)
    for c, h in enumerate(of_cluster):
        n = int(n_h[h])
        if _is_alone(design, n, _row(cluster, c)):
            scale[c] = 0.0
            continue
        weight[c, stratum == h] *= n / (n - 1)
        weight[c, cluster == c] = 0.0
        fraction = 0.0
        if design.n_frame is not None:
            fraction = n / float(design.n_frame[np.flatnonzero(stratum == h)[0]])
        # Wolter (2007): (1 - f_h) (n_h - 1) / n_h.
        scale[c] = (1.0 - fraction) * (n - 1) / n
    return Replicates(weight=weight, scale=scale)


def replicate_covariance(
    values: npt.ArrayLike, scale: npt.ArrayLike, *, centre: npt.ArrayLike | None = None
) -> Floats:
    """Covariance of statistics from their replicate values.

    Parameters
    ----------
    values : float array (R,) or (R, k)
    scale : float array (R,) or float
        1 / (R - 1) for a bootstrap.
    centre : float array (k,), optional
        Full-sample estimate; the mean of the replicates where None, as R `survey` does, those
        with scale 0 (a stratum taken whole) left out.

    Returns
    -------
    float array (k, k)
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim == 1:
        table = table[:, None]
    if not np.isfinite(table).all():
        raise EstimationError(
            "a replicate has no finite value (an empty domain or denominator); use the "
            "linearised variance or merge the domain"
        )
    factor = np.broadcast_to(np.asarray(scale, dtype=np.float64), table.shape[:1])
    if not (np.isfinite(factor) & (factor >= 0.0)).all():
        raise EstimationError("scales of replicates must be finite and not negative")
    counted = table[factor > 0.0] if (factor > 0.0).any() else table
    middle = counted.mean(axis=0) if centre is None else np.atleast_1d(np.asarray(centre, float))
    deviation = table - middle
    result: Floats = (deviation * factor[:, None]).T @ deviation
    return result


def percentile_interval(values: npt.ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """Bootstrap percentile limits; asymmetric where the replicates are.

    References
    ----------
    Efron and Tibshirani (1993), An Introduction to the Bootstrap, sec. 13.3.
    """
    drawn = np.asarray(values, dtype=np.float64)
    if drawn.size == 0 or not np.isfinite(drawn).all():
        raise EstimationError("a replicate has no finite value; no percentile can be taken")
    low, high = np.quantile(drawn, [0.5 - level / 2.0, 0.5 + level / 2.0])
    return float(low), float(high)


def bootstrap_domain_totals(
    design: SurveyDesign,
    y: npt.ArrayLike,
    domain: npt.ArrayLike,
    n_replicates: int,
    *,
    rng: np.random.Generator,
) -> Floats:
    """Rao-Wu bootstrap totals of variables in every domain, without holding the weights.

    Units are their own clusters. Uses memory of one stratum's draws at a time.

    Parameters
    ----------
    design : SurveyDesign
        Without clusters.
    y : float array (n,) or (n, k)
    domain : int array (n,)
        Domain code of each unit, 0 to D - 1.
    n_replicates : int

    Returns
    -------
    float array (n_replicates, D, k)

    References
    ----------
    As `rao_wu_weights`.
    """
    if design.cluster is not None:
        raise EstimationError("this fast form is for single-stage samples; use rao_wu_weights")
    table = np.asarray(y, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    code = np.asarray(domain, dtype=np.int64)
    if code.shape != table.shape[:1] or code.size == 0 or code.min() < 0:
        raise EstimationError("domain codes run from 0, one for each unit")
    if not np.isfinite(table).all():
        raise EstimationError("a value is not a number; leave its unit out, or fill it")
    n_domains = int(code.max()) + 1
    stratum, _, _ = design.stages()
    size = n_replicates * n_domains
    result = np.zeros((table.shape[1], size))
    offset = np.arange(n_replicates, dtype=np.int64)[:, None] * n_domains
    for h in np.unique(stratum):
        members = np.flatnonzero(stratum == h)
        n = members.size
        if _is_alone(design, n, int(members[0])):
            for k in range(table.shape[1]):
                fixed = float(design.weight[members[0]] * table[members[0], k])
                result[k].reshape(n_replicates, n_domains)[:, code[members[0]]] += fixed
            continue
        drawn = members[rng.integers(0, n, size=(n_replicates, n - 1))]
        cell = (offset + code[drawn]).ravel()
        weighted = design.weight * (n / (n - 1))
        for k in range(table.shape[1]):
            result[k] += np.bincount(
                cell, weights=(weighted * table[:, k])[drawn].ravel(), minlength=size
            )
    return np.moveaxis(result.reshape(-1, n_replicates, n_domains), 0, -1)


def _row(cluster: npt.NDArray[np.int64], code: int) -> int:
    """First unit of a cluster."""
    return int(np.flatnonzero(cluster == code)[0])


def _is_alone(design: SurveyDesign, n: int, row: int) -> bool:
    """Whether a stratum's only cluster is its whole frame, which leaves no error; else two needed.

    Parameters
    ----------
    n : int
        Sampled clusters of the stratum.
    row : int
        A unit of it.

    Raises
    ------
    TooFewUnitsError
        One cluster of several, or of an unknown number.
    """
    if n >= 2:
        return False
    if design.n_frame is not None and float(design.n_frame[row]) <= 1.0:
        return True
    raise TooFewUnitsError(
        f"stratum {str(design.stratum[row])!r} has 1 cluster; replication needs 2: merge it first"
    )
