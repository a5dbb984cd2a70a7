"""Exceptions of the `api` package, and the HTTP status of every exception it answers for.

ApiError
├── DatabaseError       the private cluster or the schema cannot be used
├── RunFolderError      a folder is not the complete output of a run
├── LayerNotFoundError  no layer of that name for this reader
└── BindRefusedError    an address that would expose the service
"""

from __future__ import annotations

from survey.errors import SurveyError

__all__ = [
    "STATUS",
    "ApiError",
    "BindRefusedError",
    "DatabaseError",
    "LayerNotFoundError",
    "RunFolderError",
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


#: HTTP status by exception; `app` installs it. Anything else is a defect: 500, without details.
STATUS: dict[type[Exception], int] = {
    LayerNotFoundError: 404,
    SurveyError: 422,
    DatabaseError: 503,
}
