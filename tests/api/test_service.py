"""Every route: what it answers, to whom, and what it refuses."""

from __future__ import annotations

import io
import os

import geopandas as gpd
import pytest
from fastapi.testclient import TestClient
from owslib.ogcapi.features import Features

pytestmark = [pytest.mark.postgis, pytest.mark.xdist_group("pipeline")]

DISTRICTS = "/ogc/collections/published.district_estimate"
PROJECTS = "/ogc/collections/published.project_indicator"
RASTER = "/raster/class-map-meru-2026"


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/", 200, "text/html"),
        ("/docs", 200, "text/html"),
        ("/upload", 200, "text/html"),
        ("/licences", 200, "text/plain"),
        ("/healthz", 200, "application/json"),
        ("/layers", 200, "application/json"),
        ("/openapi.json", 200, "application/json"),
        ("/static/map.js", 200, "javascript"),
        ("/static/maplibre/maplibre-gl.js", 200, "javascript"),
        ("/static/swagger/swagger-ui.css", 200, "text/css"),
        ("/static/../app.py", 404, ""),
        ("/static/%2e%2e/app.py", 404, ""),
        ("/ogc/", 200, "application/json"),
        ("/ogc/conformance", 200, "application/json"),
        ("/ogc/collections", 200, "application/json"),
        ("/ogc/collections?f=html", 406, "application/json"),
        (DISTRICTS, 200, "application/json"),
        (f"{DISTRICTS}/queryables", 200, "application/schema+json"),
        (f"{DISTRICTS}/items?limit=3", 200, "application/geo+json"),
        (f"{DISTRICTS}/items?crop=poppy", 200, "application/geo+json"),
        (f"{DISTRICTS}/items?limit=99999999", 200, "application/geo+json"),
        (f"{DISTRICTS}/items?limit=0", 400, "application/json"),
        (f"{DISTRICTS}/items?limit=many", 400, "application/json"),
        (f"{DISTRICTS}/items?colour=red", 400, "application/json"),
        (f"{DISTRICTS}/items?bbox=1,2", 422, "application/json"),
        (f"{DISTRICTS}/items?filter=no_column%20%3D%201", 400, "application/json"),
        (f"{DISTRICTS}/items?filter=1%3D1%3Bdrop", 400, "application/json"),
        (f"{DISTRICTS}/items?filter={'(' * 5000}a%3D1{')' * 5000}", 400, "application/json"),
        (f"{DISTRICTS}/items?bbox=a,b", 400, "application/json"),
        (f"{DISTRICTS}/items?bbox=nan,0,1,1", 400, "application/json"),
        (f"{DISTRICTS}/items/MR0101-poppy-2026", 200, "application/geo+json"),
        (f"{DISTRICTS}/items/nothing", 404, "application/json"),
        (f"{DISTRICTS}/items/1%27%20or%20%271%27%3D%271", 404, "application/json"),
        (f"{DISTRICTS}/tiles/WebMercatorQuad/0/0/0", 200, "application/vnd.mapbox-vector-tile"),
        (f"{DISTRICTS}/tiles/WebMercatorQuad/tilejson.json", 200, "application/json"),
        ("/ogc/collections/restricted.run/items", 404, "application/json"),
        ("/ogc/collections/restricted.raster_layer/items", 404, "application/json"),
        ("/ogc/collections/public.spatial_ref_sys/items", 404, "application/json"),
        ("/ogc/collections/pg_catalog.pg_user/items", 404, "application/json"),
        (f"{RASTER}/WebMercatorQuad/tilejson.json", 200, "application/json"),
        (f"{RASTER}/WebMercatorQuad/tilejson.json?url=/etc/passwd", 400, "application/json"),
        (f"{RASTER}/tiles/WebMercatorQuad/0/0/0.png", 200, "image/png"),
        (f"{RASTER}/tiles/WebMercatorQuad/12/0/0.png", 404, "application/json"),
        (f"{RASTER}/tiles/WebMercatorQuad/0/0/0.png?tilesize=100000", 400, "application/json"),
        (f"{RASTER}/tiles/WebMercatorQuad/0/0/0.png?bidx=99", 400, "application/json"),
        (f"{RASTER}/tiles/WebMercatorQuad/0/0/0.png?expression=b1*2", 400, "application/json"),
        (f"{RASTER}/statistics", 404, ""),
        (f"{RASTER}/info", 404, ""),
        (f"{RASTER}/preview.png", 404, ""),
        ("/raster/other-layer/WebMercatorQuad/tilejson.json", 404, "application/json"),
        ("/raster/..%2f..%2fetc/WebMercatorQuad/tilejson.json", 404, ""),
        ("/forms", 200, "application/json"),
        ("/forms/segment_visit.xml", 200, "text/xml"),
        ("/forms/farmer_survey.xlsx", 200, "spreadsheet"),
        ("/forms/..%2fstore.xml", 404, ""),
        ("/redoc", 404, ""),
        ("/unknown", 404, ""),
    ],
)
def test_routes_answer_as_they_should(
    client: TestClient, path: str, status: int, kind: str
) -> None:
    answer = client.get(path, headers={"Accept": "text/html,*/*"} if "f=html" in path else {})
    assert answer.status_code == status, answer.text[:300]
    assert kind in answer.headers["content-type"] or (status == 404 and not kind)
    for secret in ("Traceback", "psycopg", "asyncpg", "class_map.tif", "/tmp/", "/var/lib"):  # noqa: S108
        assert secret not in (answer.text if "text" in kind or "json" in kind else "")


