"""What a district's own few segments cannot know of the map's errors: judged from its strata.

Of ten segments none may be one of the few that were mapped wrongly. Then the residuals seen in
the district are all small, and so is the error computed from them, while the strata that the
district shares with others show that wrong segments exist.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from survey.estimation.strata import Stratified
from survey.estimation.units import Bools, Floats, Sample

__all__ = ["FEW_CARRIERS", "PooledError", "pooled_error"]

# Segments, an effective number, below which the residuals' spread says little about the map's
# errors: intervals were seen to cover 91 to 93% instead of 95% (docs/coverage.md).
FEW_CARRIERS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PooledError:
    """Error of a domain's total from the residuals of all segments of its strata.

    Attributes
    ----------
    se_ha : float
        Hectares; 0 where the domain is made of whole strata, whose own residuals say it all.
    df : float
        Sampled segments of those strata less their number.
    n_carriers : float
        Effective number of segments that carry the residuals.
    """

    se_ha: float
    df: float
    n_carriers: float


def pooled_error(
    residual_ha: Floats, strata: Stratified, sample: Sample, member: Bools
) -> PooledError:
    """Error of a domain's assisted total if its residuals are like those of its strata.

    A segment of stratum h lies in the domain with probability N_hd / N_h, so

        v = sum_h (1 - f_h) N_h N_hd / (n_h (n_h - 1)) sum_i e_hi^2

    and with weights w = N_hd / n_h the segments that carry the residuals are
    (sum w)^-1 n_eff (sum w e^2)^2 / sum w e^4: for errors of one size their number, whatever
    small noise the other segments have.

    Parameters
    ----------
    residual_ha : float array (n,)
        Reference minus fitted of each sampled segment, in the domain or not.

    References
    ----------
    Cochran (1977), Sampling Techniques, eq. 5A.68 (a domain as a variable that is zero outside),
    with the mean square taken over the whole stratum; Kish (1965), sec. 11.7, for n_eff.
    """
    n_frame = np.bincount(strata.home)
    home = strata.home[sample.index]
    in_domain = np.bincount(strata.home[member], minlength=n_frame.size)
    n = np.bincount(home, minlength=n_frame.size)
    w = (in_domain / np.maximum(n, 1))[home]
    e2 = residual_ha**2
    s2, s4 = float((w * e2).sum()), float((w * e2**2).sum())
    n_effective = float(w.sum() ** 2 / (w**2).sum())
    carriers = n_effective * s2**2 / s4 / float(w.sum()) if s4 > 0.0 else 0.0
    df = float(max(int((n[in_domain > 0] - 1).sum()), 1))
    if (in_domain[in_domain > 0] == n_frame[in_domain > 0]).all():
        return PooledError(se_ha=0.0, df=df, n_carriers=carriers)
    rest = np.ones(n_frame.size)
    if strata.design.n_frame is not None:
        rest = 1.0 - np.minimum(n / np.maximum(n_frame, 1), 1.0)
    q = (rest * n_frame / np.maximum(n - 1, 1))[home] * w * e2
    return PooledError(se_ha=math.sqrt(float(q.sum())), df=df, n_carriers=carriers)
