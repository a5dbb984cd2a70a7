"""Users, their sessions and tokens, and the throttle of sign-ins."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from api.db.audit import Action, note
from api.db.models import Session, SignInAttempt, User
from api.db.reading import answering
from api.disclosure import ALL_AREAS, Reader, Role
from api.errors import AccountError, TooManyTriesError

__all__ = [
    "Account",
    "Kind",
    "Token",
    "add_user",
    "allow_attempt",
    "change_user",
    "clean_areas",
    "clean_name",
    "clean_role",
    "end_session",
    "failed_attempt",
    "forget_attempts",
    "has_users",
    "list_tokens",
    "list_users",
    "open_session",
    "reader_of",
    "secret_of",
    "set_disabled",
    "set_password",
]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,39}")
_PCODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_WINDOW = timedelta(minutes=15)
#: Tries in a window: of one name from one address, of one name, from one address.
_LIMITS: Mapping[str, int] = {"both": 5, "name": 50, "address": 60}
_LAST_ADMIN = "this is the last active administrator; make another one first"


class Kind(StrEnum):
    """How a secret is carried: a browser's cookie or a program's header."""

    BROWSER = "browser"
    TOKEN = "token"  # noqa: S105  # no password


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user, as administrators see one."""

    name: str
    role: str
    areas: tuple[str, ...]
    created_at: datetime
    password_changed_at: datetime
    disabled_at: datetime | None

    @property
    def is_active(self) -> bool:
        """Whether this user may sign in."""
        return self.disabled_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A program's token; its secret is not known here."""

    session_id: str
    label: str
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None


def has_users(engine: Engine) -> bool:
    """Whether there is any user, disabled ones included: then everybody must sign in."""
    with answering(engine) as connection:
        return bool(connection.scalar(select(exists(select(User.name)))))


def clean_name(name: str) -> str:
    """A sign-in name in the one way it is written.

    Raises
    ------
    AccountError
        Not 2 to 40 of a-z, 0-9, dot, dash and underscore.
    """
    cleaned = name.strip().lower()
    if not _NAME.fullmatch(cleaned):
        raise AccountError(
            f"{name!r} is no sign-in name; use 2 to 40 of a-z, 0-9, dot, dash and underscore, "
            "such as mya.analyst"
        )
    return cleaned


def clean_role(role: str) -> Role:
    """A role.

    Raises
    ------
    AccountError
        There is no such role.
    """
    try:
        return Role(role)
    except ValueError:
        raise AccountError(f"there is no role {role!r}; choose from {', '.join(Role)}") from None


def clean_areas(areas: Iterable[str]) -> list[str]:
    """P-codes, sorted, or the sign for everywhere.

    Raises
    ------
    AccountError
        None, or something that is no P-code.
    """
    found = {area.strip() for area in areas} - {""}
    if found & {"all", ALL_AREAS}:
        return [ALL_AREAS]
    if not found:
        raise AccountError("name the areas: P-codes of districts or provinces, or all")
    for area in found:
        if not _PCODE.fullmatch(area):
            raise AccountError(f"{area!r} is no P-code; write it as in the layer of districts")
    return sorted(found)


def add_user(
    engine: Engine,
    *,
    name: str,
    role: str,
    areas: Iterable[str],
    password_hash: str,
    actor: str,
    now: datetime,
) -> Account:
    """Add a user.

    Raises
    ------
    AccountError
        A bad name, role or area, or the name is taken.
    """
    values: dict[str, Any] = {
        "name": clean_name(name),
        "role": str(clean_role(role)),
        "areas": clean_areas(areas),
        "password_hash": password_hash,
        "created_at": now,
        "password_changed_at": now,
    }
    try:
        with engine.begin() as connection:
            connection.execute(insert(User).values(**values))
            told = f"role {values['role']}, areas {','.join(values['areas'])}"
            note(
                connection,
                Action.USER_ADDED,
                actor=actor,
                about=values["name"],
                now=now,
                reason=told,
            )
    except IntegrityError:
        raise AccountError(
            f"user {values['name']!r} is there already; change it, or take another name"
        ) from None
    return _account(engine, values["name"])


def list_users(engine: Engine) -> list[Account]:
    """Every user, by name."""
    with engine.connect() as connection:
        return [_as_account(row) for row in connection.execute(_ACCOUNTS.order_by(User.name))]


def change_user(
    engine: Engine, name: str, *, role: str, areas: Iterable[str], actor: str, now: datetime
) -> Account:
    """Give a user another role or other areas; it counts from the next request on.

    Raises
    ------
    AccountError
        No such user, role or area; or nobody would be administrator any more.
    """
    name, new_role, new_areas = clean_name(name), clean_role(role), clean_areas(areas)
    with engine.begin() as connection:
        if _lock(connection, name) and new_role is not Role.ADMIN:
            raise AccountError(_LAST_ADMIN)
        connection.execute(
            update(User).where(User.name == name).values(role=str(new_role), areas=new_areas)
        )
        told = f"role {new_role}, areas {','.join(new_areas)}"
        note(connection, Action.USER_CHANGED, actor=actor, about=name, now=now, reason=told)
    return _account(engine, name)


