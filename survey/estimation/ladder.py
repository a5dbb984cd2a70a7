"""The ladder: which estimator serves which district, province and the country, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation.assisted import Fit, fit_regression, regression_columns
from survey.estimation.direct import expansion_linear, merge_note, ratio_linear, size_of
from survey.estimation.intervals import Linear, finish
from survey.estimation.strata import stratified_design
from survey.estimation.synthetic import BiasPool, SyntheticFit, synthetic_estimate
from survey.estimation.units import Bools, Floats, Frame, Sample
from survey.types import Estimate, EstimateType

__all__ = ["DomainEstimate", "Ladder", "LadderRule"]

COUNTRY = "country"
THIN_PROVINCE = 20


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
        Sampled segments below which a district's figure is synthetic.
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
    country_id : str
    """

    level: float = 0.95
    min_segments_district: int = 10
    min_segments_stratum: int = 10
    ratio_size: str = "risk_ha"
    unobserved_share: Mapping[str, float] = field(default_factory=dict)
    max_unobserved_share: float = 0.5
    min_synthetic_rrmse: float = 0.25
    country_id: str = COUNTRY

    def __post_init__(self) -> None:
        if not 0.0 < self.level < 1.0:
            raise EstimationError(f"level {self.level} is not between 0 and 1")
        if self.min_segments_district < 2 or self.min_segments_stratum < 2:
            raise EstimationError("fewer than 2 segments cannot carry a variance; raise the rule")
        if not 0.0 <= self.max_unobserved_share <= 1.0:
            raise EstimationError("max_unobserved_share is a fraction between 0 and 1")


