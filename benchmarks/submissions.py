"""Durable submissions a second: 8 phones through HTTP against bare INSERTs of the same bytes.

Both run in turns in one process, on the same disk: phones with kept connections, HTTP Basic and a
multipart POST each, to a collecting server of two processes; and eight connections that
commit one INSERT each (synchronous_commit=on, fsync=on) to the private PostgreSQL. Prints both
rates and their ratio for several sizes of photos. Run: python benchmarks/submissions.py
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import psycopg  # noqa: E402
from phones import BOUNDARY, multipart  # noqa: E402

from api.collect import devices_of  # noqa: E402
from api.db.cluster import PrivateCluster  # noqa: E402
from benchmarks.kills import NOW, children, start, visit  # noqa: E402
from survey.forms import PublishedForms, SubmissionStore  # noqa: E402

CLIENTS = 8


def together(work: Callable[[int], None]) -> float:
    """Seconds in which all clients did their work."""
    faults: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=guarded, args=(n,)) for n in range(CLIENTS)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return time.perf_counter() - begin


def bodies(run: str, n_each: int, n_bytes: int) -> list[list[tuple[bytes, bytes]]]:
    """XML and photo of each submission of each client."""
    return [
        [(visit(f"uuid:{run}-{n}-{count}"), os.urandom(n_bytes)) for count in range(n_each)]
        for n in range(CLIENTS)
    ]


def through_http(port: int, secrets: list[str], sent: list[list[tuple[bytes, bytes]]]) -> float:
    requests = [
        [
            _request(secrets[n], multipart(xml, {"photo.jpg": photo} if photo else None))
            for xml, photo in sent[n]
        ]
        for n in range(CLIENTS)
    ]

    def work(number: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for request in requests[number]:
                line.sendall(request)
                answer = b""
                while b"</OpenRosaResponse>" not in answer:
                    answer += line.recv(65536)
                if not answer.startswith(b"HTTP/1.1 201"):
                    raise RuntimeError(answer.decode())

    return together(work)


def _request(secret: str, body: bytes) -> bytes:
    head = (
        "POST /submission?deviceID=abc HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Basic {secret}\r\nX-OpenRosa-Version: 1.0\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def bare_inserts(url: str, sent: list[list[tuple[bytes, bytes]]]) -> float:
    lines = [psycopg.connect(url, autocommit=True) for _ in range(CLIENTS)]
    lines[0].execute("DROP TABLE IF EXISTS bare_submissions")
    lines[0].execute(
        "CREATE TABLE bare_submissions (key text PRIMARY KEY, xml bytea, photo bytea)"
    )
    for name in ("fsync", "synchronous_commit"):
        if lines[0].execute(f"SHOW {name}").fetchone() != ("on",):
            raise RuntimeError(f"{name} is off")

    def work(number: int) -> None:
        for count, (xml, photo) in enumerate(sent[number]):
            lines[number].execute(
                "INSERT INTO bare_submissions VALUES (%s, %s, %s)",
                (f"{number}-{count}", xml, photo),
            )

    try:
        return together(work)
    finally:
        lines[0].execute("DROP TABLE bare_submissions")
        for line in lines:
            line.close()


def measure(n_each: int, n_bytes: int, repeats: int, place: Path) -> dict[str, Any]:
    folder = place / f"inbox-{n_bytes}"
    PublishedForms(folder).publish_own(now=NOW)
    registry = devices_of(folder)
    secrets = []
    for number in range(CLIENTS):
        device, secret = registry.add(f"Team {number}", now=datetime.now(UTC))
        secrets.append(base64.b64encode(f"{device.device_id}:{secret}".encode()).decode())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = PrivateCluster(ROOT / ".adsurvey").ensure_running().replace("+psycopg", "")
    server = start(folder, port)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        through_http(port, secrets, bodies("warm", 20, n_bytes))
        before = _cpu_seconds(server.pid)
        rates: list[tuple[float, float]] = []
        for repeat in range(repeats):
            sent = bodies(str(repeat), n_each, n_bytes)
            total = n_each * CLIENTS
            rates.append(
                (total / through_http(port, secrets, sent), total / bare_inserts(url, sent))
            )
        spent = _cpu_seconds(server.pid) - before
    finally:
        server.terminate()
        server.wait()
    stored = SubmissionStore(folder).n_submissions("segment_visit")
    if stored != CLIENTS * (20 + n_each * repeats):
        raise RuntimeError(f"{stored} submissions are stored")
    ours, peer = zip(*rates, strict=True)
    return {
        "photo_bytes": n_bytes,
        "submissions_a_second": round(statistics.median(ours), 1),
        "inserts_a_second": round(statistics.median(peer), 1),
        "cpu_ms_each": round(1000.0 * spent / (n_each * CLIENTS * repeats), 3),
        "ratio": round(statistics.median(a / b for a, b in rates), 3),
        "ratios": [round(a / b, 3) for a, b in rates],
    }


def _cpu_seconds(server: int) -> float:
    """Processor time that the processes of a server have used, in them and for them."""
    ticks = 0
    for process in (server, *children(server)):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--each", type=int, default=100, help="submissions of each client")
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--photo-kb", type=int, nargs="*", default=[0, 200, 2000])
    arguments.add_argument(
        "--place",
        type=Path,
        default=ROOT / ".cache",  # the temporary folder may lie in memory
        help="folder for the store; where many files were deleted in the last five minutes, ext4 "
        "takes ten times as long to make one",
    )
    options = arguments.parse_args()
    scratches = options.place
    scratches.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratches) as scratch:
        for kilobytes in options.photo_kb:
            n = options.each if kilobytes < 1000 else max(options.each // 10, 1)
            row = measure(n, kilobytes * 1000, options.repeats, Path(scratch))
            print(json.dumps(row), flush=True)
