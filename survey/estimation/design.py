"""Sampling designs and the linearised variance of totals under them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import sparse

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation.units import Floats, Ints

__all__ = [
    "Moments",
    "SurveyDesign",
    "design_effect",
    "effective_df",
    "linearised_covariance",
    "linearised_moments",
]


# Up to here a sum by bincount is faster than building a sparse matrix.
FEW_COLUMNS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SurveyDesign:
    """Weights, strata and stages of a sample, one row for each sampled unit.

    Attributes
    ----------
    weight : float array (n,)
        1 / inclusion probability.
    stratum : array (n,)
        Label of the first-stage stratum in which the variance is computed.
    n_frame : float array (n,) or None
        First-stage units in the frame of the row's stratum (constant within it). None means
        sampling with replacement or a negligible fraction: no fpc.
    cluster : array (n,) or None
        First-stage unit (PSU) of the row, unique within its stratum; None: the row itself.
    n_units : float array (n,) or None
        Second-stage units in the frame of the row's cluster. None: clusters were taken whole
        or, without `n_frame`, the second stage is covered by the first (ultimate cluster).
    """

    weight: Floats
    stratum: npt.NDArray[np.generic]
    n_frame: Floats | None = None
    cluster: npt.NDArray[np.generic] | None = None
    n_units: Floats | None = None
    _stages: tuple[Ints, Ints, Ints] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        weight = np.asarray(self.weight, dtype=np.float64)
        if weight.ndim != 1 or not (np.isfinite(weight) & (weight > 0.0)).all():
            raise EstimationError("weights must be finite and positive, one for each unit")
        if weight.size == 0:
            raise TooFewUnitsError("the sample is empty; no estimate is possible")
        object.__setattr__(self, "weight", weight)
        for name in ("stratum", "n_frame", "cluster", "n_units"):
            column = getattr(self, name)
            if column is None:
                continue
            column = np.asarray(column)
            if column.shape != weight.shape:
                raise EstimationError(
                    f"{name} has shape {column.shape}, weight {weight.shape}; give one value "
                    "for each unit"
                )
            object.__setattr__(self, name, column)
        object.__setattr__(self, "_stages", self._coded())
        stratum, cluster, _ = self._stages
        self._check_counts("n_frame", stratum, "stratum", self.stratum)
        labels = self.cluster if self.cluster is not None else np.arange(weight.size)
        self._check_counts("n_units", cluster, "cluster", labels)

    def _check_counts(
        self, name: str, code: Ints, what: str, labels: npt.NDArray[np.generic]
    ) -> None:
        """Refuse a frame count that is missing, not positive, or varies within its group."""
        column = getattr(self, name)
        if column is None:
            return
        counts = np.asarray(column, dtype=np.float64)
        first = np.full(int(code.max()) + 1, np.nan)
        first[code[::-1]] = counts[::-1]
        bad = ~(np.isfinite(counts) & (counts > 0.0)) | (counts != first[code])
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            raise EstimationError(
                f"{name} of {what} {str(labels[at])!r} is {counts[at]:g} in row {at + 1}; give "
                f"one positive count for all units of a {what}"
            )
        object.__setattr__(self, name, counts)

    def stages(self) -> tuple[Ints, Ints, Ints]:
        """Stratum code of each row, cluster code of each row, stratum code of each cluster."""
        return self._stages

    def _coded(self) -> tuple[Ints, Ints, Ints]:
        _, stratum = np.unique(self.stratum, return_inverse=True)
        if self.cluster is None:
            rows = np.arange(stratum.size)
            return stratum.astype(np.int64), rows, stratum.astype(np.int64)
        _, label = np.unique(self.cluster, return_inverse=True)
        pair = stratum.astype(np.int64) * (int(label.max()) + 1) + label
        _, first, cluster = np.unique(pair, return_index=True, return_inverse=True)
        return (
            stratum.astype(np.int64),
            cluster.astype(np.int64),
            stratum[first].astype(np.int64),
        )

    @property
    def df(self) -> int:
        """Clusters minus strata, the design's degrees of freedom."""
        stratum, _, of_cluster = self.stages()
        n_strata = int(stratum.max()) + 1 if stratum.size else 0
        return int(of_cluster.size - n_strata)


