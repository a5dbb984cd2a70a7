"""Passwords: argon2 hashes through pwdlib, and what a password must be."""

from __future__ import annotations

import secrets
import threading

from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError
from pwdlib.hashers.argon2 import Argon2Hasher

from api.errors import AccountError
from api.settings import Settings

__all__ = ["Passwords", "new_password"]

MIN_LENGTH = 12
MAX_LENGTH = 200


def new_password() -> str:
    """A random password of 96 bits, for handing over once."""
    return secrets.token_urlsafe(12)


class Passwords:
    """Hashes and checks passwords.

    A check takes the same work whether the user exists or not, and only two run at once: each
    takes memory and cores on purpose.

    Parameters
    ----------
    settings : Settings
        Gives the cost.
    """

    def __init__(self, settings: Settings) -> None:
        self._hash = PasswordHash(
            [
                Argon2Hasher(
                    time_cost=settings.argon2_time_cost, memory_cost=settings.argon2_memory_kib
                )
            ]
        )
        self._nobody = self._hash.hash(secrets.token_urlsafe(12))
        self._room = threading.BoundedSemaphore(2)

    def hash(self, password: str, *, name: str) -> str:
        """Hash of a new password.

        Raises
        ------
        AccountError
            Too short, too long, or the user's own name.
        """
        if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
            raise AccountError(
                f"the password has {len(password)} characters; take {MIN_LENGTH} to {MAX_LENGTH}"
            )
        holds_name = len(name) >= 4 and name.casefold() in password.casefold()
        if holds_name or len(set(password)) < 5:
            raise AccountError(
                "the password holds the user's name or a few characters over and over; "
                "take several words that do not belong together"
            )
        with self._room:
            return self._hash.hash(password)

    def check(self, password: str, password_hash: str | None) -> bool:
        """Whether a password is the one of a hash; None stands for a user that is not there."""
        with self._room:
            try:
                is_right = self._hash.verify(password[:MAX_LENGTH], password_hash or self._nobody)
            except PwdlibError:
                is_right = False
        return is_right and password_hash is not None and len(password) <= MAX_LENGTH
