"""OpenRosa for phones: forms out, submissions in, each phone with its own secret.

https://docs.getodk.org/openrosa-form-list/ and openrosa-form-submission/. Everything is on disk
before a phone gets the answer that lets it delete its copy.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from xml.sax.saxutils import escape

from fastapi import APIRouter, Depends, Header, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from survey.forms import (
    Delivery,
    Device,
    DeviceRegistry,
    SubmissionStore,
    form_ids,
    parse_submissions,
    xform_xml,
)

__all__ = ["MAX_BYTES", "Form", "openrosa_router", "published_forms"]

#: One request: a submission with its photos. Phones split what is larger.
MAX_BYTES = 60_000_000
_MAX_FILES = 60
_XML_PART = "xml_submission_file"
_HEADERS = {
    "X-OpenRosa-Version": "1.0",
    "X-OpenRosa-Accept-Content-Length": str(MAX_BYTES),
    "Cache-Control": "no-store",
}
_CHALLENGE = {**_HEADERS, "WWW-Authenticate": 'Basic realm="survey", charset="UTF-8"'}

_log = logging.getLogger("adsurvey")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One form as phones get it."""

    form_id: str
    title: str
    version: str
    xml: bytes

    @property
    def md5(self) -> str:
        """Digest by which a phone knows that it holds this very form; no protection."""
        return hashlib.md5(self.xml, usedforsecurity=False).hexdigest()


def published_forms() -> dict[str, Form]:
    """Every form of the survey; converted once, which takes a second or two."""
    found = {}
    for form_id in form_ids():
        text = xform_xml(form_id)
        title = re.search(r"<h:title>([^<]*)</h:title>", text)
        version = re.search(rf'id="{form_id}"[^>]*\bversion="([^"]*)"', text)
        found[form_id] = Form(
            form_id=form_id,
            title=title[1] if title else form_id,
            version=version[1] if version else "",
            xml=text.encode(),
        )
    return found


def openrosa_router(
    store: SubmissionStore, devices: DeviceRegistry, forms: Mapping[str, Form]
) -> APIRouter:
    """Router of `/formList`, `/forms/{form_id}.xml` and `/submission`.

    Parameters
    ----------
    store : SubmissionStore
        Of the round that collects.
    devices : DeviceRegistry
        Phones that may send.
    forms : mapping of form_id to Form
    """

    def phone(request: Request, authorization: Annotated[str | None, Header()] = None) -> None:
        name, secret = _basic(authorization or "")
        device = devices.check(name, secret)
        if device is None:
            raise HTTPException(401, "this phone is not known here", headers=_CHALLENGE)
        request.state.device = device

    router = APIRouter(dependencies=[Depends(phone)])

    @router.get("/formList")
    def form_list(request: Request) -> Response:
        """The forms, each with the digest by which a phone sees that it is new."""
        rows = "".join(
            f"<xform><formID>{escape(form.form_id)}</formID><name>{escape(form.title)}</name>"
            f"<version>{escape(form.version)}</version><hash>md5:{form.md5}</hash>"
            f"<downloadUrl>{escape(str(request.url_for('form_xml', form_id=form.form_id)))}"
            "</downloadUrl></xform>"
            for form in forms.values()
        )
        return _xml(f'<xforms xmlns="http://openrosa.org/xforms/xformsList">{rows}</xforms>', 200)

    @router.get("/forms/{form_id}.xml")
    def form_xml(form_id: str) -> Response:
        """One form."""
        if form_id not in forms:
            raise HTTPException(404, "no such form", headers=_HEADERS)
        return Response(forms[form_id].xml, media_type="text/xml", headers=_HEADERS)

    @router.head("/submission")
    def before_submission(request: Request) -> Response:
        """Whether this phone may send, and how much at once."""
        return Response(status_code=204, headers={**_HEADERS, "Location": str(request.url)})

    @router.post("/submission")
    async def submission(request: Request) -> Response:
        """Take a submission and its files; the same again changes nothing."""
        parser = MultiPartParser(
            request.headers, _limited(request), max_files=_MAX_FILES, max_fields=20
        )
        try:
            form = await parser.parse()
        except (MultiPartException, KeyError):
            return _message("no multipart submission", 400)
        except _TooLargeError:
            return _message(f"send at most {MAX_BYTES // 1_000_000} MB at once", 413)
        try:
            files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
            xml = form.get(_XML_PART)
            if not isinstance(xml, UploadFile):
                return _message(f"{_XML_PART} is missing", 400)
            attachments = [
                (part.filename or "file", await part.read()) for part in files if part is not xml
            ]
            device: Device = request.state.device
            return await run_in_threadpool(_take, store, device, await xml.read(), attachments)
        finally:
            await form.close()

    return router


def _take(
    store: SubmissionStore, device: Device, xml: bytes, attachments: list[tuple[str, bytes]]
) -> Response:
    name = f"phone {device.device_id}"
    parsed = parse_submissions(name, xml)
    if not parsed.submissions:
        return _message("this is no submission of a form", 400)
    received = []
    try:
        for filename, data in attachments:
            received.append(store.receive(filename))
            received[-1].write(data)
            received[-1].finish()
        delivery = Delivery(
            name=name,
            data=xml,
            received_at=datetime.now(UTC),
            sender=name,
            parsed=parsed,
            files=received,
        )
        (report,) = store.import_all([delivery])
    finally:
        for file in received:
            file.discard()
    if report.n_withdrawn:
        return _message("this interview was withdrawn; nothing of it is kept", 202)
    if not report.accepted:
        # A phone cannot mend it and must not send it for ever: it is kept, with its faults.
        _log.warning("submission of %s is kept for review", name)
        return _message("received; kept for review by the coordinator", 201)
    if report.n_conflict:
        return _message("received before with other answers; both are kept for review", 202)
    return _message("received", 201 if report.n_new else 202)


class _TooLargeError(Exception):
    """More bytes than one request may have."""


async def _limited(request: Request) -> AsyncGenerator[bytes, None]:
    """The body piece by piece, whatever length was declared: phones send in chunks."""
    total = 0
    async for piece in request.stream():
        total += len(piece)
        if total > MAX_BYTES:
            raise _TooLargeError
        yield piece


def _basic(header: str) -> tuple[str, str]:
    """Name and secret of an Authorization header; empty where it is none."""
    kind, _, value = header.partition(" ")
    if kind.lower() != "basic":
        return "", ""
    try:
        name, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, secret


def _message(text: str, status: int) -> Response:
    nature = "submit_success" if status < 300 else "submit_error"
    return _xml(
        '<OpenRosaResponse xmlns="http://openrosa.org/http/response">'
        f'<message nature="{nature}">{escape(text)}</message></OpenRosaResponse>',
        status,
    )


def _xml(body: str, status: int) -> Response:
    return Response(
        f'<?xml version="1.0" encoding="UTF-8"?>\n{body}',
        status,
        media_type="text/xml",
        headers=_HEADERS,
    )
