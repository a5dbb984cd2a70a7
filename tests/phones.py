"""A phone that sends as ODK Collect does: asks first, answers a 401, splits, and tries again."""

from __future__ import annotations

import base64
import hashlib
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from api.collect import collector_server, create_collector
from api.routes.receiving import Limits

BOUNDARY = "a-boundary-of-a-phone"


@dataclass
class Phone:
    """One phone; `send` returns the last answer.

    Attributes
    ----------
    per_request : int
        Bytes of files that go into one POST; the others follow in the next.
    chunked : bool
        Send without a Content-Length.
    """

    url: str
    device_id: str
    secret: str
    digest: bool = False
    per_request: int = 10_000_000
    chunked: bool = True
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30.0))
    statuses: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        pair = (self.device_id, self.secret)
        self.auth: httpx.Auth = httpx.DigestAuth(*pair) if self.digest else _AfterChallenge(*pair)

    def close(self) -> None:
        self.client.close()

    def __enter__(self) -> Phone:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(self.url + path, auth=self.auth, **more)

    def send(self, xml: bytes, files: Mapping[str, bytes] | None = None) -> httpx.Response:
        """HEAD, then one POST or several."""
        head = self.client.head(f"{self.url}/submission?deviceID=abc", auth=self.auth)
        self.statuses.append(head.status_code)
        if head.status_code != 204:
            return head
        groups: list[dict[str, bytes]] = [{}]
        for name, data in (files or {}).items():
            if groups[-1] and sum(map(len, groups[-1].values())) + len(data) > self.per_request:
                groups.append({})
            groups[-1][name] = data
        for number, group in enumerate(groups, start=1):
            body = multipart(xml, group, is_incomplete=number < len(groups))
            answer = self.client.post(
                f"{self.url}/submission?deviceID=abc",
                content=_pieces(body) if self.chunked else body,
                headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
                auth=self.auth,
            )
            self.statuses.append(answer.status_code)
            if answer.status_code not in (201, 202):
                return answer
        return answer

    def send_until_acknowledged(
        self, xml: bytes, files: Mapping[str, bytes] | None = None, *, seconds: float = 240.0
    ) -> httpx.Response:
        """As Collect does with autosend: again and again, whatever happens in between."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                answer = self.send(xml, files)
            except httpx.HTTPError:
                time.sleep(0.05)
                continue
            if answer.status_code in (201, 202):
                return answer
            time.sleep(0.05)
        raise AssertionError("never acknowledged")


class _AfterChallenge(httpx.Auth):
    """Basic, but only after the server asked, and kept from then on."""

    def __init__(self, name: str, secret: str) -> None:
        self._header = "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()
        self._is_asked = False

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        if self._is_asked:
            request.headers["Authorization"] = self._header
        answer = yield request
        if answer.status_code == 401 and not self._is_asked:
            self._is_asked = True
            request.headers["Authorization"] = self._header
            yield request


@contextmanager
def collecting(
    inbox: Path, *, plain_lan: bool = False, limits: Limits | None = None
) -> Iterator[str]:
    """The service as `adsurvey collect` runs it, in a thread; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app = create_collector(inbox, plain_lan=plain_lan, limits=limits)
    server = collector_server(app, host="127.0.0.1", port=port, limits=limits)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)


def multipart(
    xml: bytes, files: Mapping[str, bytes] | None = None, *, is_incomplete: bool = False
) -> bytes:
    """The body of one POST."""
    parts = [("xml_submission_file", "submission.xml", "text/xml", xml)]
    parts += [
        (name, name, "application/octet-stream", data) for name, data in (files or {}).items()
    ]
    body = b""
    for name, filename, kind, data in parts:
        body += (
            (
                f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; '
                f'filename="{filename}"\r\nContent-Type: {kind}\r\n\r\n'
            ).encode()
            + data
            + b"\r\n"
        )
    if is_incomplete:
        body += (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="*isIncomplete*"\r\n\r\nyes\r\n'
        ).encode()
    return body + f"--{BOUNDARY}--\r\n".encode()


def _pieces(body: bytes, size: int = 8192) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def seal(
    xml: bytes, media: Mapping[str, bytes], public_key: str
) -> tuple[bytes, dict[str, bytes]]:
    """Manifest and files of a submission, encrypted as a phone does for a key in base64."""
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
    from cryptography.hazmat.primitives import hashes, padding, serialization
    from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
    from defusedxml.ElementTree import fromstring

    root = fromstring(xml)
    form_id, version = root.get("id"), root.get("version")
    instance = next(e.text for e in root.iter() if str(e.tag).endswith("instanceID"))
    public: Any = serialization.load_der_public_key(base64.b64decode(public_key))
    secret = secrets.token_bytes(32)
    seed = bytearray(hashlib.md5(instance.encode() + secret, usedforsecurity=False).digest())

    def lock(data: bytes) -> str:
        oaep = rsa_padding.OAEP(
            mgf=rsa_padding.MGF1(hashes.SHA1()),  # noqa: S303
            algorithm=hashes.SHA256(),
            label=None,
        )
        return base64.b64encode(public.encrypt(data, oaep)).decode()

    key = lock(secret)
    signed, files = [form_id, version, key, instance], {}
    for number, (name, data) in enumerate({**media, "submission.xml": xml}.items()):
        seed[number % 16] = (seed[number % 16] + 1) % 256
        padder = padding.PKCS7(128).padder()
        encryptor = Cipher(algorithms.AES(secret), CFB(bytes(seed))).encryptor()
        padded = padder.update(data) + padder.finalize()
        files[f"{name}.enc"] = encryptor.update(padded) + encryptor.finalize()
        signed.append(f"{name}::{hashlib.md5(data, usedforsecurity=False).hexdigest()}")
    text = "".join(f"{line}\n" for line in signed)
    signature = lock(hashlib.md5(text.encode(), usedforsecurity=False).digest())
    listed = "".join(f"<media><file>{name}.enc</file></media>\n" for name in media)
    manifest = (
        f'<data xmlns="http://www.opendatakit.org/xforms/encrypted" id="{form_id}" '
        f'version="{version}" encrypted="yes"><base64EncryptedKey>{key}</base64EncryptedKey>'
        '<orx:meta xmlns:orx="http://openrosa.org/xforms"><orx:instanceID>'
        f"{instance}</orx:instanceID></orx:meta>\n{listed}"
        "<encryptedXmlFile>submission.xml.enc</encryptedXmlFile><base64EncryptedElementSignature>"
        f"{signature}</base64EncryptedElementSignature></data>"
    )
    return manifest.encode(), files
