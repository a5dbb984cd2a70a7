"""The ladder: which estimator serves which district, province and the country, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation.assisted import Fit, difference_linear, fit_regression, regression_columns
from survey.estimation.direct import (
    MIN_SIZE_SHARE,
    expansion_linear,
    merge_note,
    ratio_linear,
    size_of,
)
from survey.estimation.intervals import Linear, finish, unsampled_share
from survey.estimation.rules import (
    DIRECT,
    MODELS,
    DomainEstimate,
    LadderRule,
    with_coverage_warning,
)
from survey.estimation.smallarea.districts import small_area_estimates
from survey.estimation.strata import stratified_design
from survey.estimation.synthetic import BiasPool, SyntheticFit, synthetic_estimate
from survey.estimation.units import Bools, Floats, Frame, Sample
from survey.types import Estimate, EstimateType

__all__ = ["Ladder"]

MODEL_NAMES = {"two_part": "two-part model", "bhf": "Battese-Harter-Fuller model"}


class Ladder:
    """One run: the design, what each province uses, and the pieces already computed."""

    def __init__(
        self,
        frame: Frame,
        sample: Sample,
        estimator: str,
        rule: LadderRule,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.frame, self.sample, self.rule, self.rng = frame, sample, rule, rng
        self._check_forced()
        self.strata = stratified_design(frame, sample)
        self.design = self.strata.design
        self.columns: Floats | None = None
        self.fit: Fit | None = None
        self.fit_problem = ""
        ordered = {forced.method for forced in rule.forced.values()}
        if estimator == "regression" or "regression" in ordered:
            self._fit_regression()
        self.choice: dict[str, tuple[str, str]] = {
            str(group): self._choose(str(group), estimator) for group in np.unique(frame.group)
        }
        # Of provinces and the country, where it can differ from that of their districts.
        self.total_choice = {group: self._step_down(group) for group in self.choice}
        self.synthetic_fits = {
            group: SyntheticFit.of(
                self.frame, self.sample, self.strata, kind, self.columns, self.fit
            )
            for group, (kind, _) in self.choice.items()
        }
        self.pool = BiasPool.of(self.frame, self.sample, self.design, self.synthetic_fits)
        self._models: dict[str, tuple[dict[str, Estimate], str]] = {}

    def _check_forced(self) -> None:
        """Refuse an order for a domain that is not there, or that its level cannot have."""
        provinces = set(self.frame.group.tolist())
        districts = set(self.frame.domain.tolist())
        for code, forced in self.rule.forced.items():
            if code not in provinces | districts:
                raise EstimationError(
                    f"forced method for {code!r}: no district or province of the frame has this "
                    "code; correct it"
                )
            if code in provinces and forced.method not in (*DIRECT, "status_only"):
                raise EstimationError(
                    f"province {code}: forced method {forced.method!r} is for districts only; use "
                    f"{', '.join(DIRECT)} or status_only"
                )

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
        forced = self.rule.forced.get(group)
        if forced is not None and forced.method in DIRECT:
            return forced.method, f"Ordered by the analyst: {forced.reason}"
        in_group = self.frame.group == group
        n = int(in_group[self.sample.index].sum())
        if estimator == "expansion" or n == 0:
            return "expansion", "Expansion, as declared."
        note = ""
        if estimator == "difference":
            try:
                if np.isfinite(size_of(self.frame, "covariate_ha")[in_group]).all():
                    return "difference", "Mapped hectares plus the map's errors, as declared."
                note = "Difference was declared but part of the province has no mapped hectares. "
            except EstimationError as problem:
                note = f"Difference was declared but cannot be computed ({problem}). "
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
        return self._unassisted(in_group, note)

    def _step_down(self, group: str) -> tuple[str, str]:
        """Estimator of a province's total: none that leaves no residual although crop was found.

        A few finds that the map explains exactly leave nothing to judge the error by; a total
        that rests on the sample alone is better than none.
        """
        in_group = self.frame.group == group
        kind, reason = self.choice[group]
        found = bool((self.sample.y_ha[in_group[self.sample.index]] > 0.0).any())
        by_map = self.rule.ratio_size == "covariate_ha"
        is_assisted = kind in ("regression", "difference") or (kind == "ratio" and by_map)
        if (
            not (is_assisted and found)
            or group in self.rule.forced
            or self.direct(in_group) is not None
        ):
            return kind, reason
        note = (
            f"{kind.capitalize()} was declared but the map explains every find, which leaves "
            "no residual to judge the error by. "
        )
        if by_map:
            return "expansion", f"{note}Expansion, because the ratio would be to the map too."
        return self._unassisted(in_group, note)

    def _unassisted(self, in_group: Bools, note: str) -> tuple[str, str]:
        """Ratio, or expansion where there is none, and why."""
        try:
            x = size_of(self.frame, self.rule.ratio_size)
        except EstimationError as problem:
            return "expansion", f"{note}Expansion, because there is no ratio ({problem})."
        if not x[self.sample.index][in_group[self.sample.index]].sum() > 0.0:
            return "expansion", f"{note}Expansion, because the sampled size is zero."
        w = np.where(in_group[self.sample.index], self.design.weight, 0.0)
        share = float((w * x[self.sample.index]).sum()) / float(x[in_group].sum())
        if share < MIN_SIZE_SHARE:
            return "expansion", (
                f"{note}Expansion, because the sampled segments carry {share:.2%} of the size."
            )
        what = "risk area" if self.rule.ratio_size == "risk_ha" else "mapped hectares"
        return "ratio", f"{note}Combined ratio to {what}{'' if note else ', as declared'}."

    def _smallest_stratum(self, in_group: Bools) -> tuple[int, str]:
        labels = np.unique(self.frame.stratum[in_group])
        strata = self.frame.stratum[self.sample.index]
        counts = [(int((strata == label).sum()), str(label)) for label in labels]
        return min(counts)

    def linear(
        self, mask: Bools, choice: Mapping[str, tuple[str, str]]
    ) -> tuple[Linear, str, str, EstimateType]:
        """Sum over provinces of the domain's estimate, with method and reason."""
        parts, kinds, reasons = [], [], []
        residual, has_residual = np.zeros(self.sample.size), False
        for group in np.unique(self.frame.group[mask]):
            kind, reason = choice[str(group)]
            part = self._part(mask & (self.frame.group == group), kind)
            if part.residual_ha is not None:
                rows = self.frame.group[self.sample.index] == group
                residual[rows], has_residual = part.residual_ha[rows], True
            parts.append(part)
            kinds.append(kind)
            reasons.append(reason)
        method = {
            "expansion": "expansion_total",
            "ratio": "ratio_total_combined"
            + ("_map" if self.rule.ratio_size == "covariate_ha" else ""),
            "regression": "regression_total",
            "difference": "difference_total",
        }
        used = sorted(set(kinds))
        assisted = not {"regression", "difference"}.isdisjoint(used) or (
            "ratio" in used and self.rule.ratio_size == "covariate_ha"
        )
        return (
            Linear(
                value_ha=math.fsum(part.value_ha for part in parts),
                z=np.sum([part.z for part in parts], axis=0),
                residual_ha=residual if has_residual else None,
            ),
            "+".join(method[kind] for kind in used),
            reasons[0] if len(set(reasons)) == 1 else "Sum of the provinces' estimates.",
            EstimateType.ASSISTED if assisted else EstimateType.DIRECT,
        )

    def _part(self, mask: Bools, kind: str) -> Linear:
        inside = mask[self.sample.index]
        if kind == "regression":
            if self.fit is None or self.columns is None:
                raise EstimationError(
                    f"regression was ordered but cannot be fitted: {self.fit_problem}"
                )
            return self.fit.greg(self.columns[mask].sum(axis=0), inside)
        if kind == "difference":
            x = size_of(self.frame, "covariate_ha")
            return difference_linear(
                self.design, self.sample.y_ha, x[self.sample.index], inside, float(x[mask].sum())
            )
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

    def direct(
        self,
        mask: Bools,
        note: str = "",
        choice: Mapping[str, tuple[str, str]] | None = None,
    ) -> Estimate | None:
        """Design-based or assisted estimate; None where the sample cannot give one.

        `choice` holds an estimator and a reason for each province, in place of those declared.
        """
        try:
            linear, method, why, kind = self.linear(mask, choice or self.choice)
            return finish(
                linear,
                self.strata,
                self.frame,
                self.sample,
                mask,
                level=self.rule.level,
                estimate_type=kind,
                method=method,
                why=why + note + merge_note(self.strata),
            )
        except TooFewUnitsError:
            return None

    def synthetic(self, mask: Bools, why: str) -> Estimate | None:
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
            why=f"{why} Taken from the fit of province {group}.",
        )

    def models(self, kind: str) -> tuple[dict[str, Estimate], str]:
        """District estimates of a small-area model by code, and why there are none.

        One fit for all provinces of the frame, made when the first district asks for it.
        """
        if kind not in self._models:
            if self.rng is None:
                raise EstimationError(f"small-area model {kind!r} needs rng, a seeded generator")
            try:
                found = small_area_estimates(
                    self.frame,
                    self.sample,
                    rng=self.rng,
                    model="unit_level" if kind == "bhf" else kind,
                    level=self.rule.level,
                    n_draws=self.rule.small_area_draws,
                )
            except EstimationError as problem:
                self._models[kind] = {}, str(problem)
            else:
                self._models[kind] = found, ""
        return self._models[kind]

    def _below(self, mask: Bools, code: str, n: int) -> Estimate | None:
        """Figure of a district with too few segments: the model's, else the province's fit.

        Neither is used where the province's whole sample holds no crop: no model may put
        hectares into a province whose own total is "not detected".
        """
        in_group = (self.frame.group == self.frame.group[mask][0])[self.sample.index]
        if not (self.sample.y_ha[in_group] > 0.0).any():
            return None
        why = (
            f"District {code} has {n} sampled segments, fewer than "
            f"{self.rule.min_segments_district}."
            if n < self.rule.min_segments_district
            else f"The {n} sampled segments of district {code} cannot carry a figure of its own."
        )
        if self.rule.small_area in MODELS:
            name = MODEL_NAMES[self.rule.small_area]
            found, problem = self.models(self.rule.small_area)
            if code in found:
                return replace(found[code], why=f"{why} {found[code].why}")
            why += f" The {name} was declared but cannot be fitted ({problem})."
        return self.synthetic(mask, why)

    def _forced(self, mask: Bools, code: str) -> Estimate | None:
        """What the analyst ordered for this domain; None where nothing was."""
        forced = self.rule.forced.get(code)
        if forced is None:
            return None
        why = f"Ordered by the analyst: {forced.reason}"
        if forced.method == "status_only":
            return self._status(mask, why)
        estimate: Estimate | None
        problem = "its sample cannot give one"
        if forced.method in MODELS:
            found, problem = self.models(forced.method)
            estimate = found.get(code)
            if estimate is not None:
                estimate = replace(estimate, why=f"{why} {estimate.why}")
        elif forced.method == "synthetic":
            estimate = self.synthetic(mask, why)
        else:
            groups = np.unique(self.frame.group[mask]).tolist()
            estimate = self.direct(mask, choice=dict.fromkeys(groups, (forced.method, why)))
        if estimate is None:
            raise EstimationError(
                f"domain {code}: {forced.method} was ordered but gives no figure ({problem}); "
                "order another method or none"
            )
        return estimate

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
        forced = self._forced(mask, code)
        if forced is not None:
            return forced
        n = int(mask[self.sample.index].sum())
        unsampled = unsampled_share(self.frame, self.strata, mask)
        is_carried = unsampled <= self.rule.max_unobserved_share
        if level_name != "district":
            if n > 0 and not is_carried:
                return self._status(
                    mask,
                    f"{unsampled:.0%} of the risk area lies in strata without a sampled segment, "
                    f"more than {self.rule.max_unobserved_share:.0%}.",
                )
            estimate = self.direct(mask, choice=self.total_choice)
            if estimate is not None:
                return with_coverage_warning(estimate)
            problem = "segments leave no residual to judge the error by" if n else "none observed"
            return self._status(mask, f"{n} sampled segments: {problem}.")
        if n >= self.rule.min_segments_district and is_carried:
            estimate = self.direct(mask)
            if estimate is not None:
                return estimate
        estimate = self._below(mask, code, n)
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

    def country(self, provinces: dict[str, Estimate]) -> Estimate:
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
        direct = self.direct(mask, note, self.total_choice)
        if direct is None:
            return self._status(everything, "The sample is too small.")
        estimate = with_coverage_warning(direct)
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
                estimate=self.country(provinces),
            )
        )
        return rows
