"""Signing in: the throttle first, then the password, then a session."""

from __future__ import annotations

from datetime import datetime, timedelta

from api.auth.passwords import Passwords
from api.db.reading import Database
from api.db.sessions import Kind, open_session
from api.db.throttle import allow_attempt, failed_attempt, forget_attempts
from api.db.users import clean_name, secret_of
from api.errors import AccountError, SignInRefusedError

__all__ = ["check_password", "sign_in"]


def check_password(
    engine: Database,
    passwords: Passwords,
    *,
    name: str,
    password: str,
    address: str,
    now: datetime,
) -> str:
    """The name in the one way it is written, once the password fits.

    The work is the same whether the user exists, is disabled, or the password is wrong.

    Raises
    ------
    SignInRefusedError
        Name and password do not fit.
    TooManyTriesError
        Too many tries; the password was not looked at.
    """
    try:
        known = clean_name(name)
    except AccountError:
        known = "?"  # no user has this name
    allow_attempt(engine, name=known, address=address, now=now)
    if not passwords.check(password, secret_of(engine, known)):
        failed_attempt(engine, known, now=now)
        raise SignInRefusedError("name and password do not fit")
    forget_attempts(engine, name=known, address=address)
    return known


def sign_in(
    engine: Database,
    passwords: Passwords,
    *,
    name: str,
    password: str,
    address: str,
    now: datetime,
    lasts: timedelta,
) -> str:
    """Open a browser's session and return its secret.

    Raises
    ------
    SignInRefusedError, TooManyTriesError
        As `check_password`.
    """
    known = check_password(
        engine, passwords, name=name, password=password, address=address, now=now
    )
    _, secret = open_session(engine, known, kind=Kind.BROWSER, now=now, lasts=lasts, actor=known)
    return secret
