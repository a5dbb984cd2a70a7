"""Why the default intervals are what they are: other kinds on the same draws.

    python -m benchmarks.interval_kinds --runs 1000

On the populations of the ``choose`` set of `benchmarks/coverage.py`: t with the design's and
with effective df, an interval symmetric on the log scale, one adjusted for skewness (Hall
1992), the Rao-Wu percentile interval, and the few-positives rule with other limits. Prints
coverage, misses above and below, and mean length over truth; draws without any positive
segment in the domain are left out, since all kinds but the default have no interval there.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
from scipy import stats

from benchmarks.coverage import POPULATIONS, draw, linears, population
from survey.estimation.design import linearised_moments
from survey.estimation.intervals import few_upper_ha
from survey.estimation.replication import bootstrap_domain_totals
from survey.estimation.strata import stratified_design

REPLICATES = 300
CELLS = ((0.05, 10), (0.05, 30), (0.25, 10), (0.25, 30), (0.25, 200))


def hall(skewness: float, quantile: float) -> float:
    """Inverse of Hall's cubic transformation of a studentised statistic (Hall 1992, eq. 2.2)."""
    if abs(skewness) < 1e-6:
        return quantile
    return 3.0 / skewness * (np.cbrt(1.0 + skewness * (quantile - skewness / 6.0)) - 1.0)


def kinds(value, z, design, sample, frame, mask, count):
    moments = linearised_moments(design, z)
    se, df = math.sqrt(float(moments.variance[0])), float(moments.df[0])
    skewness = float(moments.skewness[0])
    value = max(value, 0.0)
    t_design = stats.t.ppf(0.975, design.df) * se
    quantile = stats.t.ppf(0.975, df)
    half = quantile * se
    result = {
        "t, design df": (value - t_design, value + t_design),
        "t, effective df": (value - half, value + half),
        "skewness": (
            value - hall(skewness, quantile) * se,
            value - hall(skewness, -quantile) * se,
        ),
    }
    if value > 0.0:
        factor = math.exp(min(half / value, 700.0))
        result["log"] = (value / factor, value * factor)
    found = float(sample.y_ha[mask[sample.index]].sum())
    bound = few_upper_ha(frame, sample, design.weight, mask)
    for limit in (5, 10, 20, 40):
        low, high = value - half, value + half
        if count < limit:
            low, high = min(low, found), max(high, bound)
        result[f"few < {limit}"] = (low, high)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    arguments = parser.parse_args()
    started = time.perf_counter()
    print(
        "| positive | n/district | level | estimator | interval | coverage | above | below | "
        "length |\n|---|---|---|---|---|---|---|---|---|"
    )
    for prevalence, target in CELLS:
        tally: dict[tuple[str, str, str], np.ndarray] = {}
        for k in range(POPULATIONS):
            pop = population(prevalence, 1100 + k, "choose")
            rng = np.random.default_rng([3, k, target])
            for _ in range(arguments.runs // POPULATIONS):
                one_draw(pop, target, rng, tally)
        for (level, name, kind), (n, above, below, length, truth) in sorted(tally.items()):
            print(
                f"| {prevalence:.0%} | {target} | {level} | {name} | {kind} "
                f"| {1.0 - (above + below) / n:.3f} | {above / n:.3f} | {below / n:.3f} "
                f"| {length / truth:.2f} |"
            )
    print(f"\n{arguments.runs} runs a cell, {time.perf_counter() - started:.0f} s")


def one_draw(pop, target, rng, tally) -> None:
    frame = pop.frame
    masks = {("province", g): frame.group == g for g in ("0", "1")} | {
        ("district", f"d{d}"): frame.domain == f"d{d}" for d in (0, 5)
    }
    sample = draw(pop, target, rng)
    strata = stratified_design(frame, sample)
    design = strata.design
    code = np.searchsorted(np.unique(frame.domain), frame.domain)[sample.index]
    both = np.column_stack([sample.y_ha, frame.risk_ha[sample.index]])
    replicates = bootstrap_domain_totals(design, both, code, REPLICATES, rng=rng)
    for (name, key), (linear, _) in linears(frame, strata, sample, masks).items():
        mask = masks[key]
        positive = sample.y_ha > 0.0
        here = int((positive & mask[sample.index]).sum())
        if here == 0:
            continue
        fitted = np.isin(frame.group[sample.index], np.unique(frame.group[mask]))
        count = int((positive & fitted).sum()) if name == "regression" else here
        truth = float(pop.truth_ha[mask].sum())
        found = kinds(linear.value_ha, linear.z, design, sample, frame, mask, count)
        if name != "regression":
            columns = np.unique(code[mask[sample.index]])
            totals = replicates[:, columns, :].sum(axis=1)
            values = totals[:, 0]
            if name == "ratio":
                usable = totals[:, 1] > 0.0
                values = totals[usable, 0] / totals[usable, 1] * float(frame.risk_ha[mask].sum())
            found["percentile bootstrap"] = tuple(np.quantile(values, [0.025, 0.975]))
        for kind, (low, high) in found.items():
            low = max(low, 0.0)
            row = tally.setdefault((key[0], name, kind), np.zeros(5))
            row += [1, truth > high, truth < low, high - low, truth]


if __name__ == "__main__":
    main()
