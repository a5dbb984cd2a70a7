"""Submissions are sent with retries while servers are killed again and again (kill -9).

Phones send to `adsurvey collect`, which needs no database: by turns all of it is killed, the
process that keeps the receiving ones, and one of these. With --database offices upload tables to
`adsurvey serve`, whose server and PostgreSQL are killed by turns. Counts tries, acknowledgements,
losses and doubles.
Run: python benchmarks/kills.py --kills 60; python benchmarks/kills.py --database --kills 20
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from phones import Phone  # noqa: E402

from api.collect import devices_of  # noqa: E402
from survey.forms import PublishedForms, SubmissionStore  # noqa: E402
from survey.rounds import read_round  # noqa: E402

SERVER = (
    "import sys; from pathlib import Path; from api.collect import *;"
    "listener = bind_listener('127.0.0.1', int(sys.argv[2]));"
    "run_collector(Path(sys.argv[1]), listener, workers=2)"
)
_HEADER = (
    "instanceID,segment_id,visit_date,observer_code,observed_percent,area_unit,poppy_area,"
    "cannabis_area"
)
NOW = datetime(2026, 2, 4, tzinfo=UTC)


def visit(instance: str) -> bytes:
    return (
        '<data id="segment_visit" version="2026011501"><segment_id>S-1</segment_id>'
        "<visit_date>2026-02-03</visit_date><observer_code>T1</observer_code>"
        "<observed_percent>80</observed_percent><area_unit>rai</area_unit>"
        "<poppy_area>1.3</poppy_area><cannabis_area>0</cannabis_area>"
        f"<remarks>{instance}</remarks>"
        f"<meta><instanceID>{instance}</instanceID></meta></data>"
    ).encode()


def photos(instance: str) -> dict[str, bytes]:
    """Two photos, different for each submission; they go in two POSTs."""
    dice = random.Random(instance)  # noqa: S311
    return {f"{n}.jpg": dice.randbytes(dice.randint(2_000, 40_000)) for n in (1, 2)}


def start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SERVER, str(folder), str(port)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)


def children(process: int) -> list[int]:
    """Processes that a process has started and not buried."""
    try:
        return list(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))
    except FileNotFoundError:
        return []


def kill(server: subprocess.Popen[bytes], number: int) -> tuple[bool, int]:
    """Kill all of a server, its keeper, or one that receives, by turns.

    Returns
    -------
    bool
        It has to be started again.
    int
        Receiving processes that were still there 10 s after their keeper.
    """
    below = children(server.pid)
    if number % 3 == 2 and below:
        os.kill(below[-1], signal.SIGKILL)
        return False, 0
    if number % 3 == 1:
        server.kill()
    else:
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    end = time.monotonic() + 10.0
    while (left := [each for each in below if is_running(each)]) and time.monotonic() < end:
        time.sleep(0.01)
    for each in left:
        os.kill(each, signal.SIGKILL)
    return True, len(left)


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def run(folder: Path, *, n_phones: int, n_each: int, n_kills: int, seed: int) -> dict[str, Any]:
    """Send everything through a server that dies at random moments; what became of it.

    Returns
    -------
    dict
        Counts; `lost` are acknowledged submissions that are not there byte for byte, at the
        end or right after any of the kills; `doubled` are those that are there more than once.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    registry = devices_of(folder)
    sets = [registry.add(f"Team {n}", now=NOW) for n in range(n_phones)]
    PublishedForms(folder).publish_own(now=NOW)
    phones = [
        Phone(f"http://127.0.0.1:{port}", device.device_id, secret, per_request=1)
        for device, secret in sets
    ]
    done: set[str] = set()
    faults: list[str] = []

    def deliver(number: int) -> None:
        for count in range(n_each):
            instance = f"uuid:{number}-{count}"
            try:
                phones[number].send_until_acknowledged(visit(instance), photos(instance))
            except Exception as error:
                faults.append(f"{instance}: {error}")
                return
            done.add(instance)

    dice = random.Random(seed)  # noqa: S311
    total = n_phones * n_each
    lost: set[str] = set()
    kills = orphans = 0
    server = start(folder, port)
    threads = [threading.Thread(target=deliver, args=(n,)) for n in range(n_phones)]
    for thread in threads:
        thread.start()
    for number in range(n_kills):
        # Spread over the whole delivery, at a moment that no request knows.
        enough = int(total * (number + dice.random()) / n_kills)
        while len(done) < enough and any(thread.is_alive() for thread in threads):
            time.sleep(0.002)
        time.sleep(dice.random() * 0.05)
        if not any(thread.is_alive() for thread in threads):
            break
        must_start, left = kill(server, number)
        kills += 1
        orphans += left
        lost |= missing(folder, sorted(done))
        if must_start:
            server = start(folder, port)
    for thread in threads:
        thread.join()
    for phone in phones:
        phone.close()
    server.terminate()
    server.wait()
    store = SubmissionStore(folder)
    found = [stored.instance_id for stored in store.iter_submissions("segment_visit")]
    lost |= missing(folder, sorted(done))
    n_raw = sum(path.name[0] != "." for path in (folder / "raw").iterdir())
    n_photos = len(list(folder.glob("attachments/*/*.jpg")))
    return {
        "submissions": total,
        "phones": n_phones,
        "kills": kills,
        "orphans": orphans,
        "requests": sum(len(phone.statuses) for phone in phones),
        "acknowledged": len(done),
        "never_acknowledged": len(faults),
        "lost": len(lost),
        "doubled": (len(found) - len(set(found)))
        + (n_raw - total)
        + (n_photos - 2 * total)
        + sum(store.kept_for_review()),
    }


