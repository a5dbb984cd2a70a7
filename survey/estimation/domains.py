"""Estimates of districts, provinces and the country: the ladder, and all methods compared."""

from __future__ import annotations

import numpy as np

from survey.errors import EstimationError
from survey.estimation.ladder import Ladder
from survey.estimation.rules import (
    LADDER_VERSION,
    DomainEstimate,
    Forced,
    LadderRule,
    comparability_label,
    version_of,
)
from survey.estimation.units import Frame, Sample

__all__ = [
    "LADDER_VERSION",
    "DomainEstimate",
    "Forced",
    "LadderRule",
    "comparability_label",
    "estimate_by_methods",
    "estimate_ladder",
    "version_of",
]

ESTIMATORS = ("regression", "difference", "ratio", "expansion")


def estimate_ladder(
    frame: Frame,
    sample: Sample,
    *,
    estimator: str,
    rule: LadderRule | None = None,
    rng: np.random.Generator | None = None,
) -> list[DomainEstimate]:
    """Estimates of every district, every province and the country.

    Provinces take the declared estimator or fall down the ladder regression, ratio,
    expansion, from sample sizes and the covariate alone; the country is the sum of its
    provinces. Districts with enough segments take their province's estimator as a domain;
    the others the declared small-area model, or where there is none the province's fit
    (synthetic). District figures are not forced to add to the province. Model figures must not
    enter a change between years or an impact: shrinkage pulls differences towards zero.

    Parameters
    ----------
    frame : Frame
    sample : Sample
    estimator : {"expansion", "ratio", "regression", "difference"}
        Declared in the survey file.
    rule : LadderRule, optional
    rng : numpy Generator
        Needed where the rule names a small-area model.

    Returns
    -------
    list of DomainEstimate
        Districts, provinces, country, each sorted by id.

    Raises
    ------
    EstimationError
        The estimator is unknown, or the sample does not belong to the frame.
    """
    if estimator not in ESTIMATORS:
        raise EstimationError(f"estimator {estimator!r} is unknown; say {', '.join(ESTIMATORS)}")
    return Ladder(frame, sample, estimator, rule or LadderRule(), rng).run()


def estimate_by_methods(
    frame: Frame, sample: Sample, *, level: float = 0.95
) -> list[DomainEstimate]:
    """Every estimator for every domain, side by side, where it can be computed.

    For a restricted comparison table only: the figure to publish is the ladder's, chosen
    before the data were seen.
    """
    rule = LadderRule(level=level, min_segments_district=2, min_segments_stratum=2)
    rows: list[DomainEstimate] = []
    for estimator in ESTIMATORS:
        ladder = Ladder(frame, sample, estimator, rule)
        for level_name, codes in (
            ("district", frame.domain),
            ("province", frame.group),
            ("country", np.full(frame.size, rule.country_id)),
        ):
            for code in np.unique(codes):
                mask = codes == code
                estimates = [ladder.direct(mask)]
                if level_name == "district":
                    estimates.append(ladder.synthetic(mask, "Computed for comparison."))
                rows += [
                    DomainEstimate(admin_level=level_name, domain_id=str(code), estimate=estimate)
                    for estimate in estimates
                    if estimate is not None
                ]
    seen: set[tuple[str, str, str]] = set()
    unique = []
    for row in rows:
        key = (row.admin_level, row.domain_id, row.estimate.method)
        if key not in seen:
            seen.add(key)
            unique.append(row)
    return sorted(unique, key=lambda row: (row.admin_level, row.domain_id, row.estimate.method))