class Ladder:
    """One run: the design, what each province uses, and the pieces already computed."""

    def __init__(self, frame: Frame, sample: Sample, estimator: str, rule: LadderRule) -> None:
        self.frame, self.sample, self.rule = frame, sample, rule
        self.strata = stratified_design(frame, sample)
        self.design = self.strata.design
        self.columns: Floats | None = None
        self.fit: Fit | None = None
        self.fit_problem = ""
        if estimator == "regression":
            self._fit_regression()
        self.choice: dict[str, tuple[str, str]] = {
            str(group): self._choose(str(group), estimator) for group in np.unique(frame.group)
        }
        self.synthetic_fits = {
            group: SyntheticFit.of(
                self.frame, self.sample, self.strata, kind, self.columns, self.fit
            )
            for group, (kind, _) in self.choice.items()
        }
        self.pool = BiasPool.of(self.frame, self.sample, self.design, self.synthetic_fits)

    def _fit_regression(self) -> None:
        # A province whose sampled segments carry no covariate shares the others' slope.
        for slope in dict.fromkeys((self._slope(), "common")):
            try:
                self.columns = regression_columns(self.frame, self.strata, slope=slope)
                self.fit = fit_regression(
                    self.sample.y_ha, self.columns[self.sample.index], self.design.weight
                )
            except EstimationError as problem:
                self.columns, self.fit, self.fit_problem = None, None, str(problem)
            else:
                return

    def _slope(self) -> str:
        """Say whether each province has the sample for a slope of its own."""
        counts = [
            int((self.frame.group[self.sample.index] == group).sum())
            for group in np.unique(self.frame.group)
        ]
        return "group" if min(counts) >= self.rule.min_segments_stratum else "common"

    def _choose(self, group: str, estimator: str) -> tuple[str, str]:
        """Estimator of a province and the sentence that says why."""
        in_group = self.frame.group == group
        n = int(in_group[self.sample.index].sum())
        if estimator == "expansion" or n == 0:
            return "expansion", "Expansion, as declared."
        note = ""
        if estimator == "regression":
            smallest, stratum = self._smallest_stratum(in_group)
            if self.fit is None:
                note = f"Regression was declared but cannot be fitted ({self.fit_problem}). "
            elif smallest < self.rule.min_segments_stratum:
                note = (
                    f"Regression was declared but stratum {stratum} has {smallest} segments, "
                    f"fewer than {self.rule.min_segments_stratum}. "
                )
            else:
                return "regression", "Regression on mapped hectares, as declared."
        try:
            x = size_of(self.frame, self.rule.ratio_size)
        except EstimationError as problem:
            return "expansion", f"{note}Expansion, because there is no ratio ({problem})."
        if not x[self.sample.index][in_group[self.sample.index]].sum() > 0.0:
            return "expansion", f"{note}Expansion, because the sampled size is zero."
        what = "risk area" if self.rule.ratio_size == "risk_ha" else "mapped hectares"
        return "ratio", f"{note}Combined ratio to {what}{'' if note else ', as declared'}."

    def _smallest_stratum(self, in_group: Bools) -> tuple[int, str]:
        labels = np.unique(self.frame.stratum[in_group])
        strata = self.frame.stratum[self.sample.index]
        counts = [(int((strata == label).sum()), str(label)) for label in labels]
        return min(counts)

    def linear(self, mask: Bools) -> tuple[Linear, str, str, EstimateType]:
        """Sum over provinces of the domain's estimate, with method and reason."""
        parts, kinds, reasons = [], [], []
        for group in np.unique(self.frame.group[mask]):
            kind, reason = self.choice[str(group)]
            parts.append(self._part(mask & (self.frame.group == group), kind))
            kinds.append(kind)
            reasons.append(reason)
        method = {
            "expansion": "expansion_total",
            "ratio": "ratio_total_combined"
            + ("_map" if self.rule.ratio_size == "covariate_ha" else ""),
            "regression": "regression_total",
        }
        used = sorted(set(kinds))
        assisted = "regression" in used or (
            "ratio" in used and self.rule.ratio_size == "covariate_ha"
        )
        return (
            Linear(
                value_ha=math.fsum(part.value_ha for part in parts),
                z=np.sum([part.z for part in parts], axis=0),
            ),
            "+".join(method[kind] for kind in used),
            reasons[0] if len(set(reasons)) == 1 else "Sum of the provinces' estimates.",
            EstimateType.ASSISTED if assisted else EstimateType.DIRECT,
        )

    def _part(self, mask: Bools, kind: str) -> Linear:
        inside = mask[self.sample.index]
        if kind == "regression" and self.fit is not None and self.columns is not None:
            return self.fit.greg(self.columns[mask].sum(axis=0), inside)
        if kind == "ratio":
            x = size_of(self.frame, self.rule.ratio_size)
            return ratio_linear(
                self.design,
                self.sample.y_ha,
                x[self.sample.index],
                inside,
                float(x[mask].sum()),
            )
        return expansion_linear(self.design, self.sample.y_ha, inside)

    def direct(self, mask: Bools, note: str = "") -> Estimate | None:
        """Design-based or assisted estimate; None where the sample cannot give one."""
        try:
            linear, method, why, kind = self.linear(mask)
            return finish(
                linear,
                self.strata,
                self.frame,
                self.sample,
                mask,
                level=self.rule.level,
                estimate_type=kind,
                method=method,
                why=why + note + merge_note(self.strata.merged),
            )
        except TooFewUnitsError:
            return None

    def synthetic(self, mask: Bools, domain: str) -> Estimate | None:
        """Estimate from the province's fit; None where the province has no positive segment."""
        group = str(self.frame.group[mask][0])
        return synthetic_estimate(
            self.frame,
            self.sample,
            self.design,
            mask,
            fit=self.synthetic_fits[group],
            pool=self.pool,
            level=self.rule.level,
            min_rrmse=self.rule.min_synthetic_rrmse,
            why=f"District {domain} has {int(mask[self.sample.index].sum())} sampled segments, "
            f"fewer than {self.rule.min_segments_district}: taken from the fit of province "
            f"{group}.",
        )

    def _status(self, mask: Bools, why: str) -> Estimate:
        inside = mask[self.sample.index]
        return Estimate(
            value_ha=math.nan,
            se_ha=math.nan,
            ci_low_ha=math.nan,
            ci_high_ha=math.nan,
            df=math.nan,
            n_segments=int(inside.sum()),
            n_positive=int((self.sample.y_ha[inside] > 0.0).sum()),
            estimate_type=EstimateType.STATUS_ONLY,
            method="none",
            why=why,
            level=self.rule.level,
        )

    def domain(self, mask: Bools, code: str, level_name: str) -> Estimate:
        """Return the ladder's figure for one district or province."""
        unseen = self.rule.unobserved_share.get(code, 0.0)
        if unseen > self.rule.max_unobserved_share:
            return self._status(
                mask,
                f"{unseen:.0%} of the domain could not be observed, more than "
                f"{self.rule.max_unobserved_share:.0%}.",
            )
        n = int(mask[self.sample.index].sum())
        if level_name != "district":
            # Measured: 88 to 92% instead of 95% (docs/coverage.md).
            thin = " With so few segments the interval covers less than it states."
            estimate = self.direct(mask, thin if n < THIN_PROVINCE else "")
            problem = "segments leave no residual to judge the error by" if n else "none observed"
            return estimate or self._status(mask, f"{n} sampled segments: {problem}.")
        if n >= self.rule.min_segments_district:
            estimate = self.direct(mask)
            if estimate is not None:
                return estimate
        estimate = self.synthetic(mask, code)
        if estimate is not None:
            return estimate
        if n > 0:
            estimate = self.direct(mask)
            if estimate is not None:
                return estimate
        return self._status(
            mask,
            "No sampled segment of the district and no crop found in the province's sample: "
            "nothing can be said about its hectares.",
        )

    def _country(self, provinces: dict[str, Estimate]) -> Estimate:
        """Sum of the provinces that have a value; upper limits of all-zero ones added."""
        codes = [code for code, estimate in provinces.items() if math.isfinite(estimate.value_ha)]
        everything = np.ones(self.frame.size, dtype=np.bool_)
        if not codes:
            return self._status(everything, "No province has an estimate.")
        mask = np.isin(self.frame.group, codes)
        left_out = sorted(set(provinces) - set(codes))
        note = f" Without province {', '.join(left_out)}." if left_out else ""
        if self.sample.n_nonresponse:
            note += f" {self.sample.n_nonresponse} drawn segments could not be seen at all."
        estimate = self.direct(mask, note) or self._status(everything, "The sample is too small.")
        extra = [provinces[code].ci_high_ha for code in codes if provinces[code].n_positive == 0]
        if not extra or estimate.n_positive == 0:
            return estimate
        # Zou and Donner (2008), Stat. Med. 27, 1693-1702 (MOVER): squared upper arms add.
        arm = estimate.ci_high_ha - estimate.value_ha
        high = estimate.value_ha + math.sqrt(arm**2 + math.fsum(u**2 for u in extra))
        return replace(
            estimate,
            ci_high_ha=high,
            why=estimate.why + " Upper limits of provinces without finds are included.",
        )

    def run(self) -> list[DomainEstimate]:
        """Estimate every district, every province and the country."""
        rows = [
            DomainEstimate(
                admin_level="district",
                domain_id=str(code),
                estimate=self.domain(self.frame.domain == code, str(code), "district"),
            )
            for code in np.unique(self.frame.domain)
        ]
        provinces = {
            str(code): self.domain(self.frame.group == code, str(code), "province")
            for code in np.unique(self.frame.group)
        }
        rows += [
            DomainEstimate(admin_level="province", domain_id=code, estimate=estimate)
            for code, estimate in provinces.items()
        ]
        rows.append(
            DomainEstimate(
                admin_level="country",
                domain_id=self.rule.country_id,
                estimate=self._country(provinces),
            )
        )
        return rows
