"""The service that collects: phones fetch forms and send submissions, and nothing else is there.

It needs no database, so that phones can deliver while everything else is down.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.errors import BindRefusedError
from api.routes.openrosa import OpenRosa
from api.routes.phones import PhoneGate
from api.routes.receiving import Limits
from api.settings import is_loopback
from survey.forms import DeviceRegistry, PublishedForms, SubmissionStore

__all__ = ["collector_server", "create_collector", "devices_of", "refuse_plain_bind"]


def devices_of(store_folder: Path) -> DeviceRegistry:
    """Phones of the round whose submissions lie in a folder."""
    return DeviceRegistry(store_folder / "devices")


def refuse_plain_bind(host: str, *, has_tls: bool, plain_lan: bool = False) -> None:
    """Refuse to send secrets and answers through a network without TLS.

    Raises
    ------
    BindRefusedError
        Another address than loopback, and neither a certificate nor Digest with encrypted forms.
    """
    if not is_loopback(host) and not has_tls and not plain_lan:
        raise BindRefusedError(
            f"refusing to listen on {host!r} without TLS: phones send their secret with every "
            "request; give --tls-certificate and --tls-key, or listen on 127.0.0.1 behind a "
            "proxy or tunnel that ends TLS on this machine; --plain-lan is for a closed network"
        )


def create_collector(
    store_folder: Path, *, plain_lan: bool = False, limits: Limits | None = None
) -> Starlette:
    """The collecting service of one round.

    Parameters
    ----------
    store_folder : Path
        Submission store of the round.
    plain_lan : bool
        Speak Digest, and take encrypted submissions only.
    limits : Limits, optional
    """
    forms = PublishedForms(store_folder)
    openrosa = OpenRosa(
        SubmissionStore(store_folder),
        forms,
        PhoneGate(devices_of(store_folder), plain_lan=plain_lan),
        limits=limits or Limits(),
        plain_lan=plain_lan,
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await run_in_threadpool(forms.publish_own, now=datetime.now(UTC))
        await openrosa.start()
        yield

    return Starlette(routes=openrosa.routes(), lifespan=lifespan)


def collector_server(
    app: Starlette,
    *,
    host: str,
    port: int,
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
    limits: Limits | None = None,
) -> uvicorn.Server:
    """The server of `create_collector`, with its patience limited."""
    bounds = limits or Limits()
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            http=_patient(bounds.header_seconds),
            limit_concurrency=bounds.connections,
            ssl_certfile=tls_certificate,
            ssl_keyfile=tls_key,
            # Only a proxy on this machine may say that its side was https.
            forwarded_allow_ips="127.0.0.1,::1",
            server_header=False,
        )
    )


def _patient(seconds: float) -> type[asyncio.Protocol]:
    """The protocol of uvicorn, cutting those who do not end the head of their request."""

    class Patient(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            if self._timer is None and (self.cycle is None or self.cycle.response_complete):
                self._wait()
            super().data_received(data)

        def on_headers_complete(self) -> None:
            self._stop()
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def _wait(self) -> None:
            cut: Callable[[], None] = self.transport.abort
            self._timer = self.loop.call_later(seconds, cut)

        def _stop(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Patient
