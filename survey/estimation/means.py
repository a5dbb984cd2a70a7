"""Means of questionnaire answers, with villages as clusters."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError
from survey.estimation.intervals import t_quantile

__all__ = ["MeanEstimate", "mean_by_cluster"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanEstimate:
    """Mean of an answer in its own unit, with an interval.

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