def set_disabled(
    engine: Engine, name: str, *, disabled: bool, actor: str, now: datetime
) -> Account:
    """Keep a user out, which ends every session and token at once, or let one in again.

    Raises
    ------
    AccountError
        No such user, or nobody would be administrator any more.
    """
    name = clean_name(name)
    with engine.begin() as connection:
        if _lock(connection, name) and disabled:
            raise AccountError(_LAST_ADMIN)
        connection.execute(
            update(User).where(User.name == name).values(disabled_at=now if disabled else None)
        )
        if disabled:
            _end_all(connection, name, now=now)
        action = Action.USER_DISABLED if disabled else Action.USER_ENABLED
        note(connection, action, actor=actor, about=name, now=now)
    return _account(engine, name)


def set_password(
    engine: Engine,
    name: str,
    password_hash: str,
    *,
    actor: str,
    now: datetime,
    keep_session: str = "",
) -> None:
    """Set a new password; every browser session but one ends, and every token.

    Raises
    ------
    AccountError
        No such user.
    """
    name = clean_name(name)
    with engine.begin() as connection:
        _lock(connection, name)
        connection.execute(
            update(User)
            .where(User.name == name)
            .values(password_hash=password_hash, password_changed_at=now)
        )
        _end_all(connection, name, now=now, keep=keep_session)
        note(connection, Action.PASSWORD_CHANGED, actor=actor, about=name, now=now)


def secret_of(engine: Engine, name: str) -> str | None:
    """Password hash of an active user; None for anybody else."""
    with engine.connect() as connection:
        return connection.scalar(
            select(User.password_hash).where(User.name == name, User.disabled_at.is_(None))
        )


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
                secret_sha256=_digest(secret),
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
            Session.secret_sha256 == _digest(secret),
            Session.kind == str(kind),
            Session.ended_at.is_(None),
            Session.expires_at > now,
            User.disabled_at.is_(None),
        )
    )
    with answering(engine) as connection:
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


def allow_attempt(engine: Engine, *, name: str, address: str, now: datetime) -> None:
    """Count one more try before the password is looked at.

    Names that do not exist are counted like those that do.

    Raises
    ------
    TooManyTriesError
        Too many within a quarter of an hour.
    """
    is_first_over, allowed = False, True
    with engine.begin() as connection:
        connection.execute(
            delete(SignInAttempt).where(SignInAttempt.since < now - timedelta(days=1))
        )
        for scope, key in _attempt_keys(name, address).items():
            is_over = SignInAttempt.since <= now - _WINDOW
            n = connection.scalar(
                upsert(SignInAttempt)
                .values(key=key, n=1, since=now)
                .on_conflict_do_update(
                    index_elements=[SignInAttempt.key],
                    set_={
                        "n": case((is_over, 1), else_=SignInAttempt.n + 1),
                        "since": case((is_over, now), else_=SignInAttempt.since),
                    },
                )
                .returning(SignInAttempt.n)
            )
            allowed &= n is not None and n <= _LIMITS[scope]
            is_first_over |= n == _LIMITS[scope] + 1
        if is_first_over:
            actor = connection.scalar(select(User.name).where(User.name == name))
            note(
                connection,
                Action.SIGN_IN_THROTTLED,
                actor=actor or "unknown",
                about="sign-in",
                now=now,
            )
    if not allowed:
        raise TooManyTriesError(
            "too many tries; wait a quarter of an hour, or ask an administrator for a new password"
        )


def failed_attempt(engine: Engine, name: str, *, now: datetime) -> None:
    """Tell of a wrong password; a name that no user has is not written down."""
    with engine.begin() as connection:
        actor = connection.scalar(select(User.name).where(User.name == name))
        note(
            connection,
            Action.SIGN_IN_FAILED,
            actor=actor or "unknown",
            about="sign-in",
            now=now,
        )


def forget_attempts(engine: Engine, *, name: str, address: str) -> None:
    """After the right password: a name from an address starts anew, and this try counts not."""
    keys = _attempt_keys(name, address)
    with engine.begin() as connection:
        for scope, key in keys.items():
            connection.execute(
                update(SignInAttempt)
                .where(SignInAttempt.key == key)
                .values(n=0 if scope == "both" else SignInAttempt.n - 1)
            )


_ACCOUNTS = select(
    User.name,
    User.role,
    User.areas,
    User.created_at,
    User.password_changed_at,
    User.disabled_at,
)


def _as_account(row: Row[*tuple[Any, ...]]) -> Account:
    return Account(**{**row._mapping, "areas": tuple(row.areas)})


def _account(engine: Engine, name: str) -> Account:
    with engine.connect() as connection:
        return _as_account(connection.execute(_ACCOUNTS.where(User.name == name)).one())


def _lock(connection: Connection, name: str) -> bool:
    """Lock a user and every administrator; whether the user is the last active one."""
    rows = connection.execute(
        select(User.name, User.role, User.disabled_at)
        .where(or_(User.name == name, User.role == str(Role.ADMIN)))
        .order_by(User.name)
        .with_for_update()
    ).all()
    if not any(row.name == name for row in rows):
        raise AccountError(f"there is no user {name!r}; see adsurvey users list")
    active = {row.name for row in rows if row.role == Role.ADMIN and row.disabled_at is None}
    return active == {name}


def _end_all(connection: Connection, name: str, *, now: datetime, keep: str = "") -> None:
    connection.execute(
        update(Session)
        .where(Session.user_name == name, Session.ended_at.is_(None), Session.session_id != keep)
        .values(ended_at=now)
    )


def _attempt_keys(name: str, address: str) -> dict[str, str]:
    return {
        "both": _digest(f"both {address} {name}"),
        "name": _digest(f"name {name}"),
        "address": _digest(f"address {address}"),
    }


def _digest(secret: str) -> str:
    """SHA-256: a secret of 256 random bits needs no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
