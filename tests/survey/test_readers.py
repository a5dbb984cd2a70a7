"""Layers and tables are checked where they enter."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pandas as pd
import pyogrio
import pytest
import shapely

from survey.areas import geodesic_area_ha
from survey.errors import DuplicateIdError, GeometryError, SurveyError, TableError
from survey.readers import (
    read_baselines,
    read_csv,
    read_districts,
    read_frame,
    read_projects,
    read_shapes,
    read_training,
)

UTM = "EPSG:32647"
X, Y = 500_000.0, 2_300_000.0
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def districts_layer(**changes: list[object]) -> gpd.GeoDataFrame:
    columns: dict[str, list[object]] = {
        "district_pcode": ["0101", "0102"],
        "district_name": ["Upper", "Lower"],
        "province_pcode": ["01", "01"],
        "province_name": ["Hills", "Hills"],
        **changes,
    }
    shapes = [shapely.box(X, Y, X + 1000, Y + 1000), shapely.box(X + 1000, Y, X + 2000, Y + 1000)]
    return gpd.GeoDataFrame(columns, geometry=shapes, crs=UTM)


def frame_layer(**changes: object) -> gpd.GeoDataFrame:
    shapes = [shapely.box(X + 500 * i, Y, X + 500 * i + 500, Y + 1000) for i in range(4)]
    columns: dict[str, object] = {
        "segment_id": ["S1", "S2", "S3", "S4"],
        "stratum_id": ["high"] * 4,
        "district_pcode": ["0101", "0101", "0102", "0102"],
        "province_pcode": ["01"] * 4,
        "risk_ha": geodesic_area_ha(shapes, UTM),
        "is_sampled": [True, False, True, False],
        **changes,
    }
    crs = columns.pop("crs", UTM)
    geometry = columns.pop("geometry", shapes)
    return gpd.GeoDataFrame(columns, geometry=geometry, crs=crs)


def save(layer: gpd.GeoDataFrame, folder: Path, name: str) -> Path:
    path = folder / name
    layer.to_file(path, driver="GPKG")
    return path


@pytest.fixture
def districts(tmp_path: Path) -> gpd.GeoDataFrame:
    return read_districts(save(districts_layer(), tmp_path, "districts.gpkg"))


def test_good_layers_pass_and_are_sorted(tmp_path: Path, districts: gpd.GeoDataFrame) -> None:
    frame = read_frame(save(frame_layer().iloc[::-1], tmp_path, "frame.gpkg"), districts)
    assert frame["segment_id"].tolist() == ["S1", "S2", "S3", "S4"]
    assert districts["district_pcode"].tolist() == ["0101", "0102"]


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"segment_id": ["S1", "S1", "S3", "S4"]}, DuplicateIdError, "'S1' occurs more than once"),
        (
            {"district_pcode": ["0101", "9", "0102", "0102"]},
            TableError,
            "row 2: district_pcode '9'",
        ),
        ({"province_pcode": ["01", "02", "01", "01"]}, TableError, "row 2: province_pcode '02'"),
        ({"risk_ha": [50.0, 50.0, 50.0, 20.0]}, TableError, "S4 says risk_ha 20.00"),
        ({"crs": None}, GeometryError, "no coordinate reference system"),
        ({"crs": "EPSG:32648"}, GeometryError, "outside its district"),
        ({"crs": "EPSG:4326"}, GeometryError, "not in degrees"),
        ({"district_pcode": ["0102", "0101", "0102", "0102"]}, GeometryError, "S1 lies outside"),
        (
            {
                "geometry": [
                    shapely.box(X + 400 * i, Y, X + 400 * i + 500, Y + 1000) for i in range(4)
                ]
            },
            GeometryError,
            "overlap",
        ),
        (
            {"geometry": [shapely.Polygon([(X, Y), (X + 1, Y + 1), (X + 1, Y), (X, Y + 1)])] * 4},
            GeometryError,
            "not a valid polygon",
        ),
    ],
)
def test_bad_frames_name_what_and_where(
    tmp_path: Path,
    districts: gpd.GeoDataFrame,
    changes: dict[str, object],
    error: type[SurveyError],
    message: str,
) -> None:
    path = save(frame_layer(**changes), tmp_path, "frame.gpkg")
    with pytest.raises(error, match=message):
        read_frame(path, districts)


def test_missing_and_truncated_files(tmp_path: Path) -> None:
    with pytest.raises(SurveyError, match="does not exist"):
        read_districts(tmp_path / "none.gpkg")
    whole = save(districts_layer(), tmp_path, "districts.gpkg").read_bytes()
    broken = tmp_path / "broken.gpkg"
    broken.write_bytes(whole[:5000])
    with pytest.raises(SurveyError, match=r"broken\.gpkg cannot be read"):
        read_districts(broken)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"t\.csv is empty"),
        ("id;y\n007;2,5\n", "separated by semicolons; save it with commas"),
        ("id\ty\n007\t2\n", "separated by tabs"),
        ("id,y\n007,1\n008,2,9\n", r"row 2 has 3 values for 2 columns"),
        ("id,y\n007,1,\n008,2,\n", r"row 1 has 3 values for 2 columns"),
        ("id,y,y\n007,1,2\n", "more than one column 'y'"),
        ("id,y, y\n007,1,2\n", "more than one column 'y'"),
        ("id,y,\n007,1,\n008,1,5\n", r"row 2: column 3 holds a value but has no name"),
    ],
)
def test_a_table_whose_columns_would_shift_or_vanish_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TableError, match=message):
        read_csv(path)


def test_what_spreadsheets_add_is_taken_off(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("\ufeffid, stratum_id ,y,\r\n007,A,NA,\r\n,,,\r\n".encode())
    table = read_csv(path)
    assert table.columns.tolist() == ["id", "stratum_id", "y"]
    assert table.to_numpy().tolist() == [["007", "A", "NA"]]
    with pytest.raises(SurveyError, match="is a folder"):
        read_csv(tmp_path)


def test_swapped_axes_do_not_pass(tmp_path: Path) -> None:
    swapped = districts_layer().to_crs("EPSG:4326")
    swapped["geometry"] = swapped.geometry.map(
        lambda s: shapely.transform(s, lambda xy: xy[:, ::-1])
    )
    with pytest.raises(GeometryError, match="latitude and longitude swapped"):
        read_districts(save(swapped, tmp_path, "districts.gpkg"))


def test_training_plot_in_a_sampled_segment_is_refused(
    tmp_path: Path, districts: gpd.GeoDataFrame
) -> None:
    frame = read_frame(save(frame_layer(), tmp_path, "frame.gpkg"), districts)
    columns = {"plot_id": ["T1"], "class_name": ["poppy"]}
    good = gpd.GeoDataFrame(columns, geometry=[shapely.box(X + 600, Y, X + 700, Y + 50)], crs=UTM)
    assert len(read_training(save(good, tmp_path, "good.gpkg"), frame)) == 1
    bad = gpd.GeoDataFrame(columns, geometry=[shapely.box(X + 450, Y, X + 700, Y + 50)], crs=UTM)
    with pytest.raises(TableError, match="T1 lies in sampled segment S1"):
        read_training(save(bad, tmp_path, "bad.gpkg"), frame)


@pytest.mark.parametrize("crs", [UTM, "EPSG:4326"])
def test_training_plots_keep_away_from_reference_samples_in_any_reference_system(
    tmp_path: Path, districts: gpd.GeoDataFrame, crs: str
) -> None:
    layer = frame_layer()
    frame = read_frame(save(layer.to_crs(crs), tmp_path, "frame.gpkg"), districts)
    columns = {"plot_id": ["T1", "T2"], "class_name": ["poppy", "maize"]}
    sampled = layer.loc[layer["is_sampled"]].geometry.iloc[0]
    east = sampled.bounds[2]
    touching = [
        shapely.box(east, Y, east + 90, Y + 50),
        shapely.box(east, Y + 1000, east + 50, Y + 1050),  # touches the corner
    ]
    plots = gpd.GeoDataFrame(columns, geometry=touching, crs=UTM)
    path = save(plots.to_crs(crs), tmp_path, "plots.gpkg")
    assert len(read_training(path, frame)) == 2
    # A strip of half a metre along 50 m: 25 square metres, 2e-9 square degrees.
    partly = plots.assign(geometry=[shapely.box(east - 0.5, Y, east + 90, Y + 50), touching[1]])
    with pytest.raises(TableError, match=r"T1 lies in sampled segment \w+ \(1 such"):
        read_training(save(partly.to_crs(crs), tmp_path, "partly.gpkg"), frame)
    across = gpd.GeoDataFrame(
        geometry=[shapely.LineString([(east + 91, Y + 10), (east + 20, Y + 10)])], crs=UTM
    )
    with pytest.raises(TableError, match="T1 lies in the reference sample in row 1"):
        read_training(path, frame, reference=across)  # a transect
    near, inside = shapely.Point(east + 91, Y + 10), shapely.Point(east + 40, Y + 10)
    for shape, is_refused in ((near, False), (inside, True), (inside.buffer(5), True)):
        kept = gpd.GeoDataFrame(geometry=[near, shape], crs=UTM).to_crs("EPSG:4326")
        if is_refused:
            with pytest.raises(TableError, match="T1 lies in the reference sample in row 2"):
                read_training(path, frame, reference=kept)
        else:
            assert len(read_training(path, frame, reference=kept)) == 2


def test_training_shapes_that_are_no_polygons_are_named(
    tmp_path: Path, districts: gpd.GeoDataFrame
) -> None:
    frame = read_frame(save(frame_layer(), tmp_path, "frame.gpkg"), districts)
    columns = {"plot_id": ["T1"], "class_name": ["poppy"]}
    bow = shapely.Polygon([(X, Y), (X + 9, Y + 9), (X + 9, Y), (X, Y + 9)])
    for number, shape in enumerate((bow, shapely.Point(X, Y), shapely.Polygon())):
        plots = gpd.GeoDataFrame(columns, geometry=[shape], crs=UTM)
        with pytest.raises(GeometryError, match="row 1: training plot T1 is not a valid polygon"):
            read_training(save(plots, tmp_path, f"plots{number}.gpkg"), frame)


def test_projects_and_baselines(tmp_path: Path, districts: gpd.GeoDataFrame) -> None:
    path = tmp_path / "projects.csv"
    path.write_text(
        "project_id,project_name,district_pcodes,start_year\nP1,Coffee,0101;0102,2023\n"
    )
    projects = read_projects(path, districts)
    assert projects["district_pcodes"].tolist() == [("0101", "0102")]
    baseline = tmp_path / "baselines.csv"
    head = "project_id,indicator_code,unit,direction,baseline_value,baseline_year,target_value\n"
    baseline.write_text(head + "P1,annual_income_usd,USD/year,up,900,2022,\n")
    assert pd.isna(read_baselines(baseline, projects)["target_value"].iloc[0])
    baseline.write_text(head + "P2,annual_income_usd,USD/year,up,900,2022,\n")
    with pytest.raises(TableError, match="project_id 'P2' is not among"):
        read_baselines(baseline, projects)
    path.write_text("project_id,project_name,district_pcodes,start_year\nP1,Coffee,0199,2023\n")
    with pytest.raises(TableError, match="0199 is not among the districts"):
        read_projects(path, districts)


@pytest.mark.shared_data
def test_shan_townships_load_as_districts() -> None:
    path = SHARED / "admin-golden-triangle" / "mmr_shan_townships.topojson"
    if not path.is_file():
        pytest.skip("boundaries of Shan State are not beside the project")
    townships = read_districts(
        path,
        {
            "district_pcode": "TS_PCODE",
            "district_name": "TS",
            "province_pcode": "ST_PCODE",
            "province_name": "ST",
        },
    )
    assert len(townships) == 55
    assert townships.crs.to_epsg() == 4326
    # The TopoJSON is quantised; the published sum in EPSG:6933 is 155,715 km2.
    km2 = geodesic_area_ha(townships.geometry.to_numpy(), townships.crs).sum() / 100.0
    assert km2 == pytest.approx(155_715, abs=1.0)
    with pytest.raises(TableError, match=r"it has id, OBJECTID, .*TS_PCODE.* under .columns."):
        read_districts(path)


def test_a_style_table_is_no_layer_and_a_second_layer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "districts.gpkg"
    square = gpd.GeoDataFrame({"n": [1]}, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:4326")
    square.to_file(path, layer="districts")
    pyogrio.write_dataframe(pd.DataFrame({"style": ["red"]}), path, layer="layer_styles")
    assert list(read_shapes(path)["n"]) == [1]
    square.assign(n=2).to_file(path, layer="older")
    with pytest.raises(GeometryError, match=r"several layers \(districts, older\)"):
        read_shapes(path)
