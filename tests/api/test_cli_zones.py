"""Mosaics, change and the risk area from the command line; small maps, in this process."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin
from typer.testing import CliRunner

from api.cli.command import app
from imagery.catalog import read_scenes
from survey.errors import SurveyError
from survey.readers import read_districts, read_frame

MINIATURE = Path(__file__).resolve().parents[2] / "sample_tiles" / "miniature"
RISK = """
[risk]
label = "2026-1"

[[risk.rules]]
measure = "altitude_m"
file = "dem.tif"
min = 600
"""


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def write_map(path: Path, codes: np.ndarray, *, west: float = 500_000.0) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", width=codes.shape[1], height=codes.shape[0], count=1,
        dtype="uint8", nodata=0, crs="EPSG:32647",
        transform=from_origin(west, 2_300_000.0, 10, 10),
    ) as out:  # fmt: skip
        out.write(codes.astype(np.uint8), 1)
        out.update_tags(CLASS_1="forest", CLASS_2="poppy")
    return path


@pytest.fixture
def zones(tmp_path: Path) -> Path:
    path = tmp_path / "zones.gpkg"
    shape = shapely.box(500_000, 2_299_900, 500_200, 2_300_000)
    gpd.GeoDataFrame({"name": ["A"]}, geometry=[shape], crs="EPSG:32647").to_file(path)
    return path


def test_maps_that_overlap_count_once(tmp_path: Path, zones: Path) -> None:
    west = write_map(tmp_path / "w.tif", np.full((10, 12), 1))
    east = write_map(tmp_path / "e.tif", np.full((10, 12), 2), west=500_080.0)
    table = tmp_path / "ha.csv"
    assert "1 polygons, 2 rows" in run("zonal", west, east, zones, "--id", "name", "--to", table)
    found = pd.read_csv(table).set_index("class_name")["ha"]
    np.testing.assert_allclose(found[["forest", "poppy"]], [1.2, 0.8], rtol=1e-3)
    result = CliRunner().invoke(app, ["zonal", str(zones), "--id", "name", "--to", str(table)])
    assert result.exit_code == 2


def test_a_table_that_a_full_disk_cuts_off_leaves_the_former_one(
    tmp_path: Path, zones: Path
) -> None:
    # As many zones as make some kilobytes of text; the limit takes the place of a full disk.
    shape = gpd.read_file(zones).geometry.iloc[0]
    many = tmp_path / "many.gpkg"
    names = [f"zone {number}" for number in range(200)]
    gpd.GeoDataFrame({"name": names}, geometry=[shape] * 200, crs="EPSG:32647").to_file(many)
    codes = write_map(tmp_path / "w.tif", np.full((10, 12), 1))
    folder = tmp_path / "tables"
    folder.mkdir()
    table = folder / "ha.csv"
    table.write_text("the former one")
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, former[1]))
    try:
        with pytest.raises(SurveyError, match=r"ha\.csv cannot be written: File too large"):
            run("zonal", codes, many, "--id", "name", "--to", table)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert table.read_text() == "the former one"
    assert list(folder.iterdir()) == [table]
    with pytest.raises(SurveyError, match=r"gone.* cannot be written: .*gone"):
        run("zonal", codes, zones, "--id", "name", "--to", tmp_path / "gone" / "ha.csv")


def test_a_column_that_names_two_polygons_is_refused(tmp_path: Path, zones: Path) -> None:
    shapes = gpd.read_file(zones)
    twice = tmp_path / "twice.gpkg"
    pd.concat([shapes, shapes]).to_file(twice)
    codes = write_map(tmp_path / "w.tif", np.full((10, 12), 1))
    with pytest.raises(SurveyError, match=r"twice.gpkg, row 2: name 'A' does not identify one"):
        run("zonal", codes, twice, "--id", "name", "--to", tmp_path / "ha.csv")
    assert not (tmp_path / "ha.csv").exists()


def test_change_says_that_it_is_no_estimate(tmp_path: Path, zones: Path) -> None:
    before = write_map(tmp_path / "a.tif", np.full((10, 20), 1))
    after = np.full((10, 20), 1)
    after[:, :5] = 2
    after[:, 15:] = 0
    table = tmp_path / "change.csv"
    arguments = ("change", before, write_map(tmp_path / "b.tif", after), zones, "--id", "name")
    said = run(*arguments, "--to", table)
    assert "1.5 of 2.0 ha observed in both; 0.5 ha of them differ in class" in said
    assert "no estimate of change" in said
    rows = pd.read_csv(table).set_index(["from_name", "to_name"])["ha"]
    np.testing.assert_allclose(
        rows[[("forest", "forest"), ("forest", "poppy"), ("forest", "unobserved")]],
        [1.0, 0.5, 0.5],
        rtol=1e-3,
    )


def test_the_risk_area_of_a_round_and_its_effect_on_the_frame(tmp_path: Path) -> None:
    folder = tmp_path / "round"
    shutil.copytree(MINIATURE, folder)
    with pytest.raises(Exception, match=r"declares no risk area; write \[risk\]"):
        run("risk", folder, "--to", tmp_path / "risk")
    grid = read_scenes(folder / "scenes").grid
    height = np.linspace(300, 1500, grid.shape[0])[:, None] * np.ones((1, grid.shape[1]))
    with rasterio.open(
        folder / "dem.tif", "w", driver="GTiff", width=grid.shape[1], height=grid.shape[0],
        count=1, dtype="float32", crs=grid.crs.to_wkt(), transform=grid.transform,
    ) as out:  # fmt: skip
        out.write(height.astype(np.float32), 1)
    survey = folder / "survey.toml"
    survey.write_text(survey.read_text() + RISK)
    said = run("risk", folder, "--to", tmp_path / "risk")
    assert "Risk area 2026-1-" in said
    assert "its sample must be drawn anew" in said
    answer = json.loads(run("risk", folder, "--to", tmp_path / "risk", "--json"))
    frame = gpd.read_file(folder / "frame.gpkg")
    for by in ("stratum_id", "district_pcode"):
        rows = pd.DataFrame(answer[by])
        assert rows["before_ha"].sum() == pytest.approx(frame["risk_ha"].sum())
        assert 0.0 < rows["after_ha"].sum() < rows["before_ha"].sum()
    effect = pd.read_csv(tmp_path / "risk" / "risk_effect.csv")
    assert set(effect["risk_area_version"]) == {answer["version"]}
    assert effect.loc[effect["by"] == "stratum_id", "before_ha"].sum() == pytest.approx(
        frame["risk_ha"].sum()
    )
    to = tmp_path / "next" / "cut.gpkg"
    said = run("risk", folder, "--to", tmp_path / "risk", "--frame", to)
    assert "no segment of it drawn yet" in said
    # It is a frame, of as many hectares as the report says are left.
    districts = read_districts(folder / "districts.gpkg", {})
    cut = read_frame(to, districts)
    left = effect.loc[effect["by"] == "district_pcode"].set_index("id")["after_ha"]
    found = cut.groupby("district_pcode")["risk_ha"].sum()
    np.testing.assert_allclose(found, left[found.index], rtol=2e-3)
    assert len(cut) == (effect["segments"] - effect["out"])[effect["by"] == "stratum_id"].sum()
    assert not cut["is_sampled"].any()
    bad = CliRunner().invoke(
        app, ["risk", str(folder), "--to", str(tmp_path / "risk"), "--frame", "cut.shp"]
    )
    assert bad.exit_code == 2
    segments = pd.read_csv(tmp_path / "risk" / "risk_segments.csv")
    assert len(segments) == len(frame)
    # North of the middle of the rise nothing is left.
    rise = frame.to_crs(grid.crs).geometry.centroid.y
    _, south, _, north = grid.bounds
    high = (north - rise) / (north - south) > 0.5
    is_out = segments.set_index("segment_id")["is_out"].loc[frame["segment_id"]].to_numpy()
    assert not is_out[high.to_numpy()].any()
    assert is_out[((north - rise) / (north - south) < 0.1).to_numpy()].all()
