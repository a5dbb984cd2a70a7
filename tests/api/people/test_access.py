"""What each role meets: every route, every layer, every tile; nothing without a grant."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import rasterio
from fastapi.routing import _iter_routes_with_context
from fastapi.testclient import TestClient
from httpx import Response
from morecantile import tms
from people import DISTRICTS, LAYER, TILES, USERS, session, sign_in
from PIL import Image
from pydantic import SecretStr
from rasterio.features import geometry_mask
from rasterio.warp import transform_geom
from scipy.ndimage import binary_dilation
from shapely import from_wkb
from sqlalchemy import Engine, text

from api.app import create_app
from api.db.audit import audit_events
from api.db.store import web_engine
from api.disclosure import ROUTES, Layer, Role, layer_of
from api.settings import Settings

pytestmark = [pytest.mark.postgis, pytest.mark.xdist_group("pipeline")]


def test_every_route_has_an_audience_and_every_audience_a_route(guarded: TestClient) -> None:
    found = set()
    for route, context in _iter_routes_with_context(guarded.app.routes):
        shown = context if context is not None and context.path is not None else route
        path = getattr(shown, "path", None)
        if context is not None and context.starlette_route is not None:
            path = context.starlette_route.path
        methods = getattr(shown, "methods", None) or {"GET"}
        if not hasattr(route, "methods"):
            path = f"{path}/file"  # a folder of static files
        for method in methods:
            assert layer_of(method, path) is not None, f"{method} {path} has no audience"
            found.add((method, path))
    for method, pattern, _ in ROUTES:
        start = pattern.partition("{")[0]
        assert any(m == method and p.startswith(start) for m, p in found), pattern


def test_a_route_without_an_audience_answers_403_to_everybody(people: Settings) -> None:
    app = create_app(people)

    @app.get("/new")
    def new() -> str:
        return "not for you"

    with TestClient(app) as client:
        admin = session(client, "aye.admin")
        assert client.get("/new").status_code == 401
        refused = client.get("/new", headers=admin)
        assert refused.status_code == 403
        assert "no audience" in refused.json()["detail"]
        assert client.post("/new", headers=admin).status_code == 403
        assert client.get("/none", headers=admin).status_code == 404


EVERYBODY = {"field", "analyst", "manager", "admin"}
SEES = {
    "/": EVERYBODY - {"field"},
    "/docs": EVERYBODY - {"field"},
    "/openapi.json": EVERYBODY - {"field"},
    "/ogc/": EVERYBODY - {"field"},
    "/ogc/collections": EVERYBODY - {"field"},
    f"{DISTRICTS}/items": EVERYBODY - {"field"},
    f"{DISTRICTS}/tiles/WebMercatorQuad/0/0/0": EVERYBODY - {"field"},
    "/ogc/collections/published.project_indicator/items": EVERYBODY - {"field"},
    "/ogc/collections/published.total_estimate/items": EVERYBODY - {"field"},
    "/layers": EVERYBODY - {"field"},
    f"/raster/{LAYER}/WebMercatorQuad/tilejson.json": {"analyst", "admin"},
    f"{TILES}/0/0/0.png": {"analyst", "admin"},
    "/forms": EVERYBODY,
    "/forms/segment_visit.xml": EVERYBODY,
    "/forms/segment_visit.xlsx": EVERYBODY,
    "/upload": EVERYBODY - {"manager"},
    "/field/status": EVERYBODY - {"manager"},
    "/review": {"analyst", "admin"},
    "/review/progress": {"analyst", "admin"},
    "/review/progress.json": {"analyst", "admin"},
    "/account": EVERYBODY,
    "/whoami": EVERYBODY,
    "/users": {"admin"},
    "/users/audit": {"admin"},
}


@pytest.mark.parametrize("path", SEES)
def test_each_role_sees_its_layers_and_nothing_else(
    guarded: TestClient, headers: dict[str, dict[str, str]], path: str
) -> None:
    for name in ("nan.field", "mya.analyst", "tin.manager", "aye.admin"):
        expected = 200 if USERS[name][0] in SEES[path] else 403
        assert guarded.get(path, headers=headers[name]).status_code == expected, name
    for other in ({}, {"Cookie": "adsurvey=guess"}, {"Authorization": "Bearer guess"}):
        assert guarded.get(path, headers=other).status_code == 401
    page = guarded.get(path, headers={"Accept": "text/html"})
    assert page.status_code == 303
    assert page.headers["location"].startswith("/sign-in?next=%2F")


def test_managers_do_not_upload_and_only_administrators_change_users(
    guarded: TestClient, headers: dict[str, dict[str, str]]
) -> None:
    statuses = {
        name: (
            guarded.post(
                "/forms/submissions", files={"file": ("a.csv", b"")}, headers=headers[name]
            ).status_code,
            guarded.post("/users", data={"name": "x"}, headers=headers[name]).status_code,
        )
        for name in ("nan.field", "mya.analyst", "tin.manager", "aye.admin")
    }
    assert statuses == {
        "nan.field": (422, 403),
        "mya.analyst": (422, 403),
        "tin.manager": (403, 403),
        "aye.admin": (422, 422),
    }
    assert guarded.post("/forms/submissions", files={"file": ("a.csv", b"")}).status_code == 401


def test_an_upload_and_a_phone_are_their_owners_alone(
    guarded: TestClient, headers: dict[str, dict[str, str]]
) -> None:
    mine, other = headers["nan.field"], headers["aye.admin"]
    begun = guarded.post("/forms/uploads", headers={**mine, "Upload-Length": "5"})
    place = begun.headers["Location"]
    assert guarded.head(place, headers=mine).status_code == 200
    piece = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    for who in (other, headers["mya.analyst"]):
        assert guarded.head(place, headers=who).status_code == 404
        assert guarded.patch(place, headers={**who, **piece}, content=b"12345").status_code == 404
        assert guarded.post(f"{place}/import", headers=who).status_code == 404
        assert guarded.get(f"{place}/report.xlsx", headers=who).status_code == 404
        assert guarded.delete(place, headers=who).status_code == 404
    assert guarded.head(place, headers=headers["tin.manager"]).status_code == 403
    assert guarded.delete(place, headers=mine).status_code == 204
    revoke = "/field/phones/0123abcd/revoke"
    assert guarded.post(revoke, headers=mine).status_code == 404
    assert guarded.post("/field/phones", headers=headers["tin.manager"]).status_code == 403


def test_what_is_public_tells_nothing(guarded: TestClient) -> None:
    for path in ("/healthz", "/sign-in", "/licences", "/static/people.css"):
        assert guarded.get(path).status_code == 200
    for path in ("/unknown", "/static/../users", "/sign-in/", "//users", "/Users", "/users/"):
        assert guarded.get(path).status_code in (401, 404)


def pixels(answer: Response) -> np.ndarray:
    """Bands of a picture, the last one the mask."""
    return np.moveaxis(np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA")), -1, 0)


def test_an_analysts_tile_is_cut_at_the_areas_boundary(
    guarded: TestClient, headers: dict[str, dict[str, str]], engine: Engine
) -> None:
    whole = guarded.get(f"/raster/{LAYER}/WebMercatorQuad/tilejson.json",
                        headers=headers["aye.admin"]).json()  # fmt: skip
    west, south, east, north = whole["bounds"]
    grid = tms.get("WebMercatorQuad")
    with engine.connect() as connection:
        shape = from_wkb(
            connection.scalar(
                text(
                    "select st_asbinary(geom) from published.district_estimate "
                    "where district_pcode = 'MR0101' limit 1"
                )
            )
        )
    projected = transform_geom("EPSG:4326", "EPSG:3857", shape.__geo_interface__)
    n_cut = n_outside = 0
    for tile in grid.tiles(west, south, east, north, [11, 13]):
        path = f"{TILES}/{tile.z}/{tile.x}/{tile.y}"
        full = guarded.get(f"{path}.png", headers=headers["aye.admin"])
        mine = guarded.get(f"{path}.png", headers=headers["mya.analyst"])
        transform = rasterio.transform.from_bounds(*grid.xy_bounds(tile), 256, 256)
        outside = geometry_mask([projected], (256, 256), transform)
        if mine.status_code == 404:
            assert outside.all()
            n_outside += 1
            continue
        seen, all_of_it = pixels(mine), pixels(full)
        assert (seen[-1][outside] == 0).all()
        assert (seen[:3, outside] == seen[:3, outside][:, :1]).all()
        assert (seen[:, ~outside] == all_of_it[:, ~outside]).all()
        if (all_of_it[-1][outside] > 0).any() and not outside.all():
            n_cut += 1
            for kind in ("npy", "tif", "jpg"):
                other = guarded.get(f"{path}.{kind}", headers=headers["mya.analyst"])
                if kind == "npy":
                    assert (np.load(io.BytesIO(other.content))[:, outside] == 0).all()
                elif kind == "tif":
                    with rasterio.MemoryFile(other.content) as file, file.open() as dataset:
                        assert (dataset.read()[:, outside] == 0).all()
                else:  # lossy: far from the boundary the picture is one colour
                    far = pixels(other)[:3, ~binary_dilation(~outside, iterations=34)]
                    assert np.ptp(far, axis=1).max() <= 2
    assert n_cut >= 2
    assert n_outside >= 1


def test_an_analyst_elsewhere_has_no_layer(
    guarded: TestClient, headers: dict[str, dict[str, str]]
) -> None:
    for name in ("lao.analyst", "tin.manager"):
        assert guarded.get("/layers", headers=headers[name]).json() == {"raster": []}
    mine = guarded.get("/layers", headers=headers["mya.analyst"]).json()["raster"]
    assert [layer["layer_id"] for layer in mine] == [LAYER]
    answer = guarded.get(f"{TILES}/0/0/0.png", headers=headers["lao.analyst"])
    assert answer.status_code == 404
    assert answer.json()["detail"] == f"layer {LAYER!r} does not exist"


def test_an_upload_is_told_with_who_sent_it(
    guarded: TestClient, headers: dict[str, dict[str, str]], engine: Engine, finished
) -> None:
    path = finished[0].folder / "submissions" / "segment_visits.csv"
    sent = {"file": ("names of people.csv", path.read_bytes())}
    answer = guarded.post("/forms/submissions", files=sent, headers=headers["nan.field"])
    assert answer.status_code == 200
    last = [event for event in audit_events(engine) if event.action == "upload"][-1]
    assert (last.actor, last.role) == ("nan.field", "field")
    assert "names of people" not in str(last)


def test_a_database_that_does_not_answer_is_said_without_its_address(
    guarded: TestClient, headers: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    gone = f"postgresql+psycopg://secret_user@/adsurvey?host={tmp_path}"
    real = guarded.app.state.engine
    guarded.app.state.engine = web_engine(
        Settings(database_url=SecretStr(gone), web_database_url=SecretStr(gone))
    )
    try:
        for path in ("/", f"{TILES}/0/0/0.png", "/healthz"):
            answer = guarded.get(path, headers=headers["aye.admin"])
            assert answer.status_code == 503, path
            assert answer.json() == {
                "detail": "the database does not answer; try again in a moment"
            }
        assert sign_in(guarded, "aye.admin").status_code == 503
    finally:
        guarded.app.state.engine.dispose()
        guarded.app.state.engine = real


def test_a_layer_without_readers_does_not_exist() -> None:
    assert {layer for _, _, layer in ROUTES} <= set(Layer)
    assert "law enforcement" not in set(Role)
