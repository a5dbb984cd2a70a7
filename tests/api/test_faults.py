"""What nobody plans: a killed server, a full disk; what is on disk when a phone is answered."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from phones import Phone, multipart

from api.collect import create_collector, devices_of
from api.routes.receiving import Limits
from benchmarks import kills
from survey.forms import SubmissionStore

NOW = datetime(2026, 2, 4, tzinfo=UTC)


def test_kill_9_loses_and_doubles_nothing(inbox: Path) -> None:
    result = kills.run(inbox, n_phones=8, n_each=15, n_kills=6, seed=3)
    assert result["kills"] >= 3  # each way once
    assert (result["acknowledged"], result["orphans"]) == (120, 0)
    assert (result["lost"], result["doubled"], result["never_acknowledged"]) == (0, 0, 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("reserve", [0, 500_000])
def test_a_full_disk_refuses_and_keeps_what_is_there(
    small_disk: Path, published: Path, reserve: int
) -> None:
    inbox = Path(shutil.copytree(published, small_disk / "inbox"))
    device, secret = devices_of(inbox).add("Team 1", now=NOW)
    taken, answers = [], []
    app = create_collector(inbox, limits=Limits(reserve_bytes=reserve))
    with TestClient(app, headers={"Content-Type": "multipart/form-data; boundary=b"}) as client:
        client.auth = (device.device_id, secret)

        def post(instance: str) -> httpx.Response:
            body = multipart(kills.visit(instance), {"a.jpg": os.urandom(400_000)})
            kind = re.search(rb"--(\S+)\r\n", body)
            assert kind
            headers = {"Content-Type": f"multipart/form-data; boundary={kind[1].decode()}"}
            return client.post("/submission", content=body, headers=headers)

        for number in range(14):
            answers.append(post(f"uuid:{number}").status_code)
            if answers[-1] == 201:
                taken.append(f"uuid:{number}")
        assert answers[-1] == 507
        assert set(answers) == {201, 507}
        assert len(taken) >= 5
        store = SubmissionStore(inbox)
        stored = [each.instance_id for each in store.submissions("segment_visit")]
        assert stored == sorted(taken)
        assert list((inbox / "incoming").iterdir()) == []
        leftovers = [path for path in inbox.rglob(".*") if path.is_file()]
        assert leftovers == []
        assert len(list(inbox.glob("attachments/*/*.jpg"))) == len(taken)
        # Room again: the phone comes back and everything is taken.
        shutil.rmtree(store.attachment_folders(taken[0])[0])
        assert post("uuid:99").status_code == 201


def test_a_disk_that_fails_is_answered_503(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device, secret = devices_of(inbox).add("Team 1", now=NOW)

    def fail(handle: int) -> None:
        raise OSError(errno.EIO, "the disk does not answer")

    with TestClient(create_collector(inbox)) as client:
        client.auth = (device.device_id, secret)
        files = {"xml_submission_file": ("s.xml", kills.visit("uuid:1"), "text/xml")}
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            assert client.post("/submission", files=files).status_code == 503
        assert SubmissionStore(inbox).submissions("segment_visit") == []
        assert client.post("/submission", files=files).status_code == 201


@pytest.mark.skipif(shutil.which("strace") is None, reason="make test installs strace")
def test_everything_is_flushed_before_the_answer(inbox: Path, tmp_path: Path) -> None:
    """The system calls of the real server: files, names and record, then the answer."""
    trace = tmp_path / "trace"
    device, secret = devices_of(inbox).add("Team 1", now=NOW)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    calls = "trace=fsync,fdatasync,linkat,link,sendto,write,openat,mkdir"
    command = ["strace", "-f", "-y", "-e", calls, "-s", "60", "-o", str(trace), sys.executable,
               "-c", kills.SERVER, str(inbox), str(port)]  # fmt: skip
    server = subprocess.Popen(
        command, cwd=kills.ROOT, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        with Phone(f"http://127.0.0.1:{port}", device.device_id, secret) as phone:
            phone.send_until_acknowledged(kills.visit("uuid:1"), {"a.jpg": b"a photo"})
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
    lines = _in_order_of_completion(trace.read_text())
    (answered,) = (n for n, line in enumerate(lines) if "HTTP/1.1 201" in line)
    before = [line for line in lines[:answered] if str(inbox) in line]
    linked: dict[str, int] = {}
    for number, line in enumerate(before):
        found = re.match(r'link(?:at)?\(.*?"([^"]+)".*"([^"]+)"', line)
        if found:
            source, name = found.groups()
            flushed = [n for n, each in enumerate(before[:number])
                       if re.match(rf"f(data)?sync\(\d+<{re.escape(source)}>", each)]  # fmt: skip
            assert flushed, f"{name} got its name before its bytes were on disk"
            linked[name] = number
    kinds = {str(Path(name).relative_to(inbox)).split("/")[0] for name in linked}
    assert {"raw", "submissions", "attachments"} <= kinds
    for name, number in linked.items():
        folder = re.escape(str(Path(name).parent))
        flushes = [each for each in before[number:] if re.match(rf"fsync\(\d+<{folder}>", each)]
        assert flushes, f"the name {name} was not on disk when the phone was answered"
    # Folders that were made for it have their names on disk, too.
    made = re.findall(r'mkdir\("([^"]+)"', "\n".join(before))
    for folder in made:
        above = re.escape(str(Path(folder).parent))
        assert any(re.match(rf"fsync\(\d+<{above}>", line) for line in before), folder
    print("\n".join(f"{n}: {line}" for n, line in enumerate([*before, lines[answered]])))


def _in_order_of_completion(trace: str) -> list[str]:
    """Calls of a trace where each ended: a flush counts when it returns, not when it begins."""
    begun: dict[str, str] = {}
    lines = []
    for line in trace.splitlines():
        process, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[process] = call.removesuffix("<unfinished ...>")
        elif call.startswith("<..."):
            lines.append(begun.pop(process, "") + call)
        else:
            lines.append(call)
    return lines
