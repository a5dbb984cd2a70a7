"""A run of the committed miniature, made once for the tests of a worker."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from conftest_service import serving
from fastapi.testclient import TestClient

from api import cli
from api.app import create_app
from api.db.cluster import PrivateCluster
from api.db.store import LoadReport, connect, load_run
from api.pipeline import RunResult, run_round
from api.reviewing import round_reviews
from api.settings import Settings
from survey.forms import PublishedForms, SubmissionStore
from survey.review import ReviewLog, ReviewState
from survey.rounds import read_round

ROOT = Path(__file__).resolve().parents[2]
MINIATURE = ROOT / "sample_tiles" / "miniature"
AFTER_RELEASE = date(2026, 7, 1)


@dataclass(frozen=True)
class Prepared:
    """A copy of the miniature with its submissions imported."""

    folder: Path

    @property
    def survey(self) -> Path:
        return self.folder / "survey.toml"

    def run(self, today: date = AFTER_RELEASE) -> RunResult:
        return run_round(read_round(self.survey), today=today, progress=lambda *_: None)


def prepare(folder: Path) -> Prepared:
    """Copy the miniature, import its submissions through the one upload path, accept them."""
    shutil.copytree(MINIATURE, folder, ignore=shutil.ignore_patterns("inbox", "out"))
    prepared = Prepared(folder)
    store = SubmissionStore(read_round(prepared.survey).submissions_folder)
    for path in sorted((folder / "submissions").rglob("*.*")):
        report = store.import_file(path.name, path.read_bytes(), received_at=datetime.now(UTC))
        assert report.accepted, report.problems
    accept_all(prepared)
    return prepared


def accept_all(prepared: Prepared) -> None:
    """Accept every submission that waits, as `adsurvey forms review accept` does."""
    reviewed = round_reviews(read_round(prepared.survey), today=AFTER_RELEASE)
    waiting = [each for each in reviewed.reviews if each.state is ReviewState.RECEIVED]
    ReviewLog(reviewed.store).accept_all(waiting, by="test", now=datetime.now(UTC))


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, template: Path
) -> tuple[Prepared, RunResult]:
    """A prepared miniature and its finished run; do not change its files."""
    folder = shutil.copytree(template, tmp_path_factory.mktemp("round") / "meru")
    prepared = Prepared(Path(folder))
    return prepared, prepared.run()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared miniature that is only copied."""
    return prepare(tmp_path_factory.mktemp("template") / "meru").folder


@pytest.fixture
def fresh(tmp_path: Path, template: Path) -> Callable[[], Prepared]:
    """Makes a prepared miniature of one's own."""
    return lambda: Prepared(Path(shutil.copytree(template, tmp_path / "meru")))


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory, finished) -> Iterator[Settings]:
    """Settings of a private cluster of this test session, removed at its end."""
    prepared, _ = finished
    state = tmp_path_factory.mktemp("state")
    made = Settings(state_dir=state, durable=False, survey=prepared.survey)
    yield made
    PrivateCluster(state, durable=False).remove()


@pytest.fixture(scope="session")
def loaded(settings: Settings, finished) -> LoadReport:
    """The miniature's run in the database."""
    _, result = finished
    engine = connect(settings)
    try:
        return load_run(engine, result.folder)
    finally:
        engine.dispose()


@pytest.fixture(scope="session")
def client(settings: Settings, loaded: LoadReport) -> Iterator[TestClient]:
    """The service on the loaded run, without a socket."""
    assert loaded.n_district_rows == 16
    with TestClient(create_app(settings), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture(scope="session")
def address(
    settings: Settings, loaded: LoadReport, finished, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The service as a process on a loopback port, for real clients.

    Uploads go to a store of their own, beside a copy of the declaration.
    """
    assert loaded.run_id
    survey = tmp_path_factory.mktemp("uploads") / "survey.toml"
    survey.write_bytes(finished[0].survey.read_bytes())
    environment = {"ADSURVEY_STATE_DIR": str(settings.state_dir), "ADSURVEY_DURABLE": "false"}
    with serving("--survey", survey, environment=environment) as url:
        yield url


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the project's forms; converting them takes a second or two."""
    folder = tmp_path_factory.mktemp("published") / "inbox"
    PublishedForms(folder).publish_own(now=datetime(2026, 2, 4, tzinfo=UTC))
    return folder


@pytest.fixture
def inbox(tmp_path: Path, published: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "inbox"))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The command in this process: the same entry point, without a new interpreter."""

    def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["adsurvey", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess([], code if isinstance(code, int) else 0, out, err)

    return call
