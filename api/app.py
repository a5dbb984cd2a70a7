"""The service: `create_app(settings)` puts routes, guards and error answers together."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from asyncpg.exceptions import PostgresError
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from rio_tiler.errors import RioTilerError, TileOutsideBounds
from starlette.datastructures import MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tipg.errors import DEFAULT_STATUS_CODES as TIPG_STATUS
from tipg.errors import TiPgError

from api.auth import CurrentReader, Gate, current_reader
from api.auth.trail import TileTrail
from api.db.audit import Action, record
from api.db.rasters import RasterSource, raster_layers, raster_source
from api.db.store import connect, web_engine, web_pool_arguments
from api.db.users import has_users
from api.errors import STATUS, BindRefusedError, LayerNotFoundError
from api.ogc import OgcEdge, close_ogc, include_ogc, open_ogc
from api.outdated import outdated_figures
from api.routes.field import field_router
from api.routes.forms import forms_router
from api.routes.pages import include_pages
from api.routes.people import people_router
from api.routes.review import review_router
from api.routes.tiles import raster_router
from api.settings import Settings, is_loopback
from survey.rounds import read_round

__all__ = ["create_app", "refuse_public_bind", "refuse_without_users"]

_log = logging.getLogger("adsurvey")

_HTML_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; worker-src blob: 'self'; child-src blob:; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_LOOPBACK_NAMES = ["127.0.0.1", "localhost", "[::1]", "testserver"]
_TILE_PARAMETERS = {"tilesize": {"256", "512"}}


def refuse_public_bind(settings: Settings, *, has_tls: bool) -> None:
    """Refuse an address that would send secrets in the clear, whoever the users are.

    Raises
    ------
    BindRefusedError
        Beyond loopback without TLS; a proxy said to be on this machine and another address than
        loopback; no name under which browsers may reach the service.
    """
    host = settings.host
    if settings.behind_proxy and has_tls:
        raise BindRefusedError("give either a certificate or --behind-proxy, not both")
    if not is_loopback(host):
        if settings.behind_proxy:
            raise BindRefusedError(
                f"refusing to listen on {host!r} behind a proxy: anybody could pass for it; "
                "the proxy runs on this machine, listen on 127.0.0.1"
            )
        if not has_tls:
            raise BindRefusedError(
                f"refusing to listen on {host!r} in the clear: passwords and restricted layers "
                "would cross the network; give --tls-certificate and --tls-key, put a proxy on "
                "this machine (--behind-proxy), or use 127.0.0.1 and an SSH tunnel"
            )
    is_reached_by_name = settings.behind_proxy or not is_loopback(host)
    if is_reached_by_name and not settings.host_names:
        raise BindRefusedError(
            "say under which name browsers reach this service, as in the certificate: "
            "--host-name survey.example.org"
        )


def refuse_without_users(settings: Settings) -> None:
    """Refuse to be reached from elsewhere while there is nobody to sign in.

    Raises
    ------
    BindRefusedError
        No user, and another address than loopback, or a proxy.
    """
    if is_loopback(settings.host) and not settings.behind_proxy:
        return
    engine = connect(settings)
    try:
        if not has_users(engine):
            raise BindRefusedError(
                f"refusing to listen on {settings.host!r}: without users everyone who reaches "
                "this service could read restricted layers; make the first one: "
                "adsurvey users add NAME --role admin --areas all"
            )
    finally:
        engine.dispose()


def create_app(settings: Settings) -> FastAPI:
    """The whole service on one database.

    Parameters
    ----------
    settings : Settings
        Decides the database and the round that receives uploads.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        connect(settings).dispose()  # the owner migrates, then leaves
        app.state.engine = web_engine(settings)
        await open_ogc(app, web_pool_arguments(settings))
        try:
            yield
        finally:
            await close_ogc(app)
            app.state.engine.dispose()

    app = FastAPI(
        title="ad-survey",
        summary="Districts with estimated hectares, AD projects, forms.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )

    tiles = TileTrail()
    declared = read_round(settings.survey) if settings.survey else None

    def find_raster(request: Request, layer_id: str) -> RasterSource:
        reader = current_reader(request)
        source = raster_source(request.app.state.engine, layer_id, reader)
        if source is None or not source.path.is_file():
            raise LayerNotFoundError(f"layer {layer_id!r} does not exist")
        now = datetime.now(UTC)
        if n := tiles.count(reader.session_id, layer_id, now=now):
            record(
                request.app.state.engine, reader, Action.TILES_READ, about=layer_id, now=now,
                reason=f"{n} or more this hour",
            )  # fmt: skip
        return source

    @app.get("/healthz", tags=["service"])
    def healthz(request: Request) -> dict[str, Any]:
        """Whether the service and its database answer."""
        has_users(request.app.state.engine)
        return {"status": "ok"}

    @app.get("/layers", tags=["service"])
    def layers(request: Request, reader: CurrentReader) -> dict[str, Any]:
        """Restricted raster layers, for analysts."""
        engine = request.app.state.engine
        found: dict[str, Any] = {"raster": raster_layers(engine, reader)}
        if declared is not None and (outdated := outdated_figures(engine, declared)):
            found["outdated"] = outdated
        return found

    include_ogc(app)
    app.include_router(raster_router(find_raster), prefix="/raster/{layer_id}", tags=["raster"])
    app.include_router(forms_router(None if declared is None else declared.submissions_folder))
    if declared is not None:
        field = field_router(
            declared.submissions_folder,
            title=declared.title,
            collect_url=settings.collect_url,
            is_training=declared.survey.training,
        )
        app.include_router(field)
    app.include_router(review_router(settings.survey))
    app.include_router(people_router(settings))
    include_pages(app)
    _install_errors(app)
    app.add_middleware(OgcEdge)
    app.add_middleware(Gate, router=app.router, settings=settings)
    app.add_middleware(_Edge, needs_https=settings.behind_proxy)
    app.add_middleware(
        TrustedHostMiddleware,
        allowed_hosts=[*_LOOPBACK_NAMES, *settings.host_names],
        www_redirect=False,
    )
    return app


def _install_errors(app: FastAPI) -> None:
    """Answer exceptions by one table; a defect answers 500 and tells nothing of the inside."""

    def plain(status: int) -> Any:
        def answer(_: Request, error: Exception) -> JSONResponse:
            return JSONResponse({"detail": str(error)}, status)

        return answer

    for kind, status in STATUS.items():
        app.add_exception_handler(kind, plain(status))
    app.add_exception_handler(TileOutsideBounds, plain(404))

    def silent(status: int, detail: str) -> Any:
        def answer(_: Request, error: Exception) -> JSONResponse:
            _log.warning("%s: %s", type(error).__name__, detail)
            return JSONResponse({"detail": detail}, status)

        return answer

    # Text of the database or of GDAL may hold column names and paths.
    app.add_exception_handler(PostgresError, silent(400, "the filter cannot be evaluated"))
    app.add_exception_handler(RioTilerError, silent(400, "the tile cannot be made"))
    for tipg_error, status in TIPG_STATUS.items():
        if issubclass(tipg_error, TiPgError):
            app.add_exception_handler(
                tipg_error,
                silent(status if status < 500 else 400, "the request cannot be answered"),
            )


class _Edge:
    """Guards on every request: origin of writes, parameters of tiles, headers of answers."""

    def __init__(self, app: ASGIApp, *, needs_https: bool) -> None:
        self._app = app
        self._needs_https = needs_https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back with headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fault = (
            (_in_the_clear(scope) if self._needs_https else None)
            or _foreign_write(scope)
            or _odd_tile(scope)
        )
        path = scope["path"]

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                # Not "no-referrer": browsers would then send `Origin: null` with our own forms.
                headers["Referrer-Policy"] = "same-origin"
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                if headers.get("content-type", "").startswith("text/html"):
                    headers["Content-Security-Policy"] = _HTML_POLICY
                # Figures may be withdrawn, and readers differ: only assets may be kept.
                headers["Cache-Control"] = (
                    "private, max-age=86400"
                    if path.startswith("/static/")
                    else "private, no-store"
                )
                headers["Vary"] = "Cookie, Authorization"
                if scope["scheme"] == "https":
                    headers["Strict-Transport-Security"] = "max-age=31536000"
            await send(message)

        if fault:
            await JSONResponse({"detail": fault[1]}, fault[0])(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)


def _foreign_write(scope: Scope) -> tuple[int, str] | None:
    """Refuse a write that another site's page sends through this browser."""
    if scope["method"] in ("GET", "HEAD", "OPTIONS"):
        return None
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    origin = headers.get(b"origin")
    own = f"{scope['scheme']}://{headers.get(b'host', '')}"
    if origin is not None and origin != own:
        return 403, "this request comes from another site"
    # Browsers say where a write comes from; a session's cookie without that is not from ours.
    if origin is None and b"cookie" in headers and headers.get(b"sec-fetch-site") != "same-origin":
        return 403, "this request does not say which site it comes from; programs send a token"
    return None


def _in_the_clear(scope: Scope) -> tuple[int, str] | None:
    """Refuse what reached the proxy without TLS."""
    if scope["scheme"] == "https" or scope["path"] == "/healthz":
        return None
    return 403, "use https; the proxy must say so in X-Forwarded-Proto"


def _odd_tile(scope: Scope) -> tuple[int, str] | None:
    """Refuse parameters that the raster tiles do not have: size, bands, expressions, paths."""
    if not scope["path"].startswith("/raster/"):
        return None
    for pair in filter(None, scope["query_string"].decode("latin-1").split("&")):
        name, _, value = pair.partition("=")
        if value not in _TILE_PARAMETERS.get(name, set()):
            return 400, f"parameter {name[:40]!r} is not known here or has an odd value"
    return None
