"""The gate before every route: who is calling, and whether the route's audience holds them.

What a route shows is declared in `api.disclosure.ROUTES`; without a declaration it answers 403.
Routes ask for the reader with `reader: CurrentReader` and need not check the role again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Match, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from api.db.sessions import Kind, reader_of
from api.db.users import has_users
from api.disclosure import ALL_AREAS, Layer, Reader, Role, layer_of
from api.errors import DatabaseError, SignInRefusedError
from api.settings import Settings, is_loopback

__all__ = ["CurrentReader", "Gate", "cookie_name", "current_reader"]

_REFUSED = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Not for you</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><link rel="stylesheet" href="/static/people.css"></head>
<body><main><h1>Not for you</h1><p>Refused: {why}.</p>
<p><a href="/account">Your account</a> says what you see here.</p></main></body></html>
"""

_LOCAL = Reader(
    name="",
    role=Role.ADMIN,
    areas=frozenset({ALL_AREAS}),
    session_id="local",
    in_person=True,
)


def cookie_name(scheme: str) -> str:
    """Name of the session's cookie; over https a browser keeps it to this host and path /."""
    return "__Host-adsurvey" if scheme == "https" else "adsurvey"


def current_reader(request: Request) -> Reader:
    """The reader of a request; 401 where a public route asks and nobody signed in.

    Raises
    ------
    SignInRefusedError
    """
    reader = getattr(request.state, "reader", None)
    if not isinstance(reader, Reader):
        raise SignInRefusedError("sign in first")
    return reader


#: Annotation of a route's parameter: `reader: CurrentReader`.
CurrentReader = Annotated[Reader, Depends(current_reader)]


class Gate:
    """ASGI middleware that lets through whom the table of routes lets through.

    Parameters
    ----------
    app : ASGIApp
        What is behind the gate.
    router : Router
        Of the service, to tell a route without an audience (403) from no route (404).
    settings : Settings
        Say whether a service without users may take everybody for the local reader: only when
        it listens on loopback and no proxy stands before it.
    """

    def __init__(self, app: ASGIApp, *, router: Router, settings: Settings) -> None:
        self._app = app
        self._router = router
        self._is_local = is_loopback(settings.host) and not settings.behind_proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no websocket is served
        layer = layer_of(scope["method"], scope["path"])
        if layer is Layer.PUBLIC:
            await self._app(scope, receive, send)
            return
        try:
            reader = await run_in_threadpool(self._identify, scope)
        except DatabaseError as error:
            await JSONResponse({"detail": str(error)}, 503)(scope, receive, send)
            return
        if reader is None:
            await _sign_in_first(scope)(scope, receive, send)
            return
        if layer is None and self._has_route(scope):
            await _refused(scope, "no audience is declared for this route")(scope, receive, send)
            return
        if layer is not None and not reader.may(layer):
            await _refused(scope, _why(reader, layer))(scope, receive, send)
            return
        scope.setdefault("state", {})["reader"] = reader
        await self._app(scope, receive, send)

    def _identify(self, scope: Scope) -> Reader | None:
        engine = scope["app"].state.engine
        headers, now = Headers(scope=scope), datetime.now(UTC)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        reader = None
        if scheme.lower() == "bearer":
            reader = reader_of(engine, token.strip(), kind=Kind.TOKEN, now=now)
        elif secret := cookie_parser(headers.get("cookie", "")).get(cookie_name(scope["scheme"])):
            reader = reader_of(engine, secret, kind=Kind.BROWSER, now=now)
        if reader is None and self._is_local and not has_users(engine):
            return _LOCAL
        return reader

    def _has_route(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is not Match.NONE for route in self._router.routes)


def _sign_in_first(scope: Scope) -> Response:
    """A page sends its reader to the sign-in page; a program gets 401."""
    if _is_page(scope):
        wanted = scope["path"]
        if scope["query_string"]:
            wanted += "?" + scope["query_string"].decode("latin-1")
        return RedirectResponse(f"/sign-in?next={quote(wanted[:500], safe='')}", 303)
    return JSONResponse(
        {"detail": "sign in first, or send a token: Authorization: Bearer ..."},
        401,
        headers={"WWW-Authenticate": "Bearer"},
    )


def _refused(scope: Scope, why: str) -> Response:
    if _is_page(scope):
        return HTMLResponse(_REFUSED.format(why=escape(why)), 403)
    return JSONResponse({"detail": why}, 403)


def _is_page(scope: Scope) -> bool:
    return scope["method"] == "GET" and Headers(scope=scope).get("accept", "").startswith(
        "text/html"
    )


def _why(reader: Reader, layer: Layer) -> str:
    if not reader.in_person:
        return f"a token does not reach {layer}; sign in with a password"
    return f"the role {reader.role} does not see {layer}; an administrator gives roles"
