"""Sessions of browsers and tokens of programs; their secrets are stored as digests only."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection, Engine, func, insert, select, update

from api.db.audit import Action, note
from api.db.models import Session, User
from api.disclosure import Reader, Role
from api.errors import AccountError

__all__ = [
    "Kind",
    "Token",
    "digest",
    "end_session",
    "end_sessions",
    "list_tokens",
    "open_session",
    "reader_of",
]


class Kind(StrEnum):
    """How a secret is carried: a browser's cookie or a program's header."""

    BROWSER = "browser"
    TOKEN = "token"  # noqa: S105  # no password


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A program's token; its secret is not known here."""

    session_id: str
    label: str
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None


def open_session(
    engine: Engine,
    name: str,
    *,
    kind: Kind,
    now: datetime,
    lasts: timedelta,
    actor: str,
    label: str = "",
) -> tuple[str, str]:
    """Open a session of a browser, or make a token; its secret is returned once.

    Returns
    -------
    tuple of str
        Session id and secret (256 random bits).

    Raises
    ------
    AccountError
        No such active user, or a token without a label.
    """
    label = "".join(filter(str.isprintable, " ".join(label.split())))[:80]
    if kind is Kind.TOKEN and not label:
        raise AccountError("name the program that will use the token, such as QGIS")
    session_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    with engine.begin() as connection:
        role = connection.scalar(
            select(User.role).where(User.name == name, User.disabled_at.is_(None))
        )
        if role is None:
            raise AccountError(f"there is no active user {name!r}; see adsurvey users list")
        connection.execute(
            insert(Session).values(
                session_id=session_id,
                user_name=name,
                kind=str(kind),
                label=label,
                secret_sha256=digest(secret),
                created_at=now,
                expires_at=now + lasts,
            )
        )
        action = Action.SIGN_IN if kind is Kind.BROWSER else Action.TOKEN_MADE
        note(
            connection, action, actor=actor, role=role, session_id=session_id, about=name, now=now
        )
    return session_id, secret


def reader_of(engine: Engine, secret: str, *, kind: Kind, now: datetime) -> Reader | None:
    """Who holds a secret; None when it is unknown, ended, expired, or its user is disabled."""
    statement = (
        select(User.name, User.role, User.areas, Session.session_id)
        .join(Session, Session.user_name == User.name)
        .where(
            Session.secret_sha256 == digest(secret),
            Session.kind == str(kind),
            Session.ended_at.is_(None),
            Session.expires_at > now,
            User.disabled_at.is_(None),
        )
    )
    with engine.connect() as connection:
        row = connection.execute(statement).one_or_none()
    if row is None or row.role not in set(Role):
        return None
    return Reader(
        name=row.name,
        role=Role(row.role),
        areas=frozenset(row.areas),
        session_id=row.session_id,
        in_person=kind is Kind.BROWSER,
    )


def end_session(
    engine: Engine, session_id: str, *, user_name: str, kind: Kind, actor: str, now: datetime
) -> None:
    """End a session or revoke a token of one user; once is enough.

    Raises
    ------
    AccountError
        This user has no such session.
    """
    if not session_id.isalnum():
        raise AccountError(f"{session_id[:20]!r} is no id of a {kind}")
    with engine.begin() as connection:
        ended = connection.execute(
            update(Session)
            .where(
                Session.session_id == session_id,
                Session.user_name == user_name,
                Session.kind == str(kind),
            )
            .values(ended_at=func.coalesce(Session.ended_at, now))
        )
        if not ended.rowcount:
            raise AccountError(f"{user_name!r} has no {kind} {session_id[:20]!r}")
        action = Action.SIGN_OUT if kind is Kind.BROWSER else Action.TOKEN_REVOKED
        note(connection, action, actor=actor, session_id=session_id, about=user_name, now=now)


def list_tokens(engine: Engine, name: str) -> list[Token]:
    """Tokens of a user, newest first."""
    statement = (
        select(
            Session.session_id,
            Session.label,
            Session.created_at,
            Session.expires_at,
            Session.ended_at,
        )
        .where(Session.user_name == name, Session.kind == str(Kind.TOKEN))
        .order_by(Session.created_at.desc())
    )
    with engine.connect() as connection:
        return [Token(**row._mapping) for row in connection.execute(statement)]


def end_sessions(connection: Connection, name: str, *, now: datetime, keep: str = "") -> None:
    """End every session and token of a user but one, in a transaction that is under way."""
    connection.execute(
        update(Session)
        .where(Session.user_name == name, Session.ended_at.is_(None), Session.session_id != keep)
        .values(ended_at=now)
    )


def digest(secret: str) -> str:
    """SHA-256: a secret of 256 random bits needs no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
