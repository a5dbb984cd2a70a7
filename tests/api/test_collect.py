"""What phones meet: forms, submissions, and a closed door for everyone else."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import socket
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from defusedxml.ElementTree import fromstring
from fastapi.testclient import TestClient
from phones import BOUNDARY, Phone, collecting, multipart, seal

from api.collect import create_collector, devices_of, refuse_plain_bind
from api.errors import BindRefusedError
from api.routes.openrosa import OpenRosa
from api.routes.phones import PhoneGate
from api.routes.receiving import Limits
from survey.errors import ConfigError
from survey.forms import (
    Delivery,
    PublishedForms,
    SubmissionStore,
    collect_settings,
    decrypt_store,
    form_ids,
    make_keys,
    open_private_key,
    take_over,
)
from survey.forms.questionnaires import VERSIONS
from survey.privacy import withdraw

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
    assert int(head.headers["x-openrosa-accept-content-length"]) == Limits().request_bytes
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
    assert other.status_code == 409
    assert "other answers" in other.text
    # The phone has shown it, and comes again: it may stop, for all of it is here.
    again = client.post("/submission", files=parts(visit(1, poppy="9")))
    assert again.status_code == 202
    assert "the coordinator decides" in again.text
    assert client.post("/submission", files=parts(visit(1, poppy="8"))).status_code == 409
    assert client.post("/submission", files=parts(visit(1))).status_code == 202
    assert len(list((inbox / "conflicts").iterdir())) == 2


def test_a_phone_with_other_answers_gets_rid_of_all_its_photos(inbox: Path) -> None:
    """As Collect does: it stops at the first error, keeps its copy, and autosend comes again."""
    registry = devices_of(inbox)
    first, second = (registry.add(f"Team {n}", now=NOW) for n in (1, 2))
    photos = {f"{n}.jpg": os.urandom(3000) for n in range(3)}
    with collecting(inbox) as url:
        with Phone(url, first[0].device_id, first[1]) as phone:
            assert phone.send(visit(1), {"mine.jpg": b"mine"}).status_code == 201
        with Phone(url, second[0].device_id, second[1], per_request=1) as phone:
            refused = phone.send(visit(1, poppy="9"), photos)
            assert (phone.statuses, "tell the coordinator" in refused.text) == ([204, 409], True)
            assert phone.send(visit(1, poppy="9"), photos).status_code == 202
            assert phone.statuses == [204, 409, 204, 202, 202, 202]
    mine, theirs = SubmissionStore(inbox).attachment_folders("uuid:1")
    assert [path.read_bytes() for path in mine.glob("*.jpg")] == [b"mine"]
    assert {path.name[17:]: path.read_bytes() for path in theirs.glob("*.jpg")} == photos


def test_what_was_withdrawn_is_acknowledged_and_not_kept(client: TestClient, inbox: Path) -> None:
    photo = b"a picture of somebody"
    assert client.post("/submission", files=parts(visit(1), photo=photo)).status_code == 201
    store, out = SubmissionStore(inbox), inbox.parent / "out"
    withdraw(store, "uuid:1", output_folder=out, now=NOW, by="t")
    before = {path: path.stat().st_mtime_ns for path in inbox.rglob("*") if path.is_file()}
    for files in (
        parts(visit(1), photo=photo),  # the phone did not hear the answer
        parts(visit(1, poppy="9")),  # and in other words
        {**parts(visit(1), photo=photo), "*isIncomplete*": (None, "yes")},
    ):
        again = client.post("/submission", files=files)
        assert again.status_code == 202
        assert "uuid:1" not in again.text
    assert store.submissions("segment_visit") == []
    kept = {path: path.stat().st_mtime_ns for path in inbox.rglob("*") if path.is_file()}
    assert kept == before
    assert not any(photo in path.read_bytes() for path in kept)


def test_what_a_phone_cannot_mend_is_kept_and_acknowledged(
    client: TestClient, inbox: Path
) -> None:
    wrong = client.post("/submission", files=parts(visit(2, poppy="-4")))
    assert wrong.status_code == 201
    assert "review" in wrong.text
    assert SubmissionStore(inbox).submissions("segment_visit") == []
    assert any(file.read_bytes() == visit(2, poppy="-4") for file in (inbox / "raw").iterdir())
    assert len(list((inbox / "refused").iterdir())) == 1


def test_files_of_what_is_refused_join_no_submission(client: TestClient, inbox: Path) -> None:
    wrong = parts(visit(1, poppy="-9"), photo=b"of the refused one")
    assert client.post("/submission", files=wrong).status_code == 201
    assert client.post("/submission", files=parts(visit(1), photo=b"its own")).status_code == 201
    (folder,) = SubmissionStore(inbox).attachment_folders("uuid:1")
    assert [path.read_bytes() for path in folder.glob("*.jpg")] == [b"its own"]
    (refused,) = inbox.glob("refused/*.json")
    (apart,) = inbox.glob(f"attachments/{refused.stem[:40]}/*.jpg")
    assert apart.read_bytes() == b"of the refused one"


def test_an_adapted_form_goes_to_phones_and_what_they_fill_is_kept(
    client: TestClient, inbox: Path
) -> None:
    own = next(f for f in PublishedForms(inbox).all() if f.form_id == "segment_visit")
    xml = own.path.read_text().replace('id="segment_visit"', 'id="hill_visit"')
    PublishedForms(inbox).publish(xml, now=NOW)
    assert "hill_visit" in client.get("/formList").text
    sent = client.post(
        "/submission", files=parts(visit(7).replace(b"segment_visit", b"hill_visit"), a=b"photo")
    )
    assert (sent.status_code, "review" in sent.text) == (201, False)
    store = SubmissionStore(inbox)
    assert store.kept_for_review() == (0, 0)
    done = take_over(store, "hill_visit", 'form_id = "segment_visit"')
    assert (done.n_taken, done.problems) == (1, ())
    assert store.submissions("segment_visit")[0].answers["poppy_area"] == "1.3"
    (folder,) = store.attachment_folders("uuid:7")
    assert [path.read_bytes() for path in folder.iterdir() if path.is_file()] == [b"photo"]


def test_what_arrives_as_the_last_writer_ends_is_written(inbox: Path) -> None:
    async def one_after_the_other(openrosa: OpenRosa) -> list[int]:
        taken = []
        for number in range(20):
            xml = visit(number)
            delivery = Delivery(name="f", data=xml, received_at=NOW, sender="phone a")
            async with asyncio.timeout(30):
                taken.append((await openrosa._store_together(delivery)).n_new)
        return taken

    openrosa = OpenRosa(
        SubmissionStore(inbox),
        PublishedForms(inbox),
        PhoneGate(devices_of(inbox), plain_lan=False),
        limits=Limits(),
        plain_lan=False,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.routes.openrosa._MAX_WRITERS", 1)
        assert asyncio.run(one_after_the_other(openrosa)) == [1] * 20


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


def test_a_body_beyond_the_limit_is_cut_off(inbox: Path) -> None:
    device, secret = devices_of(inbox).add("Team 1", now=NOW)
    app = create_collector(inbox, limits=Limits(request_bytes=10_000))

    def chunks() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
        for _ in range(50):
            yield b"x" * 1000

    with TestClient(app) as client:
        client.auth = (device.device_id, secret)
        large = parts(visit(1), p=b"x" * 20_000)
        assert client.post("/submission", files=large).status_code == 413
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        assert client.post("/submission", content=chunks(), headers=headers).status_code == 413
    assert list((inbox / "incoming").glob("*")) == []
    assert not (inbox / "submissions").exists()


def test_every_version_stays_for_the_phones_that_hold_it(client: TestClient, inbox: Path) -> None:
    forms = PublishedForms(inbox)
    old = next(form for form in forms.all() if form.form_id == "segment_visit")
    xml = old.path.read_text().replace(old.version, "2027010101")
    new = forms.publish(xml, now=NOW, media={"segments.csv": b"name\nS-1\n"})
    assert forms.publish(xml, now=NOW, media={"segments.csv": b"name\nS-1\n"}) == new
    with pytest.raises(ConfigError, match="give it a new version"):
        forms.publish(xml + " ", now=NOW)

    def versions(query: str) -> list[str | None]:
        rows = fromstring(client.get(f"/formList?{query}").text).findall(f"{NS}xform")
        return [row.findtext(f"{NS}version") for row in rows]

    assert versions("formID=segment_visit") == ["2027010101"]
    assert versions("formID=segment_visit&listAllVersions=true") == [old.version, "2027010101"]
    assert len(versions("")) == len(form_ids())
    assert versions("formID=other") == []
    assert "descriptionText" in client.get("/formList?verbose=true").text
    (row,) = fromstring(client.get("/formList?formID=segment_visit").text)
    manifest = fromstring(client.get(row.findtext(f"{NS}manifestUrl") or "").text)
    (file,) = manifest
    space = "{http://openrosa.org/xforms/xformsManifest}"
    assert file.findtext(f"{space}filename") == "segments.csv"
    content = client.get(file.findtext(f"{space}downloadUrl") or "").content
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert file.findtext(f"{space}hash") == f"md5:{digest}"
    assert client.get(f"/forms/segment_visit/{old.number}.xml").text == old.path.read_text()
    for wrong in ("/forms/segment_visit/9.xml", "/forms/segment_visit/2/media/x",
                  "/forms/segment_visit/2/media/..%2fform.json"):  # fmt: skip
        assert client.get(wrong).status_code == 404
    # A phone that still holds the old form, and one whose form nobody here knows.
    assert client.post("/submission", files=parts(visit(1))).status_code == 201
    unknown = visit(2).replace(b"2026011501", b"2031010101")
    assert client.post("/submission", files=parts(unknown)).status_code == 201
    remarks = {
        s.submission.instance_id: s.remarks for s in SubmissionStore(inbox).stored("segment_visit")
    }
    assert remarks == {"uuid:1": (), "uuid:2": ("form_version is not a known version",)}


def test_unreadable_submissions_leave_nothing(client: TestClient, inbox: Path) -> None:
    for xml in (b"<broken", b"\x00", b"<a/>" * 2, b'<data id="x" encrypted="yes"/>'):
        answer = client.post("/submission", files=parts(xml, photo=b"a photo"))
        assert answer.status_code == 400
        assert "submit_error" in answer.text
    assert {path.name for path in inbox.iterdir()} == {"devices", "forms", "incoming", "lock"} - (
        {"lock"} if not (inbox / "lock").exists() else set()
    )
    assert list((inbox / "incoming").iterdir()) == []


@pytest.mark.parametrize(
    "content_type",
    ["", "text/xml", "application/json", "multipart/form-data", "multipart/mixed; boundary=b",
     "multipart/form-data; boundary=" + "b" * 5000, "multipart/form-data; boundary=\xff"],
)  # fmt: skip
def test_wrong_content_types_are_refused(
    client: TestClient, inbox: Path, content_type: str
) -> None:
    headers = {"Content-Type": content_type.encode("latin-1")}
    answer = client.post("/submission", content=visit(1), headers=headers)
    assert answer.status_code == 400
    assert not (inbox / "submissions").exists()


def test_a_body_in_chunks_does_not_pass_by_the_share(inbox: Path) -> None:
    device, secret = devices_of(inbox).add("Team 1", now=NOW)
    body = multipart(visit(1), {"photo.jpg": b"x" * 40_000})
    with TestClient(create_collector(inbox, limits=Limits(phone_bytes=30_000))) as client:
        client.auth = (device.device_id, secret)
        answer = client.post(
            "/submission",
            content=iter([body[:20_000], body[20_000:]]),
            headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
        )
    assert answer.request.headers["transfer-encoding"] == "chunked"
    assert answer.status_code == 507
    assert not (inbox / "submissions").exists()
    assert list((inbox / "incoming").iterdir()) == []


def test_a_phone_sends_no_more_than_its_share(inbox: Path) -> None:
    device, secret = devices_of(inbox).add("Team 1", now=NOW)
    limits = Limits(phone_bytes=30_000)
    for _ in range(2):  # what was sent before a restart counts, too
        with TestClient(create_collector(inbox, limits=limits)) as client:
            client.auth = (device.device_id, secret)
            answers = [
                client.post("/submission", files=parts(visit(n), photo=b"x" * 12_000))
                for n in range(3)
            ]
        assert answers[-1].status_code == 507
        assert "share" in answers[-1].text
    assert len(SubmissionStore(inbox).submissions("segment_visit")) == 2
    with TestClient(create_collector(inbox, limits=Limits(total_bytes=10))) as client:
        client.auth = (device.device_id, secret)
        assert client.post("/submission", files=parts(visit(9))).status_code == 507


def digest_header(challenge: str, pair: tuple[str, str], algorithm: str, **more: str) -> str:
    """The answer to a challenge, by RFC 7616, with errors where they are wanted."""
    given = dict(re.findall(r'(\w+)="?([^",]+)', challenge))
    digest = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[algorithm]
    values = {"username": pair[0], "realm": given["realm"], "nonce": given["nonce"],
              "uri": "/formList", "qop": "auth", "nc": "00000001", "cnonce": "abc",
              "algorithm": algorithm} | more  # fmt: skip
    ha1 = digest(f"{pair[0]}:{given['realm']}:{pair[1]}".encode()).hexdigest()
    ha2 = digest(f"GET:{values['uri']}".encode()).hexdigest()
    text = f"{ha1}:{values['nonce']}:{values['nc']}:{values['cnonce']}:auth:{ha2}"
    values["response"] = more.get("response") or digest(text.encode()).hexdigest()
    return "Digest " + ", ".join(f'{name}="{value}"' for name, value in values.items())


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_digest_is_answered_once_and_only_on_a_plain_network(inbox: Path, algorithm: str) -> None:
    registry = devices_of(inbox)
    device, secret = registry.add("Team 1", now=NOW, plain_lan=True)
    pair = (device.device_id, secret)
    tls_phone = registry.add("Team 2", now=NOW)
    with TestClient(create_collector(inbox, plain_lan=True)) as client:

        def challenge() -> str:
            offered = client.get("/formList").headers.get_list("www-authenticate")
            assert [value.split()[0] for value in offered] == ["Digest", "Digest"]
            assert "algorithm=MD5" in offered[0]
            return next(value for value in offered if f"algorithm={algorithm}," in value)

        def ask(header: str, path: str = "/formList") -> httpx.Response:
            return client.get(path, headers={"Authorization": header})

        first = challenge()
        right = digest_header(first, pair, algorithm)
        assert ask(right).status_code == 200
        again = ask(right)
        assert again.status_code == 401
        assert "stale=true" in again.headers["www-authenticate"]
        assert ask(digest_header(first, pair, algorithm, nc="00000002")).status_code == 200
        for wrong in (
            digest_header(challenge(), (pair[0], "wrong"), algorithm),
            digest_header(challenge(), (tls_phone[0].device_id, tls_phone[1]), algorithm),
            digest_header(challenge(), pair, algorithm, uri="/submission"),
            digest_header(challenge(), pair, algorithm, nonce="0.0.0"),
            digest_header(challenge(), pair, algorithm, nc="x"),
            digest_header(challenge(), pair, algorithm, qop="auth-int"),
            "Digest", "Digest nonce=",
            "Basic " + base64.b64encode(":".join(pair).encode()).decode(),
        ):  # fmt: skip
            assert ask(wrong).status_code == 401, wrong
        assert ask(digest_header(challenge(), pair, algorithm), "/formList?a=b").status_code == 401
    with TestClient(create_collector(inbox)) as client:
        assert client.get("/formList").headers["www-authenticate"].startswith("Basic ")
        assert client.get("/formList", auth=pair).status_code == 200
        assert client.get("/formList", headers={"Authorization": right}).status_code == 401


def test_nonces_grow_old_and_belong_to_one_address(inbox: Path) -> None:
    device, secret = devices_of(inbox).add("Team 1", now=NOW, plain_lan=True)
    now = [100.0]
    gate = PhoneGate(devices_of(inbox), plain_lan=True, clock=lambda: now[0])

    def ask(client: str, count: int) -> tuple[bool, bool]:
        header = digest_header(challenge, (device.device_id, secret), "MD5", nc=f"{count:08x}")
        found, is_stale = gate.phone(header, method="GET", target="/formList", client=client)
        return found is not None, is_stale

    challenge = gate.challenges("10.0.0.1", is_stale=False)[0]
    assert ask("10.0.0.1", 1) == (True, False)
    assert ask("10.0.0.2", 2) == (False, True)
    now[0] += 299
    assert ask("10.0.0.1", 3) == (True, False)
    now[0] += 2
    assert ask("10.0.0.1", 4) == (False, True)
    devices_of(inbox).revoke(device.device_id, now=NOW)
    assert ask("10.0.0.1", 5) == (False, False)


def test_over_a_plain_network_only_encrypted_forms_go(inbox: Path) -> None:
    private, public = make_keys(b"a long passphrase")
    forms = PublishedForms(inbox)
    forms.set_public_key(public)
    forms.publish_own(now=NOW, only=["segment_visit"])
    device, secret = devices_of(inbox).add("Team 1", now=NOW, plain_lan=True)
    with (
        collecting(inbox, plain_lan=True) as url,
        Phone(url, device.device_id, secret, digest=True, per_request=10) as phone,
    ):
        (row,) = fromstring(phone.get("/formList?formID=segment_visit").text)
        form = phone.get((row.findtext(f"{NS}downloadUrl") or "").removeprefix(url)).text
        version = row.findtext(f"{NS}version") or ""
        key = re.search('base64RsaPublicKey="([^"]+)"', form)
        assert key
        xml = visit(1).replace(b"2026011501", version.encode())
        refused = phone.send(xml)
        assert refused.status_code == 403
        assert "only encrypted forms" in refused.text
        manifest, files = seal(xml, {"a.jpg": b"a photo"}, key[1])
        assert phone.send(manifest, files).status_code == 202
        assert phone.statuses[-2:] == [202, 202]
        assert phone.send(manifest, files).status_code == 202
    store = SubmissionStore(inbox)
    assert store.submissions("segment_visit") == []
    result = decrypt_store(store, open_private_key(private, b"a long passphrase"))
    assert [report.n_new for report in result.reports] == [1]
    (stored,) = store.iter_stored("segment_visit")
    assert (stored.sender, stored.remarks) == (f"phone {device.device_id}", ())


def test_a_phone_delivers_in_pieces_over_http(inbox: Path) -> None:
    """A real server: HEAD, 401, chunks, three photos in three POSTs, headers."""
    device, secret = devices_of(inbox).add("Team 1", now=NOW)
    photos = {f"{n}.jpg": os.urandom(30_000) for n in range(3)}
    with (
        collecting(inbox) as url,
        Phone(url, device.device_id, secret, per_request=40_000) as phone,
    ):
        answer = phone.send(visit(1), photos)
        assert phone.statuses == [204, 202, 202, 202]
        assert phone.send(visit(1)).status_code == 202
        head = phone.client.head(f"{url}/submission", auth=phone.auth)
    assert answer.headers["x-openrosa-version"] == "1.0"
    assert head.headers["location"] == f"{url}/submission"
    assert len(head.headers.get_list("date")) == 1
    assert SubmissionStore(inbox).n_waiting() == 0
    (folder,) = SubmissionStore(inbox).attachment_folders("uuid:1")
    assert {path.name[17:]: path.read_bytes() for path in folder.glob("*.jpg")} == photos


def test_a_photo_of_50_mb_is_kept_with_flat_memory(inbox: Path) -> None:
    device, secret = devices_of(inbox).add("Team 1", now=NOW)
    photo = os.urandom(1_000_000) * 50
    with collecting(inbox) as url, Phone(url, device.device_id, secret) as phone:
        body = multipart(visit(1), {"large.jpg": photo})

        def pieces() -> Iterator[bytes]:
            for start in range(0, len(body), 1_000_000):
                yield body[start : start + 1_000_000]

        phone.get("/formList")
        tracemalloc.start()
        answer = phone.client.post(
            f"{url}/submission",
            content=pieces(),
            headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
            auth=phone.auth,
        )
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert answer.status_code == 201
    assert peak < 12_000_000  # the server runs in this process; 50 MB went through it
    (folder,) = SubmissionStore(inbox).attachment_folders("uuid:1")
    (stored,) = folder.glob("*.jpg")
    assert stored.read_bytes() == photo


def test_slow_and_cut_lines_leave_nothing(inbox: Path) -> None:
    device, secret = devices_of(inbox).add("Team 1", now=NOW)
    limits = Limits(header_seconds=0.3, pause_seconds=0.3, grace_seconds=0.6, least_rate=1e6)
    basic = base64.b64encode(f"{device.device_id}:{secret}".encode()).decode()
    body = multipart(visit(1), {"a.jpg": b"x" * 5000})
    head = (
        f"POST /submission HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {basic}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()

    def talk(port: int, *pieces: bytes, pause: float = 0.0, until_cut: bool = True) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
            try:
                for piece in pieces:
                    line.sendall(piece)
                    time.sleep(pause)
                return line.recv(65536) if until_cut else b""
            except ConnectionError:
                return b""

    with collecting(inbox, limits=limits) as url:
        port = int(url.rpartition(":")[2])
        assert talk(port, b"POST /subm") == b""  # a head that never ends
        assert talk(port, *[head[i : i + 1] for i in range(40)], pause=0.02) == b""
        assert b" 408 " in talk(port, head, body[:2000])  # a body that stops
        drip = [head, *[body[i : i + 10] for i in range(0, 400, 10)]]
        assert b" 201 " not in talk(port, *drip, pause=0.03)  # a body that only drips
        talk(port, head, body[:3000], until_cut=False)  # a line that is cut
        assert b" 201 " in talk(port, head, body)
    (stored,) = SubmissionStore(inbox).iter_stored("segment_visit")
    assert list((inbox / "incoming").iterdir()) == []
    assert SubmissionStore(inbox).raw(stored.raw_sha256) == visit(1)


def test_beyond_loopback_only_with_tls() -> None:
    for host in ("0.0.0.0", "192.168.1.4", "::", "example.org"):  # noqa: S104
        with pytest.raises(BindRefusedError, match="without TLS"):
            refuse_plain_bind(host, has_tls=False)
        refuse_plain_bind(host, has_tls=True)
    refuse_plain_bind("127.0.0.1", has_tls=False)
    refuse_plain_bind("192.168.1.4", has_tls=False, plain_lan=True)


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
    assert settings["admin"]["admin_pw"] == "p"
    locked = {"change_server", "form_update_mode", "change_autosend", "delete_after_send"}
    assert not any(settings["admin"][name] for name in locked)
