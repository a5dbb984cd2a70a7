"""Phones that may send: each has its own random secret, which can be revoked.

```
devices/<device_id>.json    label, digest of the secret, when it was made and revoked
```

The secret has 128 random bits, so its plain SHA-256 is as hard to turn back as the secret is to
guess; a slow password hash would only slow the answers.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import zlib
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from survey.errors import FormError

__all__ = ["REALM", "Device", "DeviceRegistry", "collect_settings"]

_ID = re.compile(r"[a-z0-9]{8}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One phone.

    Attributes
    ----------
    device_id : str
        User name with which it sends.
    label : str
        Who holds it, as the coordinator wrote it: a team, no person's name.
    owner : str
        User of the service who made its code there; empty where the office made it.
    secret_sha256 : str
    created_at, revoked_at : str
        ISO 8601; `revoked_at` is empty while it may send.
    ha1_md5, ha1_sha256 : str
        For Digest on a network without TLS (RFC 7616); empty for phones that do not need it,
        because who reads these can send as the phone.
    """

    device_id: str
    label: str
    secret_sha256: str
    created_at: str
    revoked_at: str = ""
    ha1_md5: str = ""
    ha1_sha256: str = ""
    owner: str = ""


#: Realm of Digest; part of what is stored for a phone, so it never changes.
REALM = "survey"


class DeviceRegistry:
    """Phones of one survey round, in a folder of mode 0700.

    Parameters
    ----------
    folder : Path
        Made with the first phone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # What was read last, with the state of its file: a revocation counts at once.
        self._known: dict[str, tuple[tuple[int, int, int], Device]] = {}

    def add(
        self, label: str, *, now: datetime, plain_lan: bool = False, owner: str = ""
    ) -> tuple[Device, str]:
        """Register a phone; its secret is returned once and stored nowhere.

        Parameters
        ----------
        label : str
        now : datetime
        plain_lan : bool
            It will send without TLS, by Digest.
        owner : str
            User of the service who holds it.

        Raises
        ------
        FormError
            The label is empty.
        """
        if not label.strip():
            raise FormError("a phone needs a label, such as the team that holds it")
        secret = secrets.token_urlsafe(16)
        device_id = secrets.token_hex(4)
        ha1 = f"{device_id}:{REALM}:{secret}".encode()
        device = Device(
            device_id=device_id,
            label=label.strip(),
            secret_sha256=_digest(secret),
            created_at=now.isoformat(timespec="seconds"),
            ha1_md5=hashlib.md5(ha1, usedforsecurity=False).hexdigest() if plain_lan else "",
            ha1_sha256=hashlib.sha256(ha1).hexdigest() if plain_lan else "",
            owner=owner,
        )
        self._write(device)
        return device, secret

    def revoke(self, device_id: str, *, now: datetime) -> Device:
        """Let a phone send no more; what it sent stays.

        Raises
        ------
        FormError
            No phone has this id.
        """
        device = self._read(device_id)
        if device is None:
            raise FormError(f"no phone has the id {device_id!r}; adsurvey devices list shows them")
        if not device.revoked_at:
            device = replace(device, revoked_at=now.isoformat(timespec="seconds"))
            self._write(device)
        return device

    def revoke_owned(self, owner: str, *, now: datetime) -> int:
        """Let none of a user's phones send any more; how many could until now."""
        own = [d for d in self.devices() if d.owner == owner and not d.revoked_at]
        for device in own:
            self.revoke(device.device_id, now=now)
        return len(own)

    def devices(self) -> list[Device]:
        """All phones, revoked ones too, in order of registration."""
        found = [self._read(path.stem) for path in sorted(self._folder.glob("*.json"))]
        return sorted(
            (device for device in found if device is not None), key=lambda d: d.created_at
        )

    def check(self, device_id: str, secret: str) -> Device | None:
        """The phone with this id and secret; None for all others and for revoked ones."""
        device = self._read(device_id)
        # Compared in any case, so that the time does not tell which ids exist.
        expected = device.secret_sha256 if device else _digest("")
        is_right = hmac.compare_digest(expected, _digest(secret))
        return device if device and is_right and not device.revoked_at else None

    def sending(self, device_id: str) -> Device | None:
        """The phone with this id if it may send; whoever asks checks what it presents."""
        device = self._read(device_id)
        return device if device and not device.revoked_at else None

    def _read(self, device_id: str) -> Device | None:
        if not _ID.fullmatch(device_id):
            return None
        path = self._folder / f"{device_id}.json"
        try:
            status = path.stat()
            state = (status.st_ino, status.st_mtime_ns, status.st_size)
            known = self._known.get(device_id)
            if known is None or known[0] != state:
                known = (state, Device(**json.loads(path.read_text("utf-8"))))
                self._known[device_id] = known
        except FileNotFoundError:
            return None
        return known[1]

    def _write(self, device: Device) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = self._folder / f".{secrets.token_hex(6)}"
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(asdict(device), out, indent=1)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(self._folder / f"{device.device_id}.json")
        # A revocation must outlive a power cut.
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def collect_settings(
    *, url: str, device_id: str, secret: str, title: str, admin_password: str
) -> str:
    """Settings of ODK Collect as the text of the QR code that it scans.

    The phone keeps its forms equal to the server's, sends when it can, deletes what was sent, and
    does not let its user change the server. KoboCollect reads the same.

    References
    ----------
    https://docs.getodk.org/collect-import-export/ : base64 of zlib of JSON.
    """
    settings = {
        "general": {
            "server_url": url.rstrip("/"),
            "username": device_id,
            "password": secret,
            "form_update_mode": "match_exactly",
            "autosend": "wifi_and_cellular",
            "delete_send": True,
            "analytics": False,
        },
        "admin": {
            "admin_pw": admin_password,
            # What these name, the phone's user cannot change.
            "change_server": False,
            "form_update_mode": False,
            "change_autosend": False,
            "delete_after_send": False,
            "change_form_metadata": False,
            "analytics": False,
        },
        "project": {"name": title},
    }
    return base64.b64encode(zlib.compress(json.dumps(settings).encode(), 9)).decode()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
