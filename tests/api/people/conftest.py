"""Users in a database of their own, and the service as each of them meets it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import write_certificate
from conftest_service import serving
from fastapi.testclient import TestClient
from people import CHEAP, NOW, PASSWORD, USERS, session
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, text

from api.app import create_app
from api.auth import Passwords
from api.db.store import connect, load_run, web_engine
from api.db.users import add_user
from api.settings import Settings


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def guarded(people: Settings) -> Iterator[TestClient]:
    with TestClient(
        create_app(people), raise_server_exceptions=False, follow_redirects=False
    ) as made:
        yield made


@pytest.fixture(scope="session")
def engine(people: Settings) -> Iterator[Engine]:
    made = connect(people)
    yield made
    made.dispose()


@pytest.fixture(scope="session")
def web(people: Settings) -> Iterator[Engine]:
    made = web_engine(people)
    yield made
    made.dispose()


@pytest.fixture(scope="session")
def headers(guarded: TestClient) -> dict[str, dict[str, str]]:
    """Headers of one signed-in browser for each user; do not end these sessions."""
    return {name: session(guarded, name) for name in USERS}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a certificate for localhost."""
    folder = tmp_path_factory.mktemp("tls")
    write_certificate(folder / "certificate.pem", folder / "key.pem")
    return folder


@pytest.fixture(scope="session")
def environment(people: Settings) -> dict[str, str]:
    """Variables with which a process uses the database of users."""
    assert people.database_url is not None
    assert people.web_database_url is not None
    return {
        "ADSURVEY_DATABASE_URL": people.database_url.get_secret_value(),
        "ADSURVEY_WEB_DATABASE_URL": people.web_database_url.get_secret_value(),
        "ADSURVEY_SURVEY": str(people.survey),
        "ADSURVEY_ARGON2_TIME_COST": "1",
        "ADSURVEY_ARGON2_MEMORY_KIB": "64",
    }


@pytest.fixture(scope="session")
def secure(environment: dict[str, str], certificate: Path) -> Iterator[str]:
    """The service with users as a process that ends TLS itself."""
    hidden = [PASSWORD, "argon2", "Traceback"]
    with serving(environment=environment, tls=certificate, unseen=hidden) as url:
        yield url
