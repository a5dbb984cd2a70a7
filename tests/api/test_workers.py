"""Several receiving processes behave as one: shares, TLS, stopping, an address in use."""

from __future__ import annotations

import base64
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from certificates import write_certificate
from phones import BOUNDARY, Phone, multipart

from api.collect import devices_of
from api.routes.shares import Shares
from benchmarks.kills import ROOT, children, is_running, visit
from survey.forms import SubmissionStore

NOW = datetime(2026, 2, 4, tzinfo=UTC)
SERVER = (
    "import sys; from pathlib import Path; from api.collect import *;"
    "from api.routes.receiving import Limits;"
    "listener = bind_listener('127.0.0.1', int(sys.argv[2]));"
    "run_collector(Path(sys.argv[1]), listener, workers=2, {more})"
)


def command(inbox: Path, port: int, more: str = "") -> list[str]:
    return [sys.executable, "-c", SERVER.replace("{more}", more), str(inbox), str(port)]


@contextmanager
def serving(inbox: Path, more: str = "") -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        command(inbox, port, more), cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        until(lambda: answers(port), "the server does not answer")
        yield server, port
    finally:
        with server:
            server.terminate()
            server.wait(timeout=30)


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
            line.sendall(b"GET / HTTP/1.0\r\n\r\n")
            line.recv(100)  # nothing at all where TLS is spoken
    except ConnectionResetError:
        return True
    except OSError:  # nobody listens, or nobody answers yet
        return False
    return True


def until(is_so, complaint: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, complaint
        time.sleep(0.02)


def test_what_a_phone_sends_to_any_process_counts(inbox: Path) -> None:
    device, secret = devices_of(inbox).add("Team 1", now=NOW)
    statuses = []
    for _ in range(2):  # what was sent before a restart counts, too
        with serving(inbox, "limits=Limits(phone_bytes=105_000)") as (server, port):
            until(lambda pid=server.pid: len(children(pid)) == 2, "two processes")
            for number in range(12):  # each over a new line, to whichever process takes it
                with Phone(f"http://127.0.0.1:{port}", device.device_id, secret) as phone:
                    phone.chunked = False
                    xml = visit(f"uuid:{len(statuses)}-{number}")
                    statuses.append(phone.send(xml, {"a.jpg": os.urandom(12_000)}).status_code)
    assert statuses == [201] * 8 + [507] * 16
    assert SubmissionStore(inbox).n_submissions("segment_visit") == 8


def test_counts_of_several_processes_are_one_sum() -> None:
    shares = Shares()
    shares.add({"phone a": 5, "": 7})
    adders = []
    for _ in range(4):
        if (pid := os.fork()) == 0:
            for _ in range(500):
                shares.add({"phone a": 1, "phone b": 2})
            os._exit(0)
        adders.append(pid)
    for pid in adders:
        os.waitpid(pid, 0)
    assert shares.sent("phone a") == (2005, 6012)
    assert shares.sent("phone b") == (4000, 6012)
    assert shares.sent("phone c") == (0, 6012)


def test_a_stop_finishes_what_is_in_hand_and_leaves_nothing(inbox: Path) -> None:
    device, secret = devices_of(inbox).add("Team 1", now=NOW)
    basic = base64.b64encode(f"{device.device_id}:{secret}".encode()).decode()
    body = multipart(visit("uuid:1"), {"a.jpg": b"x" * 50_000})
    head = (
        f"POST /submission HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {basic}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    with serving(inbox) as (server, port):
        below = children(server.pid)
        with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
            line.sendall(head + body[:20_000])
            until(lambda: any(inbox.glob("incoming/*")), "it is not being received")
            server.terminate()
            until(lambda: not answers(port), "it still takes new lines")
            line.sendall(body[20_000:])
            assert b" 201 " in line.recv(65536)
        assert server.wait(timeout=30) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in below)
    assert SubmissionStore(inbox).n_submissions("segment_visit") == 1


def test_the_one_at_an_address_is_not_disturbed_by_another(inbox: Path) -> None:
    with serving(inbox) as (_, port):
        half = inbox / "incoming" / "half"
        half.parent.mkdir(exist_ok=True)
        half.write_bytes(b"a photo on its way")
        second = subprocess.run(
            command(inbox, port), cwd=ROOT, capture_output=True, timeout=60, check=False
        )
        assert second.returncode != 0
        assert b"already in use; end the program that has it" in second.stderr
        assert half.exists()


def test_a_process_that_dies_is_replaced(inbox: Path) -> None:
    device, secret = devices_of(inbox).add("Team 1", now=NOW)
    with serving(inbox) as (server, port):
        until(lambda: len(children(server.pid)) == 2, "two processes")
        before = set(children(server.pid))
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(set(children(server.pid)) - before) == 2, "they are not replaced")
        with Phone(f"http://127.0.0.1:{port}", device.device_id, secret) as phone:
            assert phone.send_until_acknowledged(visit("uuid:1")).status_code == 201


def test_if_the_first_process_is_killed_none_waits_for_another(inbox: Path) -> None:
    with serving(inbox) as (server, port):
        until(lambda: len(children(server.pid)) == 2, "two processes")
        first, last = sorted(children(server.pid))
        os.kill(last, signal.SIGSTOP)  # as one that is busy for long
        try:
            server.kill()
            until(lambda: not is_running(first), "it goes on")
        finally:
            os.kill(last, signal.SIGCONT)
        until(lambda: not is_running(last), "the other goes on")
        assert not answers(port)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    chain, private = tmp_path / "chain.pem", tmp_path / "key.pem"
    write_certificate(chain, private)
    return chain, private


def test_phones_come_over_tls_to_every_process(
    inbox: Path, certificate: tuple[Path, Path]
) -> None:
    sets = [devices_of(inbox).add(f"Team {n}", now=NOW) for n in range(6)]
    chain, key = certificate
    more = f"tls_certificate=Path({str(chain)!r}), tls_key=Path({str(key)!r})"
    trust = ssl.create_default_context(cafile=chain)
    statuses: list[int] = []

    def deliver(number: int, port: int) -> None:
        device, secret = sets[number]
        client = httpx.Client(timeout=30.0, verify=trust)
        url = f"https://localhost:{port}"
        with Phone(url, device.device_id, secret, client=client) as phone:
            for count in range(4):
                answer = phone.send(visit(f"uuid:{number}-{count}"), {"a.jpg": os.urandom(9_000)})
                statuses.append(answer.status_code)

    with serving(inbox, more) as (server, port):
        threads = [threading.Thread(target=deliver, args=(n, port)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(children(server.pid)) == 2
    assert statuses == [201] * 24
    assert SubmissionStore(inbox).n_submissions("segment_visit") == 24


def test_a_certificate_that_is_none_ends_it_at_once(inbox: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    more = f"tls_certificate=Path({str(wrong)!r}), tls_key=Path({str(wrong)!r})"
    ended = subprocess.run(
        command(inbox, 0, more),
        cwd=ROOT, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode != 0
    assert b"PEM" in ended.stderr
