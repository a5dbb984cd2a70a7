"""Flatten many submissions again: time, and peak memory that does not grow with their number.

    python benchmarks/flatten.py [n]

The peer is one pass over the same files with `json.loads` alone: what any reader must pay.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from survey.flattening import flatten_store
from survey.forms import SubmissionStore

_ANSWERS = {
    "consent": "yes",
    "consent_version": "2026-11",
    "consent_language": "my",
    "visit_date": "2026-02-03",
    "district_pcode": "MR0101",
    "village_id": "V01",
    "sample_type": "probability",
    "household_size": "5",
    "area_unit": "rai",
    "land_area": "12.5",
    "grows_poppy": "yes",
    "poppy_area": "1.3",
    "annual_income_usd": "900",
    "opium_income_usd": "300",
    "remarks": "none",
}
_REPEATS = {
    "plot": [{"plot_area": "10"}, {"plot_area": "2.5"}],
    "plot_crop": [
        {"_of": "1", "crop_name": "maize", "harvest_unit": "viss", "harvest_amount": "100"},
        {"_of": "2", "crop_name": "tea", "harvest_unit": "kg", "harvest_amount": "40"},
    ],
}


def fill(folder: Path, n: int) -> None:
    """Lay submissions as the store does, without its flushes: they are another benchmark's."""
    target = folder / "submissions" / "farmer_survey"
    target.mkdir(parents=True)
    for number in range(n):
        instance = f"uuid:{number:08d}"
        submission = {
            "instance_id": instance,
            "form_id": "farmer_survey",
            "form_version": "2026112601",
            "answers": _ANSWERS | {"village_id": f"V{number % 900:03d}"},
            "source": "benchmark",
            "sha256": hashlib.sha256(instance.encode()).hexdigest(),
            "repeats": _REPEATS,
        }
        record = {
            "submission": submission,
            "raw_sha256": "0" * 64,
            "received_at": "2026-02-04T00:00:00+00:00",
            "sender": "",
            "remarks": [],
        }
        key = hashlib.sha256(instance.encode()).hexdigest()[:40]
        (target / f"{key}.json").write_text(json.dumps(record, indent=1), "utf-8")


def measure(folder: Path) -> None:
    """Flatten in this process and tell seconds and peak memory."""
    start = time.perf_counter()
    with os.scandir(folder / "submissions" / "farmer_survey") as entries:
        for entry in entries:  # one by one, or this list would be the peak
            json.loads(Path(entry.path).read_bytes())
    plain = time.perf_counter() - start
    start = time.perf_counter()
    tables = flatten_store(SubmissionStore(folder), folder / "rows")
    took = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    n_rows = sum(table.n_rows for table in tables)
    print(
        f"{n_rows} rows in {took:.1f} s, peak {peak:.0f} MiB; "
        f"reading the JSON alone {plain:.1f} s, ratio {took / plain:.1f}",
        flush=True,
    )


def main() -> None:
    """Compare a tenth with the whole, each in a process of its own."""
    if len(sys.argv) > 2:
        measure(Path(sys.argv[2]))
        return
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    for n in (most // 10, most):
        with tempfile.TemporaryDirectory() as name:
            fill(Path(name), n)
            print(f"{n} submissions: ", end="", flush=True)
            subprocess.run([sys.executable, __file__, str(n), name], check=True)


if __name__ == "__main__":
    main()