def missing(folder: Path, instances: list[str]) -> set[str]:
    """Submissions that are not in the store with every byte of them."""
    store = SubmissionStore(folder)
    stored = {each.submission.instance_id: each for each in store.iter_stored("segment_visit")}
    gone = set()
    for instance in instances:
        each = stored.get(instance)
        files = [
            path.read_bytes()
            for place in store.attachment_folders(instance)
            for path in place.glob("*.jpg")
        ]
        if (
            each is None
            or store.raw(each.raw_sha256) != visit(instance)
            or sorted(files) != sorted(photos(instance).values())
        ):
            gone.add(instance)
    return gone


def run_uploads(place: Path, *, n_clients: int, n_each: int, n_kills: int, seed: int) -> Any:
    """Upload tables while server and database die by turns; what became of them."""
    import shutil

    import httpx

    from api.db.cluster import PrivateCluster

    survey = (
        Path(shutil.copytree(ROOT / "sample_tiles" / "miniature", place / "m")) / "survey.toml"
    )
    cluster = PrivateCluster(place / "state")
    cluster.ensure_running()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def serve() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "api.cli", "serve", "--port", str(port)]
        environment = {**os.environ, "ADSURVEY_STATE_DIR": str(place / "state")}
        return subprocess.Popen(
            [*command, "--survey", str(survey)],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.DEVNULL,
        )

    done: dict[str, bytes] = {}
    tries = [0]
    end = time.monotonic() + 900.0

    def upload(number: int) -> None:
        with httpx.Client(timeout=20.0) as client:
            for count in range(n_each):
                name = f"{number}-{count}"
                rows = [f"uuid:{name}-{r},S-1,2026-02-03,T1,80,rai,{r},0" for r in range(5)]
                data = "\n".join([_HEADER, *rows]).encode()
                while time.monotonic() < end:
                    tries[0] += 1
                    try:
                        answer = client.post(
                            f"http://127.0.0.1:{port}/forms/submissions",
                            files={"file": (f"{name}.csv", data)},
                        )
                        if answer.status_code in (200, 201):
                            done[name] = data
                            break
                    except httpx.HTTPError:
                        pass
                    time.sleep(0.1)

    dice = random.Random(seed)  # noqa: S311
    total = n_clients * n_each
    kills = {"server": 0, "database": 0}
    server = serve()
    threads = [threading.Thread(target=upload, args=(n,), daemon=True) for n in range(n_clients)]
    for thread in threads:
        thread.start()
    try:
        for number in range(n_kills):
            enough = int(total * (number + dice.random()) / n_kills)
            while len(done) < enough and any(thread.is_alive() for thread in threads):
                time.sleep(0.005)
            time.sleep(dice.random() * 0.1)
            if not any(thread.is_alive() for thread in threads):
                break
            if number % 2:
                pid = int((cluster.folder / "data" / "postmaster.pid").read_text().split()[0])
                os.kill(pid, signal.SIGKILL)
                kills["database"] += 1
                while Path(f"/proc/{pid}").exists():
                    time.sleep(0.05)
                cluster.ensure_running()
            else:
                server.kill()
                server.wait()
                kills["server"] += 1
                server = serve()
        for thread in threads:
            thread.join()
    finally:
        server.terminate()
        server.wait()
        cluster.remove()
    store = SubmissionStore(read_round(survey).submissions_folder)
    found = [stored.instance_id for stored in store.iter_submissions("segment_visit")]
    wanted = {f"uuid:{name}-{row}" for name in done for row in range(5)}
    raw = {path.read_bytes() for path in (store.folder / "raw").iterdir() if path.name[0] != "."}
    return {
        "files": total,
        "kills": kills,
        "requests": tries[0],
        "acknowledged": len(done),
        "never_acknowledged": total - len(done),
        "lost": len(wanted - set(found)) + len(set(done.values()) - raw),
        "doubled": len(found) - len(set(found)) + sum(store.kept_for_review()),
    }


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--phones", type=int, default=8)
    arguments.add_argument("--each", type=int, default=250)
    arguments.add_argument("--kills", type=int, default=60)
    arguments.add_argument("--seed", type=int, default=20261126)
    arguments.add_argument("--database", action="store_true")
    options = arguments.parse_args()
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        if options.database:
            result = run_uploads(
                Path(place),
                n_clients=options.phones,
                n_each=options.each,
                n_kills=options.kills,
                seed=options.seed,
            )
            print(
                json.dumps({**result, "seconds": round(time.perf_counter() - begin, 1)}, indent=1)
            )
            sys.exit(bool(result["lost"] or result["doubled"] or result["never_acknowledged"]))
        result = run(
            Path(place) / "inbox",
            n_phones=options.phones,
            n_each=options.each,
            n_kills=options.kills,
            seed=options.seed,
        )
    print(json.dumps({**result, "seconds": round(time.perf_counter() - begin, 1)}, indent=1))
    sys.exit(bool(result["lost"] or result["doubled"] or result["never_acknowledged"]))
