"""The private cluster: only its user gets in, and an interrupted start heals."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from api.db.cluster import OWNER_ROLE, WEB_ROLE, PrivateCluster
from api.db.store import connect
from api.db.users import add_user
from api.errors import DatabaseError
from api.settings import Settings

pytestmark = [pytest.mark.postgis, pytest.mark.xdist_group("cluster")]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory):
    # A path longer than a socket's name may be.
    state = tmp_path_factory.mktemp("state") / ("long" * 30)
    made = PrivateCluster(state, durable=False)
    made.ensure_running()
    yield made
    made.remove()
    assert not made.folder.exists()


def scalar(url: str, query: str) -> object:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return connection.execute(text(query)).scalar()
    finally:
        engine.dispose()


def socket_folder(cluster: PrivateCluster) -> Path:
    return Path(str(scalar(cluster.url(), "show unix_socket_directories")))


def test_roles_and_their_rights(cluster: PrivateCluster) -> None:
    assert scalar(cluster.url(), "select current_user") == OWNER_ROLE
    assert scalar(cluster.url(WEB_ROLE), "select current_user") == WEB_ROLE
    flags = "select rolsuper or rolcreatedb or rolcreaterole or rolbypassrls from pg_roles"
    assert scalar(cluster.url(), f"{flags} where rolname = '{WEB_ROLE}'") is False


def test_no_tcp_and_a_private_socket(cluster: PrivateCluster) -> None:
    assert scalar(cluster.url(), "show listen_addresses") == ""
    assert stat.S_IMODE(socket_folder(cluster).stat().st_mode) == 0o700
    rules = "select string_agg(distinct auth_method, ',') from pg_hba_file_rules"
    assert scalar(cluster.url(), rules) == "peer"
    with socket.socket() as probe:
        port = int(str(scalar(cluster.url(), "show port")))
        in_use_elsewhere = probe.connect_ex(("127.0.0.1", port)) == 0
    if in_use_elsewhere:  # another PostgreSQL of this machine: at least it is not ours
        assert scalar(cluster.url(), "show listen_addresses") == ""


def test_unknown_role_is_refused(cluster: PrivateCluster) -> None:
    with pytest.raises(OperationalError, match="Peer authentication failed"):
        scalar(cluster.url("postgres"), "select 1")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_other_users_of_the_machine_are_kept_out(cluster: PrivateCluster) -> None:
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
               "psql", "-h", str(socket_folder(cluster)), "-U", OWNER_ROLE, "-d", "adsurvey",
               "-c", "select 1"]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert result.returncode != 0
    assert "Permission denied" in result.stderr


def test_starting_twice_at_once_and_again_is_harmless(cluster: PrivateCluster) -> None:
    with ThreadPoolExecutor(4) as pool:
        urls = set(pool.map(lambda _: cluster.ensure_running(), range(4)))
    assert urls == {cluster.url()}


def test_a_killed_server_starts_again(cluster: PrivateCluster) -> None:
    pid_file = cluster.folder / "data" / "postmaster.pid"
    pid = int(pid_file.read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    for _ in range(50):
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.1)
    cluster.ensure_running()
    assert scalar(cluster.url(), "select 1") == 1


def test_a_cut_short_initdb_is_made_anew_and_other_versions_are_named(tmp_path: Path) -> None:
    cluster = PrivateCluster(tmp_path / "state", durable=False)
    try:
        half = cluster.folder / "data" / "base"
        half.mkdir(parents=True)
        cluster.ensure_running()
        assert scalar(cluster.url(), "select 1") == 1
        cluster.stop()
        version = cluster.folder / "data" / "PG_VERSION"
        version.write_text("9\n")
        with pytest.raises(DatabaseError, match="belong to PostgreSQL 9"):
            cluster.ensure_running()
    finally:
        shutil.rmtree(cluster.folder / "data", ignore_errors=True)
        cluster.remove()


def test_a_backup_brings_users_and_their_guards_back(
    cluster: PrivateCluster, tmp_path: Path
) -> None:
    engine = connect(Settings(state_dir=cluster.state, durable=False))
    now = datetime(2026, 11, 26, tzinfo=UTC)
    try:
        for name in ("kept.user", "later.user"):
            if name == "later.user":
                cluster.backup(tmp_path / "adsurvey.dump")
            add_user(
                engine, name=name, role="admin", areas=["all"], password_hash="x",  # noqa: S106
                actor="test", now=now,
            )  # fmt: skip
    finally:
        engine.dispose()
    dump = tmp_path / "adsurvey.dump"
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600
    with pytest.raises(DatabaseError, match="there already"):
        cluster.backup(dump)
    names = "select string_agg(name, ',' order by name) from people.user_account"
    broken = tmp_path / "broken.dump"
    broken.write_bytes(dump.read_bytes()[:20_000])
    with pytest.raises(DatabaseError, match="pg_restore failed"):
        cluster.restore(broken)
    assert scalar(cluster.url(), names) == "kept.user,later.user"
    connected = create_engine(cluster.url(WEB_ROLE))
    with connected.connect(), pytest.raises(DatabaseError, match="still running"):
        cluster.restore(dump)
    connected.dispose()
    assert scalar(cluster.url(), names) == "kept.user,later.user"
    cluster.restore(dump)
    assert scalar(cluster.url(WEB_ROLE), names) == "kept.user"
    for right in ("has_database_privilege(current_database(), 'TEMP')",
                  "not has_table_privilege('people.audit_event', 'DELETE')",
                  "has_table_privilege('published.district_estimate', 'SELECT')",
                  "row_security_active('restricted.raster_layer')"):  # fmt: skip
        assert scalar(cluster.url(WEB_ROLE), f"select {right}") is True, right
    databases = "select count(*) from pg_database where datname like 'adsurvey%'"
    assert scalar(cluster.url(), databases) == 1
