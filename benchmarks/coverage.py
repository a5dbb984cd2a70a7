"""Coverage of the intervals on finite populations of segments, estimator by estimator.

    python -m benchmarks.coverage --runs 2000 --set choose
    python -m benchmarks.coverage --runs 2000 --set validate
    python -m benchmarks.coverage --models --runs 400 --size 2 5 10 --set validate

The interval rule was chosen on the populations of ``choose`` and is checked on those of
``validate``, which come from another generator (field sizes, clustering, map, districts). Each
cell draws `runs` stratified samples from 4 populations. Prints the properties of the
populations, one Markdown table for districts, one for provinces and one for the country, and how
often the ladder's figures carry the warning that they can cover less than they state.
``--level`` leaves levels out without changing the draws. ``--models`` compares what the ladder
may give a district with fewer than 10 segments, on the same draws.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation import Frame, LadderRule, Sample
from survey.estimation.assisted import difference_linear, fit_regression, regression_columns
from survey.estimation.design import linearised_moments
from survey.estimation.direct import expansion_linear, ratio_linear
from survey.estimation.intervals import finish, t_quantile
from survey.estimation.ladder import Ladder
from survey.estimation.strata import stratified_design
from survey.types import EstimateType

PREVALENCES = (0.01, 0.05, 0.25)
SIZES = (2, 5, 10, 30, 200)
POPULATIONS = 4
PER_DISTRICT = 400
BLOCK = 20
INTERVALS = ("normal", "t_design", "default")
LEVELS = ("district", "province", "country")
WARNING = re.compile("covers? less than (it|they) states?")


@dataclass(frozen=True)
class Population:
    """A finite population of segments and what its map is worth."""

    frame: Frame
    truth_ha: np.ndarray
    icc: float
    users: tuple[float, float]
    producers: tuple[float, float]


def smooth(rng: np.random.Generator, n: int, width: int) -> np.ndarray:
    noise = rng.normal(size=n + width - 1)
    return np.convolve(noise, np.full(width, 1.0 / math.sqrt(width)), "valid")


def population(
    prevalence: float, seed: int, kind: str, *, whole_share: float | None = None
) -> Population:
    """A population; with `whole_share` units hold all crop or none and so many are misread."""
    rng = np.random.default_rng(seed)
    n_districts = 8 if kind == "choose" else 6
    n = n_districts * PER_DISTRICT
    district = np.repeat(np.arange(n_districts), PER_DISTRICT)
    province = district // (n_districts // 2)
    high = rng.random(n) < 0.3
    risk = rng.uniform(15.0, 35.0, n)
    width, share, spread = (21, 0.4, 0.5) if kind == "choose" else (9, 0.6, 0.8)
    field = np.concatenate([smooth(rng, PER_DISTRICT, width) for _ in range(n_districts)])
    latent = (
        1.2 * high
        + spread * rng.normal(size=n_districts)[district]
        + 1.2 * math.sqrt(share) * field
        + math.sqrt(1.0 - share) * rng.normal(size=n)
    )
    positive = latent > np.quantile(latent, 1.0 - prevalence)
    if kind == "choose":
        amount = rng.lognormal(0.5, 1.0, n)
    else:
        amount = rng.gamma(0.8, 2.5 * rng.uniform(0.6, 1.6, n_districts)[district])
    truth = np.where(positive, np.minimum(np.maximum(amount, 0.01), risk), 0.0)
    found = rng.uniform(0.5, 0.95, n_districts)[district]
    false_share = rng.uniform(0.02, 0.3, n_districts)[district] * math.sqrt(prevalence)
    mapped = found * truth * rng.lognormal(-0.1, 0.4, n)
    if kind == "validate":
        mapped = np.where(rng.random(n) < 0.15, 0.0, mapped)  # whole plots missed
    mapped = mapped + np.where(
        rng.random(n) < false_share, rng.gamma(1.0, 0.3 * truth[positive].mean(), n), 0.0
    )
    mapped = np.minimum(mapped, risk)
    if whole_share is not None:
        risk = rng.uniform(1.0, 6.0, n) if kind == "choose" else 0.3 + rng.gamma(1.5, 1.5, n)
        truth = np.where(positive, risk, 0.0)
        misread = whole_share * rng.uniform(0.3, 1.7, n_districts)[district]
        odds = 2.0 * np.where(positive, 1.0, prevalence)
        mapped = np.where(positive ^ (rng.random(n) < misread * odds), risk, 0.0)
        mapped = np.minimum(mapped * rng.uniform(0.9, 1.1, n), risk)
    agree = np.minimum(mapped, truth)
    with np.errstate(invalid="ignore", divide="ignore"):
        users = np.bincount(district, agree) / np.bincount(district, mapped)
        producers = np.bincount(district, agree) / np.bincount(district, truth)
    strata = np.char.add(province.astype(str), np.where(high, "-high", "-low"))
    frame = Frame(
        segment_id=np.arange(n).astype(str),
        stratum=strata,
        domain=np.char.add("d", district.astype(str)),
        group=province.astype(str),
        risk_ha=risk,
        covariate_ha=mapped,
    )
    return Population(
        frame=frame,
        truth_ha=truth,
        icc=intra_cluster(positive.astype(float)),
        users=(float(np.nanmin(users)), float(np.nanmax(users))),
        producers=(float(np.nanmin(producers)), float(np.nanmax(producers))),
    )


def intra_cluster(values: np.ndarray) -> float:
    blocks = values.reshape(-1, BLOCK)
    between = BLOCK * blocks.mean(axis=1).var(ddof=1)
    within = blocks.var(axis=1, ddof=1).mean()
    return float((between - within) / (between + (BLOCK - 1) * within))


class Tally:
    """Running sums of one estimator at one level."""

    def __init__(self) -> None:
        self.n = self.zero = self.negative = self.negative_limit = 0
        self.error = self.square = self.truth = self.cv = 0.0
        self.n_cv = self.warned = self.missed_warned = 0
        self.miss = {kind: [0, 0] for kind in INTERVALS}
        self.length = dict.fromkeys(INTERVALS, 0.0)

    def add(self, truth: float, value: float, raw: float, zero: bool, cv: float) -> None:
        """Count one estimate."""
        self.n += 1
        self.zero += zero
        self.negative += raw < 0.0
        self.error += value - truth
        self.square += (value - truth) ** 2
        self.truth += truth
        if math.isfinite(cv):
            self.cv += min(cv, 10.0)  # a value near zero has no useful CV
            self.n_cv += 1

    def interval(self, kind: str, truth: float, low: float, high: float) -> None:
        """Count one interval and the side on which it misses."""
        self.miss[kind][0] += truth > high + 1e-9
        self.miss[kind][1] += truth < low - 1e-9
        self.length[kind] += high - low

    def warning(self, truth: float, low: float, high: float) -> None:
        """Count a figure with the warning, and whether its interval misses."""
        self.warned += 1
        self.missed_warned += not low - 1e-9 <= truth <= high + 1e-9

    def row(self) -> dict[str, float]:
        """Figures relative to the mean truth."""
        n = max(self.n, 1)
        mean = max(self.truth / n, 1e-12)
        result = {
            "n": self.n,
            "bias": self.error / n / mean,
            "rmse": math.sqrt(self.square / n) / mean,
            "cv": self.cv / self.n_cv if self.n_cv else math.nan,
            "zero": self.zero / n,
            "negative": self.negative / n,
            "negative_limit": self.negative_limit / n,
            "warned": self.warned / n,
            "warned_coverage": 1.0 - self.missed_warned / max(self.warned, 1),
            "silent_coverage": 1.0
            - (sum(self.miss["default"]) - self.missed_warned) / max(self.n - self.warned, 1),
        }
        for kind in INTERVALS:
            above, below = self.miss[kind]
            result[f"{kind}_coverage"] = 1.0 - (above + below) / n
            result[f"{kind}_above"] = above / n
            result[f"{kind}_below"] = below / n
            result[f"{kind}_length"] = self.length[kind] / n / mean
        return result


def draw(pop: Population, target: int, rng: np.random.Generator) -> Sample:
    frame = pop.frame
    strata = np.unique(frame.stratum)
    n_districts = np.unique(frame.domain).size
    each = max(2, round(target * n_districts / strata.size))
    rows = []
    for label in strata:
        members = np.flatnonzero(frame.stratum == label)
        rows.append(rng.choice(members, min(each, members.size), replace=False))
    index = np.concatenate(rows)
    return Sample(index=index, y_ha=pop.truth_ha[index])


def linears(frame, strata, sample, masks):
    """Linear forms of every domain by estimator; a missing key where it cannot be had."""
    design, y = strata.design, sample.y_ha
    risk = frame.risk_ha
    result = {}
    try:
        columns = regression_columns(frame, strata, slope="group")
        fit = fit_regression(y, columns[sample.index], design.weight)
    except EstimationError:
        fit = None
    for key, mask in masks.items():
        inside = mask[sample.index]
        if not inside.any():
            continue
        result["expansion", key] = expansion_linear(design, y, inside), EstimateType.DIRECT
        # Refused where the sampled segments stand for too little of the domain: left out.
        with contextlib.suppress(TooFewUnitsError):
            result["ratio", key] = (
                ratio_linear(design, y, risk[sample.index], inside, float(risk[mask].sum())),
                EstimateType.DIRECT,
            )
        if fit is not None:
            result["regression", key] = (
                fit.greg(columns[mask].sum(axis=0), inside),
                EstimateType.ASSISTED,
            )
        x = frame.covariate_ha
        result["difference", key] = (
            difference_linear(design, y, x[sample.index], inside, float(x[mask].sum())),
            EstimateType.ASSISTED,
        )
    return result


def one_draw(pop, masks, truths, target, rng, tallies, rule):
    frame = pop.frame
    sample = draw(pop, target, rng)
    strata = stratified_design(frame, sample)
    design = strata.design
    for (name, key), (linear, kind) in linears(frame, strata, sample, masks).items():
        level, truth = key[0], truths[key]
        tally = tallies.setdefault((level, name), Tally())
        moments = linearised_moments(design, linear.z)
        se = math.sqrt(float(moments.variance[0]))
        try:
            estimate = finish(
                linear,
                strata,
                frame,
                sample,
                masks[key],
                level=0.95,
                estimate_type=kind,
                method=name,
                why="",
            )
        except TooFewUnitsError:
            continue
        tally.add(truth, estimate.value_ha, linear.value_ha, estimate.n_positive == 0, estimate.cv)
        naive = max(linear.value_ha, 0.0)
        for interval, df in (("normal", math.inf), ("t_design", design.df)):
            half = se * t_quantile(0.95, df)
            tally.negative_limit += interval == "t_design" and linear.value_ha - half < 0.0
            tally.interval(interval, truth, max(naive - half, 0.0), naive + half)
        tally.interval("default", truth, estimate.ci_low_ha, estimate.ci_high_ha)
    ladder = Ladder(frame, sample, "regression", rule)
    for key, mask in masks.items():
        if key[0] == "country":
            provinces = {
                str(g): ladder.domain(frame.group == g, str(g), "province")
                for g in np.unique(frame.group)
            }
            if not all(math.isfinite(p.value_ha) for p in provinces.values()):
                continue  # a country without one of its provinces is another quantity
            estimate = ladder.country(provinces)
        else:
            estimate = ladder.domain(mask, key[1], key[0])
        if math.isfinite(estimate.value_ha):
            add_default(tallies, key, "ladder", truths[key], estimate)
    # One district in turn loses its sampled segments: what the synthetic figure is worth.
    left_out = rng.choice(np.unique(frame.domain))
    keep = frame.domain[sample.index] != left_out
    key = ("district", str(left_out))
    if key not in masks:
        return
    ladder = Ladder(
        frame, Sample(index=sample.index[keep], y_ha=sample.y_ha[keep]), "regression", rule
    )
    estimate = ladder.synthetic(masks[key], "")
    if estimate is not None:
        add_default(tallies, key, "synthetic, unsampled", truths[key], estimate)


def one_model_draw(pop, masks, truths, target, rng, tallies, rule):
    """Districts below the rule, each by every rung that could serve it."""
    frame = pop.frame
    sample = draw(pop, target, rng)
    left_out = str(rng.choice(np.unique(frame.domain)))
    kept = frame.domain[sample.index] != left_out
    sample = Sample(index=sample.index[kept], y_ha=sample.y_ha[kept])
    n = {key: int(mask[sample.index].sum()) for key, mask in masks.items()}
    for name in ("none", "two_part", "bhf"):
        ladder = Ladder(frame, sample, "regression", replace(rule, small_area=name), rng)
        for key, mask in masks.items():
            if key[0] != "district" or n[key] >= rule.min_segments_district:
                continue
            estimate = ladder.domain(mask, key[1], "district")
            if not math.isfinite(estimate.value_ha):
                continue
            label = {"none": "synthetic", "two_part": "two-part", "bhf": "BHF"}[name]
            part = ", unsampled" if n[key] == 0 else ""
            add_default(tallies, key, label + part, truths[key], estimate)
            if name == "two_part" and n[key] > 0:
                # The other reading of "nothing found": 0 with an upper limit at any n.
                if estimate.n_positive == 0:
                    estimate = ladder.direct(mask) or estimate
                add_default(tallies, key, "two-part, zero rule", truths[key], estimate)


def add_default(tallies, key, name, truth, estimate) -> None:
    tally = tallies.setdefault((key[0], name), Tally())
    raw = estimate.value_ha
    tally.add(truth, raw, raw, estimate.n_positive == 0 and raw == 0.0, estimate.cv)
    tally.interval("default", truth, estimate.ci_low_ha, estimate.ci_high_ha)
    if WARNING.search(estimate.why):
        tally.warning(truth, estimate.ci_low_ha, estimate.ci_high_ha)


def cell(
    prevalence: float,
    target: int,
    runs: int,
    kind: str,
    seed: int,
    *,
    models: bool = False,
    whole_share: float | None = None,
    levels: Sequence[str] = LEVELS,
):
    tallies: dict[tuple[str, str], Tally] = {}
    rule = LadderRule(small_area_draws=300)
    one = one_model_draw if models else one_draw
    for k in range(POPULATIONS):
        pop = population(prevalence, 100 * seed + k, kind, whole_share=whole_share)
        rng = np.random.default_rng([seed, k, target])
        frame = pop.frame
        masks = {("district", str(d)): frame.domain == d for d in np.unique(frame.domain)} | {
            ("province", str(g)): frame.group == g for g in np.unique(frame.group)
        }
        masks["country", "country"] = np.ones(frame.size, dtype=np.bool_)
        masks = {key: mask for key, mask in masks.items() if key[0] in levels}
        truths = {key: float(pop.truth_ha[mask].sum()) for key, mask in masks.items()}
        for _ in range(runs // POPULATIONS):
            one(pop, masks, truths, target, rng, tallies, rule)
    return {key: tally.row() for key, tally in sorted(tallies.items())}


def describe(kind: str, seed: int, whole_share: float | None) -> None:
    print(
        "| positive segments | ICC in blocks of 20 | user's accuracy | producer's accuracy | "
        "pixel count / truth, by district |"
    )
    print("|---|---|---|---|---|")
    for prevalence in PREVALENCES:
        pops = [
            population(prevalence, 100 * seed + k, kind, whole_share=whole_share)
            for k in range(POPULATIONS)
        ]
        ratios = []
        for pop in pops:
            _, code = np.unique(pop.frame.domain, return_inverse=True)
            truth = np.bincount(code, pop.truth_ha)
            mapped = np.bincount(code, pop.frame.covariate_ha)
            ratios += (mapped[truth > 0] / truth[truth > 0]).tolist()
        low, mid, high = np.quantile(ratios, [0.1, 0.5, 0.9])
        users = (min(p.users[0] for p in pops), max(p.users[1] for p in pops))
        found = (min(p.producers[0] for p in pops), max(p.producers[1] for p in pops))
        print(
            f"| {prevalence:.0%} | {np.mean([p.icc for p in pops]):.2f} "
            f"| {users[0]:.2f}-{users[1]:.2f} | {found[0]:.2f}-{found[1]:.2f} "
            f"| {mid:.2f} (10% to 90%: {low:.2f}-{high:.2f}) |"
        )


HEADER = (
    "| positive | n/district | estimator | bias | RMSE | CV | all zero | negative | "
    "negative limit | normal | t, design df | default |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def three(row: dict[str, float], kind: str) -> str:
    """Coverage of a kind of interval, its misses above and below, and its length."""
    if kind != "default" and not row["normal_length"] > 0.0:
        return "-"
    return (
        f"{row[f'{kind}_coverage']:.3f} ({row[f'{kind}_above']:.3f}/{row[f'{kind}_below']:.3f}) "
        f"{row[f'{kind}_length']:.1f}"
    )


def line(prevalence: float, target: int, name: str, row: dict[str, float]) -> str:
    limit = f"{row['negative_limit']:.2f}" if row["normal_length"] > 0.0 else "-"
    return (
        f"| {prevalence:.0%} | {target} | {name} | {row['bias']:+.3f} | {row['rmse']:.2f} "
        f"| {row['cv']:.2f} | {row['zero']:.2f} | {row['negative']:.3f} | {limit} | "
        + " | ".join(three(row, kind) for kind in INTERVALS)
        + " |"
    )


WARNINGS = (
    "| level | positive | n/district | share warned | coverage, warned | coverage, not warned |\n"
    "|---|---|---|---|---|---|"
)


def warned(level: str, prevalence: float, target: int, row: dict[str, float]) -> str:
    share = row["warned"]
    with_it = f"{row['warned_coverage']:.3f}" if share > 0.0 else "-"
    without = f"{row['silent_coverage']:.3f}" if share < 1.0 else "-"
    return f"| {level} | {prevalence:.0%} | {target} | {share:.2f} | {with_it} | {without} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--set", choices=["choose", "validate"], default="validate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", action="store_true", help="rungs below the district rule")
    parser.add_argument(
        "--whole", type=float, help="units hold all crop or none; this share is misread"
    )
    parser.add_argument("--level", choices=LEVELS, nargs="+", default=list(LEVELS))
    parser.add_argument("--positive", type=float, nargs="+", default=list(PREVALENCES))
    parser.add_argument("--size", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    seed = arguments.seed or (11 if arguments.set == "choose" else 41)
    started = time.perf_counter()
    describe(arguments.set, seed, arguments.whole)
    results = {
        (prevalence, target): cell(
            prevalence,
            target,
            arguments.runs,
            arguments.set,
            seed,
            models=arguments.models,
            whole_share=arguments.whole,
            levels=arguments.level,
        )
        for prevalence in arguments.positive
        for target in arguments.size
    }
    for level in arguments.level:
        print(f"\n### {level}\n\n{HEADER}")
        for (prevalence, target), rows in results.items():
            for (row_level, name), row in rows.items():
                if row_level == level:
                    print(line(prevalence, target, name, row))
    print(f"\n### warnings of the ladder\n\n{WARNINGS}")
    for level in arguments.level:
        for (prevalence, target), rows in results.items():
            if (level, "ladder") in rows:
                print(warned(level, prevalence, target, rows[level, "ladder"]))
    if arguments.out:
        flat = [
            {"prevalence": p, "n": t, "level": level, "estimator": name, **row}
            for (p, t), rows in results.items()
            for (level, name), row in rows.items()
        ]
        arguments.out.write_text(json.dumps(flat, indent=1) + "\n", encoding="utf-8")
    print(f"\n{arguments.runs} runs a cell, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
