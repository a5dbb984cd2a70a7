"""Point samples: areas and accuracies from an error matrix or from labelled points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation.contrasts import ratio_statistic
from survey.estimation.design import SurveyDesign
from survey.estimation.intervals import t_quantile
from survey.estimation.means import MeanEstimate
from survey.estimation.units import Floats, Ints
from survey.types import Estimate, EstimateType

__all__ = [
    "Accuracy",
    "accuracy_of_matrix",
    "accuracy_of_points",
    "error_adjusted_area",
    "share_upper",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Share, user's and producer's accuracy of each class, with standard errors.

    Attributes
    ----------
    overall, overall_se : float
    users, users_se, producers, producers_se : tuple of float
        By class; NaN where no unit was mapped to or found in the class. A standard error is NaN,
        not 0, where all units of a share agree.
    area_share, area_share_se : tuple of float
        Error-adjusted share of the total area by reference class.
    """

    overall: float
    overall_se: float
    users: tuple[float, ...]
    users_se: tuple[float, ...]
    producers: tuple[float, ...]
    producers_se: tuple[float, ...]
    area_share: tuple[float, ...]
    area_share_se: tuple[float, ...]


def _checked(counts: npt.ArrayLike, map_ha: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    matrix = np.asarray(counts, dtype=np.float64)
    mapped = np.asarray(map_ha, dtype=np.float64)
    if matrix.ndim != 2 or mapped.shape != matrix.shape[:1]:
        raise EstimationError(
            f"error matrix {matrix.shape} and mapped hectares {mapped.shape} do not fit; rows "
            "are map classes, one mapped area each"
        )
    if not (np.isfinite(matrix) & (matrix >= 0.0)).all():
        raise EstimationError("the error matrix holds a count that is negative or missing")
    if not (np.isfinite(mapped) & (mapped > 0.0)).all():
        raise EstimationError("mapped hectares must be positive; drop an empty map class")
    n = matrix.sum(axis=1)
    if (n < 2).any():
        raise TooFewUnitsError(
            f"map class {int(np.flatnonzero(n < 2)[0])} has {n.min():g} sample units; its "
            "variance needs 2: add units or merge classes"
        )
    return matrix, mapped, n


def _known(se: float) -> float:
    """A standard error; NaN for the 0 of a share on which all sampled units agree."""
    return se if se > 0.0 else math.nan


def _share_variance(matrix: Floats, n: Floats, weight: Floats) -> Floats:
    share = matrix / n[:, None]
    # Olofsson et al. (2014) eq. 10: sum of W_i^2 p (1 - p) / (n_i - 1).
    variance: Floats = (weight[:, None] ** 2 * share * (1.0 - share) / (n - 1.0)[:, None]).sum(
        axis=0
    )
    return variance


def error_adjusted_area(
    counts: npt.ArrayLike, map_ha: npt.ArrayLike, *, level: float = 0.95
) -> list[Estimate]:
    """Hectares of each reference class, corrected by the error matrix.

    Assumes simple random sampling of points within map classes, without fpc, and the normal
    interval of the source (df is infinite).

    Parameters
    ----------
    counts : int array (n_map, n_ref)
        Sample units; rows are map classes, columns reference classes.
    map_ha : float array (n_map,)
        Mapped hectares of each map class, all > 0.

    Returns
    -------
    list[Estimate]
        One per reference class, in column order; `n_segments` counts sample units.

    Raises
    ------
    TooFewUnitsError
        A map class has fewer than two sample units.

    References
    ----------
    Olofsson et al. (2013), Remote Sens. Environ. 129, 122-131, eqs. 1-4; Olofsson et al.
    (2014), Remote Sens. Environ. 148, 42-57, eqs. 9-11.
    """
    matrix, mapped, n = _checked(counts, map_ha)
    total = float(mapped.sum())
    weight = mapped / total
    # Olofsson et al. (2014) eq. 9: p_.j = sum of W_i n_ij / n_i.
    share = (weight[:, None] * matrix / n[:, None]).sum(axis=0)
    se = np.sqrt(_share_variance(matrix, n, weight))
    result = []
    for j in range(matrix.shape[1]):
        found = int(matrix[:, j].sum())
        value, error = total * float(share[j]), total * float(se[j])
        why = "Mapped area corrected by the error matrix of a stratified point sample."
        if found == 0:
            high = total * _zero_bound(n, weight, level)
            result.append(_area(0.0, math.nan, 0.0, high, int(n.sum()), 0, level, why))
            continue
        half = t_quantile(level, math.inf) * error
        low, high = max(value - half, 0.0), min(value + half, total)
        none, every = matrix[:, j] == 0, matrix[:, j] == n
        # What the map classes without a point of the class may hide all the same.
        hidden = total * _zero_bound(n[none], weight[none], level)
        if error == 0.0:
            error = math.nan
            missed = total * _zero_bound(n[every], weight[every], level)
            low, high = max(value - missed, 0.0), min(value + hidden, total)
            why += (
                " All points of each map class agree, so the error is unknown; limits from exact "
                "bounds."
            )
        elif hidden > high - value:
            why += (
                f" Up to {hidden:,.4g} ha more may lie in map classes where none of the points "
                "showed it: the interval does not know of them and can cover less than it states."
            )
        result.append(_area(value, error, low, high, int(n.sum()), found, level, why))
    return result


def _zero_bound(n: Floats, weight: Floats, level: float) -> float:
    """Upper limit of the share of a class found at no point, from n (H,) points and shares (H,).

    Exact bounds 1 - alpha^(1/n) of the strata (Clopper and Pearson 1934), added in squares.
    """
    bound = (1.0 - (1.0 - level) ** (1.0 / n)) * weight
    return min(math.sqrt(float((bound**2).sum())), 1.0)


def share_upper(
    stratum: npt.ArrayLike, strata_size: dict[str, float], *, level: float = 0.95
) -> float:
    """Upper limit of the area share of a class that no point of a sample shows.

    Parameters
    ----------
    stratum : str array (n,)
        Of each point.
    strata_size : dict of stratum to float
    """
    labels, n = np.unique(np.asarray(stratum).astype(np.str_), return_counts=True)
    size = np.asarray([strata_size[str(label)] for label in labels], dtype=np.float64)
    return _zero_bound(n.astype(np.float64), size / size.sum(), level)


def _area(
    value: float,
    se: float,
    low: float,
    high: float,
    n: int,
    found: int,
    level: float,
    why: str,
) -> Estimate:
    return Estimate(
        value_ha=value,
        se_ha=se,
        ci_low_ha=low,
        ci_high_ha=high,
        df=math.inf,
        n_segments=n,
        n_positive=found,
        estimate_type=EstimateType.ASSISTED,
        method="error_adjusted_area",
        why=why,
        level=level,
    )


def accuracy_of_matrix(counts: npt.ArrayLike, map_ha: npt.ArrayLike) -> Accuracy:
    """Overall, user's and producer's accuracy where map classes are the strata.

    Parameters
    ----------
    counts : int array (k, k)
        Rows map classes, columns reference classes, in the same order.
    map_ha : float array (k,)

    References
    ----------
    Olofsson et al. (2014), Remote Sens. Environ. 148, 42-57, eqs. 1-7.
    """
    matrix, mapped, n = _checked(counts, map_ha)
    if matrix.shape[0] != matrix.shape[1]:
        raise EstimationError(f"an accuracy needs a square matrix, got {matrix.shape}")
    weight = mapped / mapped.sum()
    share = matrix / n[:, None]
    users = np.diag(share)
    by_reference = (weight[:, None] * share).sum(axis=0)
    overall = float((weight * users).sum())
    # Olofsson et al. (2014) eq. 5 and 6.
    overall_se = math.sqrt(float((weight**2 * users * (1.0 - users) / (n - 1.0)).sum()))
    users_se = np.sqrt(users * (1.0 - users) / (n - 1.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        producers = weight * users / by_reference
        # Olofsson et al. (2014) eq. 7 in proportions: own stratum, then omissions elsewhere.
        own = weight**2 * (1.0 - producers) ** 2 * users * (1.0 - users) / (n - 1.0)
        others = weight[:, None] ** 2 * share * (1.0 - share) / (n - 1.0)[:, None]
        np.fill_diagonal(others, 0.0)
        producers_se = np.sqrt(own + producers**2 * others.sum(axis=0)) / by_reference
    return Accuracy(
        overall=overall,
        overall_se=_known(overall_se),
        users=tuple(users.tolist()),
        users_se=tuple(map(_known, users_se.tolist())),
        producers=tuple(producers.tolist()),
        producers_se=tuple(map(_known, producers_se.tolist())),
        area_share=tuple(by_reference.tolist()),
        area_share_se=tuple(np.sqrt(_share_variance(matrix, n, weight)).tolist()),
    )


def accuracy_of_points(
    stratum: npt.ArrayLike,
    map_class: npt.ArrayLike,
    reference_class: npt.ArrayLike,
    strata_size: dict[str, float],
    classes: tuple[str, ...],
    *,
    fpc: bool = True,
) -> Accuracy:
    """Accuracies and area shares where the strata are not the map classes.

    For maps that were updated after the sample was drawn and districts that cut strata. All
    figures are ratios of two totals, so the classes' variances are linearised.

    Parameters
    ----------
    stratum, map_class, reference_class : str array (n,)
        Labels of each sampled point.
    strata_size : dict of stratum to float
        Points (pixels) or hectares in the frame of each stratum.
    classes : tuple of str
        Order of the results.
    fpc : bool
        Finite population correction; only right where sizes count points.

    References
    ----------
    Stehman (2014), Int. J. Remote Sens. 35, 4923-4939, eqs. 2-28.
    """
    for name, labels in (("map", map_class), ("reference", reference_class)):
        unknown = sorted(set(np.asarray(labels).astype(np.str_).tolist()) - set(classes))
        if unknown:
            raise EstimationError(
                f"{name} class {unknown[0]!r} is not among the classes {', '.join(classes)}; name "
                "every class, or the shares do not add up"
            )
    strata = np.asarray(stratum).astype(np.str_)
    mapped = np.asarray(map_class).astype(np.str_)
    reference = np.asarray(reference_class).astype(np.str_)
    missing = sorted(set(strata.tolist()) ^ set(strata_size))
    if missing:
        raise EstimationError(
            f"strata {missing} have a size without points or points without a size"
        )
    labels, code = np.unique(strata, return_inverse=True)
    size = np.asarray([strata_size[str(label)] for label in labels], dtype=np.float64)[code]
    n: Ints = np.bincount(code)[code]
    design = SurveyDesign(weight=size / n, stratum=code, n_frame=size if fpc else None)
    ones = np.ones(code.size)
    nothing = MeanEstimate(
        value=math.nan, se=math.nan, ci_low=math.nan, ci_high=math.nan, df=math.nan, n=0,
        n_clusters=0,
    )  # fmt: skip

    def ratio(y: npt.NDArray[np.bool_], x: Floats) -> MeanEstimate:
        # Stehman (2014) eqs. 27-28: combined ratio of stratified means.
        return ratio_statistic(design, y.astype(float), x) if (x > 0).any() else nothing

    right = mapped == reference
    overall = ratio(right, ones)
    users = [ratio(right & (mapped == c), (mapped == c).astype(float)) for c in classes]
    producers = [ratio(right & (reference == c), (reference == c).astype(float)) for c in classes]
    shares = [ratio(reference == c, ones) for c in classes]
    return Accuracy(
        overall=overall.value,
        overall_se=_known(overall.se),
        users=tuple(s.value for s in users),
        users_se=tuple(_known(s.se) for s in users),
        producers=tuple(s.value for s in producers),
        producers_se=tuple(_known(s.se) for s in producers),
        area_share=tuple(s.value for s in shares),
        area_share_se=tuple(s.se for s in shares),
    )
