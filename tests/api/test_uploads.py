"""Uploads over a line that drops: pieces, cuts, damage, other owners, the same answer twice."""

from __future__ import annotations

import base64
import hashlib
import io
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import openpyxl
import pytest

from survey.forms.uploads import LASTS, UploadError, Uploads

pytestmark = [pytest.mark.postgis, pytest.mark.xdist_group("pipeline")]
NOW = datetime(2026, 2, 4, tzinfo=UTC)
HEADER = (
    "instanceID,segment_id,visit_date,observer_code,observed_percent,area_unit,poppy_area,"
    "cannabis_area\n"
)
PIECE = {"Content-Type": "application/offset+octet-stream"}


def table(*names: str, poppy: str = "1.3") -> bytes:
    rows = (f"uuid:{name},S-1,2026-02-03,T1,80,rai,{poppy},0\n" for name in names)
    return (HEADER + "".join(rows)).encode()


def metadata(data: bytes, **more: str) -> str:
    told = {"filename": "visits.csv", "sha256": hashlib.sha256(data).hexdigest()} | more
    return ",".join(f"{n} {base64.b64encode(v.encode()).decode()}" for n, v in told.items())


@pytest.fixture
def web(address: str):
    with httpx.Client(base_url=address, timeout=30) as client:
        yield client


def eventually(holds: Callable[[], bool]) -> bool:
    for _ in range(200):
        if holds():
            return True
        time.sleep(0.05)
    return False


def begin(web: httpx.Client, data: bytes, **more: str) -> str:
    answer = web.post(
        "/forms/uploads",
        headers={"Upload-Length": str(len(data)), "Upload-Metadata": metadata(data, **more)},
    )
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"]


def put(web: httpx.Client, place: str, data: bytes, offset: int = 0) -> httpx.Response:
    return web.patch(place, content=data, headers={**PIECE, "Upload-Offset": str(offset)})


