"""Sign-in, one's own account, and the administrators' pages of users and the audit trail.

Plain HTML forms: they work without scripts, by keyboard and on a slow line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from api.auth import CurrentReader, Passwords, new_password
from api.auth.gate import cookie_name
from api.auth.signing import check_password, sign_in
from api.db.audit import audit_events
from api.db.sessions import Kind, end_session, list_tokens, open_session, reader_of
from api.db.users import (
    add_user,
    change_user,
    clean_name,
    has_users,
    list_users,
    set_disabled,
    set_password,
)
from api.disclosure import HOME, Layer, Reader, Role, describe_roles, layer_of
from api.errors import AccountError, SignInRefusedError, TooManyTriesError
from api.settings import Settings
from survey.forms import DeviceRegistry
from survey.rounds import read_round

__all__ = ["people_router"]

_PAGES = Path(__file__).parents[1] / "pages"
_MAX_BYTES = 20_000
_TEMPLATES = Environment(
    loader=FileSystemLoader(_PAGES), autoescape=True, undefined=StrictUndefined
)
_OWN_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")

Text = Annotated[str, Form(max_length=2_000)]


def people_router(settings: Settings) -> APIRouter:
    """Router of `/sign-in`, `/sign-out`, `/account` and `/users`.

    Parameters
    ----------
    settings : Settings
        Cost of a password check, and how long a session lasts.
    """
    router = APIRouter(include_in_schema=False, max_body_size=_MAX_BYTES)
    passwords = Passwords(settings)
    lasts = timedelta(hours=settings.session_hours)

    @router.get("/sign-in")
    def sign_in_page(next: str = "/") -> Response:  # noqa: A002  # the parameter's name
        return _page("sign_in.html", next=next[:500], message="", name="")

    @router.post("/sign-in")
    def sign_in_now(
        request: Request,
        name: Text = "",
        password: Text = "",
        next: Text = "/",  # noqa: A002
    ) -> Response:
        engine, now = request.app.state.engine, datetime.now(UTC)
        try:
            secret = sign_in(
                engine, passwords, name=name, password=password, address=_address(request),
                now=now, lasts=lasts,
            )  # fmt: skip
        except (SignInRefusedError, TooManyTriesError) as error:
            is_throttled = isinstance(error, TooManyTriesError)
            status = 429 if is_throttled else 401
            return _page(
                "sign_in.html", status, next=next[:500], message=str(error), name=name[:40]
            )
        reader = reader_of(engine, secret, kind=Kind.BROWSER, now=now)
        if reader is None:
            raise SignInRefusedError("the user was disabled meanwhile")
        answer = RedirectResponse(_after_sign_in(next, reader), 303)
        answer.set_cookie(
            cookie_name(request.scope["scheme"]),
            secret,
            max_age=int(lasts.total_seconds()),
            path="/",
            secure=request.scope["scheme"] == "https",
            httponly=True,
            samesite="strict",
        )
        return answer

    @router.post("/sign-out")
    def sign_out(request: Request, reader: CurrentReader) -> Response:
        if reader.name:
            end_session(
                request.app.state.engine, reader.session_id, user_name=reader.name,
                kind=Kind.BROWSER, actor=reader.name, now=datetime.now(UTC),
            )  # fmt: skip
        answer = RedirectResponse("/sign-in", 303)
        scheme = request.scope["scheme"]
        answer.delete_cookie(
            cookie_name(scheme), path="/", secure=scheme == "https", httponly=True,
            samesite="strict",
        )  # fmt: skip
        answer.headers["Clear-Site-Data"] = '"cache"'
        return answer

    @router.get("/whoami", include_in_schema=True, tags=["service"])
    def whoami(reader: CurrentReader) -> JSONResponse:
        """Name, role and areas of the reader; areas `*` stands for all."""
        return JSONResponse(
            {
                "name": reader.name or "local",
                "role": reader.role,
                "areas": sorted(reader.areas),
                "home": HOME[reader.role],
                "sees": [str(layer) for layer in Layer if reader.may(layer)],
            }
        )

    @router.get("/account")
    def account(request: Request, reader: CurrentReader) -> Response:
        return _account(request, reader)

    @router.post("/account/password")
    def own_password(
        request: Request, reader: CurrentReader, current: Text = "", new: Text = ""
    ) -> Response:
        engine, now = request.app.state.engine, datetime.now(UTC)
        try:
            check_password(
                engine, passwords, name=reader.name, password=current,
                address=_address(request), now=now,
            )  # fmt: skip
            hashed = passwords.hash(new, name=reader.name)
            set_password(
                engine, reader.name, hashed, actor=reader.name, now=now,
                keep_session=reader.session_id,
            )  # fmt: skip
        except SignInRefusedError:
            return _account(request, reader, 422, fault="The current password is another one.")
        except (AccountError, TooManyTriesError) as error:
            return _account(request, reader, 422, fault=_sentence(error))
        return _account(
            request, reader, done="The password is changed; other browsers and tokens are out."
        )

    @router.post("/account/tokens")
    def make_token(
        request: Request,
        reader: CurrentReader,
        label: Text = "",
        days: Annotated[int, Form(ge=1, le=366)] = 90,
    ) -> Response:
        try:
            _, secret = open_session(
                request.app.state.engine, reader.name, kind=Kind.TOKEN, now=datetime.now(UTC),
                lasts=timedelta(days=days), actor=reader.name, label=label,
            )  # fmt: skip
        except AccountError as error:
            return _account(request, reader, 422, fault=_sentence(error))
        return _account(request, reader, secret=secret)

    @router.post("/account/tokens/{session_id}/revoke")
    def revoke_token(request: Request, reader: CurrentReader, session_id: str) -> Response:
        end_session(
            request.app.state.engine, session_id, user_name=reader.name, kind=Kind.TOKEN,
            actor=reader.name, now=datetime.now(UTC),
        )  # fmt: skip
        return RedirectResponse("/account", 303)

    @router.get("/users")
    def users(request: Request, reader: CurrentReader) -> Response:
        return _users(request, reader)

    @router.post("/users")
    def new_user(
        request: Request,
        reader: CurrentReader,
        name: Text = "",
        role: Text = "",
        areas: Text = "",
    ) -> Response:
        password = new_password()
        try:
            made = add_user(
                request.app.state.engine, name=name, role=role, areas=_codes(areas),
                password_hash=passwords.hash(password, name=""), actor=reader.name or "local",
                now=datetime.now(UTC),
            )  # fmt: skip
        except AccountError as error:
            return _users(request, reader, 422, fault=_sentence(error))
        return _users(request, reader, secret=password, secret_of=made.name)

    @router.post("/users/{name}")
    def edit_user(
        request: Request,
        reader: CurrentReader,
        name: str,
        action: Text = "",
        role: Text = "",
        areas: Text = "",
    ) -> Response:
        engine = request.app.state.engine
        told: Mapping[str, Any] = {"actor": reader.name or "local", "now": datetime.now(UTC)}
        try:
            if action == "change":
                change_user(engine, name, role=role, areas=_codes(areas), **told)
            elif action in ("disable", "enable"):
                set_disabled(engine, name, disabled=action == "disable", **told)
                if action == "disable" and settings.survey is not None:
                    store = read_round(settings.survey).submissions_folder
                    DeviceRegistry(store / "devices").revoke_owned(
                        clean_name(name), now=told["now"]
                    )
            elif action == "password":
                password = new_password()
                set_password(engine, name, passwords.hash(password, name=""), **told)
                return _users(request, reader, secret=password, secret_of=name)
            else:
                return _users(request, reader, 422, fault="There is no such action.")
        except AccountError as error:
            return _users(request, reader, 422, fault=_sentence(error))
        return RedirectResponse("/users", 303)

    @router.get("/users/audit")
    def audit(request: Request, reader: CurrentReader) -> Response:
        events = audit_events(request.app.state.engine, reader=reader, limit=300)
        return _page("audit.html", reader=reader, events=events[::-1])

    return router


def _account(request: Request, reader: Reader, status: int = 200, **shown: str) -> Response:
    tokens = list_tokens(request.app.state.engine, reader.name)
    now = datetime.now(UTC)
    return _page(
        "account.html",
        status,
        reader=reader,
        sees=[layer for layer in Layer if reader.may(layer) and layer is not Layer.PUBLIC],
        home=HOME[reader.role],
        tokens=[token for token in tokens if not token.ended_at and token.expires_at > now],
        **{"fault": "", "done": "", "secret": "", **shown},
    )


def _users(request: Request, reader: Reader, status: int = 200, **shown: str) -> Response:
    engine = request.app.state.engine
    return _page(
        "users.html",
        status,
        reader=reader,
        users=list_users(engine),
        is_first=not has_users(engine),
        roles=list(Role),
        described=list(describe_roles()),
        **{"fault": "", "secret": "", "secret_of": "", **shown},
    )


def _page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(_TEMPLATES.get_template(template).render(**values), status)


def _after_sign_in(wanted: str, reader: Reader) -> str:
    """Where a reader wanted to go, if it is a path of ours that this role sees."""
    if _OWN_PATH.fullmatch(wanted):
        layer = layer_of("GET", wanted.partition("?")[0])
        if layer is not None and layer is not Layer.PUBLIC and reader.may(layer):
            return wanted
    return HOME[reader.role]


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _codes(areas: str) -> list[str]:
    return re.split(r"[\s,;]+", areas.strip())


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
