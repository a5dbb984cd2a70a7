"""Loading a run: once, whole, and only what may be shown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, delete, insert, select, text
from sqlalchemy.exc import ProgrammingError

from api.db import store
from api.db.audit import Action, audit_events, note
from api.db.expiry import purge_database
from api.db.models import Session, User
from api.db.store import connect, load_run, migrate, web_engine
from api.errors import RunFolderError
from api.outdated import outdated_figures
from api.settings import Settings
from survey.privacy import RECOMPUTE
from survey.rounds import read_round

pytestmark = [pytest.mark.postgis, pytest.mark.xdist_group("pipeline")]


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    made = connect(settings)
    yield made
    made.dispose()


@pytest.fixture
def copy(finished, tmp_path: Path) -> Path:
    _, result = finished
    return Path(shutil.copytree(result.folder, tmp_path / "out"))


def count(engine: Engine, relation: str) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text(f"select count(*) from {relation}")))  # noqa: S608


def test_loading_again_changes_nothing_and_a_new_run_takes_its_place(
    engine: Engine, loaded, copy: Path
) -> None:
    again = load_run(engine, copy)
    assert again.replaced == loaded.run_id == again.run_id
    assert "nothing changed" in str(again)
    assert count(engine, "published.district_estimate") == 16
    record = copy / "publish" / "run.json"
    changed = {**json.loads(record.read_text()), "run_id": "another"}
    record.write_text(json.dumps(changed))
    report = load_run(engine, copy)
    assert report.replaced == loaded.run_id
    assert count(engine, "restricted.run") == 1
    assert count(engine, "published.district_estimate") == 16
    assert count(engine, "published.total_estimate") == 6
    assert count(engine, "published.project_indicator") == 8
    changed["run_id"] = loaded.run_id
    record.write_text(json.dumps(changed))
    load_run(engine, copy)


def test_figures_that_rest_on_what_was_withdrawn_say_so(engine: Engine, loaded, finished) -> None:
    prepared, result = finished
    declared = read_round(prepared.survey)
    mark = result.folder / RECOMPUTE
    assert outdated_figures(engine, declared) == ""
    try:
        mark.write_text("{}")
        assert "TO BE RECOMPUTED" in str(load_run(engine, result.folder))
        assert "were withdrawn" in outdated_figures(engine, declared)
    finally:
        mark.unlink()
    elsewhere = declared.model_copy(update={"path": prepared.folder / "no" / "survey.toml"})
    assert outdated_figures(engine, elsewhere) == ""
    record = result.folder / "publish" / "run.json"
    text = record.read_text()
    try:
        record.write_text(text.replace(result.run_id, "0123456789abcdef"))
        assert "newer run" in outdated_figures(engine, declared)
    finally:
        record.write_text(text)


def test_expired_rows_go_and_the_trail_says_so(engine: Engine, loaded, finished) -> None:
    _, result = finished
    old, before = datetime(1999, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC)
    with engine.begin() as connection:
        note(connection, Action.UPLOAD, actor="t", about="old", now=old)
        connection.execute(
            insert(User).values(
                name="gone", password_hash="-", role="field", areas=[], created_at=old,  # noqa: S106
                password_changed_at=old,
            )
        )  # fmt: skip
        sessions = {"old": old, "open": datetime(2999, 1, 1, tzinfo=UTC)}
        for name, ends in sessions.items():
            connection.execute(
                insert(Session).values(
                    session_id=name, user_name="gone", kind="token", label="", created_at=old,
                    secret_sha256=name, expires_at=ends,
                )
            )  # fmt: skip
    arguments = {"audit_before": before, "actor": "night", "now": datetime.now(UTC)}
    raster = result.folder / "restricted" / "class_map.tif"
    aside = raster.rename(raster.with_suffix(".aside"))
    try:
        expected = {"audit events": 1, "sessions and tokens": 1, "layers of purged rasters": 1}
        assert purge_database(engine, **arguments, dry_run=True) == expected
        assert purge_database(engine, **arguments) == expected
    finally:
        aside.rename(raster)
    assert purge_database(engine, **arguments) == {}
    with engine.begin() as connection:
        assert connection.scalars(select(Session.session_id)).all() == ["open"]
        connection.execute(delete(Session))
        connection.execute(delete(User))
    assert count(engine, "restricted.raster_layer") == 0
    last = audit_events(engine, limit=1)[0]
    assert (last.action, last.actor) == ("purge", "night")
    with engine.begin() as connection:
        connection.execute(text("delete from people.audit_event where actor = 'night'"))
    load_run(engine, result.folder)
    assert count(engine, "restricted.raster_layer") == 1


def test_incomplete_folders_are_refused_and_nothing_is_half_loaded(
    engine: Engine, loaded, copy: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunFolderError, match="does not exist"):
        load_run(engine, tmp_path / "elsewhere")
    package = copy / "publish" / "districts.gpkg"
    table = gpd.read_file(package, layer="district_estimates")
    package.unlink()
    with pytest.raises(RunFolderError, match="has no layer district_estimates"):
        load_run(engine, copy)
    table.drop(columns="reliability").to_file(package, layer="district_estimates", driver="GPKG")
    with pytest.raises(RunFolderError, match="reliability is missing"):
        load_run(engine, copy)
    assert count(engine, "published.district_estimate") == loaded.n_district_rows


def test_a_value_that_should_be_hidden_is_refused(engine: Engine, loaded, copy: Path) -> None:
    package = copy / "publish" / "districts.gpkg"
    table = gpd.read_file(package, layer="district_estimates")
    table.loc[0, "disclosure"] = "cell too small"
    table.loc[0, "value_ha"] = 12.0
    table.to_file(package, layer="district_estimates", driver="GPKG")
    with pytest.raises(RunFolderError, match="1 rows are to be hidden but hold value_ha"):
        load_run(engine, copy)
    assert count(engine, "published.district_estimate") == loaded.n_district_rows


def test_hidden_values_are_null_in_the_database(engine: Engine, loaded) -> None:
    assert loaded.run_id
    query = (
        "select count(*) from published.district_estimate where value_ha is not null and "
        "(disclosure <> '' or reliability in ('suppressed', 'status_only'))"
    )
    with engine.connect() as connection:
        assert connection.scalar(text(query)) == 0


@pytest.mark.parametrize(
    "statement",
    [
        "select * from restricted.run",
        "delete from published.district_estimate",
        "insert into restricted.raster_layer values ('a', 'b', '/etc/passwd', '{}', 'c')",
        "update restricted.raster_layer set path = '/etc/passwd'",
        "create table published.mine (id int)",
        "create table public.mine (id int)",
    ],
)
def test_the_web_role_only_reads_what_is_published(
    settings: Settings, loaded, statement: str
) -> None:
    assert loaded.run_id
    engine = web_engine(settings)
    try:
        with (
            pytest.raises(ProgrammingError, match=r"permission denied|must be owner"),
            engine.begin() as connection,
        ):
            connection.execute(text(statement))
    finally:
        engine.dispose()


def test_migrations_go_up_down_and_up_and_match_the_models(engine: Engine) -> None:
    owner = engine.url.set(database="postgres")
    admin = create_engine(owner, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("create database migrations"))
    other = create_engine(engine.url.set(database="migrations"))
    try:
        with other.begin() as connection:
            migrate(connection)
        with other.begin() as connection:
            migrate(connection, "base")
        with other.begin() as connection:
            migrate(connection)
            config = Config()
            config.set_main_option("script_location", str(store._MIGRATIONS))
            config.attributes["connection"] = connection
            command.check(config)
    finally:
        other.dispose()
        with admin.connect() as connection:
            connection.execute(text("drop database migrations"))
        admin.dispose()
