"""What the database itself refuses, and what the audit trail tells."""

from __future__ import annotations

from datetime import timedelta

import pytest
from asyncpg.exceptions import InsufficientPrivilegeError
from fastapi.testclient import TestClient
from people import LAYER, NOW, PASSWORD, TILES, sign_in
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from api.auth.trail import TileTrail
from api.db.audit import Action, audit_events, record
from api.db.rasters import raster_layers, raster_source
from api.db.reading import reading_as
from api.disclosure import Reader, Role
from api.errors import AccountError

pytestmark = [pytest.mark.postgis, pytest.mark.xdist_group("pipeline")]


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
