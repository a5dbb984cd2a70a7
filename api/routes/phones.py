"""Which phone is calling: Basic where the way is protected, Digest on a network without TLS.

RFC 7617, and RFC 7616 with the two digests that phones know. ODK Collect speaks Digest with MD5
only; the secret that it protects is 128 random bits, so that nobody guesses it from a digest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from survey.forms import Device, DeviceRegistry
from survey.forms.devices import REALM

__all__ = ["PhoneGate"]

_NONCE_SECONDS = 300
_MAX_NONCES = 10_000
#: Requests for which one nonce is good.
_MAX_COUNT = 1024
_PAIR = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_ALGORITHMS: dict[str, Callable[[bytes], str]] = {
    "MD5": lambda text: hashlib.md5(text, usedforsecurity=False).hexdigest(),
    "SHA-256": lambda text: hashlib.sha256(text).hexdigest(),
}


class PhoneGate:
    """Knows the phone of a request, or how it is to say who it is.

    Parameters
    ----------
    devices : DeviceRegistry
    plain_lan : bool
        Take Digest and nothing else: a secret sent as Basic would be read on the way.
    clock : callable
        Seconds that only grow.
    """

    def __init__(
        self,
        devices: DeviceRegistry,
        *,
        plain_lan: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._devices = devices
        self._plain_lan = plain_lan
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._counts: OrderedDict[str, set[int]] = OrderedDict()

    def phone(
        self, authorization: str, *, method: str, target: str, client: str
    ) -> tuple[Device | None, bool]:
        """The phone; and whether its nonce was merely too old.

        Parameters
        ----------
        authorization : str
            The header.
        method, target : str
            Method, and path with query as they were sent.
        client : str
            Address of the caller, to which nonces are bound.
        """
        kind, _, rest = authorization.partition(" ")
        if self._plain_lan:
            if kind.lower() != "digest":
                return None, False
            return self._digest(rest, method, target, client)
        if kind.lower() != "basic":
            return None, False
        return self._devices.check(*_basic(rest)), False

    def challenges(self, client: str, *, is_stale: bool) -> list[str]:
        """Values of `WWW-Authenticate`, the one that every phone knows first."""
        if not self._plain_lan:
            return [f'Basic realm="{REALM}", charset="UTF-8"']
        stale = ", stale=true" if is_stale else ""
        nonce = self._nonce(client)
        return [
            f'Digest realm="{REALM}", qop="auth", algorithm={name}, nonce="{nonce}"{stale}'
            for name in _ALGORITHMS
        ]

    def _digest(
        self, rest: str, method: str, target: str, client: str
    ) -> tuple[Device | None, bool]:
        given = {name.lower(): quoted or bare for name, quoted, bare in _PAIR.findall(rest)}
        name = given.get("algorithm", "MD5").upper()
        device = self._devices.sending(given.get("username", ""))
        ha1 = {"MD5": device.ha1_md5, "SHA-256": device.ha1_sha256}.get(name) if device else None
        count = given.get("nc", "")
        if (
            not ha1
            or given.get("realm") != REALM
            or given.get("uri") != target
            or given.get("qop") != "auth"
            or not re.fullmatch(r"[0-9a-fA-F]{8}", count)
        ):
            return None, False
        digest = _ALGORITHMS[name]
        nonce = given.get("nonce", "")
        ha2 = digest(f"{method}:{target}".encode())
        text = f"{ha1}:{nonce}:{count}:{given.get('cnonce', '')}:auth:{ha2}"
        if not hmac.compare_digest(
            digest(text.encode()).encode(), given.get("response", "").encode()
        ):
            return None, False
        age = self._age(nonce, client)
        if age is None or age > _NONCE_SECONDS or not self._is_first(nonce, int(count, 16)):
            # It knows the secret: with a new nonce it may come again without asking its user.
            return None, True
        return device, False

    def _nonce(self, client: str) -> str:
        stamp = f"{int(self._clock() * 1000):x}.{secrets.token_hex(8)}"
        return f"{stamp}.{self._seal(stamp, client)}"

    def _seal(self, stamp: str, client: str) -> str:
        return hmac.new(self._key, f"{stamp} {client}".encode(), "sha256").hexdigest()[:32]

    def _age(self, nonce: str, client: str) -> float | None:
        """Seconds since we gave a nonce to this client; None if we did not."""
        stamp, _, seal = nonce.rpartition(".")
        if not hmac.compare_digest(seal.encode(), self._seal(stamp, client).encode()):
            return None
        return self._clock() - int(stamp.partition(".")[0], 16) / 1000.0

    def _is_first(self, nonce: str, count: int) -> bool:
        """Whether a count comes with its nonce for the first time: else somebody repeats it."""
        seen = self._counts.setdefault(nonce, set())
        self._counts.move_to_end(nonce)
        while len(self._counts) > _MAX_NONCES:
            self._counts.popitem(last=False)
        if count in seen or not 0 < count <= _MAX_COUNT:
            return False
        seen.add(count)
        return True


def _basic(value: str) -> tuple[str, str]:
    """Name and secret of a header; empty where it is none."""
    try:
        name, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return "", ""
    return name, secret
