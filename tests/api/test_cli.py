"""The command as a newcomer meets it: quick help, one message per fault, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import openpyxl
import pandas as pd
import pytest
import rasterio

from api import cli
from api.settings import Settings
from survey.areas import geodesic_area_ha

pytestmark = pytest.mark.xdist_group("cli")


def adsurvey(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "api.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )


def test_help_lists_the_verbs_without_loading_the_libraries() -> None:
    code = "import sys, api.cli; print([m for m in ('numpy', 'rasterio') if m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"
    result = adsurvey("--help")
    assert result.returncode == 0
    for verb in ("run", "forms", "load", "serve", "database"):
        assert verb in result.stdout


def test_the_database_is_the_checkouts_wherever_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ADSURVEY_STATE_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    assert Settings().state_dir == Path(cli.__file__).resolve().parents[2] / ".adsurvey"


def test_misuse_exits_2(here) -> None:
    assert here("run").returncode == 2
    assert here("fly").returncode == 2
    refused = here("serve", "--host", "0.0.0.0")  # noqa: S104
    assert refused.returncode == 2
    assert "refusing to listen on '0.0.0.0'" in refused.stderr
    assert "Traceback" not in refused.stderr


def replace_text(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "survey.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


def edit_layer(name: str, change: Callable[[gpd.GeoDataFrame], gpd.GeoDataFrame]):
    def apply(folder: Path) -> None:
        path = folder / name
        layer = change(gpd.read_file(path))
        path.unlink()
        layer.to_file(path, driver="GPKG")

    return apply


def repeat_first_id(layer: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    layer.loc[1, "segment_id"] = layer.loc[0, "segment_id"]
    return layer


def without_crs(layer: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return layer.set_crs(None, allow_override=True)


def move_scenes(folder: Path) -> None:
    for path in (folder / "scenes").glob("*.tif"):
        with rasterio.open(path, "r+") as scene:
            scene.transform = rasterio.Affine.translation(500_000, 0) @ scene.transform


def scene_without_crs(folder: Path) -> None:
    path = folder / "scenes" / "2026-02-06.tif"
    with rasterio.open(path) as scene:
        profile, pixels = {**scene.profile, "crs": None}, scene.read()
    path.unlink()
    with rasterio.open(path, "w", **profile) as out:
        out.write(pixels)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (replace_text('"districts.gpkg"', '"gone.gpkg"'), 1, ["gone.gpkg", "correct the paths"]),
        (lambda folder: shutil.rmtree(folder / "inbox"), 1, ["forms import", "no segment visits"]),
        (edit_layer("frame.gpkg", without_crs), 1, ["frame.gpkg", "no coordinate reference"]),
        (scene_without_crs, 1, ["2026-02-06.tif", "no coordinate reference"]),
        (move_scenes, 1, ["no overlap", "the scenes"]),
        (edit_layer("frame.gpkg", repeat_first_id), 1, ["occurs more than once", "frame.gpkg"]),
        (replace_text("[survey]", "[survey"), 2, ["survey.toml is not valid TOML", "line"]),
        (replace_text("harvest_year = 2026", "harvest_year = 'x'"), 2, ["survey.harvest_year"]),
        (replace_text("seed =", "sead ="), 2, ["did you mean seed?"]),
    ],
)
def test_bad_rounds_give_one_message_and_leave_nothing(
    fresh, here, spoil: Callable[[Path], None], code: int, words: list[str]
) -> None:
    prepared = fresh()
    spoil(prepared.folder)
    result = here("run", prepared.survey)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    message = result.stderr[result.stderr.index("error:") :]
    for word in words:
        assert word in message
    left = {path.name for path in prepared.folder.iterdir()}
    assert not any("out" in name for name in left), left


def test_a_failing_run_keeps_the_earlier_results(fresh) -> None:
    prepared = fresh()
    out = prepared.folder / "out"
    out.mkdir()
    (out / "publish").mkdir()
    (out / "publish" / "run.json").write_text("{}")
    replace_text('"frame.gpkg"', '"gone.gpkg"')(prepared.folder)
    assert adsurvey("run", prepared.survey).returncode == 1
    assert (out / "publish" / "run.json").read_text() == "{}"


def test_forms_import_reports_and_repeats(fresh, here, tmp_path: Path) -> None:
    prepared = fresh()
    again = here("forms", "import", prepared.folder / "submissions", "--survey", prepared.survey)
    assert again.returncode == 0
    assert " 0 new submissions" in again.stdout
    bad = tmp_path / "bad.csv"
    bad.write_text("segment_id,poppy_area\nA,1\n")
    refused = here("forms", "import", bad, "--survey", prepared.survey, "--json")
    assert refused.returncode == 1
    report = json.loads(refused.stdout)[0]
    assert report["accepted"] is False
    assert "instanceID" in report["problems"][0]["problem"]


def test_a_plain_table_comes_in_with_a_mapping(fresh, here, tmp_path: Path) -> None:
    prepared = fresh()
    table, mapping, sheet = (tmp_path / name for name in ("plots.csv", "map.toml", "r.xlsx"))
    table.write_text("Segment no.;Poppy (rai)\nX-1;1.3\nX-2;none\n")
    mapping.write_text(
        'form_id = "segment_visit"\nidentity = ["segment_id"]\n'
        '[columns]\nsegment_id = "Segment no."\npoppy_area = "Poppy (rai)"\n'
        '[constants]\nvisit_date = "2026-02-03"\nobserver_code = "T1"\n'
        'observed_percent = "100"\narea_unit = "rai"\ncannabis_area = "0"\n'
    )
    files = ("forms", "import", table, "--survey", prepared.survey, "--report", sheet)
    refused = here(*files, "--mapping", mapping)
    assert refused.returncode == 1
    assert "row 2: poppy_area 'none' is not a number" in refused.stdout
    found = openpyxl.load_workbook(sheet).active
    told = [cell.value for cell in found[2]][:5]
    assert told == ["plots.csv", None, "2", "poppy_area", "none"]
    mapping.write_text(mapping.read_text() + '[values.poppy_area]\n"none" = "0"\n')
    taken = here(*files, "--mapping", mapping)
    assert taken.returncode == 0, taken.stdout
    assert "2 new submissions" in taken.stdout
    wrong = here("forms", "import", table, "--survey", prepared.survey, "--report", "r.pdf")
    assert wrong.returncode == 2
    assert ".xlsx" in wrong.stderr


def test_the_steps_to_mapped_hectares_one_by_one(fresh, here, tmp_path: Path) -> None:
    prepared = fresh()
    round_folder = prepared.folder
    listed = here("scenes", "list", round_folder / "scenes", "--json")
    assert len(json.loads(listed.stdout)["scenes"]) >= 6
    model, maps, table = tmp_path / "model", tmp_path / "maps", tmp_path / "hectares.csv"
    layers = tmp_path / "layers"
    for only in ("observations", "terrain"):
        written = here("features", prepared.survey, "--to", layers, "--only", only)
        assert written.returncode == (0 if only == "observations" else 1), written.stderr
    assert "asks for no terrain" in written.stderr
    assert [path.name for path in layers.iterdir()] == ["observations.tif"]
    trained = here("train", prepared.survey, "--to", model)
    assert trained.returncode == 0, trained.stderr
    assert "not the accuracy over the land" in trained.stdout
    for _ in range(2):  # the second time both maps stand already
        assert here("classify", prepared.survey, "--model", model, "--to", maps).returncode == 0
    assert (maps.stat().st_mode & 0o777, model.stat().st_mode & 0o777) == (0o700, 0o700)
    made = (maps / "class_map.tif").stat().st_mtime_ns
    here("classify", prepared.survey, "--model", model, "--to", maps)
    assert (maps / "class_map.tif").stat().st_mtime_ns == made
    districts = round_folder / "districts.gpkg"
    arguments = ("zonal", maps / "class_map.tif", districts, "--to", table, "--id")
    assert here(*arguments, "district_pcode").returncode == 0
    hectares = pd.read_csv(table)
    assert {"poppy", "unobserved"} <= set(hectares["class_name"])
    layer = gpd.read_file(districts)
    whole = geodesic_area_ha(layer.geometry.to_numpy(), layer.crs).sum()
    assert hectares["ha"].sum() == pytest.approx(whole, rel=1e-4)
    wrong = here(*arguments, "code")
    assert wrong.returncode == 1
    assert "it has district_pcode" in wrong.stderr
    failed = here("scenes", "import", tmp_path / "no.SAFE", "--to", tmp_path / "scenes")
    assert failed.returncode == 1
    assert "0 of 1 products imported" in failed.stdout


def test_status_says_what_is_missing_against_the_sample(fresh, here) -> None:
    prepared = fresh()
    shown = here("forms", "status", "--survey", prepared.survey)
    assert shown.returncode == 0, shown.stderr
    assert "segment_visit" in shown.stdout
    listed = json.loads(here("forms", "status", "--survey", prepared.survey, "--json").stdout)
    frame = gpd.read_file(prepared.folder / "frame.gpkg")
    assert sum(row["drawn"] for row in listed["districts"]) == int(frame["is_sampled"].sum())
    assert all(row["visited"] <= row["drawn"] for row in listed["districts"])
    # Segments are named on demand only.
    assert all("missing" not in row for row in listed["districts"])


def test_review_from_the_shell(fresh, here) -> None:
    prepared = fresh()
    of_round = ("--survey", prepared.survey)
    listed = json.loads(here("forms", "review", "list", "--json", *of_round).stdout)
    assert {row["state"] for row in listed} == {"accepted"}
    assert not any("answers" in row for row in listed)
    one = next(row for row in listed if row["form_id"] == "segment_visit")
    name = one["instance_id"]
    edit = ("forms", "review", "edit", name, "poppy_area=0.25", "--reason", "unit", *of_round)
    refused = here(*edit)
    assert refused.returncode == 1
    assert "is accepted; edit is not possible, reopen is" in refused.stderr
    for verb in ("reopen", "reject"):
        assert here("forms", "review", verb, name, *of_round).returncode == 2  # no reason
    assert here("forms", "review", "reopen", name, "--reason", "a", *of_round).returncode == 0
    assert "1 answers corrected; received" in here(*edit).stdout
    shown = here("forms", "review", "show", name[:18], *of_round).stdout
    assert "poppy_area: " in shown
    assert "-> '0.25'" in shown
    waiting = here("forms", "review", "list", "--state", "received", *of_round).stdout
    assert "1 submissions: 1 received" in waiting
    for _ in range(2):
        done = here("forms", "review", "accept", "--unflagged", "--by", "ana", *of_round)
        assert done.returncode == 0
    assert "0 accepted" in done.stdout
    detail = json.loads(here("forms", "review", "show", name, "--json", *of_round).stdout)
    assert [d["action"] for d in detail["decisions"]] == ["accept", "reopen", "edit", "accept"]
    assert detail["decisions"][-1]["by"] == "ana"
    assert here("forms", "review", "accept", *of_round).returncode == 2
    assert here("forms", "review", "show", "uuid:none", *of_round).returncode == 1


def test_aggregates_of_the_accepted(fresh, here, tmp_path: Path) -> None:
    prepared = fresh()
    of_round = ("--survey", prepared.survey)
    to = tmp_path / "t.csv"
    made = here("forms", "aggregate", "farmer_survey", "--by", "project", "--to", to, *of_round)
    assert made.returncode == 0, made.stderr
    table = pd.read_csv(to).set_index(["domain_id", "variable"])
    assert set(table.columns) >= {"value", "unit", "se", "low", "high", "n", "n_villages", "date"}
    assert table.loc[("AD01", "annual_income_usd"), "n_villages"] >= 2
    private = tmp_path / "village.json"
    villages = ("forms", "aggregate", "farmer_survey", "--by", "village", *of_round)
    assert here(*villages, "--to", private, "--analysis").returncode == 0
    assert private.stat().st_mode & 0o777 == 0o600
    assert any(row["n"] and row["n"] < 5 for row in json.loads(private.read_text()))
    shown = here(*villages)
    assert "fewer than 5 respondents or 2 villages" in shown.stdout
    listed = here("forms", "review", "list", "--form", "farmer_survey", "--json", *of_round)
    here("forms", "withdraw", json.loads(listed.stdout)[0]["instance_id"], *of_round)
    assert not private.exists()  # small cells that the person was in
    assert to.exists()
    none = here("forms", "aggregate", "yield_plot", *of_round)
    assert none.returncode == 1
    assert "no yield_plot is accepted" in none.stderr
    assert here("forms", "aggregate", "segment_visit", *of_round).returncode == 2


def test_what_is_withdrawn_marks_the_figures(fresh, here, tmp_path: Path) -> None:
    prepared = fresh()
    of_round = ("--survey", prepared.survey)
    publish = prepared.folder / "out" / "publish"
    publish.mkdir(parents=True)
    (publish / "run.json").write_text('{"run_id": "r1"}')
    listed = json.loads(
        here("forms", "review", "list", "--form", "farmer_survey", "--json", *of_round).stdout
    )
    name = listed[0]["instance_id"]
    gone = here("forms", "withdraw", name, "--by", "ana", *of_round)
    assert gone.returncode == 0, gone.stderr
    assert "1 withdrawn" in gone.stdout
    assert "Recompute them: adsurvey run" in gone.stdout
    assert name not in gone.stdout
    assert json.loads((prepared.folder / "out" / "recompute.json").read_text())["run_id"] == "r1"
    again = json.loads(here("forms", "withdraw", name, "--json", *of_round).stdout)
    assert (again["withdrawn"], again["to_be_recomputed"]) == (0, True)
    assert here("forms", "withdraw", "no-such-code", *of_round).returncode == 1
    back = here("forms", "import", prepared.folder / "submissions", *of_round)
    assert " 0 new submissions" in back.stdout
    assert here("forms", "photos", "--to", tmp_path / "p", *of_round).returncode == 0
    assert "Nothing has expired" in here("purge", prepared.survey).stdout
    assert json.loads(here("purge", prepared.survey, "--dry-run", "--json").stdout) == {
        "expired": {},
        "record": None,
    }


def test_phones_are_registered_listed_and_revoked(fresh, here, tmp_path: Path) -> None:
    prepared = fresh()
    code, of_round = tmp_path / "phone.png", ("--survey", prepared.survey)
    plain = here("devices", "add", "T", "--url", "http://x.org", "--qr", code, *of_round)
    assert plain.returncode == 2
    assert "no https address" in plain.stderr
    added = here("devices", "add", "T", "--url", "https://x.org", "--qr", code, *of_round)
    assert added.returncode == 0, added.stderr
    assert code.read_bytes()[:4] == b"\x89PNG"
    assert code.stat().st_mode & 0o777 == 0o600
    (row,) = json.loads(here("devices", "list", "--json", *of_round).stdout)
    assert (row["label"], row["revoked_at"]) == ("T", None)
    assert "secret" not in json.dumps(row)
    assert here("devices", "revoke", row["device_id"], *of_round).returncode == 0
    assert "revoked" in here("devices", "list", *of_round).stdout
    assert here("devices", "revoke", "nobody", *of_round).returncode == 1
    for arguments in (
        ("--host", "0.0.0.0"),  # noqa: S104
        ("--tls-key", "k.pem"),
        ("--plain-lan", "--workers", "2"),
    ):
        assert here("collect", *arguments, *of_round).returncode == 2


def test_xform_is_printed(here) -> None:
    result = here("forms", "xform", "segment_visit")
    assert result.returncode == 0
    assert '<data id="segment_visit"' in result.stdout
    missing = here("forms", "xform", "headman")
    assert missing.returncode == 1
    assert "there are" in missing.stderr
