"""The field page's own requests: what I sent and where it stands, and codes for my phones."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import segno
from fastapi import APIRouter, HTTPException

from api.auth import CurrentReader
from api.disclosure import Reader
from api.routes.uploads import sender_of
from survey.forms import Device, DeviceRegistry, SubmissionStore, collect_settings
from survey.standing import Standings

__all__ = ["field_router"]

_MAX_PHONES = 5


def field_router(
    store_folder: Path, *, title: str, collect_url: str, is_training: bool
) -> APIRouter:
    """Router of `/field`.

    Parameters
    ----------
    store_folder : Path
        Submission store of the served round.
    title : str
        Of the round.
    collect_url : str
        Address at which phones reach `adsurvey collect`; empty makes no codes here.
    is_training : bool
        The page says so.
    """
    router = APIRouter(prefix="/field", tags=["forms"])
    standings = Standings(SubmissionStore(store_folder))
    registry = DeviceRegistry(store_folder / "devices")

    def owner_of(reader: Reader) -> str:
        return reader.name or "local"

    def phones_of(reader: Reader) -> list[Device]:
        # Not by label: the office may write anything there.
        return [device for device in registry.devices() if device.owner == owner_of(reader)]

    @router.get("/status")
    def status(reader: CurrentReader) -> dict[str, Any]:
        """Own submissions, by page and by own phones: counts, what was sent back or refused."""
        phones = phones_of(reader)
        senders = {sender_of(reader), *(f"phone {device.device_id}" for device in phones)}
        standing = standings.of(senders)
        return {
            "name": reader.name or "local",
            "title": title,
            "is_training": is_training,
            "makes_codes": bool(collect_url),
            "counts": [
                {"form": form_id, "state": state, "n": n}
                for (form_id, state), n in sorted(standing.counts.items())
            ],
            "sent_back": [
                {
                    "instance_id": each.instance_id,
                    "form": each.form_id,
                    "received_at": each.received_at,
                    "reason": each.reason,
                }
                for each in standing.sent_back
            ],
            "refused": [
                {
                    "file": each.file,
                    "received_at": each.received_at,
                    "n_problems": each.n_problems,
                    "first_problem": each.first_problem,
                }
                for each in standing.refused
            ],
            "phones": [
                {"device_id": d.device_id, "made": d.created_at}
                for d in phones
                if not d.revoked_at
            ],
        }

    @router.post("/phones", status_code=201)
    def add_phone(reader: CurrentReader) -> dict[str, str]:
        """Make a code for a phone of one's own; its secret is shown this once."""
        if not reader.in_person:
            raise HTTPException(403, "sign in with a password to set up a phone")
        if not collect_url:
            raise HTTPException(409, "this service knows no address for phones; ask the office")
        if sum(not phone.revoked_at for phone in phones_of(reader)) >= _MAX_PHONES:
            raise HTTPException(409, f"{_MAX_PHONES} phones are set up; remove one first")
        device, secret = registry.add(
            sender_of(reader), now=datetime.now(UTC), owner=owner_of(reader)
        )
        admin_password = secrets.token_urlsafe(6)
        content = collect_settings(
            url=collect_url,
            device_id=device.device_id,
            secret=secret,
            title=title,
            admin_password=admin_password,
        )
        picture = segno.make(content, micro=False).png_data_uri(scale=4)
        return {"device_id": device.device_id, "picture": picture}

    @router.post("/phones/{device_id}/revoke")
    def revoke(device_id: str, reader: CurrentReader) -> dict[str, str]:
        """Let a phone of one's own send no more."""
        if device_id not in {device.device_id for device in phones_of(reader)}:
            raise HTTPException(404, "you have no phone with this id")
        device = registry.revoke(device_id, now=datetime.now(UTC))
        return {"device_id": device.device_id, "revoked_at": device.revoked_at}

    return router
