"""Users: who may sign in, as what and where."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, exists, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from api.db.audit import Action, note
from api.db.models import User
from api.db.sessions import end_sessions
from api.disclosure import ALL_AREAS, Role
from api.errors import AccountError

__all__ = [
    "Account",
    "add_user",
    "change_user",
    "clean_areas",
    "clean_name",
    "clean_role",
    "has_users",
    "list_users",
    "secret_of",
    "set_disabled",
    "set_password",
]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,39}")
_PCODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_LAST_ADMIN = "this is the last active administrator; make another one first"


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


def has_users(engine: Engine) -> bool:
    """Whether there is any user, disabled ones included: then everybody must sign in."""
    with engine.connect() as connection:
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
            end_sessions(connection, name, now=now)
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
        end_sessions(connection, name, now=now, keep=keep_session)
        note(connection, Action.PASSWORD_CHANGED, actor=actor, about=name, now=now)


def secret_of(engine: Engine, name: str) -> str | None:
    """Password hash of an active user; None for anybody else."""
    with engine.connect() as connection:
        return connection.scalar(
            select(User.password_hash).where(User.name == name, User.disabled_at.is_(None))
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
