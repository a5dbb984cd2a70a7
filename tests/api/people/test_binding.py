"""Where the service may listen, TLS and proxies, and people in a browser."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import geopandas as gpd
import httpx
import pyogrio
import pytest
from conftest_service import serving
from fastapi.testclient import TestClient
from people import PASSWORD
from playwright.sync_api import sync_playwright
from sqlalchemy import Engine

from api.app import create_app, refuse_public_bind, refuse_without_users
from api.db.sessions import Kind, open_session
from api.errors import BindRefusedError
from api.settings import Settings

pytestmark = [pytest.mark.postgis, pytest.mark.xdist_group("pipeline")]

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]


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
