"""Uploads that survive a dropped line: the core of the tus protocol, then an import.

https://tus.io/protocols/resumable-upload (1.0.0: creation, HEAD, PATCH, DELETE). A file is begun
with its size, sent in pieces, and imported by a request of its own, which may be repeated: a
sender who missed the answer asks again and gets the same one.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.auth import CurrentReader
from api.db.audit import Action, record
from api.disclosure import Reader
from survey.forms import (
    SubmissionStore,
    parse_submissions,
    read_mapping,
    report_json,
    report_workbook,
)
from survey.forms.intake import ImportReport
from survey.forms.mapping import MAX_MAPPING_BYTES
from survey.forms.reports import XLSX_TYPE
from survey.forms.submissions import MAX_BYTES
from survey.forms.uploads import Upload, UploadError, Uploads

__all__ = ["import_status", "record_upload", "sender_of", "uploads_router"]

_TUS = {"Tus-Resumable": "1.0.0", "Cache-Control": "no-store"}
_PIECE = "application/offset+octet-stream"


def sender_of(reader: Reader) -> str:
    """How the store names who sent something."""
    return f"user {reader.name or 'local'}"


def import_status(report: ImportReport) -> int:
    """HTTP status of an import: something new, all known, or refused."""
    if not report.accepted:
        return 422
    return 201 if report.n_new else 200


def record_upload(
    request: Request, reader: Reader, report: ImportReport, *, now: datetime
) -> None:
    """Note in the audit trail who uploaded how much."""
    told = f"{report.n_new} new, {report.n_known} known" if report.accepted else "refused"
    engine = request.app.state.engine
    record(engine, reader, Action.UPLOAD, about="submissions", now=now, reason=told)


def uploads_router(store_folder: Path) -> APIRouter:
    """Router of `/forms/uploads`.

    Parameters
    ----------
    store_folder : Path
        Submission store of the served round.
    """
    router = APIRouter(prefix="/forms/uploads", tags=["forms"])
    uploads, store = Uploads(store_folder), SubmissionStore(store_folder)

    def own(upload_id: str, reader: Reader) -> Upload:
        try:
            return uploads.find(upload_id, owner=sender_of(reader))
        except UploadError as error:
            raise HTTPException(404, str(error)) from error

    @router.post("")
    def begin(
        reader: CurrentReader,
        upload_length: Annotated[int, Header()],
        upload_metadata: Annotated[str, Header(max_length=2 * MAX_MAPPING_BYTES)] = "",
    ) -> Response:
        """Begin a file: `Upload-Length`, and `Upload-Metadata` with filename, sha256, mapping."""
        if upload_length > MAX_BYTES:
            raise HTTPException(413, f"send files of at most {MAX_BYTES / 1e6:.0f} MB")
        told = _metadata(upload_metadata)
        mapping = told.get("mapping") or None
        if mapping is not None:
            read_mapping(mapping)  # told now, not after the last byte
        upload = uploads.begin(
            owner=sender_of(reader),
            name=Path(told.get("filename") or "upload").name,
            n_bytes=upload_length,
            sha256=told.get("sha256", ""),
            mapping=mapping,
            now=datetime.now(UTC),
        )
        place = f"/forms/uploads/{upload.upload_id}"
        return Response(status_code=201, headers={**_TUS, "Location": place})

    @router.head("/{upload_id}")
    def stands(upload_id: str, reader: CurrentReader) -> Response:
        """How many bytes are here."""
        upload = own(upload_id, reader)
        lengths = {"Upload-Offset": uploads.offset(upload), "Upload-Length": upload.n_bytes}
        return Response(headers={**_TUS, **{name: str(n) for name, n in lengths.items()}})

    @router.patch("/{upload_id}")
    async def append(
        request: Request,
        upload_id: str,
        reader: CurrentReader,
        upload_offset: Annotated[int, Header()],
        content_type: Annotated[str, Header()],
    ) -> Response:
        """Take the bytes from `Upload-Offset` on; what came before a cut stays."""
        if content_type != _PIECE:
            raise HTTPException(415, f"send pieces as {_PIECE}")
        upload = await run_in_threadpool(own, upload_id, reader)
        try:
            with uploads.appending(upload, upload_offset) as out:
                async for piece in request.stream():
                    await run_in_threadpool(out.write, piece)
        except UploadError as error:
            raise HTTPException(409, str(error)) from error
        except ClientDisconnect:
            return Response(status_code=204)  # nobody reads it
        offset = await run_in_threadpool(uploads.offset, upload)
        return Response(status_code=204, headers={**_TUS, "Upload-Offset": str(offset)})

    @router.delete("/{upload_id}")
    def cancel(upload_id: str, reader: CurrentReader) -> Response:
        """Forget an upload."""
        uploads.forget(own(upload_id, reader))
        return Response(status_code=204, headers=_TUS)

    @router.post("/{upload_id}/import")
    def take(request: Request, upload_id: str, reader: CurrentReader) -> Response:
        """Import a complete file; asked again, the same answer."""
        upload = own(upload_id, reader)
        told = uploads.report(upload)
        if told is None:
            now = datetime.now(UTC)
            report = store.import_file(
                upload.name,
                _complete(uploads, upload),
                received_at=now,
                sender=upload.owner,
                mapping=upload.mapping,
            )
            record_upload(request, reader, report, now=now)
            content = {"status": import_status(report), "report": report_json(report)}
            told = json.dumps(content).encode()
            uploads.keep_report(upload, told)
            if report.accepted:
                uploads.drop_bytes(upload)
        answer = json.loads(told)
        return Response(
            json.dumps(answer["report"]), answer["status"], media_type="application/json"
        )

    @router.get("/{upload_id}/report.xlsx")
    def corrections(upload_id: str, reader: CurrentReader) -> Response:
        """Problems and rows of a refused file, as a workbook to correct and send back."""
        upload = own(upload_id, reader)
        if uploads.report(upload) is None:
            raise HTTPException(409, "the file was not imported yet")
        data = _complete(uploads, upload)
        mapping = None if upload.mapping is None else read_mapping(upload.mapping)
        parsed = parse_submissions(upload.name, data, mapping=mapping)
        return Response(
            report_workbook([(parsed.problems, parsed)]),
            media_type=XLSX_TYPE,
            headers={"Content-Disposition": 'attachment; filename="to-correct.xlsx"'},
        )

    return router


def _complete(uploads: Uploads, upload: Upload) -> bytes:
    try:
        return uploads.complete(upload)
    except UploadError as error:
        raise HTTPException(409, str(error)) from error


def _metadata(text: str) -> dict[str, str]:
    """Pairs of name and base64, as tus writes them."""
    found = {}
    for pair in filter(None, (each.strip() for each in text.split(","))):
        name, _, value = pair.partition(" ")
        try:
            found[name] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise HTTPException(400, f"Upload-Metadata: {name[:40]} is no base64") from error
    return found
