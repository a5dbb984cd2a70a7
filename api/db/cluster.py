"""A private PostgreSQL cluster made from the installed binaries.

It listens on a Unix socket in a directory of mode 0700 and never on TCP; whoever connects is
known to the kernel (peer) and mapped to one of two roles. As root the server runs as the system
user `postgres`, which could not enter a checkout under a home of mode 0700: then the data lie
in /var/lib/ad-survey/<digest of the state directory>.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from api.errors import DatabaseError

__all__ = ["DATABASE", "OWNER_ROLE", "READER_ROLE", "WEB_ROLE", "PrivateCluster"]

DATABASE = "adsurvey"
OWNER_ROLE = "adsurvey_owner"
WEB_ROLE = "adsurvey_web"
#: What the web role becomes for the vector service: it sees published relations only.
READER_ROLE = "adsurvey_reader"

_SERVER_USER = "postgres"
_AS_ROOT_FOLDER = Path("/var/lib/ad-survey")
_BINARIES = Path("/usr/lib/postgresql")
_HOW_TO_INSTALL = "install the Debian package postgresql-postgis (make demo does it)"


class PrivateCluster:
    """One cluster per state directory.

    Parameters
    ----------
    state_dir : Path
        Names the cluster; holds its data unless the caller is root.
    durable : bool
        False gives up crash safety for speed: for tests only.
    """

    def __init__(self, state_dir: Path, *, durable: bool = True) -> None:
        self._state = state_dir.resolve()
        self._durable = durable
        self._is_root = os.geteuid() == 0
        key = hashlib.sha256(str(self._state).encode()).hexdigest()[:12]
        self._home = _AS_ROOT_FOLDER / key if self._is_root else self._state / "cluster"
        self._data = self._home / "data"
        # A socket's path has room for 107 bytes; a checkout's may be longer.
        self._socket = (
            self._home / "socket"
            if self._is_root
            else Path(tempfile.gettempdir()) / f"ad-survey-{os.geteuid()}-{key}"
        )

    @property
    def state(self) -> Path:
        """State directory that names the cluster."""
        return self._state

    @property
    def folder(self) -> Path:
        """Folder that holds the data."""
        return self._home

    @property
    def is_made(self) -> bool:
        """Whether there is a cluster to start."""
        return (self._data / ".complete").exists()

    def url(self, role: str = OWNER_ROLE) -> str:
        """SQLAlchemy URL of the database for a role."""
        return f"postgresql+psycopg://{role}@/{DATABASE}?host={quote(str(self._socket), safe='')}"

    def ensure_running(self) -> str:
        """Make the cluster if needed, start it if needed, and return the owner's URL.

        Raises
        ------
        DatabaseError
            PostgreSQL or PostGIS is not installed, or the server does not start; the message
            holds the end of its log.
        """
        binaries = _newest_binaries()
        with self._lock():
            self._make(binaries)
            if not self._is_running(binaries):
                self._start(binaries)
            self._make_database(binaries)
        return self.url()

    def stop(self) -> None:
        """Stop the server if it runs; the data stay."""
        if self._data.is_dir():
            with self._lock():
                binaries = _newest_binaries()
                if self._is_running(binaries):
                    self._run([binaries / "pg_ctl", "-D", self._data, "-m", "fast", "-w", "stop"])
        shutil.rmtree(self._socket, ignore_errors=True)

    def remove(self) -> None:
        """Stop the server and delete everything it kept."""
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)
        if self._is_root and _AS_ROOT_FOLDER.is_dir() and not any(_AS_ROOT_FOLDER.iterdir()):
            _AS_ROOT_FOLDER.rmdir()

    def backup(self, target: Path) -> None:
        """Write everything, users and the audit trail included, into one file of mode 0600.

        Raises
        ------
        DatabaseError
            The file is there already, or cannot be written.
        """
        if target.exists():
            raise DatabaseError(f"{target} is there already; a backup takes a name of its own")
        self.ensure_running()
        partial = target.with_name(f".{target.name}.part")
        try:
            partial.touch(mode=0o600)
            command = ["pg_dump", "--format=custom", f"--file={partial.resolve()}"]
            self._ask([*command, f"--dbname={DATABASE}"])
            partial.replace(target)
        except OSError as error:
            raise DatabaseError(f"{target} cannot be written: {error.strerror}") from error
        finally:
            partial.unlink(missing_ok=True)

    def restore(self, source: Path) -> None:
        """Put a backup in the place of the database, whole or not at all.

        Raises
        ------
        DatabaseError
            The file is no backup, or somebody is connected; the database is then as it was.
        """
        if not source.is_file():
            raise DatabaseError(f"{source} does not exist; give a file of database backup")
        self.ensure_running()
        new, old = f"{DATABASE}_new", f"{DATABASE}_old"
        with self._lock():
            self._make_roles()
            for name in (new, old):  # of a restore that was cut short
                self._sql(f"drop database if exists {name}")
            try:
                self._sql(f"create database {new}")
                self._ask(["pg_restore", "--exit-on-error", f"--dbname={new}", source.resolve()])
                self._sql(
                    f"revoke temporary on database {new} from public; "
                    f"grant connect, temporary on database {new} to {WEB_ROLE}, {READER_ROLE}"
                )
                # Two statements of one transaction: never a moment without a database.
                self._sql(
                    f"alter database {DATABASE} rename to {old}; "
                    f"alter database {new} rename to {DATABASE}"
                )
            except DatabaseError:
                self._sql(f"drop database if exists {new}")
                raise
            self._sql(f"drop database {old}")

    def _ask(self, words: Sequence[str | Path]) -> None:
        """Run a client program as the owner of the database."""
        name, *arguments = words
        self._run(
            [_newest_binaries() / name, "-h", self._socket, "-U", OWNER_ROLE, *arguments],
            as_server=False,
            advice="the database is as it was; is the service still running?",
        )

    def _sql(self, statement: str) -> None:
        psql = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", statement]
        self._ask(psql)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One process at a time makes, starts or stops."""
        self._home.mkdir(parents=True, exist_ok=True)
        if self._is_root:
            _AS_ROOT_FOLDER.chmod(0o755)
            self._home.chmod(0o750)
            shutil.chown(self._home, "root", _SERVER_USER)
        else:
            self._home.chmod(0o700)
        with (self._home / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _make(self, binaries: Path) -> None:
        made = self._data / ".complete"
        version_file = self._data / "PG_VERSION"
        if made.exists():
            version = version_file.read_text().strip()
            if version != binaries.parent.name:
                raise DatabaseError(
                    f"the data in {self._data} belong to PostgreSQL {version}, installed is "
                    f"{binaries.parent.name}; install {version} again, or remove the data with: "
                    "adsurvey database remove"
                )
            return
        shutil.rmtree(self._data, ignore_errors=True)  # an initdb that was cut short
        if self._is_root:
            self._data.mkdir(mode=0o700)
            shutil.chown(self._data, _SERVER_USER, _SERVER_USER)
        self._run(
            [
                binaries / "initdb", "-D", self._data, "-U", OWNER_ROLE, "-E", "UTF8",
                "--no-locale", "--auth-local=peer", "--auth-host=reject",
                *([] if self._durable else ["--no-sync"]),
            ]
        )  # fmt: skip
        user = pwd.getpwuid(os.geteuid()).pw_name
        self._write("pg_ident.conf", [f"ad {user} {role}" for role in (OWNER_ROLE, WEB_ROLE)])
        self._write("pg_hba.conf", ["local all all peer map=ad"])
        self._write(".complete", [])

    def _write(self, name: str, lines: Sequence[str]) -> None:
        path = self._data / name
        path.write_text("".join(f"{line}\n" for line in lines))
        if self._is_root:
            shutil.chown(path, _SERVER_USER, _SERVER_USER)
        path.chmod(0o600)

    def _start(self, binaries: Path) -> None:
        self._make_socket_directory()
        options = f"-c listen_addresses='' -c unix_socket_directories='{self._socket}'"
        options += " -c unix_socket_permissions=0700 -c max_connections=60"
        if not self._durable:
            options += " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
        log = self._data / "server.log"
        self._run(
            [binaries / "pg_ctl", "-D", self._data, "-l", log, "-w", "-t", "60", "-o", options,
             "start"],
            log=log,
        )  # fmt: skip

    def _make_socket_directory(self) -> None:
        try:
            self._socket.mkdir(mode=0o700)
        except FileExistsError:
            found = self._socket.lstat()
            owner = pwd.getpwnam(_SERVER_USER).pw_uid if self._is_root else os.geteuid()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (owner, os.geteuid()):
                raise DatabaseError(
                    f"{self._socket} belongs to somebody else; ask for its removal, or set TMPDIR "
                    "to a directory of your own"
                ) from None
            self._socket.chmod(0o700)
        if self._is_root:
            shutil.chown(self._socket, _SERVER_USER, _SERVER_USER)

    def _is_running(self, binaries: Path) -> bool:
        status = self._run([binaries / "pg_ctl", "-D", self._data, "status"], check=False)
        return status.returncode == 0

    def _make_database(self, binaries: Path) -> None:
        """Make roles and database on the first start."""
        marker = self._data / ".database"
        if marker.exists():
            return
        if not _has_postgis(binaries):
            raise DatabaseError(
                f"PostgreSQL {binaries.parent.name} has no PostGIS here; {_HOW_TO_INSTALL}"
            )
        self._make_roles()
        for statement in (f"drop database if exists {DATABASE}", f"create database {DATABASE}"):
            self._sql(statement)
        self._write(marker.name, [])

    def _make_roles(self) -> None:
        """Make the roles that are not there: an earlier attempt may have been cut short."""
        for role, kind in ((WEB_ROLE, "login"), (READER_ROLE, "nologin")):
            self._sql(
                f"do $$ begin create role {role} {kind} nosuperuser nobypassrls nocreatedb; "
                "exception when duplicate_object then null; end $$"
            )
        self._sql(f"grant {READER_ROLE} to {WEB_ROLE}")

    def _run(
        self,
        command: Sequence[str | Path],
        *,
        check: bool = True,
        as_server: bool = True,
        log: Path | None = None,
        advice: str = "",
    ) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in command]
        if as_server and self._is_root:
            words = [
                "setpriv", f"--reuid={_SERVER_USER}", f"--regid={_SERVER_USER}", "--init-groups",
                *words,
            ]  # fmt: skip
        # The server must not inherit our output: whoever reads it would wait for ever.
        with tempfile.TemporaryFile("w+") as out:
            result = subprocess.run(  # noqa: S603  # our own binaries and arguments
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", check=False,
                env={**os.environ, "LC_ALL": "C.UTF-8"},
            )  # fmt: skip
            out.seek(0)
            text = out.read()
        if check and result.returncode:
            tail = log.read_text(errors="replace")[-800:] if log and log.is_file() else ""
            server = f"see {self._data / 'server.log'}, or start anew: adsurvey database remove"
            raise DatabaseError(
                f"{Path(command[0]).name} failed: {text.strip()[-800:]} {tail}".rstrip()
                + f"; {advice or server}"
            )
        return subprocess.CompletedProcess(words, result.returncode, text, "")


def _newest_binaries() -> Path:
    found = sorted(
        (path for path in _BINARIES.glob("*/bin") if (path / "initdb").is_file()),
        key=lambda path: float(path.parent.name),
    )
    if not found:
        raise DatabaseError(f"PostgreSQL is not installed; {_HOW_TO_INSTALL}")
    return ([path for path in found if _has_postgis(path)] or found)[-1]


def _has_postgis(binaries: Path) -> bool:
    version = binaries.parent.name
    return Path(f"/usr/share/postgresql/{version}/extension/postgis.control").is_file()
