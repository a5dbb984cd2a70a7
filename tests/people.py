"""Invented people of the service, and how they sign in."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi.testclient import TestClient
from httpx import Response

PASSWORD = "four plain words, no more"  # noqa: S105
USERS = {
    "nan.field": ("field", ["MR01"]),
    "mya.analyst": ("analyst", ["MR0101"]),
    "lao.analyst": ("analyst", ["LA99"]),
    "tin.manager": ("manager", ["MR0101"]),
    "aye.admin": ("admin", ["all"]),
}
LAYER = "class-map-meru-2026"
TILES = f"/raster/{LAYER}/tiles/WebMercatorQuad"
DISTRICTS = "/ogc/collections/published.district_estimate"
NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
CHEAP = {"argon2_time_cost": 1, "argon2_memory_kib": 64}


def sign_in(client: TestClient, name: str, password: str = PASSWORD, **form: str) -> Response:
    """Sign in, and leave no cookie in the client."""
    data = {"name": name, "password": password, **form}
    answer = client.post("/sign-in", data=data, follow_redirects=False)
    client.cookies.clear()
    return answer


def session(client: TestClient, name: str) -> dict[str, str]:
    """Headers of a browser that signed in."""
    answer = sign_in(client, name)
    assert answer.status_code == 303, answer.text
    secret = answer.cookies["adsurvey"]
    return {"Cookie": f"adsurvey={secret}", "Origin": "http://testserver"}
