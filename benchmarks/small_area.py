"""Small-area models: how long they take, and how well they do on zero-inflated districts.

    python benchmarks/small_area.py speed
    python benchmarks/small_area.py simulate --runs 2000 --set choose
    python benchmarks/small_area.py simulate --runs 2000 --set validate
    python benchmarks/small_area.py simulate --runs 2000 --set confirm

``speed`` fits Fay-Herriot and Battese-Harter-Fuller for 330 districts with 200 bootstrap
replicates. ``simulate`` draws a new population of 60 districts and one sample from it in every
run, and prints a Markdown table by number of sampled segments in the district. The factor on the
limits was settled on ``choose``; ``validate`` was looked at while the covariates were chosen;
``confirm`` was written when everything was fixed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from survey.errors import EstimationError
from survey.estimation.smallarea import (
    bootstrap_area_level,
    bootstrap_unit_level,
    eblup_finite_pop,
    fit_area_level,
    fit_unit_level,
)
from survey.estimation.zeroinflated import fit_two_part, two_part_frame, two_part_totals

PREVALENCES = (0.01, 0.05, 0.25)
SIZES = (0, 2, 5, 10, 30)
DISTRICTS = 60
SEGMENTS = 120
LEVEL = 0.95
KINDS = ("choose", "validate", "confirm")
Z = 1.959963984540054
EACH = 50  # runs between two writes of what was kept


@dataclass(frozen=True)
class Population:
    """A finite population: district, stratum, risk and mapped hectares, and the truth."""

    district: np.ndarray
    stratum: np.ndarray
    size_ha: np.ndarray
    map_ha: np.ndarray
    truth_ha: np.ndarray


def clustered(rng: np.random.Generator, n: int, width: int) -> np.ndarray:
    """Unit-variance noise that neighbours along the line of segments share."""
    noise = rng.standard_normal(n + width - 1)
    return np.convolve(noise, np.full(width, width**-0.5), "valid")


def population(rng: np.random.Generator, prevalence: float, kind: str) -> Population:
    """Presence by a threshold on districts + clusters + noise; skewed hectares; a poor map."""
    if kind == "confirm":
        return confirming_population(rng, prevalence)
    n = DISTRICTS * SEGMENTS
    district = np.repeat(np.arange(DISTRICTS), SEGMENTS)
    high = rng.random(n) < np.repeat(rng.uniform(0.2, 0.6, DISTRICTS), SEGMENTS)
    province = district % 2
    stratum = province * 2 + high
    size = rng.uniform(20.0, 100.0, n) if kind == "choose" else 15.0 + rng.gamma(2.0, 20.0, n)
    effect = rng.standard_normal(DISTRICTS) if kind == "choose" else rng.standard_t(4, DISTRICTS)
    noise = rng.standard_normal(n)
    latent = (
        0.7 * high
        + 0.2 * province
        + 0.4 * effect[district]
        + 0.4 * clustered(rng, n, 10)
        + 0.3 * np.log(size / size.mean())
        + 0.8 * noise
    )
    present = latent > np.quantile(latent, 1.0 - prevalence)
    # Amount and presence are correlated beyond the covariates: the model does not know.
    spread = 0.9 if kind == "choose" else 1.1
    log_ha = (
        np.log(1.5)
        + 0.6 * np.log(size / 60.0)
        + 0.25 * effect[district]
        + 0.2 * noise
        + spread * rng.standard_normal(n)
    )
    if kind == "validate":  # fields, counted: a lump of small ones and a heavy tail
        log_ha = np.log(0.1 * (1 + rng.poisson(4.0 * np.exp(0.3 * effect[district])))) + (
            0.8 * np.abs(rng.standard_normal(n))
        )
    truth = np.where(present, np.minimum(np.exp(log_ha), 0.7 * size), 0.0)
    producers = rng.uniform(0.4, 0.9, DISTRICTS)[district]
    seen = truth * producers * np.exp(0.3 * rng.standard_normal(n))
    false_share = rng.uniform(0.02, 0.12, DISTRICTS)[district]
    false = np.where(rng.random(n) < false_share, rng.gamma(1.0, 0.6, n), 0.0)
    return Population(
        district=district,
        stratum=stratum,
        size_ha=size,
        map_ha=np.minimum(seen + false, size),
        truth_ha=truth,
    )


def confirming_population(rng: np.random.Generator, prevalence: float) -> Population:
    """Unlike the other two in every part, and written after the rules were frozen.

    Skewed district effects, broad clusters, gamma hectares that are smaller where presence is
    likelier, a map that misses everything under 0.4 ha and errs with the size of the segment.
    """
    n = DISTRICTS * SEGMENTS
    district = np.repeat(np.arange(DISTRICTS), SEGMENTS)
    level = np.minimum(rng.poisson(np.repeat(rng.uniform(0.3, 1.5, DISTRICTS), SEGMENTS)), 3)
    size = np.exp(rng.normal(np.log(45.0), 0.5, n))
    effect = rng.exponential(1.0, DISTRICTS) - 1.0
    latent = (
        0.35 * level
        + 0.5 * effect[district]
        + 0.6 * clustered(rng, n, 25)
        + 0.2 * np.log(size)
        + rng.logistic(0.0, 0.5, n)
    )
    present = latent > np.quantile(latent, 1.0 - prevalence)
    mean = 2.0 * np.exp(-0.2 * effect[district] + 0.3 * clustered(rng, n, 5))
    truth = np.where(present, np.minimum(rng.gamma(0.8, mean / 0.8) + 0.05, 0.6 * size), 0.0)
    found = np.where(truth > 0.4, truth * rng.beta(6.0, 2.0, n), 0.0)
    false_share = rng.beta(2.0, 25.0, DISTRICTS)[district]
    false = np.where(rng.random(n) < false_share, 0.02 * size * rng.random(n), 0.0)
    return Population(
        district=district,
        stratum=level,
        size_ha=size,
        map_ha=np.minimum(found + false, size),
        truth_ha=truth,
    )


def draw(rng: np.random.Generator) -> np.ndarray:
    """Frame rows of the sample: 12 districts with each number of segments."""
    size = np.resize(SIZES, DISTRICTS)
    return np.concatenate(
        [d * SEGMENTS + rng.choice(SEGMENTS, k, replace=False) for d, k in enumerate(size)]
    ).astype(np.int64)


def one_run(
    rng: np.random.Generator, prevalence: float, kind: str, n_bootstrap: int
) -> dict[str, tuple[np.ndarray, ...]]:
    """Value, low, high and estimated MSE by method, with the truth under ``truth``."""
    people = population(rng, prevalence, kind)
    rows = draw(rng)
    y, size = people.truth_ha[rows], people.size_ha[rows]
    total = np.bincount(people.district, weights=people.size_ha)
    out = {"truth": (np.bincount(people.district, weights=people.truth_ha),)}
    domain = np.char.mod("%02d", people.district)
    strata = np.char.mod("%d", people.stratum)

    n = np.bincount(people.district[rows], minlength=DISTRICTS)
    seen_y = np.bincount(people.district[rows], weights=y, minlength=DISTRICTS)
    seen_a = np.bincount(people.district[rows], weights=size, minlength=DISTRICTS)
    ratio = np.where(n > 0, seen_y / np.where(n > 0, seen_a, 1.0), np.nan) * total
    nothing = np.full(DISTRICTS, np.nan)
    out["direct ratio"] = (ratio, nothing, nothing, nothing)

    share = people.map_ha / people.size_ha
    ones = np.ones(share.size)
    X = np.column_stack([ones, *((people.stratum == h).astype(float) for h in (1, 2, 3)), share])
    mean_x = np.column_stack(
        [np.bincount(people.district, weights=people.size_ha * x) / total for x in X.T]
    )
    scale = np.sqrt(size.mean() / size)
    try:
        fit = fit_unit_level(y / size, X[rows], people.district[rows], scale=scale, size=size)
        found = eblup_finite_pop(fit, mean_x, np.arange(DISTRICTS), total)
        value, rmse = found.value * total, np.sqrt(found.mse) * total
        out["BHF"] = (value, np.maximum(value - Z * rmse, 0.0), value + Z * rmse, rmse**2)
    except EstimationError:
        out["BHF"] = (nothing, nothing, nothing, nothing)
    for method in ("lognormal", "linear"):
        frame = two_part_frame(domain, strata, people.size_ha, people.map_ha, amount=method)
        try:
            model = fit_two_part(frame, rows, y, amount=method)
            replicates = n_bootstrap if method == "linear" else 0
            got = two_part_totals(
                model, frame, rng=rng, level=LEVEL, n_draws=300, n_bootstrap=replicates
            )
            out[f"two-part {method}"] = (got.value_ha, got.ci_low_ha, got.ci_high_ha, got.mse)
        except EstimationError:
            out[f"two-part {method}"] = (nothing, nothing, nothing, nothing)
    return out


def runs_of(
    runs: int, kind: str, prevalence: float, seed: int, n_bootstrap: int, keep: Path | None
) -> dict[str, np.ndarray]:
    """Figures (runs, figures, districts) by method; goes on where a stopped one was kept.

    Every run has a generator of its own, so what was kept is what would be drawn again.
    """
    name = f"{kind}-{prevalence}-{seed}-{n_bootstrap}.npz"
    collected: dict[str, list[np.ndarray]] = {}
    if keep is not None and (keep / name).exists():
        with np.load(keep / name) as kept:
            collected = {method: list(kept[method][:runs]) for method in kept.files}
    done = len(collected.get("truth", ()))
    for run in range(done, runs):
        rng = np.random.default_rng([seed, run, int(1e4 * prevalence), KINDS.index(kind)])
        for method, arrays in one_run(rng, prevalence, kind, n_bootstrap).items():
            collected.setdefault(method, []).append(np.array(arrays))
        if keep is not None and ((run + 1) % EACH == 0 or run + 1 == runs):
            partial = keep / f".{name}"
            np.savez(partial, **{method: np.array(rows) for method, rows in collected.items()})
            partial.rename(keep / name)
    return {method: np.array(rows) for method, rows in collected.items()}


def simulate(
    runs: int,
    kind: str,
    prevalences: tuple[float, ...],
    seed: int,
    n_bootstrap: int,
    keep: Path | None = None,
) -> None:
    group = np.resize(SIZES, DISTRICTS)
    print(f"set {kind}, {runs} runs a prevalence, seed {seed}\n")
    print(
        "| positive | method | n | mean ha | bias % | RMSE % | est. RMSE % | cover % | low miss % "
        "| high miss % | length % | negative % | runs without |"
    )
    print("|" + "---|" * 13)
    for prevalence in prevalences:
        started = time.perf_counter()
        collected = runs_of(runs, kind, prevalence, seed, n_bootstrap, keep)
        truth = collected.pop("truth")[:, 0]
        for method, results in collected.items():
            value, low, high, mse = results.transpose(1, 0, 2)
            for k in SIZES:
                cell = group == k
                ok = np.isfinite(value[:, cell]).all(axis=1)
                if not ok.any():
                    continue
                t, v = truth[ok][:, cell], value[ok][:, cell]
                lo, hi = low[ok][:, cell], high[ok][:, cell]
                mean = t.mean()
                has = bool(np.isfinite(lo).all())
                text = [
                    f"{prevalence:.0%}",
                    method,
                    str(k),
                    f"{mean:.1f}",
                    f"{100 * (v - t).mean() / mean:+.1f}",
                    f"{100 * np.sqrt(((v - t) ** 2).mean()) / mean:.0f}",
                    f"{100 * np.sqrt(mse[ok][:, cell].mean()) / mean:.0f}" if has else "",
                    f"{100 * ((t >= lo) & (t <= hi)).mean():.1f}" if has else "",
                    f"{100 * (t < lo).mean():.1f}" if has else "",
                    f"{100 * (t > hi).mean():.1f}" if has else "",
                    f"{100 * (hi - lo).mean() / mean:.0f}" if has else "",
                    f"{100 * (v < 0).mean():.1f}",
                    str(int((~ok).sum())),
                ]
                print("| " + " | ".join(text) + " |")
        print(f"<!-- {time.perf_counter() - started:.0f} s -->", flush=True)


def speed(n_bootstrap: int) -> None:
    """330 districts, 5,000 segments: fit and bootstrap, and a named peer where it is there."""
    rng = np.random.default_rng(1)
    m, n = 330, 5000
    code = np.concatenate([np.arange(m), rng.integers(0, m, n - m)])
    X = np.column_stack([np.ones(n), rng.random((n, 4))])
    y = X @ np.arange(1.0, 6.0) + 0.5 * rng.standard_normal(m)[code] + rng.standard_normal(n)
    labels = np.char.mod("%03d", code)
    domain = np.char.mod("%03d", np.arange(m))
    means = np.column_stack([np.ones(m), np.full((m, 4), 0.5)])
    took: dict[str, float] = {}

    def timed(name: str, work):  # type: ignore[no-untyped-def]
        started, busy = time.perf_counter(), time.process_time()
        result = work()
        took[name] = time.process_time() - busy
        wall = time.perf_counter() - started
        print(f"{name:58s} {wall:8.3f} s, {took[name]:8.3f} s of processor", flush=True)
        return result

    fit = timed(
        "BHF fit, REML, 330 districts, 5,000 segments, 5 columns",
        lambda: fit_unit_level(y, X, labels),
    )
    timed(
        f"BHF bootstrap, {n_bootstrap} replicates",
        lambda: bootstrap_unit_level(
            fit, means, domain, rng=rng, n_bootstrap=n_bootstrap, population=np.full(m, 1000.0)
        ),
    )
    peer_lme4(y, X, code, n_bootstrap, sum(took.values()), fit)
    D = rng.uniform(0.2, 1.0, m)
    theta = means[:, :1] @ [3.0] + rng.standard_normal(m)
    area = timed(
        "Fay-Herriot fit, REML, 330 areas, 5 columns",
        lambda: fit_area_level(
            theta + np.sqrt(D) * rng.standard_normal(m),
            D,
            np.column_stack([np.ones(m), rng.random((m, 4))]),
        ),
    )
    timed(
        f"Fay-Herriot bootstrap, {n_bootstrap} replicates",
        lambda: bootstrap_area_level(area, rng=rng, n_bootstrap=n_bootstrap),
    )
    people = population(rng, 0.05, "choose")
    rows = draw(rng)
    frame = two_part_frame(
        np.char.mod("%02d", people.district),
        np.char.mod("%d", people.stratum),
        people.size_ha,
        people.map_ha,
    )
    model = timed(
        f"two-part fit, {DISTRICTS} districts, {rows.size} segments",
        lambda: fit_two_part(frame, rows, people.truth_ha[rows]),
    )
    timed(
        f"two-part totals, 1,000 draws, frame of {people.size_ha.size:,}",
        lambda: two_part_totals(model, frame, rng=rng),
    )
    timed(
        "two-part totals, 200 bootstrap replicates",
        lambda: two_part_totals(model, frame, rng=rng, n_draws=100, n_bootstrap=200),
    )
    try:
        from statsmodels.regression.mixed_linear_model import MixedLM
    except ImportError:
        print("peer: statsmodels is not installed here; no ratio")
        return
    name = "peer: statsmodels MixedLM fit of the same BHF model"
    peer = timed(name, lambda: MixedLM(y, X, groups=labels).fit(reml=True))
    ours = took[next(iter(took))]
    print(
        f"ratio peer/ours {took[name] / ours:.1f}; sigma2_v {fit.sigma2_v:.6f} against "
        f"{float(np.asarray(peer.cov_re).ravel()[0]):.6f}, "
        f"sigma2_e {fit.sigma2_e:.6f} against {peer.scale:.6f}"
    )


LME4_SCRIPT = """
suppressPackageStartupMessages(library(lme4))
a <- commandArgs(TRUE); d <- read.csv(a[1]); d$g <- factor(d$g); s <- proc.time()
f <- lmer(y ~ x1 + x2 + x3 + x4 + (1 | g), d)
for (y in simulate(f, as.integer(a[2]), seed = 1)) refit(f, y)
t <- proc.time() - s; v <- as.data.frame(VarCorr(f))$vcov
cat(t[["user.self"]] + t[["sys.self"]], v)
"""


def peer_lme4(y, X, code, n_bootstrap, seconds, fit) -> None:  # type: ignore[no-untyped-def]
    """Same fit and as many simulated refits in R lme4, whose model the BHF model is."""
    if shutil.which("Rscript") is None:
        print("peer: R lme4 is not installed here; no ratio")
        return
    with tempfile.TemporaryDirectory() as folder:
        table, script = Path(folder) / "units.csv", Path(folder) / "peer.R"
        np.savetxt(
            table,
            np.column_stack([code, y, X[:, 1:]]),
            delimiter=",",
            header="g,y,x1,x2,x3,x4",
            comments="",
            fmt="%.17g",
        )
        script.write_text(LME4_SCRIPT, encoding="utf-8")
        done = subprocess.run(
            ["Rscript", str(script), str(table), str(n_bootstrap)],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        print(f"peer: R lme4 not run ({(done.stderr.strip().splitlines() or ['no message'])[-1]})")
        return
    peer, between, within = (float(word) for word in done.stdout.split())
    print(
        f"peer: R lme4, fit and {n_bootstrap} simulated refits   {peer:8.3f} s of processor; "
        f"{peer / seconds:.1f} times ours; sigma2_v {fit.sigma2_v:.6f} against {between:.6f}, "
        f"sigma2_e {fit.sigma2_e:.6f} against {within:.6f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    simulation = verbs.add_parser("simulate")
    simulation.add_argument("--runs", type=int, default=600)
    simulation.add_argument("--set", choices=KINDS, default="choose")
    simulation.add_argument("--prevalence", type=float, action="append")
    simulation.add_argument("--seed", type=int, default=20261123)
    simulation.add_argument(
        "--bootstrap", type=int, default=0, help="replicates for the MSE of two-part linear"
    )
    simulation.add_argument(
        "--keep", type=Path, help="folder in which finished runs are kept, to go on from there"
    )
    timing = verbs.add_parser("speed")
    timing.add_argument("--bootstrap", type=int, default=200)
    given = parser.parse_args()
    if given.verb == "speed":
        speed(given.bootstrap)
        return
    if given.keep is not None:
        given.keep.mkdir(parents=True, exist_ok=True)
    simulate(
        given.runs,
        given.set,
        tuple(given.prevalence or PREVALENCES),
        given.seed,
        given.bootstrap,
        given.keep,
    )


if __name__ == "__main__":
    main()
