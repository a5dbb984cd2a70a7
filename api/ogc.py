"""OGC API Features and vector tiles of the published relations, through tipg.

tipg does the protocol. What it answers loosely is mended at the edge (`OgcEdge`): unknown
collections and parameters, huge limits, HTML pages that load from other hosts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

import asyncpg
from fastapi import FastAPI
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from tipg.collections import register_collection_catalog
from tipg.database import connection_factory
from tipg.dependencies import bbox_query, filter_query
from tipg.errors import TiPgError
from tipg.factory import COMMON_CONFORMS, Endpoints
from tipg.settings import DatabaseSettings

__all__ = ["PREFIX", "OgcEdge", "close_ogc", "include_ogc", "open_ogc", "refresh_ogc"]

PREFIX = "/ogc"
_SCHEMA = "published"
_MAX_FEATURES = 1_000
#: Signs of a filter: some thousand brackets exhaust the stack of its parser and end the service.
_MAX_FILTER = 1_000
_CATALOGUE = DatabaseSettings(
    schemas=[_SCHEMA], functions=[], only_spatial_tables=True, spatial_extent=False
)
_TITLES = {
    "published.district_estimate": (
        "Hectares per district",
        "Estimated hectares of a crop in a district, with interval, n, method and reliability",
    ),
    "published.total_estimate": (
        "Hectares per province and for the country",
        "Estimated hectares of a crop in a province or the country, like those of districts",
    ),
    "published.project_indicator": (
        "Alternative-development projects",
        "An indicator of a project: baseline, target, latest value with interval and n",
    ),
}
_ITEMS_PARAMETERS = {
    "bbox", "bbox-only", "datetime", "f", "filter", "filter-crs", "filter-lang", "geom-column",
    "ids", "limit", "offset", "properties", "simplify", "sortby",
}  # fmt: skip
_COLLECTIONS_PARAMETERS = {"bbox", "datetime", "f", "limit", "offset"}
_TILE_PARAMETERS = _ITEMS_PARAMETERS | {"minzoom", "maxzoom", "datetime-column"}


def include_ogc(app: FastAPI) -> None:
    """Add the routes of OGC API Features and Tiles under `/ogc`."""
    endpoints = Endpoints(router_prefix=PREFIX, with_tiles_viewer=False, title="ad-survey")
    # tipg also names its HTML pages, which are off, and OpenAPI 3.0, while this is 3.1.
    classes = [
        name
        for name in (*COMMON_CONFORMS, *endpoints.conforms_to)
        if not name.endswith(("/html", "/oas30"))
    ]

    @app.get(f"{PREFIX}/conformance", include_in_schema=False)
    def conformance() -> dict[str, list[str]]:
        return {"conformsTo": classes}

    app.include_router(endpoints.router, prefix=PREFIX, tags=["OGC API"])


async def open_ogc(app: FastAPI, connection: Mapping[str, Any]) -> None:
    """Open the pool of reading connections and read the catalogue of collections."""
    app.state.pool = await asyncpg.create_pool(
        **connection,
        min_size=1,
        max_size=8,
        init=connection_factory([_SCHEMA], "pg_temp"),
        setup=_make_reader,
    )
    await refresh_ogc(app)


async def refresh_ogc(app: FastAPI) -> None:
    """Read the catalogue again: relations or columns may have changed."""
    await register_collection_catalog(app, db_settings=_CATALOGUE)
    for name, collection in app.state.collection_catalog["collections"].items():
        collection.title, collection.description = _TITLES.get(name, (name, None))


async def close_ogc(app: FastAPI) -> None:
    """Close the pool."""
    await app.state.pool.close()


async def _make_reader(connection: asyncpg.Connection) -> None:
    """Every borrowed connection reads published relations only, and not for long.

    Filters come from outside: whatever they were made to ask, users and sessions are out of reach.
    A database of someone else's may lack the role; then the web role's own rights hold.
    """
    await connection.execute("set statement_timeout = '15s'")
    await connection.execute(
        "select set_config('role', rolname, false) from pg_roles "
        "where rolname = 'adsurvey_reader' and pg_has_role(oid, 'member')"
    )


class OgcEdge:
    """ASGI middleware that answers what tipg would answer with 422, 500 or a foreign script."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, correct and pass on one request."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        fault = self._mend(scope)
        if fault:
            status, message = fault
            await JSONResponse({"detail": message}, status)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _mend(self, scope: Scope) -> tuple[int, str] | None:
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        parts = scope["path"].removeprefix(PREFIX).strip("/").split("/")
        if any(name == "f" and value == "html" for name, value in query):
            return 406, "there are no HTML pages here; the map is at /"
        # A browser asks for HTML first; the pages would load from other hosts.
        scope["headers"] = [
            (name, b"application/json" if name == b"accept" and b"html" in value else value)
            for name, value in scope["headers"]
        ]
        allowed: set[str] | None = None
        if parts[0] == "collections" and len(parts) == 1:
            allowed = _COLLECTIONS_PARAMETERS
        elif parts[0] == "collections":
            catalogue = scope["app"].state.collection_catalog["collections"]
            if parts[1] not in catalogue:
                return 404, f"collection {parts[1][:80]!r} does not exist"
            columns = {column.name for column in catalogue[parts[1]].properties}
            tail = parts[2] if len(parts) > 2 else ""
            if tail == "items":
                allowed = (
                    _ITEMS_PARAMETERS | columns if len(parts) == 3 else {"f"} | _ITEMS_PARAMETERS
                )
            elif tail == "tiles":
                allowed = _TILE_PARAMETERS | columns
            else:
                allowed = {"f"}
        if allowed is not None:
            unknown = sorted({name for name, _ in query} - allowed)
            if unknown:
                return 400, f"parameter {', '.join(unknown)[:200]} is not known here"
        mended = []
        for name, value in query:
            if name in ("limit", "offset"):
                if not (value.isascii() and value.isdigit()) or (
                    name == "limit" and int(value) < 1
                ):
                    return 400, f"{name}={value[:40]!r} is not a whole number above zero"
                value = str(min(int(value), _MAX_FEATURES if name == "limit" else 10**9))
            if name == "filter" and not _is_filter(value):
                return 400, f"the filter is no CQL2 expression of at most {_MAX_FILTER} signs"
            if name == "bbox" and not _is_box(value):
                return 400, "bbox is west,south,east,north in degrees"
            mended.append((name, value))
        scope["query_string"] = urlencode(mended).encode("latin-1")
        return None


def _is_filter(text: str) -> bool:
    try:
        return len(text) <= _MAX_FILTER and filter_query(text) is not None
    except Exception:  # the parser raises nothing finer
        return False


def _is_box(text: str) -> bool:
    try:
        return not text or all(map(math.isfinite, bbox_query(text) or [math.nan]))
    except TiPgError:
        return True  # tipg answers it
    except ValueError:
        return False
