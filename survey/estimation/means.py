"""Means and totals of questionnaire answers, with villages as clusters."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from survey.errors import EstimationError
from survey.estimation.intervals import t_quantile

__all__ = ["MeanEstimate", "mean_by_cluster", "share_by_cluster", "total_by_cluster"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanEstimate:
    """Mean or total of an answer in its own unit, with an interval.

    Attributes
    ----------
    value, se, ci_low, ci_high : float
        In the unit of the answer; NaN where unknown (one village has no interval).
    df : float
        Clusters minus one; NaN with one cluster.
    n, n_clusters : int
        Respondents with an answer, and their villages.
    method : str
    """

    value: float
    se: float
    ci_low: float
    ci_high: float
    df: float
    n: int
    n_clusters: int
    method: str = "mean_by_cluster"


def mean_by_cluster(
    values: npt.ArrayLike,
    cluster: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> MeanEstimate:
    """Weighted mean with the ultimate-cluster variance.

    Assumes villages drawn with replacement or a small share of all; answers that are NaN
    are left out (not asked, or not answered), never counted as zero.

    Parameters
    ----------
    values : float array (n,)
    cluster : array (n,)
        Village of each respondent.
    weight : float array (n,), optional
        Positive; all equal where None.
    level : float

    Returns
    -------
    MeanEstimate
        Without interval where there is one village; all NaN where there is no answer.

    References
    ----------
    Hansen, Hurwitz and Madow (1953), Sample Survey Methods and Theory, vol. I ch. 6;
    Woodruff (1971), JASA 66, 411-414, for the linearised mean.
    """
    answers, villages, w = _checked(values, cluster, weight, level)
    given = ~np.isnan(answers)
    answers, villages, w = answers[given], villages[given], w[given]
    n = int(answers.size)
    nan = math.nan
    if n == 0:
        return MeanEstimate(value=nan, se=nan, ci_low=nan, ci_high=nan, df=nan, n=0, n_clusters=0)
    _, code = np.unique(villages, return_inverse=True)
    n_clusters = int(code.max()) + 1
    mean = float((w * answers).sum() / w.sum())
    if n_clusters == 1:
        return MeanEstimate(value=mean, se=nan, ci_low=nan, ci_high=nan, df=nan, n=n, n_clusters=1)
    # Woodruff (1971): linearised contributions w (y - mean) / sum w, summed by cluster.
    total = np.bincount(code, weights=w * (answers - mean) / w.sum())
    # Hansen et al. (1953): C / (C - 1) times the sum of squared deviations of cluster totals.
    se = math.sqrt(n_clusters / (n_clusters - 1) * float(((total - total.mean()) ** 2).sum()))
    half = t_quantile(level, n_clusters - 1) * se
    return MeanEstimate(
        value=mean,
        se=se,
        ci_low=mean - half,
        ci_high=mean + half,
        df=float(n_clusters - 1),
        n=n,
        n_clusters=n_clusters,
    )


def share_by_cluster(
    values: npt.ArrayLike,
    cluster: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> MeanEstimate:
    """Weighted share of ones, with an interval that stays between 0 and 1.

    Clopper and Pearson's interval at the effective number of respondents. Where all answers are
    equal the design's error says nothing, and every village counts as one respondent.

    Parameters
    ----------
    values : float array (n,)
        0, 1 or NaN.
    cluster, weight, level
        As in `mean_by_cluster`.

    Raises
    ------
    EstimationError
        A value is neither 0, 1 nor NaN.

    References
    ----------
    Korn and Graubard (1998), Survey Methodology 24, 193-201, sec. 2.
    """
    answers = np.asarray(values, dtype=np.float64)
    if not np.isin(answers[~np.isnan(answers)], (0.0, 1.0)).all():
        raise EstimationError("a share is made of zeros and ones; give NaN for no answer")
    mean = mean_by_cluster(values, cluster, weight, level=level)
    if math.isnan(mean.se):
        return replace(mean, method="share_by_cluster")
    p, n = mean.value, float(mean.n)
    if mean.se > 0.0:
        # Korn and Graubard (1998): effective number, with the ratio of t quantiles for few df.
        ratio = t_quantile(level, n - 1.0) / t_quantile(level, mean.df)
        effective = min(p * (1.0 - p) / mean.se**2 * ratio**2, n)
    else:
        effective = float(mean.n_clusters)
    tail, x = (1.0 - level) / 2.0, p * effective
    low = float(stats.beta.ppf(tail, x, effective - x + 1.0)) if x > 0.0 else 0.0
    high = float(stats.beta.ppf(1.0 - tail, x + 1.0, effective - x)) if x < effective else 1.0
    return replace(mean, ci_low=low, ci_high=high, method="share_by_cluster")


def total_by_cluster(
    values: npt.ArrayLike, cluster: npt.ArrayLike, weight: npt.ArrayLike, *, level: float = 0.95
) -> MeanEstimate:
    """Weighted total with the ultimate-cluster variance.

    Assumes villages drawn within the domain, with replacement or a small share of all, and
    weights that expand the sample to all households: inverse inclusion probabilities. Answers
    that are NaN are left out, so the total is that of households that would answer.

    Parameters
    ----------
    values : float array (n,)
    cluster : array (n,)
        Village of each respondent.
    weight : float array (n,)
        Positive.
    level : float

    Returns
    -------
    MeanEstimate
        Without interval where there is one village; all NaN where there is no answer. The lower
        limit of answers that are never negative is at least 0.

    References
    ----------
    Hansen, Hurwitz and Madow (1953), Sample Survey Methods and Theory, vol. I ch. 6;
    Särndal, Swensson and Wretman (1992), Model Assisted Survey Sampling, eq. 4.5.4.
    """
    answers, villages, w = _checked(values, cluster, weight, level)
    given = ~np.isnan(answers)
    answers, villages, w = answers[given], villages[given], w[given]
    n, nan, method = int(answers.size), math.nan, "total_by_cluster"
    if n == 0:
        return MeanEstimate(
            value=nan, se=nan, ci_low=nan, ci_high=nan, df=nan, n=0, n_clusters=0, method=method
        )
    _, code = np.unique(villages, return_inverse=True)
    n_clusters = int(code.max()) + 1
    part = np.bincount(code, weights=w * answers)
    total = float(part.sum())
    if n_clusters == 1:
        return MeanEstimate(
            value=total, se=nan, ci_low=nan, ci_high=nan, df=nan, n=n, n_clusters=1, method=method
        )
    # Särndal et al. (1992) eq. 4.5.4: C / (C - 1) times the squared deviations of village totals.
    se = math.sqrt(n_clusters / (n_clusters - 1) * float(((part - part.mean()) ** 2).sum()))
    half = t_quantile(level, n_clusters - 1) * se
    low = total - half
    return MeanEstimate(
        value=total,
        se=se,
        ci_low=max(low, 0.0) if (answers >= 0.0).all() else low,
        ci_high=total + half,
        df=float(n_clusters - 1),
        n=n,
        n_clusters=n_clusters,
        method=method,
    )


def _checked(
    values: npt.ArrayLike, cluster: npt.ArrayLike, weight: npt.ArrayLike | None, level: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[Any], npt.NDArray[np.float64]]:
    answers = np.asarray(values, dtype=np.float64)
    villages = np.asarray(cluster)
    w = np.ones(answers.shape) if weight is None else np.asarray(weight, dtype=np.float64)
    if answers.ndim != 1 or villages.shape != answers.shape or w.shape != answers.shape:
        raise EstimationError(
            f"values {answers.shape}, cluster {villages.shape} and weight {w.shape} differ in "
            "shape; give one of each for every respondent"
        )
    if not (np.isfinite(w) & (w > 0.0)).all() or np.isinf(answers).any():
        raise EstimationError("weights must be finite and positive, answers finite or NaN")
    if not 0.0 < level < 1.0:
        raise EstimationError(f"level {level} is not between 0 and 1")
    return answers, villages, w
