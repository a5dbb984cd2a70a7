"""Time and memory of totals and ratios by district, against peers where they install.

    python -m benchmarks.estimation

5,000 segments, 34 strata, 330 districts: expansion and ratio totals of every district with
linearised standard errors, and 1,000 Rao-Wu bootstrap replicates of both. The peers are the
Python package svy and R survey; a peer that is not installed is named and skipped. Wall-clock
and processor seconds: on a busy machine only the latter and the ratios mean something.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

N_SEGMENTS, N_STRATA, N_DISTRICTS, N_REPLICATES = 5_000, 34, 330, 1_000


def population(seed: int = 1):
    rng = np.random.default_rng(seed)
    n_frame = 4 * N_SEGMENTS
    stratum = np.sort(rng.integers(0, N_STRATA, n_frame))
    district = np.sort(rng.integers(0, N_DISTRICTS, n_frame))
    risk = rng.uniform(15.0, 35.0, n_frame)
    y = np.where(rng.random(n_frame) < 0.2, rng.gamma(1.0, 2.0, n_frame), 0.0)
    rows = np.concatenate(
        [
            rng.choice(members, members.size // 4, replace=False)
            for members in (np.flatnonzero(stratum == h) for h in range(N_STRATA))
        ]
    )
    return stratum, district, risk, y, rows


def ours() -> float:
    from survey.estimation import Frame, Sample, domain_totals
    from survey.estimation.replication import bootstrap_domain_totals
    from survey.estimation.strata import stratified_design

    stratum, district, risk, y, rows = population()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, busy = time.perf_counter(), time.process_time()
    frame = Frame(
        segment_id=np.arange(stratum.size).astype(str),
        stratum=stratum.astype(str),
        domain=district.astype(str),
        group=(district // 20).astype(str),
        risk_ha=risk,
    )
    sample = Sample(index=rows, y_ha=y[rows])
    totals = domain_totals(frame, sample)
    ratios = domain_totals(frame, sample, estimator="ratio")
    linearised = time.perf_counter() - started
    design = stratified_design(frame, sample).design
    replicates = bootstrap_domain_totals(
        design,
        np.column_stack([sample.y_ha, risk[rows]]),
        district[rows],
        N_REPLICATES,
        rng=np.random.default_rng(2),
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        by_ratio = replicates[:, :, 0] / replicates[:, :, 1]
    spread = replicates[:, :, 0].std(axis=0, ddof=1), np.nanstd(by_ratio, axis=0, ddof=1)
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    se = np.sqrt(np.diag(totals.covariance_ha2))
    order = np.argsort(totals.domain_id.astype(int))
    positive = se[order] > 0.0
    agreement = np.median(spread[0][positive] / se[order][positive])
    print(
        f"ad-survey: {seconds:.2f} s, {busy:.2f} s of processor (linearised totals and ratios "
        f"{linearised:.2f} s), "
        f"peak memory +{grown:.0f} MB above the interpreter with numpy, scipy and pandas"
    )
    print(
        f"  {totals.value_ha.size} districts, {rows.size} segments; bootstrap SE / linearised "
        f"SE, median {agreement:.3f} (the bootstrap has no fpc: sqrt(1 / 0.75) = 1.155); "
        f"ratio total of district 0: {ratios.value_ha[order][0]:.1f} ha"
    )
    return busy


def children() -> float:
    """Processor seconds of all finished child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def peer_svy(python: str, seconds: float) -> None:
    """Run svy in its own interpreter; its dependencies are not this project's."""
    stratum, district, risk, y, rows = population()
    size, count = np.bincount(stratum), np.bincount(stratum[rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.npz"
        np.savez(
            path,
            stratum=stratum[rows],
            district=district[rows],
            risk=risk[rows],
            y=y[rows],
            nh=size[stratum[rows]],
            w=(size / count)[stratum[rows]],
        )
        before = children()
        done = subprocess.run(
            [python, "-c", SVY_SCRIPT, str(path)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        print(f"svy: not run ({(done.stderr.strip().splitlines() or ['no message'])[-1]})")
    else:
        busy = children() - before
        print(
            f"svy: {done.stdout.strip()}, {busy:.2f} s of processor with start-up; "
            f"{busy / seconds:.1f} times ours"
        )


SVY_SCRIPT = """
import importlib.metadata, sys, time, numpy as np, polars as pl, svy
d = pl.DataFrame({k: v for k, v in np.load(sys.argv[1]).items()}).with_row_index("id")
s = time.perf_counter()
a = svy.Sample(d, svy.Design(stratum="stratum", wgt="w", pop_size="nh"))
a.estimation.total("y", by="district"); a.estimation.ratio("y", "risk", by="district")
t = time.perf_counter() - s
b = svy.Sample(d, svy.Design(stratum="stratum", wgt="w", psu="id"))
b = b.weighting.create_bs_wgts(n_reps=1000)
b.estimation.total("y", by="district", method="replication")
b.estimation.ratio("y", "risk", by="district", method="replication")
print(f"{time.perf_counter() - s:.2f} s (linearised totals and ratios {t:.2f} s), "
      f"version {importlib.metadata.version('svy')}")
"""

R_SCRIPT = """
suppressPackageStartupMessages(library(survey))
d <- read.csv(commandArgs(TRUE)[1]); d$one <- 1
s <- Sys.time()
g <- svydesign(ids = ~1, strata = ~stratum, fpc = ~nh, data = d)
a <- svyby(~y, ~district, g, svytotal); b <- svyby(~y, ~district, g, svyratio, denominator = ~risk)
r <- as.svrepdesign(svydesign(ids = ~1, strata = ~stratum, weights = ~w, data = d),
                    type = "subbootstrap", replicates = 1000)
a <- svyby(~y, ~district, r, svytotal); b <- svyby(~y, ~district, r, svyratio, denominator = ~risk)
cat(as.numeric(difftime(Sys.time(), s, units = "secs")))
"""


def peer_r(seconds: float) -> None:
    if shutil.which("Rscript") is None:
        print("R survey: Rscript not installed, skipped")
        return
    stratum, district, risk, y, rows = population()
    size = np.bincount(stratum)
    count = np.bincount(stratum[rows])
    with tempfile.TemporaryDirectory() as folder:
        table = np.column_stack(
            [
                stratum[rows],
                district[rows],
                risk[rows],
                y[rows],
                size[stratum[rows]],
                (size / count)[stratum[rows]],
            ]
        )
        path = Path(folder) / "sample.csv"
        np.savetxt(path, table, delimiter=",", header="stratum,district,risk,y,nh,w", comments="")
        script = Path(folder) / "peer.R"
        script.write_text(R_SCRIPT, encoding="utf-8")
        before = children()
        done = subprocess.run(
            ["Rscript", str(script), str(path)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        print(f"R survey: failed ({done.stderr.strip().splitlines()[-1]})")
    else:
        busy = children() - before
        print(
            f"R survey: {float(done.stdout):.1f} s, {busy:.1f} s of processor with start-up; "
            f"{busy / seconds:.1f} times ours"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument(
        "--svy-python", default=sys.executable, help="interpreter that has svy installed"
    )
    arguments = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, numpy {np.__version__}")
    importlib.import_module("survey.estimation")
    seconds = ours()
    if not arguments.no_peers:
        peer_svy(arguments.svy_python, seconds)
        peer_r(seconds)


if __name__ == "__main__":
    main()
