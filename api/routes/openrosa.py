"""OpenRosa for phones: forms out, submissions in, each phone with its own secret.

https://docs.getodk.org/openrosa-form-list/ and openrosa-form-submission/. Everything is on disk
before a phone gets the answer that lets it delete its copy.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from api.routes.phones import PhoneGate
from api.routes.receiving import Limits, Parts, RefusedBodyError, receive
from api.routes.shares import Shares
from survey.errors import FormError
from survey.forms import (
    Delivery,
    Device,
    ImportReport,
    PublishedForm,
    PublishedForms,
    SubmissionStore,
    parse_submissions,
    read_sealed,
)

__all__ = ["OpenRosa"]

#: Longer answers are checked in a thread, so that others are not kept waiting.
_LARGE_XML = 100_000
_MAX_TOGETHER = 64
#: Batches at once: a disk flushes for many in hardly more time than for one.
_MAX_WRITERS = 2
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

_log = logging.getLogger("adsurvey")

Endpoint = Callable[[Request], Awaitable[Response]]


class OpenRosa:
    """Routes of `/formList`, `/forms/...` and `/submission`.

    Parameters
    ----------
    store : SubmissionStore
        Of the round that collects.
    forms : PublishedForms
    gate : PhoneGate
        Knows the phones that may send.
    limits : Limits
    plain_lan : bool
        Without TLS: show and take encrypted forms only.
    """

    def __init__(
        self,
        store: SubmissionStore,
        forms: PublishedForms,
        gate: PhoneGate,
        *,
        limits: Limits,
        plain_lan: bool,
    ) -> None:
        self._store = store
        self._forms = forms
        self._gate = gate
        self._limits = limits
        self._plain_lan = plain_lan
        self._shares = Shares()
        self._waiting: list[tuple[Delivery, asyncio.Future[ImportReport]]] = []
        self._writers: set[asyncio.Task[None]] = set()
        self._n_writers = 0
        self._in_work: set[str] = set()
        self._headers = {
            "X-OpenRosa-Version": "1.0",
            "X-OpenRosa-Accept-Content-Length": str(limits.request_bytes),
            "Cache-Control": "no-store",
        }

    def prepare(self, *, now: datetime) -> None:
        """Publish the program's forms, forget what was cut; before anybody receives."""
        self._forms.publish_own(now=now)
        self._store.clear_incoming()

    def count(self) -> None:
        """Count what every phone has sent before."""
        # What arrives meanwhile may be counted twice: a share is not exact to the byte.
        self._shares.add(self._store.sent_bytes())

    def routes(self) -> list[Route]:
        """Everything that is served, each behind the gate."""
        form = "/forms/{form_id}/{number:int}"
        return [
            # The first that fits is taken, and most requests are these.
            Route("/submission", self._guarded(self._submission), methods=["POST"]),
            Route("/formList", self._guarded(self._form_list), methods=["GET"]),
            Route("/forms/{form_id}.xml", self._guarded(self._newest_xml), methods=["GET"]),
            Route(form + ".xml", self._guarded(self._form_xml), methods=["GET"], name="form"),
            Route(
                form + "/manifest", self._guarded(self._manifest), methods=["GET"], name="manifest"
            ),
            Route(
                form + "/media/{name}", self._guarded(self._media), methods=["GET"], name="media"
            ),
            Route("/submission", self._guarded(self._before), methods=["GET"]),
        ]

    def _guarded(self, endpoint: Endpoint) -> Endpoint:
        """Answer known phones only."""

        async def answer(request: Request) -> Response:
            client = request.client.host if request.client else ""
            device, is_stale = self._gate.phone(
                request.headers.get("authorization", ""),
                method=request.method,
                target=_target(request),
                client=client,
            )
            if device is None:
                refusal = self._message("this phone is not known here", 401)
                for challenge in self._gate.challenges(client, is_stale=is_stale):
                    refusal.headers.append("WWW-Authenticate", challenge)
                return refusal
            request.state.device = device
            return await endpoint(request)

        return answer

    async def _form_list(self, request: Request) -> Response:
        """The forms, each with the digest by which a phone sees that it is new."""
        wanted = request.query_params.get("formID", "")
        is_verbose = request.query_params.get("verbose", "").lower() == "true"
        if request.query_params.get("listAllVersions", "").lower() == "true":
            forms = [f for f in self._forms.all() if f.is_encrypted or not self._plain_lan]
        else:
            forms = self._forms.newest(only_encrypted=self._plain_lan)
        rows = "".join(
            _form_row(request, form, is_verbose)
            for form in forms
            if not wanted or form.form_id == wanted
        )
        return self._xml(f'<xforms xmlns="http://openrosa.org/xforms/xformsList">{rows}</xforms>')

    async def _newest_xml(self, request: Request) -> Response:
        """The newest version of a form."""
        for form in self._forms.newest(only_encrypted=self._plain_lan):
            if form.form_id == request.path_params["form_id"]:
                return self._file(form)
        return self._message("no such form", 404)

    async def _form_xml(self, request: Request) -> Response:
        """One version of a form."""
        form = self._find(request)
        return self._message("no such form", 404) if form is None else self._file(form)

    async def _manifest(self, request: Request) -> Response:
        """Files that a form needs."""
        form = self._find(request)
        if form is None:
            return self._message("no such form", 404)
        rows = "".join(
            f"<mediaFile><filename>{escape(each.name)}</filename><hash>md5:{each.md5}</hash>"
            f"<downloadUrl>{escape(_url(request, 'media', form, name=each.name))}</downloadUrl>"
            "</mediaFile>"
            for each in form.media
        )
        space = "http://openrosa.org/xforms/xformsManifest"
        return self._xml(f'<manifest xmlns="{space}">{rows}</manifest>')

    async def _media(self, request: Request) -> Response:
        """One file of a form."""
        form = self._find(request)
        for each in form.media if form else ():
            if each.name == request.path_params["name"]:
                return FileResponse(
                    each.path, media_type="application/octet-stream", headers=self._headers
                )
        return self._message("no such file", 404)

    async def _before(self, request: Request) -> Response:
        """Whether this phone may send, and how much at once."""
        where = str(request.url.replace(query=""))
        return Response(status_code=204, headers={**self._headers, "Location": where})

    async def _submission(self, request: Request) -> Response:
        """Take a submission and its files; the same again changes nothing."""
        device: Device = request.state.device
        try:
            declared = request.headers.get("content-length", "")
            expected = int(declared) if declared.isdecimal() else 0
            self._check_share(device, expected)
            self._check_disk(expected)
            parts = await receive(request, self._store, self._limits)
        except RefusedBodyError as refusal:
            answer = self._message(refusal.text, refusal.status)
            if refusal.status in (408, 413):
                answer.headers["Connection"] = "close"  # the rest of the body is not read
            return answer
        except ClientDisconnect:
            return self._message("the line was cut", 400)
        except OSError as error:
            return self._disk_answer(error)
        try:
            # A body in chunks declares no length, and others may have come meanwhile.
            self._check_share(device, len(parts.xml) + sum(each.n_bytes for each in parts.files))
            return await self._take(device, parts)
        except RefusedBodyError as refusal:
            return self._message(refusal.text, refusal.status)
        except OSError as error:
            return self._disk_answer(error)
        finally:
            parts.discard()

    async def _take(self, device: Device, parts: Parts) -> Response:
        sender = f"phone {device.device_id}"
        delivery = Delivery(
            name=sender,
            data=parts.xml,
            received_at=datetime.now(UTC),
            sender=sender,
            files=parts.files,
            is_incomplete=parts.is_incomplete,
        )
        if len(parts.xml) > _LARGE_XML:
            read = await run_in_threadpool(self._read, delivery)
        else:
            read = self._read(delivery)
        if isinstance(read, Response):
            return read
        report = await self._store_together(read)
        self._shares.add({sender: len(parts.xml) + sum(each.n_bytes for each in parts.files)})
        return self._answer(report, parts.is_incomplete, sender)

    def _read(self, delivery: Delivery) -> Delivery | Response:
        """The delivery with what it holds; or why nothing of it is kept."""
        try:
            sealed = read_sealed(delivery.data)
        except FormError as error:
            return self._message(str(error), 400)
        if sealed is not None:
            return replace(delivery, sealed=sealed)
        if self._plain_lan:
            return self._message(
                "this network is not protected: only encrypted forms may be sent over it", 403
            )
        parsed = parse_submissions(delivery.name, delivery.data)
        if not parsed.submissions:
            return self._message("this is no submission of a form", 400)
        return replace(delivery, parsed=parsed)

    def _answer(self, report: ImportReport, is_incomplete: bool, sender: str) -> Response:
        if report.n_withdrawn:
            return self._message("this interview was withdrawn; nothing of it is kept", 202)
        if not report.accepted:
            # A phone cannot mend it and must not send it for ever: it is kept, with its faults.
            _log.warning("submission of %s is kept for review", sender)
            return self._message("received; kept for review by the coordinator", 201)
        if report.n_conflict > report.n_conflict_again:
            # Once: the phone shows it, and sends again. Then all of it is here, and it may stop.
            return self._message(
                "received before with other answers; both are kept: tell the coordinator",
                409,
            )
        if report.n_conflict and not is_incomplete:
            return self._message("received with other answers; the coordinator decides", 202)
        if is_incomplete:
            return self._message("received; more files of it are expected", 202)
        return self._message("received", 201 if report.n_new else 202)

    async def _store_together(self, delivery: Delivery) -> ImportReport:
        """Store a delivery with those that come at the same time: they share a flush."""
        done: asyncio.Future[ImportReport] = asyncio.get_running_loop().create_future()
        self._waiting.append((delivery, done))
        self._start_writer()
        return await done

    def _start_writer(self) -> None:
        if self._waiting and self._n_writers < _MAX_WRITERS:
            self._n_writers += 1
            writer = asyncio.create_task(self._write())
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)

    async def _write(self) -> None:
        try:
            while batch := self._next_batch():
                instances = {_instance(delivery) for delivery, _ in batch}
                self._in_work |= instances
                try:
                    await self._write_batch(batch)
                finally:
                    self._in_work -= instances
        finally:
            # At once: what came before a callback told of the end would wait for ever.
            self._n_writers -= 1

    def _next_batch(self) -> list[tuple[Delivery, asyncio.Future[ImportReport]]]:
        """What waits, without submissions that another writer has in hand."""
        batch = [each for each in self._waiting if _instance(each[0]) not in self._in_work]
        batch = batch[:_MAX_TOGETHER]
        taken = {id(each[0]) for each in batch}
        self._waiting = [each for each in self._waiting if id(each[0]) not in taken]
        return batch

    async def _write_batch(
        self, batch: Sequence[tuple[Delivery, asyncio.Future[ImportReport]]]
    ) -> None:
        deliveries = [delivery for delivery, _ in batch]
        try:
            reports = await asyncio.to_thread(self._store.import_all, deliveries)
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            for each in batch:  # the fault of one must not be that of all
                await self._write_batch([each])
            return
        for (_, done), report in zip(batch, reports, strict=True):
            done.set_result(report)

    def _check_share(self, device: Device, expected: int) -> None:
        own, of_all = self._shares.sent(f"phone {device.device_id}")
        if own + expected > self._limits.phone_bytes:
            raise RefusedBodyError(507, "this phone has sent its share; tell the coordinator")
        if of_all + expected > self._limits.total_bytes:
            raise RefusedBodyError(507, "the server has no room left; tell the coordinator")

    def _check_disk(self, expected: int) -> None:
        disk = os.statvfs(self._store.folder)
        if disk.f_bavail * disk.f_frsize < self._limits.reserve_bytes + expected:
            raise OSError(errno.ENOSPC, "reserve reached")

    def _disk_answer(self, error: OSError) -> Response:
        """The phone keeps its copy and comes again."""
        if error.errno in _NO_SPACE:
            _log.error("the disk is full: submissions are refused until there is space")
            return self._message("the server's disk is full; it is tried again later", 507)
        _log.error("the disk failed: %s", errno.errorcode.get(error.errno or 0, "unknown"))
        return self._message("the server could not store it; it is tried again later", 503)

    def _find(self, request: Request) -> PublishedForm | None:
        wanted = (request.path_params["form_id"], request.path_params["number"])
        for form in self._forms.all():
            if (form.form_id, form.number) == wanted:
                return form
        return None

    def _file(self, form: PublishedForm) -> Response:
        return Response(form.path.read_bytes(), media_type="text/xml", headers=self._headers)

    def _message(self, text: str, status: int) -> Response:
        nature = "submit_success" if status < 300 else "submit_error"
        return self._xml(
            '<OpenRosaResponse xmlns="http://openrosa.org/http/response">'
            f'<message nature="{nature}">{escape(text)}</message></OpenRosaResponse>',
            status,
        )

    def _xml(self, body: str, status: int = 200) -> Response:
        return Response(
            f'<?xml version="1.0" encoding="UTF-8"?>\n{body}',
            status,
            media_type="text/xml",
            headers=self._headers,
        )


def _instance(delivery: Delivery) -> str:
    """Identifier of the one submission of a delivery."""
    if delivery.sealed is not None:
        return delivery.sealed.instance_id
    found = delivery.parsed.submissions if delivery.parsed else ()
    return found[0].instance_id if found else ""


def _form_row(request: Request, form: PublishedForm, is_verbose: bool) -> str:
    text = (
        f"<xform><formID>{escape(form.form_id)}</formID><name>{escape(form.title)}</name>"
        f"<version>{escape(form.version)}</version><hash>md5:{form.md5}</hash>"
    )
    if is_verbose:
        text += f"<descriptionText>published {escape(form.published_at)}</descriptionText>"
    text += f"<downloadUrl>{escape(_url(request, 'form', form))}</downloadUrl>"
    if form.media:
        text += f"<manifestUrl>{escape(_url(request, 'manifest', form))}</manifestUrl>"
    return f"{text}</xform>"


def _url(request: Request, route: str, form: PublishedForm, **more: Any) -> str:
    return str(request.url_for(route, form_id=form.form_id, number=form.number, **more))


def _target(request: Request) -> str:
    """Path and query as they were sent."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    query: bytes = request.scope["query_string"]
    return (raw + b"?" + query if query else raw).decode("latin-1")
