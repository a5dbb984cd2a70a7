"""The audit trail: who read fine data, signed in, changed users, decided on submissions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, Engine, insert, select

from api.db.models import AuditEvent
from api.db.reading import reading_as
from api.disclosure import Reader
from api.errors import AccountError

__all__ = ["Action", "Event", "audit_events", "note", "record"]

_MIN_REASON = 10


class Action(StrEnum):
    """What can be told of somebody."""

    SIGN_IN = "sign_in"
    SIGN_IN_FAILED = "sign_in_failed"
    SIGN_IN_THROTTLED = "sign_in_throttled"
    SIGN_OUT = "sign_out"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105  # no password
    TOKEN_MADE = "token_made"  # noqa: S105
    TOKEN_REVOKED = "token_revoked"  # noqa: S105
    USER_ADDED = "user_added"
    USER_CHANGED = "user_changed"
    USER_DISABLED = "user_disabled"
    USER_ENABLED = "user_enabled"
    TILES_READ = "tiles_read"
    SUBMISSIONS_READ = "submissions_read"
    DOWNLOAD = "download"
    EXPORT = "export"
    UPLOAD = "upload"
    REVIEW_DECISION = "review_decision"
    PURGE = "purge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the audit trail.

    Attributes
    ----------
    at : datetime
    actor : str
        Sign-in name; `local` for the reader of a service without users; the system user behind
        a command.
    role, session_id : str
    action : str
        One of `Action`.
    object : str
        Layer, user, form or instance it was about; never a place, a name or an answer.
    reason : str
        Why, as the actor stated it.
    """

    at: datetime
    actor: str
    role: str
    session_id: str
    action: str
    object: str
    reason: str


def record(
    engine: Engine,
    reader: Reader,
    action: Action,
    *,
    about: str,
    now: datetime,
    reason: str = "",
) -> None:
    """Add an event, durably, before what it tells of is answered.

    Raises
    ------
    AccountError
        An export without a reason of at least ten characters.
    """
    with engine.begin() as connection:
        note(
            connection,
            action,
            actor=reader.name or "local",
            role=reader.role,
            session_id=reader.session_id,
            about=about,
            now=now,
            reason=reason,
        )


def note(
    connection: Connection,
    action: Action,
    *,
    actor: str,
    about: str,
    now: datetime,
    role: str = "",
    session_id: str = "",
    reason: str = "",
) -> None:
    """Add an event to a transaction that is under way."""
    reason, about = _line(reason, 500), _line(about, 200)
    if action is Action.EXPORT and len(reason) < _MIN_REASON:
        raise AccountError(
            f"an export of fine data needs a reason of at least {_MIN_REASON} characters; "
            "say what it is for"
        )
    # `inline`: what is returned would have to be readable, and only administrators may read.
    connection.execute(
        insert(AuditEvent)
        .values(
            at=now,
            actor=actor,
            role=role,
            session_id=session_id,
            action=action,
            object=about,
            reason=reason,
        )
        .inline()
    )


def audit_events(
    engine: Engine,
    *,
    reader: Reader | None = None,
    since: datetime | None = None,
    limit: int = 1000,
) -> list[Event]:
    """The newest events, oldest first.

    Parameters
    ----------
    engine : Engine
    reader : Reader or None
        Whose right to read counts: nobody but an administrator gets a row. None reads as the
        database's owner, on the command line.
    since : datetime or None
    limit : int
    """
    fields = Event.__slots__
    statement = select(*(getattr(AuditEvent, name) for name in fields)).order_by(
        AuditEvent.event_id.desc()
    )
    if since is not None:
        statement = statement.where(AuditEvent.at >= since)
    statement = statement.limit(limit)
    if reader is None:
        with engine.connect() as connection:
            rows = connection.execute(statement).all()
    else:
        with reading_as(engine, reader) as connection:
            rows = connection.execute(statement).all()
    return [Event(**row._mapping) for row in reversed(rows)]


def _line(text: str, length: int) -> str:
    """One printable line: what is told must not forge another event."""
    return "".join(filter(str.isprintable, " ".join(text.split())))[:length]
