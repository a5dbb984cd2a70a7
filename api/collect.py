"""The service that collects: phones fetch forms and send submissions, and nothing else is there.

It needs no database, so that phones can deliver while everything else is down.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from starlette.concurrency import run_in_threadpool
from starlette.routing import Router
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.errors import BindRefusedError
from api.routes.openrosa import OpenRosa
from api.routes.phones import PhoneGate
from api.routes.receiving import Limits
from api.settings import is_loopback
from api.workers import serve_together
from survey.forms import DeviceRegistry, PublishedForms, SubmissionStore
from survey.forms.durable import end_flushers

__all__ = [
    "bind_listener",
    "collector_server",
    "create_collector",
    "devices_of",
    "refuse_plain_bind",
    "run_collector",
]

#: Wait for the count of what phones have sent; with a large store it goes on behind the first.
_COUNTING_SECONDS = 2.0


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
) -> Router:
    """The collecting service of one round, for one process.

    Parameters
    ----------
    store_folder : Path
        Submission store of the round.
    plain_lan : bool
        Speak Digest, and take encrypted submissions only.
    limits : Limits, optional
    """
    openrosa = _openrosa(store_folder, plain_lan=plain_lan, limits=limits)

    @asynccontextmanager
    async def lifespan(_: Router) -> AsyncIterator[None]:
        await run_in_threadpool(openrosa.prepare, now=datetime.now(UTC))
        counting = asyncio.create_task(asyncio.to_thread(openrosa.count))
        await asyncio.wait({counting}, timeout=_COUNTING_SECONDS)
        yield

    return Router(routes=openrosa.routes(), lifespan=lifespan)


def collector_server(
    app: Router, *, host: str, port: int, limits: Limits | None = None
) -> uvicorn.Server:
    """The server of `create_collector`, with its patience limited."""
    config = _config(app, limits or Limits())
    config.host, config.port = host, port
    return uvicorn.Server(config)


def bind_listener(host: str, port: int) -> socket.socket:
    """A socket at an address.

    Raises
    ------
    BindRefusedError
        Another program has it, or this machine has no such address.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # or a second one could bind, too
    except OSError as error:
        listener.close()
        raise BindRefusedError(
            f"cannot listen on {host} port {port}: {error.strerror}; end the program that has it, "
            "or give another --host or --port"
        ) from error
    return listener


def run_collector(
    store_folder: Path,
    listener: socket.socket,
    *,
    workers: int,
    plain_lan: bool = False,
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
    limits: Limits | None = None,
) -> None:
    """Collect with several processes until SIGTERM or SIGINT.

    Each writes to the store by itself, as several importers may; what a phone has sent is counted
    in common. Digest is for one process: another would not know which counts of a nonce were
    used.

    Parameters
    ----------
    listener : socket
        Of `bind_listener`: who cannot have the address must not touch what another is receiving.
    """
    if plain_lan and workers > 1:
        raise ValueError("Digest is for one process")
    bounds = limits or Limits()
    openrosa = _openrosa(store_folder, plain_lan=plain_lan, limits=bounds)
    config = _config(Router(routes=openrosa.routes()), bounds, n_processes=workers)
    config.lifespan = "off"
    config.ssl_certfile, config.ssl_keyfile = tls_certificate, tls_key
    # A process of its own, so that the others begin before a large store is counted.
    counting = multiprocessing.get_context("fork").Process(target=openrosa.count, daemon=True)
    counting.start()
    openrosa.prepare(now=datetime.now(UTC))
    end_flushers()
    counting.join(_COUNTING_SECONDS)
    serve_together(config, listener, workers)


def _openrosa(store_folder: Path, *, plain_lan: bool, limits: Limits | None) -> OpenRosa:
    return OpenRosa(
        SubmissionStore(store_folder),
        PublishedForms(store_folder),
        PhoneGate(devices_of(store_folder), plain_lan=plain_lan),
        limits=limits or Limits(),
        plain_lan=plain_lan,
    )


def _config(app: Router, limits: Limits, *, n_processes: int = 1) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        http=_patient(limits.header_seconds),
        limit_concurrency=-(-limits.connections // n_processes),
        # Only a proxy on this machine may say that its side was https.
        forwarded_allow_ips="127.0.0.1,::1",
        server_header=False,
    )


def _patient(seconds: float) -> type[asyncio.Protocol]:
    """The protocol of uvicorn, cutting those who do not end the head of their request."""

    class Patient(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.transport = _Joined(transport, self.loop)  # type: ignore[assignment]
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


class _Joined:
    """A transport that sends head and body of an answer at once: half the calls and packets."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append(data)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._waiting:
            self._transport.write(b"".join(self._waiting))
            self._waiting.clear()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
