"""Signing in and out: sessions, tokens, throttle, passwords, hostile input, other sites."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from people import CHEAP, DISTRICTS, NOW, PASSWORD, TILES, session, sign_in
from sqlalchemy import Engine

from api.app import create_app
from api.auth import Passwords
from api.collect import devices_of
from api.db.sessions import Kind, open_session, reader_of
from api.db.throttle import allow_attempt
from api.db.users import add_user, change_user, set_disabled
from api.errors import TooManyTriesError
from api.settings import Settings
from survey.rounds import read_round

pytestmark = [pytest.mark.postgis, pytest.mark.xdist_group("pipeline")]


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
