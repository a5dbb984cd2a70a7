"""Forms out, submissions in: the same path as `adsurvey forms import`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response, UploadFile
from fastapi.responses import JSONResponse

from api.auth import CurrentReader
from api.routes.uploads import import_status, record_upload, sender_of, uploads_router
from survey.errors import ConfigError, FormError
from survey.forms import (
    SubmissionStore,
    form_ids,
    form_path,
    report_json,
    xform_xml,
)
from survey.forms.mapping import MAX_MAPPING_BYTES
from survey.forms.reports import XLSX_TYPE
from survey.forms.submissions import MAX_BYTES

__all__ = ["forms_router"]


def forms_router(store_folder: Path | None) -> APIRouter:
    """Router of `/forms`.

    Parameters
    ----------
    store_folder : Path or None
        Submission store of the served round; None refuses uploads with 409.
    """
    router = APIRouter(prefix="/forms", tags=["forms"])
    outer = APIRouter()
    if store_folder is not None:
        outer.include_router(uploads_router(store_folder))

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
        return Response(content, media_type=XLSX_TYPE, headers={"Content-Disposition": name})

    @router.post("/submissions")
    def upload(
        request: Request,
        reader: CurrentReader,
        file: UploadFile,
        mapping: UploadFile | None = None,
    ) -> JSONResponse:
        """Take a file of submissions: 201 something new, 200 all known, 422 refused.

        A second part, `mapping`, is the TOML that says which column is which question.
        """
        if store_folder is None:
            raise HTTPException(
                409, "this service receives no submissions; start it with --survey survey.toml"
            )
        data = file.file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise HTTPException(413, f"send files of at most {MAX_BYTES / 1e6:.0f} MB")
        how = None if mapping is None else _text(mapping.file.read(MAX_MAPPING_BYTES + 1))
        now = datetime.now(UTC)
        report = SubmissionStore(store_folder).import_file(
            Path(file.filename or "upload").name,
            data,
            received_at=now,
            sender=sender_of(reader),
            mapping=how,
        )
        record_upload(request, reader, report, now=now)
        return JSONResponse(report_json(report), status_code=import_status(report))

    outer.include_router(router)
    return outer


def _known(make: Any, form_id: str) -> Any:
    try:
        return make(form_id)
    except FormError as error:
        raise HTTPException(404, str(error)) from error


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError("the mapping is not UTF-8 text; save it as UTF-8") from error
