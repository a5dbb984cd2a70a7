"""Estimators that need the sample and known sizes: expansion and ratio totals."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation.design import SurveyDesign
from survey.estimation.intervals import Linear, finish
from survey.estimation.strata import Stratified, stratified_design
from survey.estimation.units import Bools, Floats, Frame, Sample
from survey.types import Estimate, EstimateType

__all__ = [
    "expansion_linear",
    "expansion_total",
    "merge_note",
    "ratio_linear",
    "ratio_total",
    "size_of",
]


# Below it the ratio multiplies by more than ten what was seen: a denominator near zero.
MIN_SIZE_SHARE = 0.1


def merge_note(strata: Stratified) -> str:
    """Sentences that name merged strata and what is assumed of them; empty where none were."""
    if not strata.merged:
        return ""
    note = f" Strata with fewer than 2 segments were merged: {', '.join(strata.merged)}."
    if strata.unsampled:
        note += (
            f" No segment was sampled in {', '.join(strata.unsampled)}: that land is taken to be "
            "like the stratum it joined, and the interval does not know whether it is."
        )
    return note


def size_of(frame: Frame, size: str) -> Floats:
    """Size variable of every segment, hectares (N,)."""
    if size == "risk_ha":
        return frame.risk_ha
    if size != "covariate_ha":
        raise EstimationError(f'size {size!r} is unknown; say "risk_ha" or "covariate_ha"')
    if frame.covariate_ha is None or not frame.has_covariate:
        raise EstimationError(
            "the frame has no complete covariate; fill it with fill_covariate or use the "
            'expansion or size="risk_ha"'
        )
    return frame.covariate_ha


def expansion_linear(design: SurveyDesign, y: Floats, inside: Bools) -> Linear:
    """Horvitz-Thompson total of a domain; zeros outside, no row dropped."""
    # Horvitz and Thompson (1952), JASA 47, eq. 9: sum of w y.
    z = design.weight * np.where(inside, y, 0.0)
    return Linear(value_ha=float(z.sum()), z=z)


def ratio_linear(
    design: SurveyDesign, y: Floats, x: Floats, inside: Bools, total_x: float
) -> Linear:
    """Return the combined ratio total of a domain whose `total_x` is known."""
    w = np.where(inside, design.weight, 0.0)
    estimated_x = float((w * x).sum())
    if not estimated_x > 0.0:
        raise TooFewUnitsError(
            "the sampled segments of the domain hold none of the size variable; its ratio is "
            "undefined: use the expansion or a synthetic estimate"
        )
    if estimated_x < MIN_SIZE_SHARE * total_x:
        raise TooFewUnitsError(
            f"the sampled segments stand for {estimated_x / total_x:.2%} of the domain's size; a "
            f"ratio needs {MIN_SIZE_SHARE:.0%}: use the expansion or a synthetic estimate"
        )
    # Cochran (1977) eq. 6.48: R = sum w y / sum w x, total = R X.
    ratio = float((w * y).sum()) / estimated_x
    # Residual total times X / estimated X (g-weight): Sarndal et al. (1992) eq. 7.3.
    z = w * (y - ratio * x) * (total_x / estimated_x)
    return Linear(value_ha=ratio * total_x, z=z)


def expansion_total(
    frame: Frame,
    sample: Sample,
    *,
    member: npt.ArrayLike | None = None,
    level: float = 0.95,
    lonely: str = "collapse",
) -> Estimate:
    """Hectares by expanding the sampled segments to the frame.

    Assumes stratified simple random sampling without replacement. The number of sampled
    segments in a domain that cuts across strata is random; rows outside count as zero.

    Parameters
    ----------
    frame : Frame
    sample : Sample
    member : bool array (N,), optional
        Domain; the whole frame where None.
    level : float
        Nominal coverage of the interval.
    lonely : {"collapse", "error"}
        What happens to strata with fewer than two sampled segments (`stratified_design`).

    Returns
    -------
    Estimate
        Hectares; t interval on effective degrees of freedom, cut at zero.

    Raises
    ------
    TooFewUnitsError
        The sample is empty, or a stratum is thin and `lonely` is ``"error"``.

    References
    ----------
    Cochran (1977), Sampling Techniques, eqs. 5.1, 5.13 and sec. 5A.14 (domains).
    """
    mask = frame.is_member(member)
    strata = stratified_design(frame, sample, lonely=lonely)
    design = strata.design
    linear = expansion_linear(design, sample.y_ha, mask[sample.index])
    return finish(
        linear,
        strata,
        frame,
        sample,
        mask,
        level=level,
        estimate_type=EstimateType.DIRECT,
        method="expansion_total",
        why="Sampled segments expanded by their design weights." + merge_note(strata),
    )


def ratio_total(
    frame: Frame,
    sample: Sample,
    *,
    member: npt.ArrayLike | None = None,
    level: float = 0.95,
    kind: str = "combined",
    size: str = "risk_ha",
    lonely: str = "collapse",
) -> Estimate:
    """Hectares by a ratio to a size known for every segment of the domain.

    Parameters
    ----------
    frame, sample, member, level, lonely
        As in `expansion_total`.
    kind : {"combined", "separate"}
        One ratio for the domain, or one for each stratum; a separate ratio is biased where
        strata have few segments.
    size : {"risk_ha", "covariate_ha"}
        Denominator. With the covariate the estimate is map-assisted.

    Returns
    -------
    Estimate

    Raises
    ------
    TooFewUnitsError
        The sampled part of the domain (or, separately, of a stratum in it) has none of the
        size variable, so that the ratio is undefined.

    References
    ----------
    Cochran (1977), Sampling Techniques, eqs. 6.44 and 6.48; Sarndal, Swensson and Wretman
    (1992), Model Assisted Survey Sampling, sec. 7.3.
    """
    mask = frame.is_member(member)
    x_frame = size_of(frame, size)
    strata = stratified_design(frame, sample, lonely=lonely)
    design = strata.design
    inside = mask[sample.index]
    x = x_frame[sample.index]
    if kind == "combined":
        linear = ratio_linear(design, sample.y_ha, x, inside, float(x_frame[mask].sum()))
    elif kind == "separate":
        linear = _separate(sample, strata, mask, x_frame)
    else:
        raise EstimationError(f'kind {kind!r} is unknown; say "combined" or "separate"')
    assisted = size == "covariate_ha"
    return finish(
        linear,
        strata,
        frame,
        sample,
        mask,
        level=level,
        estimate_type=EstimateType.ASSISTED if assisted else EstimateType.DIRECT,
        method=f"ratio_total_{kind}" + ("_map" if assisted else ""),
        why=f"{kind.capitalize()} ratio of crop to "
        + ("mapped hectares." if assisted else "risk area.")
        + merge_note(strata),
    )


def _separate(sample: Sample, strata: Stratified, mask: Bools, x_frame: Floats) -> Linear:
    # Strata merged for want of segments share one ratio.
    parts = []
    for h in np.unique(strata.home[mask]):
        in_frame = mask & (strata.home == h)
        parts.append(
            ratio_linear(
                strata.design,
                sample.y_ha,
                x_frame[sample.index],
                in_frame[sample.index],
                float(x_frame[in_frame].sum()),
            )
        )
    return Linear(
        value_ha=math.fsum(part.value_ha for part in parts),
        z=np.sum([part.z for part in parts], axis=0),
    )