def _group_sums(values: Floats, code: Ints, size: int) -> Floats:
    """Sum the rows (n, k) of each code: (size, k)."""
    n = code.size
    if size == n and np.array_equal(code, np.arange(n)):
        return values
    if values.shape[1] <= FEW_COLUMNS:
        sums = [np.bincount(code, weights=column, minlength=size) for column in values.T]
        return np.column_stack(sums)
    table = sparse.csr_matrix((np.ones(n), (code, np.arange(n))), shape=(size, n))
    return np.asarray(table @ values)


def _squared_deviations(
    design: SurveyDesign, z: Floats
) -> tuple[Floats, Ints, Ints, Floats, Floats | None]:
    """Deviations of cluster totals (c, k), their stratum, n_h (H,), scale (H,), f_h or None."""
    if not np.isfinite(z).all():
        at = int(np.flatnonzero(~np.isfinite(z).all(axis=1))[0])
        raise EstimationError(
            f"unit {at + 1} has a value that is not a number; leave it out as non-response, or "
            "fill it"
        )
    stratum, cluster, of_cluster = design.stages()
    n_strata = int(stratum.max()) + 1
    totals = _group_sums(z, cluster, of_cluster.size)
    n_h = np.bincount(of_cluster, minlength=n_strata).astype(np.int64)
    fraction: Floats | None = None
    if design.n_frame is not None:
        frame_h = np.zeros(n_strata)
        frame_h[stratum] = design.n_frame
        if (n_h > frame_h * (1.0 + 1e-12)).any():
            at = int(np.flatnonzero(n_h > frame_h)[0])
            raise EstimationError(
                f"stratum {str(np.unique(design.stratum)[at])!r} has {n_h[at]} sampled units but "
                f"{frame_h[at]:g} in the frame; the sample must come from this frame"
            )
        fraction = n_h / frame_h
    certain = np.zeros(n_strata, dtype=np.bool_) if fraction is None else fraction >= 1.0
    lonely = (n_h == 1) & ~certain
    if lonely.any():
        label = np.unique(design.stratum)[lonely][0]
        raise TooFewUnitsError(
            f"stratum {str(label)!r} has 1 sampled unit; its variance needs 2: merge it with a "
            'neighbour or pass lonely="collapse"'
        )
    mean = _group_sums(totals, of_cluster, n_strata) / n_h[:, None]
    scale = n_h / np.maximum(n_h - 1, 1)
    if fraction is not None:
        scale = scale * (1.0 - fraction)
    return totals - mean[of_cluster], of_cluster, n_h, scale, fraction


def linearised_covariance(design: SurveyDesign, z: npt.ArrayLike) -> Floats:
    """Covariance of the totals whose weighted, linearised contributions are `z`.

    Assumes simple random sampling without replacement of clusters within strata (with
    replacement where `n_frame` is None) and, where `n_units` is given, of units in clusters.

    Parameters
    ----------
    design : SurveyDesign
    z : float array (n,) or (n, k)
        weight times linearised variable, 0 outside a domain; rows are never dropped.

    Returns
    -------
    float array (k, k)

    Raises
    ------
    TooFewUnitsError
        A stratum that is not a census has a single cluster, or a sampled cluster a single unit.

    References
    ----------
    Cochran (1977), Sampling Techniques, 3rd ed., eqs. 5.13 and 11.24; Woodruff (1971), JASA
    66, 411-414, for the linearisation of non-linear totals.
    """
    values = np.asarray(z, dtype=np.float64)
    if values.ndim == 1:
        values = values[:, None]
    deviation, of_cluster, _, scale, fraction = _squared_deviations(design, values)
    # Cochran (1977) eq. 5.13: sum over strata of (1 - f_h) n_h / (n_h - 1) * sum of squares.
    result: Floats = (deviation * scale[of_cluster, None]).T @ deviation
    if design.n_units is not None and fraction is not None:
        result = result + _within_clusters(design, values, fraction)
    return result


