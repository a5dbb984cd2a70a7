"""Forms out, submissions in: the same path as `adsurvey forms import`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response, UploadFile
from fastapi.responses import JSONResponse

from api.auth import CurrentReader
from api.db.audit import Action, record
from survey.errors import FormError
from survey.forms import (
    ImportReport,
    SubmissionStore,
    form_ids,
    form_path,
    report_json,
    xform_xml,
)
from survey.forms.submissions import MAX_BYTES

__all__ = ["forms_router"]

_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def forms_router(store_folder: Path | None) -> APIRouter:
    """Router of `/forms`.

    Parameters
    ----------
    store_folder : Path or None
        Submission store of the served round; None refuses uploads with 409.
    """
    router = APIRouter(prefix="/forms", tags=["forms"])

    @router.get("")
    def list_forms() -> dict[str, list[str]]:
        """Identifiers of the forms."""
        return {"forms": list(form_ids())}

    @router.get("/{form_id}.xml")
    def xform(form_id: str) -> Response:
        """A form as XForm XML."""
        return Response(_known(xform_xml, form_id), media_type="text/xml")

    @router.get("/{form_id}.xlsx")
    def xlsform(form_id: str) -> Response:
        """A form as XLSForm."""
        content = _known(form_path, form_id).read_bytes()
        name = f'attachment; filename="{form_id}.xlsx"'
        return Response(content, media_type=_XLSX, headers={"Content-Disposition": name})

    @router.post("/submissions")
    def upload(request: Request, reader: CurrentReader, file: UploadFile) -> JSONResponse:
        """Take a file of submissions: 201 something new, 200 all known, 422 refused."""
        if store_folder is None:
            raise HTTPException(
                409, "this service receives no submissions; start it with --survey survey.toml"
            )
        data = file.file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise HTTPException(413, f"send files of at most {MAX_BYTES / 1e6:.0f} MB")
        now = datetime.now(UTC)
        report = SubmissionStore(store_folder).import_file(
            Path(file.filename or "upload").name,
            data,
            received_at=now,
            sender=f"user {reader.name}" if reader.name else "",
        )
        record(
            request.app.state.engine,
            reader,
            Action.UPLOAD,
            about="submissions",
            now=now,
            reason=f"{report.n_new} new, {report.n_known} known" if report.accepted else "refused",
        )
        return JSONResponse(report_json(report), status_code=_status(report))

    return router


def _known(make: Any, form_id: str) -> Any:
    try:
        return make(form_id)
    except FormError as error:
        raise HTTPException(404, str(error)) from error


def _status(report: ImportReport) -> int:
    if not report.accepted:
        return 422
    return 201 if report.n_new else 200
