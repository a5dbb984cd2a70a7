"""A submission store with many submissions: import, count, read, and what the service reads first.

Imports one CSV file of N visits, then times what people and services do with the store, with the
peak of memory of a process that only iterates. Run: python benchmarks/store.py --count 100000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from survey.forms import SubmissionStore  # noqa: E402

ITERATE = (
    "import re, sys; from pathlib import Path; from survey.forms import SubmissionStore;"
    "status = Path('/proc/self/status');"
    "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', status.read_text())[1]) // 1024;"
    "begin = peak();"
    "n = sum(1 for _ in SubmissionStore(Path(sys.argv[1])).iter_submissions('segment_visit'));"
    "print(n, begin, peak())"
)


def table(count: int) -> bytes:
    header = "instanceID,segment_id,visit_date,observer_code,observed_percent,area_unit,"
    rows = [f"uuid:{n},S-{n},2026-02-03,T{n % 50},80,rai,1.3,0" for n in range(count)]
    return "\n".join([header + "poppy_area,cannabis_area", *rows]).encode()


def seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return round(time.perf_counter() - begin, 2)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--count", type=int, default=100_000)
    options = arguments.parse_args()
    scratches = ROOT / ".cache"
    scratches.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratches) as scratch:
        folder = Path(scratch) / "inbox"
        store = SubmissionStore(folder)
        data = table(options.count)
        now = datetime(2026, 2, 4, tzinfo=UTC)
        result = {
            "submissions": options.count,
            "import_s": seconds(lambda: store.import_file("a.csv", data, received_at=now)),
            "count_s": seconds(lambda: store.n_submissions("segment_visit")),
            "iterate_s": seconds(lambda: list(map(id, store.iter_submissions("segment_visit")))),
            "sent_bytes_s": seconds(store.sent_bytes),
            "known_again_s": seconds(
                lambda: store.import_file("b.csv", table(1000), received_at=now)
            ),
        }
        found = subprocess.run(
            [sys.executable, "-c", ITERATE, str(folder)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        n, before, peak = found.stdout.split()
        if int(n) != options.count:
            raise RuntimeError(f"{n} submissions are stored")
        print(json.dumps({**result, "iterate_mb": [int(before), int(peak)]}, indent=1))