def _within_clusters(design: SurveyDesign, z: Floats, fraction: Floats) -> Floats:
    stratum, cluster, of_cluster = design.stages()
    m = np.bincount(cluster)
    frame = np.zeros(of_cluster.size)
    frame[cluster] = design.n_units
    if (m > frame * (1.0 + 1e-12)).any():
        raise EstimationError("a cluster has more sampled units than its frame; check n_units")
    if ((m == 1) & (frame > 1.0)).any():
        raise TooFewUnitsError(
            "a cluster has 1 sampled unit of several; its second-stage variance needs 2: "
            "drop n_units and n_frame to use the ultimate-cluster variance"
        )
    mean = _group_sums(z, cluster, of_cluster.size) / m[:, None]
    deviation = z - mean[cluster]
    scale = (1.0 - m / frame) * m / np.maximum(m - 1, 1)
    # Cochran (1977) eq. 11.24: second stage enters with the first-stage fraction.
    scale = scale[cluster] * fraction[stratum]
    result: Floats = (deviation * scale[:, None]).T @ deviation
    return result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moments:
    """Variance, third cumulant and degrees of freedom of totals, one value each (k,)."""

    variance: Floats
    third: Floats
    df: Floats

    @property
    def skewness(self) -> Floats:
        """Skewness of the estimator, 0 where it has no variance."""
        safe = np.where(self.variance > 0.0, self.variance, 1.0)
        return np.where(self.variance > 0.0, self.third / safe**1.5, 0.0)


def linearised_moments(design: SurveyDesign, z: npt.ArrayLike) -> Moments:
    """First-stage moments of the totals whose contributions are `z`.

    With q the squared contributions, V = sum of q and df = 2 V^2 / Var(V), where Var(V) is
    estimated from the spread of q within strata. For normal contributions this returns about
    the design's df; where a few segments carry the variance it returns far less. df lies
    between 1 and clusters - strata (which it is where V is zero).

    Parameters
    ----------
    design : SurveyDesign
    z : float array (n,) or (n, k)

    References
    ----------
    Satterthwaite (1946), Biometrics Bulletin 2, 110-114, with the kurtosis left in the
    variance of the variance; Cochran (1977) eq. 5.13.
    """
    values = np.asarray(z, dtype=np.float64)
    if values.ndim == 1:
        values = values[:, None]
    deviation, of_cluster, n_h, scale, fraction = _squared_deviations(design, values)
    q = scale[of_cluster, None] * deviation**2
    total = q.sum(axis=0)
    full = float(max(design.df, 1))
    mean = _group_sums(q, of_cluster, n_h.size) / n_h[:, None]
    spread = _group_sums((q - mean[of_cluster]) ** 2, of_cluster, n_h.size)
    factor = n_h / np.maximum(n_h - 1, 1)
    # Satterthwaite (1946): df = 2 V^2 / Var(V).
    of_variance = (factor[:, None] * spread).sum(axis=0)
    known = (total > 0.0) & (of_variance > 0.0)
    df = np.where(known, 2.0 * total**2 / np.where(known, of_variance, 1.0), full)
    f = np.zeros(n_h.size) if fraction is None else np.minimum(fraction, 1.0)
    # Third cumulant of a sum drawn without replacement, Sugden, Smith and Jones (2000),
    # J. Royal Statistical Society B 62, 787-793: n^2 (1-f)(1-2f) / ((n-1)(n-2)) * sum d^3.
    cubic = n_h**2 * (1.0 - f) * (1.0 - 2.0 * f) / np.maximum((n_h - 1) * (n_h - 2), 1)
    cubic = np.where(n_h > 2, cubic, 0.0)
    third = (cubic[of_cluster, None] * deviation**3).sum(axis=0)
    return Moments(variance=total, third=third, df=np.clip(df, 1.0, full))


def effective_df(design: SurveyDesign, z: npt.ArrayLike) -> float:
    """Degrees of freedom of one variance estimate (`linearised_moments`)."""
    return float(linearised_moments(design, np.asarray(z, dtype=np.float64)).df[0])


def design_effect(design: SurveyDesign, y: npt.ArrayLike, variance: float) -> float:
    """Variance of a total over that of simple random sampling of as many units.

    Without replacement, as R `survey` does; NaN where the variable does not vary.

    References
    ----------
    Kish (1965), Survey Sampling, sec. 8.2.
    """
    values = np.asarray(y, dtype=np.float64)
    w = design.weight
    n, size = w.size, float(w.sum())
    mean = float(w @ values) / size
    # Weighted population variance, then SRS without replacement: N^2 (1 - n/N) s^2 / n.
    s2 = n / (n - 1) * float(w @ (values - mean) ** 2) / size if n > 1 else math.nan
    simple = size * (size - n) * s2 / n
    return variance / simple if simple > 0.0 else math.nan
