"""`adsurvey scenes` as an analyst meets it: a folder with good and bad things in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from conftest_products import landsat_folder, write_image, write_sidecar, write_tif
from typer.testing import CliRunner

from api.cli import app


def run(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    # What the program's own frame would print of an error it knows.
    raised = "" if result.exception is None else str(result.exception)
    return result.exit_code, result.stdout, result.stderr + raised


def test_a_folder_of_anything_goes_on_after_failures_and_again_after_repair(
    tmp_path: Path,
) -> None:
    raw = tmp_path / "raw"
    codes = np.full((4, 5), 21824)
    landsat_folder(raw, codes, np.zeros_like(codes))
    write_image(raw / "good.tif", date="2026-01-05")
    broken = write_image(raw / "cut.tif", date="2026-01-15").with_suffix(".tif")
    whole = broken.read_bytes()
    broken.write_bytes(whole[:200])
    (raw / "points_elsewhere.vrt").write_text("<VRTDataset/>")
    (raw / "clouds.gml").write_text("<gml/>")
    (raw / "download.zip").write_bytes(b"PK\x03\x04 cut")
    (raw / "broken.json").write_text("{")
    (raw / "deep.json").write_text("[" * 100_000)
    (raw / "notes.txt").write_text("hello")
    (raw / "half.SAFE").mkdir()
    code, out, err = run("scenes", "import", raw, "--to", tmp_path / "s")
    assert code == 1
    assert "2 of 9 products imported, 7 failed" in out
    for name, why in (
        ("cut", "cut.tif"),
        ("points_elsewhere.vrt", "only GeoTIFF"), ("clouds.gml", "only GeoTIFF"),
        ("half.SAFE", "holds 0 MTD_MSIL"),
        ("download.zip", "download it again"), ("broken.json", "not valid JSON"),
        ("deep.json", "nested too deep"),
    ):  # fmt: skip
        assert f"failed: {raw / name}" in out
        assert why in err
    assert len(list((tmp_path / "s").glob("*.json"))) == 2
    assert not [path for path in (tmp_path / "s").iterdir() if path.name.startswith(".")]

    broken.write_bytes(whole)
    (raw / "half.SAFE").rmdir()
    for name in ("points_elsewhere.vrt", "clouds.gml", "download.zip", "broken.json", "deep.json"):
        (raw / name).unlink()
    code, out, _ = run("scenes", "import", raw, "--to", tmp_path / "s")
    assert code == 0
    assert "1 of 3 products imported, 2 stood already, 0 failed" in out


def test_an_import_that_is_killed_goes_on_and_leaves_nothing_behind(tmp_path: Path) -> None:
    raw, scenes = tmp_path / "raw", tmp_path / "s"
    rng = np.random.default_rng(4)
    write_image(raw / "a.tif", date="2026-01-05")
    write_tif(raw / "b.tif", rng.integers(300, 4000, (1, 2000, 2000)).astype(np.uint16))
    write_sidecar(raw / "b.tif", date="2026-01-15")
    words = [sys.executable, "-m", "api.cli", "scenes", "import", str(raw), "--to", str(scenes)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        # The translation of b is under way: the very middle of writing.
        while not list(scenes.glob(".*_b-cog-*")):
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
    assert {path.name for path in scenes.iterdir() if path.name[0] != "."} == {
        "2026-01-05_a.tif", "2026-01-05_a.json",
    }  # fmt: skip
    number = next(scenes.glob(".*_b-cog-*")).name.partition(".part")[0].rsplit("-", 1)[1]
    (scenes / f".2026-01-15_b-cog-{number}.part.tif.ovr.tmp").touch()  # GDAL's, a moment later
    code, out, _ = run("scenes", "import", raw, "--to", scenes)
    assert code == 0
    assert "1 of 2 products imported, 1 stood already, 0 failed" in out
    assert sorted(path.name for path in scenes.iterdir()) == [
        "2026-01-05_a.json", "2026-01-05_a.tif", "2026-01-15_b.json", "2026-01-15_b.tif",
    ]  # fmt: skip


def test_scenes_of_several_grids_meet_on_one_and_are_catalogued(tmp_path: Path) -> None:
    first = write_tif(tmp_path / "a.tif", np.full((1, 30, 30), 900, dtype=np.uint16), nodata=0)
    shifted = write_tif(
        tmp_path / "b.tif", np.full((1, 30, 30), 1800, dtype=np.uint16), nodata=0, west=500_004.0
    )
    scenes = tmp_path / "s"
    words = ("--bands", "red", "--scale", "0.0001", "--to", scenes)
    assert run("scenes", "import", first, "--date", "2026-01-01", *words)[0] == 0
    assert run("scenes", "import", shifted, "--date", "2026-02-01", *words)[0] == 0
    code, _, err = run("scenes", "list", scenes)
    assert code == 1
    assert "--like 2026-01-01_a.tif" in err
    (scenes / "2026-02-01_b.json").unlink()
    like = scenes / "2026-01-01_a.tif"
    code, out, _ = run(
        "scenes", "import", shifted, "--date", "2026-02-01", *words, "--like", like, "--json"
    )
    assert code == 0
    assert json.loads(out)[0]["state"] == "imported"
    assert run("scenes", "catalog", scenes, "--to", tmp_path / "stac")[0] == 0
    for folder in (scenes, tmp_path / "stac"):
        code, out, _ = run("scenes", "list", folder)
        assert code == 0
        assert "2 scenes of 2 dates on 30 x 30 pixels of 10 m, EPSG:32647" in out
        assert "clouds are not hidden" in out


def test_misuse(tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.tif").with_suffix(".tif")
    code, _, err = run("scenes", "import", image, "--to", tmp_path / "s", "--date", "5.1.2026")
    assert code == 2
    assert "dates as 2026-01-05" in err
    (tmp_path / "empty").mkdir()
    code, _, err = run("scenes", "import", tmp_path / "empty", "--to", tmp_path / "s")
    assert code == 1
    assert "nothing to import" in err
    image.with_suffix(".json").unlink()
    code, _, err = run("scenes", "import", image, "--to", tmp_path / "s")
    assert code == 1
    assert "key 'bands' is missing" in err


@pytest.mark.parametrize("kind", ["zip", "host"])
def test_images_in_virtual_file_systems_that_the_analyst_names(tmp_path: Path, kind: str) -> None:
    import zipfile

    served = tmp_path / "served"
    image = write_tif(served / "a.tif", np.full((1, 9, 9), 900, dtype=np.uint16), nodata=0)
    words = ("--date", "2026-01-01", "--bands", "red", "--scale", "0.0001", "--to", tmp_path / "s")
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.write(image, "deep/a.tif")
        code, _, err = run("scenes", "import", f"/vsizip/{tmp_path}/a.zip/deep/a.tif", *words)
    else:
        handler = partial(Quiet, directory=str(served))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            url = f"/vsicurl/http://127.0.0.1:{server.server_port}/a.tif"
            code, _, err = run("scenes", "import", url, *words)
            server.shutdown()
            thread.join()
    assert code == 0, err
    assert "1 scenes of 1 dates on 9 x 9" in run("scenes", "list", tmp_path / "s")[1]
    code, _, err = run("scenes", "import", "/vsistdin/a.tif", *words)
    assert code == 1
    assert "not a file system to read images from" in err
    # A sidecar never may.
    write_sidecar(served / "b.tif", image=f"/vsizip/{tmp_path}/a.zip/deep/a.tif")
    code, _, err = run("scenes", "import", served / "b.json", "--to", tmp_path / "s")
    assert code == 1
    assert "must lie beside" in err


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, *_: object) -> None:
        return


def test_change_does_not_call_land_outside_the_risk_area_observed(tmp_path: Path) -> None:
    for name, code in (("a.tif", 255), ("b.tif", 2)):
        codes = np.full((1, 10, 10), code, dtype=np.uint8)
        codes[:, :5] = 1
        write_tif(tmp_path / name, codes, nodata=0)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        bounds, crs = dataset.bounds, dataset.crs
    zone = gpd.GeoDataFrame({"k": ["A"]}, geometry=[shapely.box(*bounds)], crs=crs)
    zone.to_file(tmp_path / "z.gpkg")
    words = [tmp_path / name for name in ("a.tif", "b.tif", "z.gpkg")]
    code, out, err = run("change", *words, "--id", "k", "--to", tmp_path / "c.csv")
    assert code == 0, err
    seen, of, differs = (float(number) for number in re.findall(r"([\d.]+)(?: of| ha)", out))
    assert seen == pytest.approx(of / 2, abs=0.1)
    assert differs == 0.0


def test_products_come_onto_the_grid_that_the_round_declares(tmp_path: Path) -> None:
    image = write_image(tmp_path / "raw" / "a.tif", date="2026-01-05").with_suffix(".tif")
    with rasterio.open(image) as found:
        crs, west, north = found.crs.to_string(), found.transform.c, found.transform.f
    text = (Path(__file__).resolve().parents[2] / "sample_tiles/miniature/survey.toml").read_text()
    survey = tmp_path / "round" / "survey.toml"
    survey.parent.mkdir()
    extent = [west - 30, north - 60, west + 30, north + 30]
    survey.write_text(
        f'{text}\n[imagery.grid]\ncrs = "{crs}"\nresolution = 15\nextent = {extent}\n'
    )
    code, _, err = run("scenes", "import", image, "--survey", survey, "--like", image)
    assert code == 2
    assert "declares the grid already" in err
    code, _, err = run("scenes", "import", image, "--survey", survey)
    assert code == 0, err
    (scene,) = sorted((tmp_path / "round" / "scenes").glob("*.tif"))
    with rasterio.open(scene) as found:
        assert found.res == (15, 15)
        assert (found.transform.c % 15, found.transform.f % 15) == (0, 0)
    assert run("scenes", "import", image)[0] == 2
