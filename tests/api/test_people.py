"""Users: every role against every route and layer, sessions, throttle, guards of the database."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import geopandas as gpd
import httpx
import numpy as np
import pyogrio
import pytest
import rasterio
from asyncpg.exceptions import InsufficientPrivilegeError
from conftest_service import serving
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi.routing import _iter_routes_with_context
from fastapi.testclient import TestClient
from httpx import Response
from morecantile import tms
from PIL import Image
from playwright.sync_api import sync_playwright
from pydantic import SecretStr
from rasterio.features import geometry_mask
from rasterio.warp import transform_geom
from scipy.ndimage import binary_dilation
from shapely import from_wkb
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from api.app import create_app, refuse_public_bind, refuse_without_users
from api.auth import Passwords
from api.auth.trail import TileTrail
from api.collect import devices_of
from api.db.audit import Action, audit_events, record
from api.db.rasters import raster_layers, raster_source
from api.db.reading import reading_as
from api.db.sessions import Kind, open_session, reader_of
from api.db.store import connect, load_run, web_engine
from api.db.throttle import allow_attempt
from api.db.users import add_user, change_user, set_disabled
from api.disclosure import ROUTES, Layer, Reader, Role, layer_of
from api.errors import AccountError, BindRefusedError, TooManyTriesError
from api.settings import Settings
from survey.rounds import read_round

pytestmark = [pytest.mark.postgis, pytest.mark.xdist_group("pipeline")]

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
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
CHEAP = {"argon2_time_cost": 1, "argon2_memory_kib": 64}


@pytest.fixture(scope="module")
def people(settings: Settings, finished) -> Iterator[Settings]:
    """A database of its own, with a run and users; the other tests go on without sign-in."""
    owner = connect(settings)
    admin = create_engine(owner.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("create database people"))
    web = web_engine(settings)
    urls = [
        engine.url.set(database="people").render_as_string(hide_password=False)
        for engine in (owner, web)
    ]
    made = Settings(
        database_url=SecretStr(urls[0]),
        web_database_url=SecretStr(urls[1]),
        survey=finished[0].survey,
        **CHEAP,
    )
    engine = connect(made)
    load_run(engine, finished[1].folder)
    hashed = Passwords(made).hash(PASSWORD, name="")
    for name, (role, areas) in USERS.items():
        add_user(
            engine, name=name, role=role, areas=areas, password_hash=hashed, actor="test", now=NOW
        )
    for each in (engine, web, owner):
        each.dispose()
    yield made
    with admin.connect() as connection:
        connection.execute(text("drop database people with (force)"))
    admin.dispose()


@pytest.fixture(scope="module")
def guarded(people: Settings) -> Iterator[TestClient]:
    with TestClient(
        create_app(people), raise_server_exceptions=False, follow_redirects=False
    ) as made:
        yield made


@pytest.fixture(scope="module")
def engine(people: Settings) -> Iterator[Engine]:
    made = connect(people)
    yield made
    made.dispose()


@pytest.fixture(scope="module")
def web(people: Settings) -> Iterator[Engine]:
    made = web_engine(people)
    yield made
    made.dispose()


def sign_in(client: TestClient, name: str, password: str = PASSWORD, **form: str) -> Response:
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


@pytest.fixture(scope="module")
def headers(guarded: TestClient) -> dict[str, dict[str, str]]:
    """Headers of one signed-in browser for each user; do not end these sessions."""
    return {name: session(guarded, name) for name in USERS}


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


def test_the_cookie_is_for_this_host_and_no_script(guarded: TestClient, people: Settings) -> None:
    answer = sign_in(guarded, "aye.admin")
    flags = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert flags == {"httponly", "samesite=strict", "path=/", f"max-age={12 * 3600}"}
    with TestClient(
        create_app(people), base_url="https://testserver", follow_redirects=False
    ) as client:
        answer = client.post("/sign-in", data={"name": "aye.admin", "password": PASSWORD})
        assert answer.headers["set-cookie"].startswith("__Host-adsurvey=")
        assert "secure" in answer.headers["set-cookie"].lower()
        assert answer.headers["strict-transport-security"]
        assert client.get("/users").status_code == 200


def test_answers_are_kept_by_no_cache(
    guarded: TestClient, headers: dict[str, dict[str, str]]
) -> None:
    for path in ("/", f"{DISTRICTS}/items", f"{TILES}/0/0/0.png", "/account", "/unknown"):
        for other in (headers["aye.admin"], {}):
            answer = guarded.get(path, headers=other)
            assert answer.headers["cache-control"] == "private, no-store"
            assert answer.headers["vary"] == "Cookie, Authorization"


def test_signing_out_ends_the_session(guarded: TestClient) -> None:
    mine = session(guarded, "tin.manager")
    assert guarded.get("/", headers=mine).status_code == 200
    assert guarded.post("/sign-out", headers=mine).status_code == 303
    guarded.cookies.clear()
    assert guarded.get("/", headers=mine).status_code == 401


def test_disabling_ends_sessions_and_tokens_at_once(guarded: TestClient, engine: Engine) -> None:
    mine = session(guarded, "tin.manager")
    _, secret = open_session(
        engine, "tin.manager", kind=Kind.TOKEN, now=datetime.now(UTC),
        lasts=timedelta(days=1), actor="test", label="QGIS",
    )  # fmt: skip
    token = {"Authorization": f"Bearer {secret}"}
    assert guarded.get("/", headers=mine).status_code == 200
    assert guarded.get("/ogc/", headers=token).status_code == 200
    set_disabled(engine, "tin.manager", disabled=True, actor="test", now=datetime.now(UTC))
    try:
        assert guarded.get("/", headers=mine).status_code == 401
        assert guarded.get("/ogc/", headers=token).status_code == 401
        assert sign_in(guarded, "tin.manager").status_code == 401
    finally:
        set_disabled(engine, "tin.manager", disabled=False, actor="test", now=datetime.now(UTC))
    assert guarded.get("/", headers=mine).status_code == 401
    assert guarded.get("/ogc/", headers=token).status_code == 401


def test_a_change_of_role_and_areas_counts_from_the_next_request_on(
    guarded: TestClient, engine: Engine
) -> None:
    mine = session(guarded, "lao.analyst")
    change = {"actor": "test", "now": datetime.now(UTC)}
    assert guarded.get(f"{TILES}/0/0/0.png", headers=mine).status_code == 404
    change_user(engine, "lao.analyst", role="analyst", areas=["MR02"], **change)
    assert guarded.get(f"{TILES}/0/0/0.png", headers=mine).status_code == 200
    change_user(engine, "lao.analyst", role="field", areas=["MR02"], **change)
    assert guarded.get(f"{TILES}/0/0/0.png", headers=mine).status_code == 403
    change_user(engine, "lao.analyst", role="analyst", areas=["LA99"], **change)


def test_a_new_password_ends_the_other_sessions(guarded: TestClient, engine: Engine) -> None:
    add_user(
        engine, name="new.one", role="field", areas=["all"], actor="test", now=NOW,
        password_hash=Passwords(Settings(**CHEAP)).hash(PASSWORD, name=""),
    )  # fmt: skip
    mine, other = session(guarded, "new.one"), session(guarded, "new.one")
    form = {"current": PASSWORD, "new": "another set of words"}
    wrong = guarded.post("/account/password", data={**form, "current": "x"}, headers=mine)
    assert wrong.status_code == 422
    short = guarded.post("/account/password", data={**form, "new": "short"}, headers=mine)
    assert "take 12 to 200" in short.text
    own = guarded.post("/account/password", data={**form, "new": "new.one new.one"}, headers=mine)
    assert own.status_code == 422
    assert guarded.get("/whoami", headers=other).status_code == 200
    assert guarded.post("/account/password", data=form, headers=mine).status_code == 200
    assert guarded.get("/whoami", headers=mine).status_code == 200
    assert guarded.get("/whoami", headers=other).status_code == 401
    assert sign_in(guarded, "new.one").status_code == 401
    assert sign_in(guarded, "new.one", form["new"]).status_code == 303


def test_tokens_read_but_do_not_change_accounts(guarded: TestClient) -> None:
    mine = session(guarded, "mya.analyst")
    page = guarded.post("/account/tokens", data={"label": "QGIS"}, headers=mine).text
    secret = page.partition('class="secret">')[2].partition("<")[0]
    token = {"Authorization": f"Bearer {secret}"}
    assert guarded.get(f"{DISTRICTS}/items", headers=token).status_code == 200
    assert guarded.get(f"{TILES}/0/0/0.png", headers=token).status_code == 200
    refused = guarded.get("/account", headers=token)
    assert refused.status_code == 403
    assert "sign in with a password" in refused.json()["detail"]
    # A secret is good for the way it was made for.
    assert guarded.get("/ogc/", headers={"Cookie": f"adsurvey={secret}"}).status_code == 401
    as_token = {"Authorization": f"Bearer {mine['Cookie'].partition('=')[2]}"}
    assert guarded.get("/ogc/", headers=as_token).status_code == 401
    token_id = page.partition("/account/tokens/")[2].partition("/revoke")[0]
    other = session(guarded, "tin.manager")
    assert guarded.post(f"/account/tokens/{token_id}/revoke", headers=other).status_code == 422
    assert guarded.get("/ogc/", headers=token).status_code == 200
    assert guarded.post(f"/account/tokens/{token_id}/revoke", headers=mine).status_code == 303
    assert guarded.get("/ogc/", headers=token).status_code == 401


def test_sessions_and_tokens_expire(engine: Engine) -> None:
    for kind in Kind:
        _, secret = open_session(
            engine, "aye.admin", kind=kind, now=NOW, lasts=timedelta(hours=1), actor="test",
            label="x",
        )  # fmt: skip
        late = NOW + timedelta(hours=1)
        assert reader_of(engine, secret, kind=kind, now=late - timedelta(seconds=1)) is not None
        assert reader_of(engine, secret, kind=kind, now=late) is None


def test_guessing_is_slowed_down_and_names_are_not_told(guarded: TestClient) -> None:
    names = ("aye.admin", "no.body", "'; drop table people.session; --")
    answers = {name: [sign_in(guarded, name, f"guess {i}") for i in range(7)] for name in names}
    statuses = {name: [one.status_code for one in each] for name, each in answers.items()}
    assert set(map(tuple, statuses.values())) == {(401,) * 5 + (429,) * 2}
    texts = {
        name: [one.text.replace(f'value="{name}"', "") for one in each]
        for name, each in answers.items()
    }
    assert texts["aye.admin"] == texts["no.body"]
    assert sign_in(guarded, "aye.admin").status_code == 429
    assert sign_in(guarded, "tin.manager").status_code == 303


def test_many_tries_at_once_are_counted_one_by_one(engine: Engine) -> None:
    allowed = []

    def attempt() -> None:
        try:
            allow_attempt(engine, name="many", address="192.0.2.7", now=NOW)
            allowed.append(1)
        except TooManyTriesError:
            pass

    threads = [threading.Thread(target=attempt) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(allowed) == 5
    with pytest.raises(TooManyTriesError):
        allow_attempt(engine, name="many", address="192.0.2.7", now=NOW + timedelta(minutes=14))
    allow_attempt(engine, name="many", address="192.0.2.7", now=NOW + timedelta(minutes=16))


def test_one_name_is_not_guessed_from_many_addresses(engine: Engine) -> None:
    for i in range(50):
        allow_attempt(engine, name="spread", address=f"192.0.2.{i}", now=NOW)
    with pytest.raises(TooManyTriesError):
        allow_attempt(engine, name="spread", address="192.0.2.200", now=NOW)


@pytest.mark.parametrize(
    ("wanted", "goes_to"),
    [
        ("/docs?x=1", "/docs?x=1"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("/docs\r\nSet-Cookie: a=b", "/"),
        ("/users", "/"),
        ("/nowhere", "/"),
    ],
)
def test_signing_in_leads_to_own_pages_only(
    guarded: TestClient, wanted: str, goes_to: str
) -> None:
    answer = sign_in(guarded, "tin.manager", next=wanted)
    assert answer.headers["location"] == goes_to
    assert sign_in(guarded, "nan.field", next=wanted).headers["location"] == "/upload"


def test_hostile_input_is_refused_and_shown_as_text(guarded: TestClient, engine: Engine) -> None:
    for name, password in (
        ('"><script>alert(1)</script>', "x"),
        ("a\0b", "\0"),
        ("\U0001f600" * 300, "x" * 1500),
    ):
        page = sign_in(guarded, name, password)
        assert page.status_code in (401, 429)
        assert "<script>" not in page.text
    huge = {"name": "a", "password": "x" * 100_000}
    assert guarded.post("/sign-in", data=huge).status_code in (413, 422)
    _, secret = open_session(
        engine, "aye.admin", kind=Kind.BROWSER, now=datetime.now(UTC),
        lasts=timedelta(hours=1), actor="test",
    )  # fmt: skip
    mine = {"Cookie": f"adsurvey={secret}", "Origin": "http://testserver"}
    for form in (
        {"name": "x\0y", "role": "field", "areas": "all"},
        {"name": "ok.name", "role": "police", "areas": "all"},
        {"name": "ok.name", "role": "field", "areas": ""},
        {"name": "ok.name", "role": "field", "areas": "MR01' or 1=1"},
        {"name": "aye.admin", "role": "field", "areas": "all"},
    ):
        assert guarded.post("/users", data=form, headers=mine).status_code == 422, form
    for path in ("/users/%00", "/users/nobody", "/account/tokens/%00/revoke"):
        assert guarded.post(path, data={"action": "disable"}, headers=mine).status_code == 422
    last = guarded.post("/users/aye.admin", data={"action": "disable"}, headers=mine)
    assert "last active administrator" in last.text
    label = {"label": "<b>Q\0GIS</b>"}
    made = guarded.post("/account/tokens", data=label, headers=mine)
    assert made.status_code == 200
    assert "&lt;b&gt;QGIS" in made.text


def test_who_is_disabled_on_the_page_sends_by_no_phone(
    guarded: TestClient, headers: dict[str, dict[str, str]], engine: Engine, people: Settings
) -> None:
    add_user(
        engine, name="left.team", role="field", areas=["all"], password_hash="-",  # noqa: S106
        actor="test", now=NOW,
    )  # fmt: skip
    phones = devices_of(read_round(people.survey).submissions_folder)
    device, secret = phones.add("page", now=NOW, owner="left.team")
    admin = headers["aye.admin"]  # not signed in anew: tries from one address are counted
    done = guarded.post("/users/left.team", data={"action": "disable"}, headers=admin)
    assert done.status_code == 303
    assert phones.check(device.device_id, secret) is None


def test_another_site_cannot_write_with_a_readers_cookie(guarded: TestClient) -> None:
    mine = session(guarded, "tin.manager")
    cookie = {"Cookie": mine["Cookie"]}
    assert guarded.post("/sign-out", headers=cookie).status_code == 403
    for origin in ("http://evil.example", "null", "https://testserver"):
        answer = guarded.post("/sign-out", headers={**cookie, "Origin": origin})
        assert answer.status_code == 403
    assert guarded.get("/", headers=mine).status_code == 200
    same = {**cookie, "Sec-Fetch-Site": "same-origin"}
    assert guarded.post("/sign-out", headers=same).status_code == 303


ANALYST = Reader(
    name="mya.analyst", role=Role.ANALYST, areas=frozenset({"MR0101"}), session_id="s",
    in_person=True,
)  # fmt: skip


def test_row_level_security_holds_for_the_web_role(web: Engine) -> None:
    with web.connect() as connection:
        role = connection.execute(
            text("select rolsuper, rolbypassrls from pg_roles where rolname = current_user")
        ).one()
        assert tuple(role) == (False, False)
        owned = "select count(*) from pg_tables where tableowner = current_user"
        assert connection.scalar(text(owned)) == 0
        layers = text("select count(*) from restricted.raster_layer")
        assert connection.scalar(layers) == 0  # nobody said who reads
    for role, areas, n in [
        (Role.ANALYST, {"MR0101"}, 1),
        (Role.ANALYST, {"MR01", "LA1"}, 1),
        (Role.ANALYST, {"*"}, 1),
        (Role.ADMIN, {"*"}, 1),
        (Role.ANALYST, {"LA1"}, 0),
        (Role.ANALYST, set(), 0),
        (Role.MANAGER, {"*"}, 0),
        (Role.FIELD, {"MR0101"}, 0),
    ]:
        reader = Reader(
            name="x", role=role, areas=frozenset(areas), session_id="s", in_person=True
        )
        assert len(raster_layers(web, reader)) == n, (role, areas)
        assert (raster_source(web, LAYER, reader) is not None) == bool(n)
    with web.connect() as connection:  # the setting went with its transaction
        assert connection.scalar(layers) == 0


def test_the_vector_service_cannot_reach_people(guarded: TestClient) -> None:
    async def ask(statement: str) -> object:
        async with guarded.app.state.pool.acquire() as connection:
            return await connection.fetchval(statement)

    assert guarded.portal.call(ask, "select current_user") == "adsurvey_reader"
    assert guarded.portal.call(ask, "select count(*) from published.district_estimate") == 16
    for relation in ("people.user_account", "people.session", "people.audit_event",
                     "restricted.raster_layer", "restricted.run"):  # fmt: skip
        with pytest.raises(InsufficientPrivilegeError):
            guarded.portal.call(ask, f"select count(*) from {relation}")  # noqa: S608


@pytest.mark.parametrize(
    "statement",
    [
        "update people.audit_event set actor = 'somebody else'",
        "delete from people.audit_event",
        "truncate people.audit_event",
        "delete from people.user_account",
        "update people.user_account set name = 'x'",
        "update people.session set secret_sha256 = ''",
        "alter table restricted.raster_layer disable row level security",
        "drop policy within_areas on restricted.raster_layer",
        "set role adsurvey_owner",
    ],
)
def test_the_web_role_adds_to_the_audit_trail_and_changes_nothing(
    web: Engine, statement: str
) -> None:
    record(web, ANALYST, Action.DOWNLOAD, about="test", now=NOW)
    with (
        pytest.raises(ProgrammingError, match=r"permission denied|must be owner"),
        reading_as(web, ANALYST) as connection,
    ):
        connection.execute(text(statement))


def test_the_database_refuses_what_is_no_role_and_an_export_without_reason(
    engine: Engine, web: Engine
) -> None:
    with pytest.raises(DBAPIError, match="known_role"), engine.begin() as connection:
        connection.execute(
            text("update people.user_account set role = 'police' where name = 'nan.field'")
        )
    with pytest.raises(AccountError, match="at least 10 characters"):
        record(web, ANALYST, Action.EXPORT, about="plots", now=NOW, reason="why not")
    record(web, ANALYST, Action.EXPORT, about="plots", now=NOW, reason="report to the ministry")


def test_the_audit_trail_tells_who_did_what_and_no_secret(
    guarded: TestClient, headers: dict[str, dict[str, str]], engine: Engine, web: Engine
) -> None:
    sign_in(guarded, "typed.my.password.here", "x")
    for _ in range(12):
        guarded.get(f"{TILES}/0/0/0.png", headers=headers["mya.analyst"])
    events = audit_events(engine, limit=100_000)  # other files' tests leave theirs here too
    done = {(event.actor, event.action) for event in events}
    assert {
        ("mya.analyst", "sign_in"),
        ("mya.analyst", "tiles_read"),
        ("unknown", "sign_in_failed"),
    } <= done
    told = " ".join(map(str, events))
    assert "typed.my" not in told
    assert PASSWORD not in told
    assert "argon2" not in told
    read = [e for e in events if e.action == "tiles_read" and e.actor == "mya.analyst"]
    assert {event.object for event in read} == {LAYER}
    assert len(read) < 12
    assert audit_events(web, reader=ANALYST) == []
    shown = guarded.get("/users/audit", headers=headers["aye.admin"]).text
    assert "tiles read" in shown
    assert LAYER in shown


def test_tiles_are_told_at_one_ten_hundred_and_again_each_hour() -> None:
    trail = TileTrail()
    told = [n for _ in range(1000) if (n := trail.count("s", "layer", now=NOW))]
    assert told == [1, 10, 100, 1000]
    assert trail.count("s", "layer", now=NOW + timedelta(hours=1)) == 1
    assert trail.count("other", "layer", now=NOW + timedelta(hours=1)) == 1


TLS = {"has_tls": True}
PLAIN = {"has_tls": False}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.7"])
def test_loopback_needs_nothing(host: str) -> None:
    refuse_public_bind(Settings(host=host), has_tls=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "", "example.org", "127.1"])  # noqa: S104
def test_beyond_loopback_only_with_tls_names_and_users(host: str, settings: Settings) -> None:
    with pytest.raises(BindRefusedError, match="in the clear"):
        refuse_public_bind(Settings(host=host), has_tls=False)
    with pytest.raises(BindRefusedError, match="--host-name"):
        refuse_public_bind(Settings(host=host), has_tls=True)
    with pytest.raises(BindRefusedError, match="behind a proxy"):
        refuse_public_bind(
            Settings(host=host, behind_proxy=True, host_names=("a.example",)), has_tls=False
        )
    refuse_public_bind(Settings(host=host, host_names=("a.example",)), has_tls=True)


def test_a_service_without_users_is_reached_by_nobody_else(
    settings: Settings, people: Settings, client: TestClient
) -> None:
    for changed in ({"host": "192.0.2.1"}, {"behind_proxy": True}):
        empty = settings.model_copy(update={**changed, "host_names": ("testserver",)})
        with pytest.raises(BindRefusedError, match="adsurvey users add"):
            refuse_without_users(empty)
        refuse_without_users(people.model_copy(update=changed))
    # Even where users vanish while it runs, nobody becomes the local reader.
    with TestClient(create_app(empty), base_url="https://testserver") as elsewhere:
        assert elsewhere.get("/whoami").status_code == 401
    assert client.get("/whoami").json()["role"] == "admin"
    assert "adsurvey users add" in client.get("/account").text


def test_behind_a_proxy_only_https_is_answered(people: Settings) -> None:
    behind = people.model_copy(update={"behind_proxy": True, "host_names": ("map.example",)})
    with TestClient(create_app(behind), base_url="http://map.example") as client:
        assert client.get("/sign-in").status_code == 403
        assert client.get("https://map.example/sign-in").status_code == 200
        assert client.get("https://other.example/sign-in").status_code == 400


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a certificate for localhost."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "certificate.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder


@pytest.fixture(scope="module")
def environment(people: Settings) -> dict[str, str]:
    """Variables with which a process uses the database of this module."""
    assert people.database_url is not None
    assert people.web_database_url is not None
    return {
        "ADSURVEY_DATABASE_URL": people.database_url.get_secret_value(),
        "ADSURVEY_WEB_DATABASE_URL": people.web_database_url.get_secret_value(),
        "ADSURVEY_SURVEY": str(people.survey),
        "ADSURVEY_ARGON2_TIME_COST": "1",
        "ADSURVEY_ARGON2_MEMORY_KIB": "64",
    }


@pytest.fixture(scope="module")
def secure(environment: dict[str, str], certificate: Path) -> Iterator[str]:
    """The service with users as a process that ends TLS itself."""
    hidden = [PASSWORD, "argon2", "Traceback"]
    with serving(environment=environment, tls=certificate, unseen=hidden) as url:
        yield url


def test_a_proxy_on_this_machine_says_what_was_https(environment: dict[str, str]) -> None:
    arguments = ("--behind-proxy", "--host-name", "map.example")
    with serving(*arguments, environment=environment) as url:
        named = {"Host": "map.example"}
        assert httpx.get(f"{url}/sign-in", headers=named).status_code == 403
        proxied = {**named, "X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7"}
        form = {"name": "tin.manager", "password": PASSWORD}
        answer = httpx.post(
            f"{url}/sign-in", data=form, headers={**proxied, "Origin": "https://map.example"}
        )
        assert answer.status_code == 303
        assert answer.headers["set-cookie"].startswith("__Host-adsurvey=")
        foreign = {**proxied, "Origin": "http://map.example"}
        assert httpx.post(f"{url}/sign-in", data=form, headers=foreign).status_code == 403
        unnamed = {**proxied, "Host": "other.example"}
        assert httpx.get(f"{url}/sign-in", headers=unnamed).status_code == 400


def test_gdal_reads_the_features_with_a_token(secure: str, engine: Engine) -> None:
    _, secret = open_session(
        engine, "tin.manager", kind=Kind.TOKEN, now=datetime.now(UTC),
        lasts=timedelta(days=1), actor="test", label="QGIS",
    )  # fmt: skip
    options = {
        "GDAL_HTTP_UNSAFESSL": "YES",
        "GDAL_HTTP_AUTH": "BEARER",
        "GDAL_HTTP_BEARER": secret,
    }
    pyogrio.set_gdal_config_options(options)
    try:
        layer = gpd.read_file(f"OAPIF:{secure}/ogc", layer="published.district_estimate")
    finally:
        pyogrio.set_gdal_config_options(dict.fromkeys(options))
    assert len(layer) == 16


@pytest.mark.browser
def test_people_sign_in_and_administer_in_a_browser(secure: str, tmp_path: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        phone = {"width": 390, "height": 844}
        context = browser.new_context(ignore_https_errors=True, viewport=phone)
        page = context.new_page()
        foreign, errors = [], []
        page.on("request", lambda r: r.url.startswith((secure, "data:")) or foreign.append(r.url))
        page.on("console", lambda m: m.type == "error" and errors.append(m.text))

        page.goto(f"{secure}/users")
        assert page.url == f"{secure}/sign-in?next=%2Fusers"
        page.wait_for_selector("input[name=name]:focus")
        page.keyboard.type("Aye.Admin")  # the field has the focus; names are lower case
        page.keyboard.press("Tab")
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector(".fault")
        page.screenshot(path=tmp_path / "sign-in.png")
        page.wait_for_selector("input[name=password]:focus")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{secure}/users")
        cookie = context.cookies()[0]
        assert cookie["name"] == "__Host-adsurvey"
        assert cookie["httpOnly"]
        assert cookie["secure"]
        assert cookie["sameSite"] == "Strict"

        page.get_by_label("Name").fill("su.manager")
        page.get_by_label("Areas: P-codes").fill("all")
        page.get_by_role("button", name="Add").click()
        password = page.inner_text(".secret")
        page.screenshot(path=tmp_path / "users.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390

        other = browser.new_context(ignore_https_errors=True, viewport=phone).new_page()
        other.goto(secure)
        other.get_by_label("Name").fill("su.manager")
        other.get_by_label("Password").fill(password)
        other.keyboard.press("Enter")
        other.wait_for_url(f"{secure}/")
        other.wait_for_selector("body[data-ready=true]", timeout=60_000)
        assert other.locator("footer a[href='/docs']").is_visible()
        other.wait_for_selector("[data-layer=uploads]", state="hidden")
        assert other.locator("footer [data-layer]:visible").count() == 0
        assert other.goto(f"{secure}/users").status == 403
        assert "manager does not see users" in other.inner_text("main")
        # A link from elsewhere comes without the cookie and goes on all the same.
        other.goto("about:blank")
        other.set_content(f'<a href="{secure}/docs">in a mail</a>')
        other.click("a")
        other.wait_for_url(f"{secure}/docs")
        other.goto(f"{secure}/account")
        other.get_by_label("For").fill("QGIS")
        other.get_by_role("button", name="Make a token").click()
        assert len(other.inner_text(".secret")) > 40
        other.screenshot(path=tmp_path / "account.png", full_page=True)
        assert other.evaluate("document.documentElement.scrollWidth") <= 390

        page.get_by_role("button", name="Disable su.manager").click()
        page.wait_for_selector("text=disabled")
        other.goto(f"{secure}/account")
        assert other.url.startswith(f"{secure}/sign-in")
        page.goto(f"{secure}/users/audit")
        assert "user disabled" in page.inner_text("table")
        page.screenshot(path=tmp_path / "audit.png")
        page.goto(f"{secure}/account")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{secure}/sign-in")
        assert context.cookies() == []
        assert foreign == []
        assert [text for text in errors if "401" not in text] == []
        assert page.goto(f"{secure}/sign-in").status == 200
        browser.close()


def test_the_command_manages_users(
    here, people: Settings, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    made = here("users", "add", "Cli.User", "--role", "analyst", "--areas", "MR0102,MR01")
    assert made.returncode == 0
    assert "cli.user, analyst, areas MR01,MR0102" in made.stdout
    password = made.stdout.partition("shown once: ")[2].strip()
    assert len(password) == 16
    for words, said in (
        (("add", "cli.user", "--role", "field", "--areas", "all"), "is there already"),
        (("add", "x", "--role", "field", "--areas", "all"), "is no sign-in name"),
        (("add", "new", "--role", "police", "--areas", "all"), "choose from field, analyst"),
        (("add", "new", "--role", "field", "--areas", ""), "name the areas"),
        (("disable", "nobody"), "there is no user 'nobody'"),
        (("token", "add", "nobody", "--label", "x"), "no active user"),
    ):
        refused = here("users", *words)
        assert refused.returncode == 2, words
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
    monkeypatch.setattr("sys.stdin", io.StringIO("from a pipe, not an argument\n"))
    changed = here("users", "password", "cli.user", "--password-stdin")
    assert "pipe" not in changed.stdout + changed.stderr
    token = here("users", "token", "add", "cli.user", "--label", "script")
    assert len(token.stdout.strip()) == 43
    token_id = here("users", "token", "list", "cli.user").stdout.split()[0]
    assert here("users", "token", "revoke", "cli.user", token_id).returncode == 0
    moved = here("users", "change", "cli.user", "--role", "field")
    assert "cli.user, field, areas MR01,MR0102" in moved.stdout
    moved = here("users", "change", "Cli.User", "--areas", "all")
    assert "cli.user, field, areas all" in moved.stdout
    refused = here("users", "change", "nobody", "--areas", "all")
    assert (refused.returncode, "no user 'nobody'" in refused.stderr) == (2, True)
    phones = devices_of(read_round(people.survey).submissions_folder)
    own, _ = phones.add("cli.user", now=NOW, owner="cli.user")
    other, _ = phones.add("user cli.user", now=NOW)
    assert "may still send" in here("users", "disable", "cli.user").stdout
    assert phones.sending(own.device_id)
    gone = here("users", "disable", "Cli.User", "--survey", people.survey)
    assert "1 phones may send no more" in gone.stdout
    assert phones.sending(own.device_id) is None
    assert phones.sending(other.device_id), "a label says nothing about who holds it"
    listed = {row["name"]: row for row in json.loads(here("users", "list", "--json").stdout)}
    assert listed["cli.user"]["role"] == "field"
    assert listed["cli.user"]["is_active"] is False
    assert "password_hash" not in listed["cli.user"]
    told = here("users", "audit", "--limit", "20").stdout
    for action in ("user_added", "password_changed", "token_made", "token_revoked",
                   "user_changed", "user_disabled"):  # fmt: skip
        assert action in told
    assert password not in told
    assert "law enforcement" in here("users", "roles").stdout


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


def test_a_name_without_user_costs_the_same_work(people: Settings) -> None:
    passwords = Passwords(people)
    verified = []
    real = passwords._hash.verify
    passwords._hash.verify = lambda *words: verified.append(words[1]) or real(*words)
    mine = passwords.hash(PASSWORD, name="")
    assert passwords.check(PASSWORD, mine)
    assert not passwords.check(PASSWORD, None)
    assert not passwords.check(PASSWORD, "$argon2id$broken")
    assert [value.split("$")[3] for value in verified[:2]] == ["m=64,t=1,p=4"] * 2


def test_the_default_cost_is_strong() -> None:
    made = Passwords(Settings()).hash(PASSWORD, name="")
    assert made.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_a_layer_without_readers_does_not_exist() -> None:
    assert {layer for _, _, layer in ROUTES} <= set(Layer)
    assert "law enforcement" not in set(Role)
