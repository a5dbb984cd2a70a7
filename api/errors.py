"""Exceptions of the `api` package, and the HTTP status of every exception it answers for.

ApiError
├── DatabaseError       the private cluster or the schema cannot be used
├── RunFolderError      a folder is not the complete output of a run
├── LayerNotFoundError  no layer of that name for this reader
├── BindRefusedError    an address that would expose the service
├── AccountError        a user, role, area or password that cannot be
├── SignInRefusedError  name and password do not fit
└── TooManyTriesError   too many failed sign-ins
"""

from __future__ import annotations

from survey.errors import SurveyError

__all__ = [
    "STATUS",
    "AccountError",
    "ApiError",
    "BindRefusedError",
    "DatabaseError",
    "LayerNotFoundError",
    "RunFolderError",
    "SignInRefusedError",
    "TooManyTriesError",
]


class ApiError(Exception):
    """Base of every error that `api` raises on purpose."""


class DatabaseError(ApiError):
    """The private cluster or the schema cannot be used."""


class RunFolderError(ApiError):
    """A folder is not the complete output of a run."""


class LayerNotFoundError(ApiError):
    """No layer of that name for this reader."""


class BindRefusedError(ApiError):
    """An address on which the service must not listen."""


class AccountError(ApiError):
    """A user, role, area or password that cannot be."""


class SignInRefusedError(ApiError):
    """Name and password do not fit, whichever of the two is wrong."""


class TooManyTriesError(ApiError):
    """Too many failed sign-ins for this name or from this address."""


#: HTTP status by exception; `app` installs it. Anything else is a defect: 500, without details.
STATUS: dict[type[Exception], int] = {
    LayerNotFoundError: 404,
    SurveyError: 422,
    DatabaseError: 503,
    AccountError: 422,
    SignInRefusedError: 401,
    TooManyTriesError: 429,
}
