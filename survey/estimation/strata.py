"""Stratified samples of segments, and what becomes of strata with too few of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation.design import SurveyDesign
from survey.estimation.units import Frame, Ints, Labels, Sample

__all__ = ["Stratified", "stratified_design"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stratified:
    """A stratified sample of segments with its thin strata dealt with.

    Attributes
    ----------
    design : SurveyDesign
    home : int array (N,)
        Working stratum of every segment of the frame; each has sampled segments.
    merged : tuple of str
        Strata that were merged, for the explanation of an estimate.
    unsampled : tuple of str
        Those of them without any sampled segment.
    """

    design: SurveyDesign
    home: Ints
    merged: tuple[str, ...] = ()
    unsampled: tuple[str, ...] = ()


def stratified_design(frame: Frame, sample: Sample, *, lonely: str = "collapse") -> Stratified:
    """Design of a stratified simple random sample of segments, with thin strata collapsed.

    Rule: a stratum without sampled segments is merged, for weights and variance, into the
    stratum of the same group with most sampled segments (ties: first by name; none in the
    group: any group). A stratum with one sampled segment keeps its weight and is merged for
    the variance only, which overstates it. A stratum taken whole has no variance. Chosen
    from sample sizes alone.

    Returns
    -------
    Stratified

    Raises
    ------
    TooFewUnitsError
        A thin stratum and ``lonely="error"``, or fewer than two segments in all.
    """
    if lonely not in {"collapse", "error"}:
        raise EstimationError(f'lonely {lonely!r} is unknown; say "collapse" or "error"')
    sample.check_in(frame)
    labels, code = np.unique(frame.stratum, return_inverse=True)
    n_frame = np.bincount(code).astype(np.float64)
    n_sample = np.bincount(code[sample.index], minlength=labels.size)
    thin = (n_sample < 2) & (n_sample < n_frame)
    if not thin.any():
        of_row = code[sample.index]
        design = SurveyDesign(
            weight=(n_frame / np.maximum(n_sample, 1))[of_row],
            stratum=of_row,
            n_frame=n_frame[of_row],
        )
        return Stratified(design=design, home=code.astype(np.int64))
    if lonely == "error":
        at = int(np.flatnonzero(thin)[0])
        raise TooFewUnitsError(
            f"stratum {str(labels[at])!r} has {n_sample[at]} sampled segments of "
            f"{n_frame[at]:g}; its variance needs 2: merge it with a neighbour or pass "
            'lonely="collapse"'
        )
    if sample.size < 2:
        raise TooFewUnitsError("the sample has 1 segment; a variance needs 2")
    target = _merge_targets(frame, labels, code, n_sample, thin)
    empty = n_sample == 0
    for_weight = np.where(empty, target, np.arange(labels.size))
    for_variance = np.where(thin, target, np.arange(labels.size))
    weight_n = np.bincount(for_weight, weights=n_frame, minlength=labels.size)
    weight_m = np.bincount(for_weight, weights=n_sample, minlength=labels.size)
    variance_n = np.bincount(for_variance, weights=n_frame, minlength=labels.size).astype(float)
    row = code[sample.index]
    design = SurveyDesign(
        weight=(weight_n / np.maximum(weight_m, 1))[for_weight[row]],
        stratum=for_variance[row],
        n_frame=np.asarray(variance_n[for_variance[row]], dtype=np.float64),
    )
    return Stratified(
        design=design,
        home=for_variance[code].astype(np.int64),
        merged=tuple(str(label) for label in labels[thin]),
        unsampled=tuple(str(label) for label in labels[empty]),
    )


def _merge_targets(
    frame: Frame, labels: Labels, code: Ints, n_sample: Ints, thin: npt.NDArray[np.bool_]
) -> Ints:
    """Stratum into which each thin stratum is merged; itself where it is not thin."""
    groups, group_code = np.unique(frame.group, return_inverse=True)
    share = np.zeros((labels.size, groups.size))
    np.add.at(share, (code, group_code), 1.0)
    group_of = share.argmax(axis=1)
    target = np.arange(labels.size)
    order = sorted(range(labels.size), key=lambda h: (-int(n_sample[h]), str(labels[h])))
    for h in np.flatnonzero(thin):
        same = [k for k in order if k != h and group_of[k] == group_of[h] and n_sample[k] > 0]
        other = [k for k in order if k != h and n_sample[k] > 0]
        strong = [k for k in same if not thin[k]] or [k for k in other if not thin[k]]
        # Never empty: a sample of two segments or more reaches beyond a thin stratum.
        target[h] = (strong or same or other)[0]
    if not (n_sample[~thin] >= 2).any():
        # Only single segments everywhere: one stratum for all, the largest reachable.
        target[:] = order[0]
    return target.astype(np.int64)
