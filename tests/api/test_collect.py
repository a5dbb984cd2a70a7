"""What phones meet: forms, submissions, and a closed door for everyone else."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from defusedxml.ElementTree import fromstring
from fastapi.testclient import TestClient

from api.collect import create_collector, devices_of, refuse_plain_bind
from api.errors import BindRefusedError
from api.routes import openrosa
from survey.forms import SubmissionStore, collect_settings, form_ids
from survey.forms.questionnaires import VERSIONS

NOW = datetime(2026, 2, 4, tzinfo=UTC)
NS = "{http://openrosa.org/xforms/xformsList}"


def visit(number: int, poppy: str = "1.3") -> bytes:
    return (
        '<data id="segment_visit" version="2026011501"><segment_id>S-1</segment_id>'
        "<visit_date>2026-02-03</visit_date><observer_code>T1</observer_code>"
        "<observed_percent>80</observed_percent><area_unit>rai</area_unit>"
        f"<poppy_area>{poppy}</poppy_area><cannabis_area>0</cannabis_area>"
        f"<meta><instanceID>uuid:{number}</instanceID></meta></data>"
    ).encode()


def parts(xml: bytes, **files: bytes) -> dict[str, tuple[str, bytes, str]]:
    return {
        "xml_submission_file": ("submission.xml", xml, "text/xml"),
        **{name: (f"{name}.jpg", data, "image/jpeg") for name, data in files.items()},
    }


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    return tmp_path / "inbox"


@pytest.fixture
def client(inbox: Path) -> Iterator[TestClient]:
    device, secret = devices_of(inbox).add("Team 1", now=NOW)
    with TestClient(create_collector(inbox)) as client:
        client.auth = (device.device_id, secret)
        client.app_state["phone"] = (device.device_id, secret)
        yield client


def test_forms_are_listed_with_the_digest_of_what_is_served(client: TestClient) -> None:
    answer = client.get("/formList")
    assert answer.status_code == 200
    assert answer.headers["x-openrosa-version"] == "1.0"
    rows = fromstring(answer.text).findall(f"{NS}xform")
    assert {row.findtext(f"{NS}formID") for row in rows} == set(form_ids())
    for row in rows:
        url = row.findtext(f"{NS}downloadUrl")
        assert url
        form = client.get(url)
        digest = hashlib.md5(form.content, usedforsecurity=False).hexdigest()
        assert row.findtext(f"{NS}hash") == f"md5:{digest}"
        assert row.findtext(f"{NS}version") == max(VERSIONS[row.findtext(f"{NS}formID")])
    assert client.get("/forms/nothing.xml").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/formList"),
        ("GET", "/forms/segment_visit.xml"),
        ("HEAD", "/submission"),
        ("POST", "/submission"),
    ],
)
def test_without_its_secret_nothing_is_answered(
    client: TestClient, inbox: Path, method: str, path: str
) -> None:
    name, secret = client.app_state["phone"]
    revoked, other = devices_of(inbox).add("lost", now=NOW)
    devices_of(inbox).revoke(revoked.device_id, now=NOW)
    wrong = [
        None, (name, ""), (name, secret + "x"), ("", secret), ("../x", secret),
        (revoked.device_id, other), (revoked.device_id, secret),
    ]  # fmt: skip
    for pair in wrong:
        client.auth = pair
        answer = client.request(method, path, files=parts(visit(1)) if method == "POST" else None)
        assert answer.status_code == 401, pair
        assert answer.headers["www-authenticate"].startswith("Basic realm=")
        assert answer.headers["x-openrosa-version"] == "1.0"
    for header in ("Basic", "Basic ***", "Bearer x", "Digest username=x"):
        assert client.get("/formList", headers={"Authorization": header}).status_code == 401
    assert SubmissionStore(inbox).submissions("segment_visit") == []


def test_nothing_else_is_there(client: TestClient) -> None:
    for path in ("/", "/docs", "/openapi.json", "/forms", "/healthz", "/layers", "/ogc/",
                 "/submissions", "/forms/../devices", "/devices"):  # fmt: skip
        assert client.get(path).status_code in (404, 405)


def test_a_submission_is_taken_once_with_its_files(client: TestClient, inbox: Path) -> None:
    head = client.head("/submission")
    assert head.status_code == 204
    assert int(head.headers["x-openrosa-accept-content-length"]) == openrosa.MAX_BYTES
    photo = os.urandom(5000)
    first = client.post("/submission", files=parts(visit(1), photo=photo))
    assert first.status_code == 201
    assert "submit_success" in first.text
    # A phone splits a large submission: the same XML with other files.
    second = client.post("/submission", files=parts(visit(1), other=b"x"))
    assert second.status_code == 202
    assert client.post("/submission", files=parts(visit(1), photo=photo)).status_code == 202
    (stored,) = SubmissionStore(inbox).submissions("segment_visit")
    assert stored.instance_id == "uuid:1"
    files = sorted((inbox / "attachments").rglob("*.jpg"))
    assert sorted(file.read_bytes() for file in files) == sorted([photo, b"x"])
    assert len({file.parent for file in files}) == 1
    assert all(path.stat().st_mode & 0o077 == 0 for path in inbox.rglob("*"))


def test_two_phones_with_one_identifier_are_both_kept(client: TestClient, inbox: Path) -> None:
    assert client.post("/submission", files=parts(visit(1))).status_code == 201
    other = client.post("/submission", files=parts(visit(1, poppy="9")))
    assert other.status_code == 202
    assert "other answers" in other.text
    assert len(list((inbox / "conflicts").iterdir())) == 1


def test_what_a_phone_cannot_mend_is_kept_and_acknowledged(
    client: TestClient, inbox: Path
) -> None:
    wrong = client.post("/submission", files=parts(visit(2, poppy="-4")))
    assert wrong.status_code == 201
    assert "review" in wrong.text
    assert SubmissionStore(inbox).submissions("segment_visit") == []
    assert any(file.read_bytes() == visit(2, poppy="-4") for file in (inbox / "raw").iterdir())
    assert len(list((inbox / "refused").iterdir())) == 1


def test_hostile_requests_are_refused(client: TestClient, inbox: Path) -> None:
    bomb = b'<!DOCTYPE d [<!ENTITY a "aaaa">]><data id="segment_visit">&a;</data>'
    assert client.post("/submission", files=parts(bomb)).status_code == 400
    assert client.post("/submission", content=b"x").status_code == 400
    assert client.post("/submission", files={"a": ("a", b"x")}).status_code == 400
    files = {
        "xml_submission_file": ("s.xml", visit(3), "text/xml"),
        "photo": ("../../../etc/cron.d/x", b"boo", "image/jpeg"),
    }
    assert client.post("/submission", files=files).status_code == 201
    (kept,) = (path for path in inbox.rglob("*") if path.is_file() and path.read_bytes() == b"boo")
    assert kept.parent == SubmissionStore(inbox).attachment_folders("uuid:3")[0]
    many = [("f", (f"{i}.jpg", b"x", "image/jpeg")) for i in range(100)]
    assert client.post("/submission", files=many).status_code == 400


def test_a_body_beyond_the_limit_is_cut_off(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openrosa, "MAX_BYTES", 10_000)
    assert client.post("/submission", files=parts(visit(1), p=b"x" * 20_000)).status_code == 413

    def chunks() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
        for _ in range(50):
            yield b"x" * 1000

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert client.post("/submission", content=chunks(), headers=headers).status_code == 413


def test_beyond_loopback_only_with_tls() -> None:
    for host in ("0.0.0.0", "192.168.1.4", "::", "example.org"):  # noqa: S104
        with pytest.raises(BindRefusedError, match="without TLS"):
            refuse_plain_bind(host, has_tls=False)
        refuse_plain_bind(host, has_tls=True)
    refuse_plain_bind("127.0.0.1", has_tls=False)


def test_the_code_sets_a_phone_up() -> None:
    text = collect_settings(
        url="https://x.example/",
        device_id="ab",
        secret="s",  # noqa: S106
        title="T",
        admin_password="p",  # noqa: S106
    )
    settings = json.loads(zlib.decompress(base64.b64decode(text)))
    assert settings["general"]["server_url"] == "https://x.example"
    assert settings["general"]["delete_send"] is True
    assert settings["admin"]["change_server"] is False


def test_kill_9_loses_nothing_that_was_acknowledged(inbox: Path, tmp_path: Path) -> None:
    """Four phones send with retries while the server is killed again and again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    registry = devices_of(inbox)
    phones = [registry.add(f"Team {i}", now=NOW) for i in range(4)]
    code = (
        "import sys, uvicorn; from pathlib import Path; from api.collect import create_collector;"
        f"uvicorn.run(create_collector(Path({str(inbox)!r})), port={port}, log_level='error')"
    )
    address = f"http://127.0.0.1:{port}/submission"
    root = Path(__file__).resolve().parents[2]
    acknowledged: dict[int, int] = {}
    end = time.monotonic() + 240.0

    def send(phone: int) -> None:
        device, secret = phones[phone]
        for number in range(phone * 100, phone * 100 + 12):
            while number not in acknowledged and time.monotonic() < end:
                try:
                    answer = httpx.post(
                        address,
                        files=parts(visit(number), photo=str(number).encode() * 500),
                        auth=(device.device_id, secret),
                        timeout=5,
                    )
                    if answer.status_code in (201, 202):
                        acknowledged[number] = answer.status_code
                except httpx.HTTPError:
                    time.sleep(0.05)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", code], cwd=root)

    server = start()
    senders = [threading.Thread(target=send, args=(phone,)) for phone in range(4)]
    for sender in senders:
        sender.start()
    dice = random.Random(3)  # noqa: S311
    for _ in range(3):
        before = len(acknowledged)
        enough = min(before + dice.randint(3, 9), 48)
        while len(acknowledged) < enough and time.monotonic() < end:
            time.sleep(0.01)
        server.send_signal(signal.SIGKILL)
        server.wait()
        server = start()
    for sender in senders:
        sender.join(timeout=240)
    server.terminate()
    server.wait()
    assert len(acknowledged) == 48
    stored = SubmissionStore(inbox).submissions("segment_visit")
    assert sorted(s.instance_id for s in stored) == sorted(f"uuid:{n}" for n in acknowledged)
    assert {file.read_bytes() for file in (inbox / "attachments").rglob("*.jpg")} == {
        str(number).encode() * 500 for number in acknowledged
    }
    raw = {file.read_bytes() for file in (inbox / "raw").iterdir() if file.name[0] != "."}
    assert raw == {visit(number) for number in acknowledged}
    assert not (inbox / "conflicts").exists()
