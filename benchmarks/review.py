"""Review and withdrawal of many submissions, beside reading the same records as bare JSON.

Run: python benchmarks/review.py [--submissions 20000]
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from survey.forms import SubmissionStore
from survey.privacy import withdraw
from survey.review import (
    Action,
    FormReviews,
    Review,
    ReviewLog,
    ReviewState,
    accepted_submissions,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NAMES = (
    "instanceID,consent,consent_version,consent_language,visit_date,district_pcode,village_id,"
    "sample_type,observer_code,household_size,area_unit,land_area,grows_poppy,annual_income_usd,"
    "withdrawal_code\n"
)


def row(number: int, rng: np.random.Generator) -> str:
    district, village = number // 2000, number // 20
    return (
        f"uuid:{number:08d},yes,1,en,2026-02-{1 + number % 27:02d},D{district:03d},V{village:05d},"
        f"probability,T{number % 40:02d},{rng.integers(1, 9)},rai,{rng.uniform(1, 30):.1f},no,"
        f"{rng.uniform(200, 2000):.0f},C{number:07d}\n"
    )


def timed(what: str, call: Callable[[], Any], *, beside: float = 0.0) -> tuple[Any, float]:
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    ratio = f"  {seconds / beside:6.1f} x bare JSON" if beside else ""
    print(f"{what:<44} {seconds:8.2f} s{ratio}", flush=True)
    return result, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--submissions", type=int, default=20_000)
    n = parser.parse_args().submissions
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        store = SubmissionStore(Path(folder) / "inbox")

        def fill() -> None:
            for first in range(0, n, 500):
                rows = "".join(row(number, rng) for number in range(first, min(first + 500, n)))
                store.import_file("f.csv", (NAMES + rows).encode(), received_at=NOW)

        timed(f"import of {n} interviews", fill)
        files = sorted((store.folder / "submissions" / "farmer_survey").iterdir())
        _, bare = timed("bare JSON", lambda: [json.loads(path.read_bytes()) for path in files])

        desk = FormReviews(store, "farmer_survey")

        def look() -> list[Review]:
            return desk.look(places=None, today=date(2026, 3, 1))

        def reject_one() -> list[Review]:
            ReviewLog(store).decide(look()[7], Action.REJECT, by="b", reason="r", now=NOW)
            return look()

        reviews, _ = timed("read and check all", look, beside=bare)
        reviews, _ = timed("reject one and look again", reject_one, beside=bare)
        waiting = [each for each in reviews if each.state is ReviewState.RECEIVED]
        timed(
            f"accept {len(waiting)} without a flag",
            lambda: ReviewLog(store).accept_all(waiting, by="b", now=NOW),
            beside=bare,
        )
        timed("accepted ones for a run", lambda: accepted_submissions(store, "farmer_survey"))
        timed(
            "withdraw one by its code",
            lambda: withdraw(store, "C0000777", output_folder=Path(folder), now=NOW, by="b"),
            beside=bare,
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
