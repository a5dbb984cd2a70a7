"""What the ladder is told before the season's reference data are seen, and what it returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from survey.errors import EstimationError
from survey.types import Estimate

__all__ = [
    "LADDER_VERSION",
    "DomainEstimate",
    "Forced",
    "LadderRule",
    "comparability_label",
    "version_of",
    "with_coverage_warning",
]

COUNTRY = "country"
# Raised when a rung of the ladder or a rule of its intervals changes: figures of two versions
# are compared only where someone signs for it (`survey.estimation.change`).
LADDER_VERSION = "4"
SEPARATOR = "/"
# Provinces and the country with fewer sampled segments, or fewer segments with the crop, say
# that their interval can cover less: chosen on one set of populations, checked on another
# (docs/coverage.md).
THIN_SEGMENTS = 20
FEW_FINDS = 100
COVERS_LESS = " the interval can cover less than it states."
DIRECT = ("expansion", "ratio", "regression", "difference")
MODELS = ("two_part", "bhf")


def comparability_label(label: str, estimator: str, small_area: str) -> str:
    """`method_version` of a season's figures: all that must agree before two are compared.

    Parameters
    ----------
    label : str
        The analyst's, for definitions, frame rules and interpretation key.
    estimator, small_area : str
        As declared for the crop.
    """
    return version_of(label, f"ladder {LADDER_VERSION}", estimator, f"small area {small_area}")


def version_of(label: str, *parts: str) -> str:
    """`method_version` of a figure that no ladder chose: the analyst's label, then the method."""
    if not label.strip() or SEPARATOR in label:
        raise EstimationError(
            f"method_version {label!r} is empty or holds {SEPARATOR!r}, which joins its parts"
        )
    return SEPARATOR.join((label, *parts))


def with_coverage_warning(estimate: Estimate) -> Estimate:
    """Figure of a province or the country, saying so where its interval can cover too little."""
    if estimate.se_ha == 0.0 or math.isnan(estimate.value_ha) or COVERS_LESS in estimate.why:
        return estimate
    if estimate.n_segments < THIN_SEGMENTS:
        what = f"{estimate.n_segments} segments"
    elif estimate.n_positive < FEW_FINDS:
        what = f"{estimate.n_positive} segments with the crop"
    else:
        return estimate
    return replace(estimate, why=f"{estimate.why} With only {what}{COVERS_LESS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Forced:
    """A method that the analyst ordered for one domain, and why.

    Attributes
    ----------
    method : str
        expansion, ratio, regression, difference or status_only; for a district also
        synthetic, two_part or bhf.
    reason : str
        Stands in the figure's `why`.
    """

    method: str
    reason: str

    def __post_init__(self) -> None:
        allowed = (*DIRECT, "synthetic", *MODELS, "status_only")
        if self.method not in allowed:
            raise EstimationError(
                f"forced method {self.method!r} is unknown; use {', '.join(allowed)}"
            )
        if not self.reason.strip():
            raise EstimationError("a forced method needs a reason: it stands beside the figure")


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainEstimate:
    """An estimate and the domain it belongs to.

    Attributes
    ----------
    admin_level : {"district", "province", "country"}
    domain_id : str
        P-code of the district or province; ``country`` for the whole frame.
    estimate : Estimate
    """

    admin_level: str
    domain_id: str
    estimate: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderRule:
    """How estimators are chosen; fixed before the season's reference data are seen.

    Attributes
    ----------
    level : float
        Nominal coverage of the intervals.
    min_segments_district : int
        Sampled segments below which a district's figure comes from a model.
    small_area : {"none", "two_part", "bhf"}
        Model for districts below that number; "none" leaves them to the province's fit
        (synthetic), which also serves where the model cannot be fitted.
    small_area_draws : int
        Predictive draws behind the limits of the two-part model.
    min_segments_stratum : int
        Sampled segments every stratum of a province needs for the regression.
    ratio_size : {"risk_ha", "covariate_ha"}
        Denominator of the ratio.
    unobserved_share : mapping of domain id to float
        Share of the domain's risk area without usable imagery or visits, 0-1.
    max_unobserved_share : float
        Above it a domain is status only.
    min_synthetic_rrmse : float
        Floor of the relative root mean squared error of synthetic figures.
    forced : mapping of domain id to Forced
        Districts and provinces whose method the analyst ordered.
    country_id : str
    """

    level: float = 0.95
    min_segments_district: int = 10
    small_area: str = "none"
    small_area_draws: int = 1000
    min_segments_stratum: int = 10
    ratio_size: str = "risk_ha"
    unobserved_share: Mapping[str, float] = field(default_factory=dict)
    max_unobserved_share: float = 0.5
    min_synthetic_rrmse: float = 0.25
    forced: Mapping[str, Forced] = field(default_factory=dict)
    country_id: str = COUNTRY

    def __post_init__(self) -> None:
        if not 0.0 < self.level < 1.0:
            raise EstimationError(f"level {self.level} is not between 0 and 1")
        if self.min_segments_district < 2 or self.min_segments_stratum < 2:
            raise EstimationError("fewer than 2 segments cannot carry a variance; raise the rule")
        if not 0.0 <= self.max_unobserved_share <= 1.0:
            raise EstimationError("max_unobserved_share is a fraction between 0 and 1")
        if self.small_area not in ("none", *MODELS):
            raise EstimationError(
                f"small_area {self.small_area!r} is unknown; use none, {' or '.join(MODELS)}"
            )