def test_a_file_goes_on_after_a_cut_and_is_taken_once(web: httpx.Client, address: str) -> None:
    data = table(*(f"cut-{number}" for number in range(40)))
    place = begin(web, data)
    # The line is cut in the middle of a request that announced everything.
    url = urlsplit(address)
    assert url.hostname
    with socket.create_connection((url.hostname, url.port or 80)) as line:
        head = (
            f"PATCH {place} HTTP/1.1\r\nHost: {url.netloc}\r\nUpload-Offset: 0\r\n"
            f"Content-Type: {PIECE['Content-Type']}\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        line.sendall(head.encode() + data[:1000])
        # What came is on disk while the rest is still awaited.
        assert eventually(lambda: web.head(place).headers["Upload-Offset"] == "1000")
    assert eventually(lambda: put(web, place, b"", offset=1000).status_code == 204)
    assert web.post(f"{place}/import").status_code == 409  # not all of it is here
    assert put(web, place, data, offset=0).status_code == 409  # not where it stands
    assert put(web, place, data[1000:], offset=1000).headers["Upload-Offset"] == str(len(data))
    first = web.post(f"{place}/import")
    assert (first.status_code, first.json()["n_new"]) == (201, 40)
    # Whoever missed the answer asks again and gets it.
    again = web.post(f"{place}/import")
    assert (again.status_code, again.json()) == (201, first.json())
    told = web.get("/field/status").json()
    assert {"form": "segment_visit", "state": "received", "n": 40} in told["counts"]


def test_a_refused_file_comes_back_as_a_workbook(web: httpx.Client) -> None:
    data = table("wrong-1", "wrong-2", poppy="plenty")
    place = begin(web, data)
    assert web.get(f"{place}/report.xlsx").status_code == 409
    put(web, place, data)
    refused = web.post(f"{place}/import")
    assert (refused.status_code, refused.json()["accepted"]) == (422, False)
    sheet = openpyxl.load_workbook(io.BytesIO(web.get(f"{place}/report.xlsx").content))
    rows = list(sheet["segment_visit"].values)
    assert [row[0] for row in rows[1:]] == ["uuid:wrong-1", "uuid:wrong-2"]
    told = web.get("/field/status").json()["refused"]
    assert any(each["file"] == "visits.csv" and each["n_problems"] == 2 for each in told)


def test_a_damaged_file_is_sent_again_from_the_beginning(web: httpx.Client) -> None:
    data = table("damaged")
    place = begin(web, data)
    put(web, place, data.replace(b"1.3", b"7.3"))
    answer = web.post(f"{place}/import")
    assert answer.status_code == 409
    assert "damaged" in answer.json()["detail"]
    assert web.head(place).headers["Upload-Offset"] == "0"
    put(web, place, data)
    assert web.post(f"{place}/import").status_code == 201


def test_a_mapping_travels_with_the_file(web: httpx.Client) -> None:
    mapping = 'form_id = "segment_visit"\n[columns]\npoppy_area = "Poppy (rai)"\n'
    data = table("mapped").replace(b"poppy_area", b"Poppy (rai)")
    place = begin(web, data, mapping=mapping)
    put(web, place, data)
    assert web.post(f"{place}/import").json()["n_new"] == 1
    # The same in one request with two parts.
    files = {"file": ("visits.csv", data), "mapping": ("map.toml", mapping.encode())}
    assert web.post("/forms/submissions", files=files).json()["n_known"] == 1
    wrong = web.post("/forms/submissions", files={**files, "mapping": ("map.toml", b"= 1")})
    assert wrong.status_code == 422
    assert "not TOML" in wrong.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload-Length": "60000000"}, 413),
        ({"Upload-Length": "0"}, 422),
        ({"Upload-Length": "-5"}, 422),
        ({"Upload-Length": "many"}, 422),
        ({}, 422),
        ({"Upload-Length": "9", "Upload-Metadata": "filename ???"}, 400),
        ({"Upload-Length": "9", "Upload-Metadata": "sha256 eHg="}, 422),
        ({"Upload-Length": "9", "Upload-Metadata": "mapping eHg="}, 422),
    ],
)
def test_what_cannot_be_an_upload_is_told_at_once(
    web: httpx.Client, headers: dict[str, str], status: int
) -> None:
    assert web.post("/forms/uploads", headers=headers).status_code == status


def test_more_than_announced_and_other_kinds_are_refused(web: httpx.Client) -> None:
    data = table("more")
    place = begin(web, data)
    assert put(web, place, data + b"x").status_code == 409
    wrong = web.patch(place, content=data, headers={"Upload-Offset": "0"})
    assert wrong.status_code in (415, 422)
    assert web.delete(place).status_code == 204
    assert web.head(place).status_code == 404


def test_an_upload_belongs_to_who_began_it_and_expires(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "inbox")
    upload = uploads.begin(owner="user a", name="v.csv", n_bytes=10, now=NOW)
    assert uploads.find(upload.upload_id, owner="user a") == upload
    for upload_id, owner in ((upload.upload_id, "user b"), ("../raw", "user a"), ("", "user a")):
        with pytest.raises(UploadError, match="not known"):
            uploads.find(upload_id, owner=owner)
    with uploads.appending(upload, 0) as out:
        out.write(b"12345")
        with (
            pytest.raises(UploadError, match="another request"),
            uploads.appending(upload, 5),
        ):
            pass
    assert uploads.offset(upload) == 5
    assert uploads.expire(now=NOW + LASTS) == 0
    assert uploads.expire(now=NOW + LASTS + timedelta(seconds=1)) == 1
    assert list((tmp_path / "inbox" / "uploads").iterdir()) == []
    for _ in range(20):
        uploads.begin(owner="user a", name="v.csv", n_bytes=10, now=NOW)
    with pytest.raises(UploadError, match="20 uploads are unfinished"):
        uploads.begin(owner="user a", name="v.csv", n_bytes=10, now=NOW)
    assert uploads.begin(owner="user b", name="v.csv", n_bytes=10, now=NOW)
