"""Sampling variances smoothed over areas, so that none is zero and none is noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation.smallarea.inputs import Bools, Floats, checked_vector

__all__ = ["SmoothedVariances", "smooth_sampling_variances"]

MIN_AREAS = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SmoothedVariances:
    """A generalised variance function and what it gives each area.

    Attributes
    ----------
    variance : float array (m,)
        Smoothed sampling variance, > 0, for every area with at least one segment.
    is_used : bool array (m,)
        The area's own variance was used to fit the function (positive, n >= 2).
    level, slope : float
        log(n v) = level + slope log(predictor) before the ratio adjustment.
    ratio : float
        Sum of variances over sum of fitted ones, that the mean is right, not the mean log.
    r_squared : float
        Of the regression on the log scale; near 0 the predictor says nothing.
    """

    variance: Floats
    is_used: Bools
    level: float
    slope: float
    ratio: float
    r_squared: float


def smooth_sampling_variances(
    variance: npt.ArrayLike,
    n_segments: npt.ArrayLike,
    *,
    predictor: npt.ArrayLike | None = None,
) -> SmoothedVariances:
    """Fit n v = exp(level) predictor^slope over areas and evaluate it for all of them.

    Parameters
    ----------
    variance : float array (m,)
        Estimated sampling variances of the direct estimates, best per hectare of risk area;
        zero (all segments alike) and NaN (a single segment) are allowed and replaced.
    n_segments : float array (m,)
        Sampled segments, >= 1; the effective number where the design clusters or weights.
    predictor : float array (m,), optional
        Something > 0 that the unit variance grows with and that is not the direct estimate
        itself (zero districts would get small variances): the synthetic share from strata or
        map. Without it the unit variance is the same everywhere.

    Returns
    -------
    SmoothedVariances

    Raises
    ------
    TooFewUnitsError
        Fewer than 5 areas with a positive variance and two segments.

    References
    ----------
    Wolter (2007), Introduction to Variance Estimation, 2nd ed., ch. 7; Hidiroglou, Beaumont
    and Yung (2019), Survey Methodology 45, 101-126, sec. 3 (log model, ratio adjustment).
    """
    raw = np.asarray(variance, dtype=np.float64)
    count = checked_vector("n_segments", n_segments, None, positive=True)
    if raw.shape != count.shape:
        raise EstimationError(f"variance has shape {raw.shape}, n_segments {count.shape}")
    if (raw < 0.0).any() or np.isinf(raw).any():
        row = int(np.flatnonzero((raw < 0.0) | np.isinf(raw))[0])
        raise EstimationError(
            f"variance, row {row + 1}: {raw[row]} must be finite and not negative, or NaN"
        )
    size = (
        np.ones(count.size)
        if predictor is None
        else checked_vector("predictor", predictor, count.size, positive=True)
    )
    used = np.isfinite(raw) & (raw > 0.0) & (count >= 2.0)
    if int(used.sum()) < MIN_AREAS:
        raise TooFewUnitsError(
            f"{int(used.sum())} areas have a positive variance from two or more segments, fewer "
            f"than {MIN_AREAS}: no variance function; use the unit-level model"
        )
    # The log of a variance on d df is too low by psi(d/2) - log(d/2) and varies by psi'(d/2):
    # exact for normal data; what is left for other data the ratio takes up.
    half_df = 0.5 * (count[used] - 1.0)
    z = np.log(raw[used] * count[used]) - special.digamma(half_df) + np.log(half_df)
    x = np.log(size[used])
    weight = 1.0 / special.polygamma(1, half_df)
    weight = weight / weight.sum()
    centre_x, centre_z = float(weight @ x), float(weight @ z)
    spread = float(weight @ (x - centre_x) ** 2)
    slope = float(weight @ ((x - centre_x) * (z - centre_z))) / spread if spread > 1e-12 else 0.0
    level = centre_z - slope * centre_x
    around = float(weight @ (z - centre_z) ** 2)
    left = float(weight @ (z - level - slope * x) ** 2)
    fitted = np.exp(level + slope * np.log(size)) / count
    by_df = half_df / half_df.sum()
    ratio = float(by_df @ raw[used]) / float(by_df @ fitted[used])
    return SmoothedVariances(
        variance=ratio * fitted,
        is_used=used,
        level=level,
        slope=slope,
        ratio=ratio,
        r_squared=1.0 - left / around if around > 0.0 else 0.0,
    )
