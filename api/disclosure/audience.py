"""Who sees what: roles x layers x areas, and the layer behind every route, as data.

A route that is not named in `ROUTES` answers 403 to everybody. There is no role for law
enforcement on purpose, and an unknown role sees nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "ALL_AREAS",
    "HOME",
    "READERS",
    "ROUTES",
    "WITHIN_AREAS",
    "Layer",
    "Reader",
    "Role",
    "describe_roles",
    "layer_of",
]

#: Stands for every district, among a user's areas.
ALL_AREAS = "*"


class Role(StrEnum):
    """What somebody is here."""

    FIELD = "field"
    ANALYST = "analyst"
    MANAGER = "manager"
    ADMIN = "admin"


class Layer(StrEnum):
    """What there is to see or do."""

    PUBLIC = "public"
    ACCOUNT = "account"
    FORMS = "forms"
    UPLOADS = "uploads"
    PUBLISHED = "published figures"
    CLASS_MAPS = "class maps"
    SUBMISSIONS = "submissions"
    USERS = "users"


_EVERYBODY = frozenset(Role)
#: Roles that may read a layer. PUBLIC needs no sign-in and stands here for completeness.
READERS: Mapping[Layer, frozenset[Role]] = {
    Layer.PUBLIC: _EVERYBODY,
    Layer.ACCOUNT: _EVERYBODY,
    Layer.FORMS: _EVERYBODY,
    Layer.UPLOADS: frozenset({Role.FIELD, Role.ANALYST, Role.ADMIN}),
    Layer.PUBLISHED: frozenset({Role.MANAGER, Role.ANALYST, Role.ADMIN}),
    Layer.CLASS_MAPS: frozenset({Role.ANALYST, Role.ADMIN}),
    Layer.SUBMISSIONS: frozenset({Role.ANALYST, Role.ADMIN}),
    Layer.USERS: frozenset({Role.ADMIN}),
}
#: Fine data, cut at the reader's areas. Published figures are national on purpose.
WITHIN_AREAS = frozenset({Layer.CLASS_MAPS, Layer.SUBMISSIONS})
#: Only for somebody who signed in with a password: a program's token does not reach these.
_IN_PERSON = frozenset({Layer.ACCOUNT, Layer.USERS})

#: Where a reader lands after signing in.
HOME: Mapping[Role, str] = {
    Role.FIELD: "/upload",
    Role.ANALYST: "/",
    Role.MANAGER: "/",
    Role.ADMIN: "/",
}

#: Every route: method, path as the router writes it, layer. GET answers for HEAD too.
ROUTES: tuple[tuple[str, str, Layer], ...] = (
    ("GET", "/healthz", Layer.PUBLIC),
    ("GET", "/licences", Layer.PUBLIC),
    ("GET", "/static/{file:path}", Layer.PUBLIC),
    ("GET", "/sign-in", Layer.PUBLIC),
    ("POST", "/sign-in", Layer.PUBLIC),
    ("GET", "/whoami", Layer.ACCOUNT),
    ("POST", "/sign-out", Layer.ACCOUNT),
    ("GET", "/account", Layer.ACCOUNT),
    ("POST", "/account/password", Layer.ACCOUNT),
    ("POST", "/account/tokens", Layer.ACCOUNT),
    ("POST", "/account/tokens/{session_id}/revoke", Layer.ACCOUNT),
    ("GET", "/users", Layer.USERS),
    ("POST", "/users", Layer.USERS),
    ("POST", "/users/{name}", Layer.USERS),
    ("GET", "/users/audit", Layer.USERS),
    ("GET", "/forms", Layer.FORMS),
    ("GET", "/forms/{form_id}.xml", Layer.FORMS),
    ("GET", "/forms/{form_id}.xlsx", Layer.FORMS),
    ("GET", "/upload", Layer.UPLOADS),
    ("POST", "/forms/submissions", Layer.UPLOADS),
    ("POST", "/forms/uploads", Layer.UPLOADS),
    ("GET", "/forms/uploads/{upload_id}", Layer.UPLOADS),
    ("PATCH", "/forms/uploads/{upload_id}", Layer.UPLOADS),
    ("DELETE", "/forms/uploads/{upload_id}", Layer.UPLOADS),
    ("POST", "/forms/uploads/{upload_id}/import", Layer.UPLOADS),
    ("GET", "/forms/uploads/{upload_id}/report.xlsx", Layer.UPLOADS),
    ("GET", "/field/status", Layer.UPLOADS),
    ("POST", "/field/phones", Layer.UPLOADS),
    ("POST", "/field/phones/{device_id}/revoke", Layer.UPLOADS),
    ("GET", "/review", Layer.SUBMISSIONS),
    ("POST", "/review/accept", Layer.SUBMISSIONS),
    ("GET", "/review/submissions/{key}", Layer.SUBMISSIONS),
    ("POST", "/review/submissions/{key}", Layer.SUBMISSIONS),
    ("GET", "/review/progress", Layer.SUBMISSIONS),
    ("GET", "/review/progress.json", Layer.SUBMISSIONS),
    ("GET", "/", Layer.PUBLISHED),
    ("GET", "/docs", Layer.PUBLISHED),
    ("GET", "/openapi.json", Layer.PUBLISHED),
    ("GET", "/ogc/{part:path}", Layer.PUBLISHED),
    # The list of class maps: the map page asks for it, and it is empty for who may see none.
    ("GET", "/layers", Layer.PUBLISHED),
    ("GET", "/raster/{layer_id}/{part:path}", Layer.CLASS_MAPS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who is calling.

    Attributes
    ----------
    name : str
        Sign-in name; empty for the local reader of a service without users.
    role : Role
    areas : frozenset of str
        P-codes of districts or provinces; `ALL_AREAS` for every one.
    session_id : str
        Of the session or token, for the audit trail; not the secret.
    in_person : bool
        Signed in with a password, not a program's token.
    """

    name: str
    role: Role
    areas: frozenset[str]
    session_id: str
    in_person: bool

    def may(self, layer: Layer) -> bool:
        """Whether this reader's role reaches a layer."""
        return self.role in READERS[layer] and (self.in_person or layer not in _IN_PERSON)

    def covers(self, *pcodes: str) -> bool:
        """Whether one of the P-codes (a district and its province) is among the areas."""
        return ALL_AREAS in self.areas or not self.areas.isdisjoint(pcodes)

    @property
    def sees_everywhere(self) -> bool:
        """Whether no area limits this reader."""
        return ALL_AREAS in self.areas


def layer_of(method: str, path: str) -> Layer | None:
    """The layer of a request; None where no audience is declared."""
    method = "GET" if method == "HEAD" else method
    return next(
        (layer for verb, pattern, layer in _PATTERNS if verb == method and pattern.match(path)),
        None,
    )


def describe_roles() -> Iterator[tuple[Role, str]]:
    """What each role sees, one sentence each, from the table."""
    for role in Role:
        seen = [
            f"{layer} (own areas)" if layer in WITHIN_AREAS else str(layer)
            for layer in Layer
            if role in READERS[layer] and layer is not Layer.PUBLIC
        ]
        yield role, ", ".join(seen)


def _pattern(path: str) -> re.Pattern[str]:
    """A path with `{name}` for one segment or part of it and `{name:path}` for any rest."""
    parts = re.split(r"(\{\w+(?::path)?\})", path)
    made = "".join(
        re.escape(part)
        if not part.startswith("{")
        else (r".*" if part.endswith(":path}") else r"[^/]+")
        for part in parts
    )
    return re.compile(rf"{made}\Z", re.DOTALL)


_PATTERNS = tuple((method, _pattern(path), layer) for method, path, layer in ROUTES)
