"""`adsurvey forms` as an office uses it: import, correct, import again, rebuild."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from api import cli

ROOT = Path(__file__).resolve().parents[2]
SAFI = ROOT.parent / "shared" / "data" / "safi-household-survey" / "SAFI.json"

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["adsurvey", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess([], code if isinstance(code, int) else 0, out, err)

    return call


@pytest.fixture
def round_folder(tmp_path: Path) -> Path:
    """The miniature round, without what came in."""
    source = ROOT / "sample_tiles" / "miniature"
    for name in ("survey.toml", "districts.gpkg", "frame.gpkg", "projects.csv", "baselines.csv"):
        shutil.copy(source / name, tmp_path / name)
    return tmp_path


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    path = folder / "out" / "restricted" / "rows" / f"{table}.csv"
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.shared_data
@pytest.mark.skipif(not SAFI.is_file(), reason="../shared/data/safi-household-survey is not here")
def test_the_safi_interviews_come_in_by_mapping_and_become_292_plots_and_373_crops(
    here: Call, round_folder: Path
) -> None:
    survey = round_folder / "survey.toml"
    mapping = ROOT / "docs" / "safi-mapping.toml"
    first = here("forms", "import", SAFI, "--mapping", mapping, "--survey", survey)
    assert first.returncode == 0, first.stderr
    assert "131 new submissions" in first.stdout
    again = here("forms", "import", SAFI, "--mapping", mapping, "--survey", survey)
    assert "0 new submissions, 131 known already, 0 in conflict" in again.stdout
    made = here("forms", "rebuild", "--survey", survey, "--json")
    assert made.returncode == 0, made.stderr
    counts = {table["table"]: table["rows"] for table in json.loads(made.stdout)["tables"]}
    assert (counts["household"], counts["plot"], counts["plot_crop"]) == (131, 292, 373)
    raw = json.loads(SAFI.read_text(encoding="utf-8"))
    hectares = sum(plot["D02_total_plot"] for record in raw for plot in record["D_plots"])
    found = sum(float(row["plot_ha"]) for row in rows(round_folder, "plot"))
    assert found == pytest.approx(hectares)
    keys = [row["row_key"] for row in rows(round_folder, "plot_crop")]
    assert len(set(keys)) == 373


def test_a_refused_file_comes_back_as_a_sheet_that_is_taken_once_corrected(
    here: Call, round_folder: Path
) -> None:
    survey, sheet = round_folder / "survey.toml", round_folder / "report.xlsx"
    table = round_folder / "visits.csv"
    table.write_text(
        "instanceID,segment_id,visit_date,observer_code,observed_percent,area_unit,poppy_area,"
        "cannabis_area\nuuid:1,S-1,2026-02-03,T1,80,rai,1.3,0\nuuid:2,S-2,2026-02-03,T1,80,rai,"
        '"1,3",0\n',
        "utf-8",
    )
    refused = here("forms", "import", table, "--survey", survey, "--report", sheet)
    assert refused.returncode == 1
    assert "visits.csv, row 2: poppy_area '1,3' has a comma" in refused.stdout
    book = openpyxl.load_workbook(sheet)
    (wrong,) = [cell for row in book["segment_visit"] for cell in row if cell.comment]
    wrong.value = "1.3"
    book.save(sheet)
    taken = here("forms", "import", sheet, "--survey", survey)
    assert taken.returncode == 0, taken.stdout
    assert "2 new submissions" in taken.stdout
    status = here("forms", "status", "--survey", survey, "--json")
    assert status.returncode == 0, status.stderr


def hill_visit(name: str, poppy: str) -> str:
    return (
        '<data id="hill_visit" version="1"><where><segment_id>MR0101-0007</segment_id></where>'
        "<visit_date>2026-02-03</visit_date><observer_code>T1</observer_code>"
        f"<observed_percent>80</observed_percent><opium>{poppy}</opium><huts>4</huts>"
        f"<meta><instanceID>uuid:{name}</instanceID></meta></data>"
    )


def test_a_form_of_ones_own_is_named_written_out_and_taken_over(
    here: Call, round_folder: Path
) -> None:
    of_round = ("--survey", round_folder / "survey.toml")
    (round_folder / "in").mkdir()
    for name, poppy in (("one", "1.3"), ("two", "much"), ("desk", "9")):
        (round_folder / "in" / f"{name}.xml").write_text(hill_visit(name, poppy))
    taken = here("forms", "import", round_folder / "in", *of_round)
    assert (taken.returncode, "3 new submissions" in taken.stdout) == (0, True)
    assert "adsurvey forms map" in here("forms", "status", *of_round).stdout
    refused = here("forms", "review", "accept", "uuid:one", "--reason", "x", *of_round)
    assert (refused.returncode, "of another form" in refused.stderr) == (1, True)
    here("forms", "review", "reject", "uuid:desk", "--reason", "made at the desk", *of_round)
    both = ("uuid:one", "uuid:two", "--reason", "by mistake", *of_round)
    assert "2 rejected" in here("forms", "review", "reject", *both).stdout
    assert "2 open again" in here("forms", "review", "reopen", *both).stdout
    table = round_folder / "hill.csv"
    assert here("forms", "export", "hill_visit", "--to", table, *of_round).returncode == 0
    assert table.stat().st_mode & 0o777 == 0o600
    with table.open(encoding="utf-8", newline="") as handle:
        told = {row["instanceID"]: row for row in csv.DictReader(handle)}
    assert (told["uuid:two"]["huts"], told["uuid:two"]["opium"]) == ("4", "much")
    assert told["uuid:desk"]["review_state"] == "rejected"
    mapping = round_folder / "hill.toml"
    mapping.write_text(
        'form_id = "segment_visit"\n[columns]\npoppy_area = "opium"\n'
        '[constants]\narea_unit = "rai"\ncannabis_area = "0"\n'
    )
    words = ("forms", "map", "hill_visit", "--mapping", mapping, *of_round)
    trial = here(*words, "--dry-run")
    assert "1 would be taken over, 1 refused" in trial.stdout
    done = here(*words)
    assert done.returncode == 1
    assert "uuid:two: poppy_area 'much' is not a number" in done.stdout
    assert "1 taken over, 1 refused and kept as they are, 1 rejected ones left out" in done.stdout
    states = json.loads(here("forms", "status", "--json", *of_round).stdout)["states"]
    assert states["segment_visit"] == {"flagged": 1}
    assert states["hill_visit"] == {"flagged": 1, "rejected": 1}
    days = here("forms", "status", "--days", *of_round).stdout
    assert "2026-02-03  T1              3" in days
    # A withdrawal finds the table where it was written.
    assert here("forms", "withdraw", "uuid:one", *of_round).returncode == 0
    assert "uuid:one" not in table.read_text()
    assert "uuid:two" in table.read_text()
    for wrong, code in (("--to", 2), ("nothing", 1)):
        name = "hill_visit" if wrong == "--to" else wrong
        to = table.with_suffix(".xlsx" if wrong == "--to" else ".csv")
        assert here("forms", "export", name, "--to", to, *of_round).returncode == code
