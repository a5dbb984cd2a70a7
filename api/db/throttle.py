"""The throttle of sign-ins: tries are counted before a password is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Engine, case, delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from api.db.audit import Action, note
from api.db.models import SignInAttempt, User
from api.db.sessions import digest
from api.errors import TooManyTriesError

__all__ = ["allow_attempt", "failed_attempt", "forget_attempts"]

_WINDOW = timedelta(minutes=15)
#: Tries in a window: of one name from one address, of one name, from one address.
_LIMITS: Mapping[str, int] = {"both": 5, "name": 50, "address": 60}


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


def _attempt_keys(name: str, address: str) -> dict[str, str]:
    return {
        "both": digest(f"both {address} {name}"),
        "name": digest(f"name {name}"),
        "address": digest(f"address {address}"),
    }
