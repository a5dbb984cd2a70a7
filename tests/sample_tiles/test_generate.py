"""The invented round is what its README says, and the committed miniature is what it makes."""

from __future__ import annotations

import ast
import csv
import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from defusedxml.ElementTree import parse

from sample_tiles.generate import MINIATURE, generate
from survey.areas import AreaUnit, to_hectares
from survey.readers import read_districts, read_frame, read_training

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "sample_tiles" / "miniature"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("round")
    generate(folder, landscape=MINIATURE)
    return folder


def files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not {"inbox", "out"} & set(path.relative_to(folder).parts)
    )


def test_committed_miniature_is_what_the_generator_makes(made: Path) -> None:
    assert files(COMMITTED) == files(made)
    for name in files(made):
        ours, theirs = COMMITTED / name, made / name
        if name.endswith(".gpkg"):
            pd.testing.assert_frame_equal(
                pd.DataFrame(gpd.read_file(ours).to_wkt()),
                pd.DataFrame(gpd.read_file(theirs).to_wkt()),
            )
        elif name.endswith(".tif"):
            with rasterio.open(ours) as a, rasterio.open(theirs) as b:
                assert a.profile == b.profile
                # Other processors may round the last digit of the noise differently.
                difference = np.abs(a.read().astype(int) - b.read().astype(int))
                assert (difference > 1).mean() < 1e-3, name
        else:
            assert ours.read_bytes() == theirs.read_bytes(), name


def test_miniature_stays_small() -> None:
    assert sum((COMMITTED / name).stat().st_size for name in files(COMMITTED)) <= 3_000_000


def test_layers_pass_the_readers_and_training_avoids_the_sample(made: Path) -> None:
    districts = read_districts(made / "districts.gpkg")
    assert len(districts) == 8
    assert districts["province_pcode"].nunique() == 2
    frame = read_frame(made / "frame.gpkg", districts)
    assert len(read_training(made / "training.gpkg", frame)) > 60
    home = districts.set_index("district_pcode").geometry.reindex(frame["district_pcode"])
    outside = shapely.area(shapely.difference(frame.geometry.to_numpy(), home.to_numpy()))
    assert outside.max() < 1.0  # square metre


def test_fields_are_small_and_apart_and_poppy_is_rare(made: Path) -> None:
    fields = gpd.read_file(made / "truth" / "crops.gpkg")
    hectares = fields.area / 10_000.0
    assert hectares.between(0.05, 0.6).all()
    share = hectares[fields["class_name"] == "poppy"].sum() * 10_000.0 / MINIATURE.size_m**2
    assert share == pytest.approx(MINIATURE.poppy_share, rel=0.05)
    left, right = fields.sindex.query(fields.geometry, predicate="overlaps")
    assert not (left < right).any()


def test_scenes_have_dates_bands_clouds_and_nodata(made: Path) -> None:
    sidecars = sorted((made / "scenes").glob("*.json"))
    assert len(sidecars) >= 6
    with_nodata = 0
    clear = []
    for sidecar in sidecars:
        meta = json.loads(sidecar.read_text())
        with rasterio.open(sidecar.with_suffix(".tif")) as image:
            assert list(image.descriptions) == meta["bands"]
            assert {"rededge", "swir1"} <= set(meta["bands"])
            with_nodata += bool((image.read(1) == 0).any())
        with rasterio.open(sidecar.parent / meta["mask"]) as mask:
            values = mask.read(1)
            assert (values == 1).any()
            clear.append(values == 0)
    assert with_nodata == 1
    unobserved = (np.sum(clear, axis=0) < 3).mean()
    assert 0.01 < unobserved < 0.15


def test_some_districts_have_no_visited_segment(made: Path) -> None:
    frame = gpd.read_file(made / "frame.gpkg")
    visited = frame["segment_id"].isin({answers["segment_id"] for answers in visits(made)})
    per_district = visited.groupby(frame["district_pcode"]).sum()
    assert (per_district == 0).any()
    assert (per_district.between(0, 4)).sum() >= 2


def visits(folder: Path) -> list[dict[str, str]]:
    with (folder / "submissions" / "segment_visits.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    for path in (folder / "submissions" / "xml").glob("*.xml"):
        root = parse(path).getroot()
        if root.get("id") == "segment_visit":
            rows.append({child.tag: child.text or "" for child in root})
    return rows


def test_visits_report_the_truth_in_their_own_unit(made: Path) -> None:
    truth = pd.read_csv(made / "truth" / "segment_truth.csv")
    true_ha = truth.set_index(["segment_id", "crop"])["truth_ha"]
    whole = [row for row in visits(made) if row["observed_percent"] == "100"]
    assert len(whole) > 20
    assert {row["area_unit"] for row in whole} == {"ha", "rai", "acre"}
    for row in whole:
        for crop in ("poppy", "cannabis"):
            found = to_hectares(float(row[f"{crop}_area"]), AreaUnit(row["area_unit"]))
            assert found == pytest.approx(true_ha[(row["segment_id"], crop)], abs=2e-4)
    partly = [row for row in visits(made) if row["observed_percent"] != "100"]
    assert partly
    for row in partly:
        found = to_hectares(float(row["poppy_area"]), AreaUnit(row["area_unit"]))
        assert found <= true_ha[(row["segment_id"], "poppy")] + 2e-4


def test_district_truth_is_the_sum_of_its_segments(made: Path) -> None:
    truth = pd.read_csv(made / "truth" / "segment_truth.csv")
    frame = gpd.read_file(made / "frame.gpkg")
    sums = truth.merge(frame[["segment_id", "district_pcode"]]).groupby(["district_pcode", "crop"])
    stated = pd.read_csv(made / "truth" / "district_truth.csv").set_index(
        ["district_pcode", "crop"]
    )
    np.testing.assert_allclose(sums["truth_ha"].sum(), stated["truth_ha"], atol=1e-5)


def test_nobody_is_named(made: Path) -> None:
    header = (made / "submissions" / "farmers.csv").read_text(encoding="utf-8").splitlines()[0]
    assert not {"name", "phone", "farmer"} & set(header.lower().split(","))


def test_generator_knows_neither_estimators_nor_pixels_of_the_pipeline() -> None:
    for path in (ROOT / "sample_tiles").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
            )
        }
        assert not any(name.startswith(("survey.estimation", "imagery", "api")) for name in names)