def test_html_carries_a_strict_policy_and_figures_are_not_cached(client: TestClient) -> None:
    for path in ("/", "/docs"):
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "<script>" not in answer.text
    for path in (f"{DISTRICTS}/items", f"{RASTER}/tiles/WebMercatorQuad/0/0/0.png"):
        assert client.get(path).headers["cache-control"] == "private, no-store"


def test_a_browser_gets_json_from_the_ogc_routes(client: TestClient) -> None:
    answer = client.get("/ogc/collections", headers={"Accept": "text/html,application/xhtml+xml"})
    assert answer.headers["content-type"] == "application/json"


def test_only_the_parts_that_work_are_declared(client: TestClient) -> None:
    classes = client.get("/ogc/conformance").json()["conformsTo"]
    assert len(classes) == len(set(classes))
    assert not [name for name in classes if name.endswith(("/html", "/oas30"))]
    for part in ("features-1/1.0/conf/core", "features-3/1.0/conf/filter", "tiles-1/1.0/conf/mvt"):
        assert any(name.endswith(part) for name in classes)
    assert client.get(DISTRICTS).json()["title"] == "Hectares per district"


def test_foreign_hosts_and_origins_are_refused(client: TestClient) -> None:
    assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 400
    upload = {"file": ("a.csv", b"x", "text/csv")}
    crossed = client.post("/forms/submissions", files=upload, headers={"Origin": "http://evil"})
    assert crossed.status_code == 403


def test_districts_carry_value_interval_n_method_and_reliability(client: TestClient) -> None:
    answer = client.get(f"{DISTRICTS}/items?limit=100&crop=poppy").json()
    assert answer["numberMatched"] == 8
    for feature in answer["features"]:
        properties = feature["properties"]
        assert {
            "n_segments",
            "method",
            "method_version",
            "why",
            "reliability",
            "ci_low_ha",
            "unobserved_share",
        } <= set(properties)
        if properties["disclosure"]:
            assert properties["value_ha"] is None
    projects = client.get(f"{PROJECTS}/items?limit=100").json()["features"]
    assert {"baseline_value", "latest_value"} <= set(projects[0]["properties"])


def test_uploads_take_the_same_path_as_the_command(client: TestClient, finished) -> None:
    prepared, _ = finished
    path = prepared.folder / "submissions" / "segment_visits.csv"
    known = client.post("/forms/submissions", files={"file": (path.name, path.read_bytes())})
    assert known.status_code == 200
    assert known.json()["n_new"] == 0
    assert known.json()["n_known"] > 30
    bad = path.read_bytes().replace(b",ha,", b",furlong,", 1)
    refused = client.post("/forms/submissions", files={"file": (path.name, bad)})
    assert refused.status_code == 422
    problem = refused.json()["problems"][0]
    assert problem["field"] == "area_unit"
    assert problem["value"] == "furlong"
    assert problem["remedy"].startswith("choose from ha")
    empty = client.post("/forms/submissions", files={"file": ("x.csv", io.BytesIO(b""))})
    assert empty.status_code == 422


def test_gdal_reads_the_features_as_qgis_does(address: str) -> None:
    os.environ.pop("OAPIF_PAGE_SIZE", None)
    layer = gpd.read_file(f"OAPIF:{address}/ogc", layer="published.district_estimate")
    assert len(layer) == 16
    assert layer.crs.to_epsg() == 4326
    assert layer["value_ha"].notna().any()
    west, south, east, north = layer.total_bounds
    part = gpd.read_file(
        f"OAPIF:{address}/ogc",
        layer="published.district_estimate",
        bbox=(west, south, west + 0.1 * (east - west), south + 0.1 * (north - south)),
    )
    assert 0 < len(part) < 16


def test_owslib_reads_collections_and_items(address: str) -> None:
    service = Features(f"{address}/ogc/")
    assert set(service.feature_collections()) == {
        "published.district_estimate",
        "published.project_indicator",
        "published.total_estimate",
    }
    page = service.collection_items("published.district_estimate", limit=5)
    assert page["numberReturned"] == 5
    assert page["numberMatched"] == 16
