from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import pytest
import shapely

from survey.flattening import csv_text, flatten_store
from survey.forms import SubmissionStore
from survey.forms.located import Locator
from survey.review import Action, ReviewLog

NOW = datetime(2026, 2, 4, tzinfo=UTC)
AREAS = gpd.GeoDataFrame(
    {"code": ["MB", "MA"]},
    geometry=[shapely.box(97.0, 20.0, 98.0, 21.0), shapely.box(98.0, 20.0, 99.0, 21.0)],
    crs="EPSG:4326",
)
DISTRICTS = Locator(AREAS.to_crs("EPSG:32647"), "code")


def xml(form_id: str, instance: str, answers: str, version: str = "2026112601") -> bytes:
    return (
        f'<data id="{form_id}" version="{version}">{answers}'
        f"<meta><instanceID>{instance}</instanceID></meta></data>"
    ).encode()


CONSENT = (
    "<consent>yes</consent><consent_version>2026-11</consent_version>"
    "<consent_language>my</consent_language>"
)
HOUSEHOLD = (
    f"{CONSENT}<visit_date>2026-02-03</visit_date><district_pcode>MB</district_pcode>"
    "<village_id>V01</village_id><sample_type>probability</sample_type>"
    "<household_size>၅</household_size><area_unit>rai</area_unit><grows_poppy>no</grows_poppy>"
    "<plot><plot_area>10</plot_area><plot_crop><crop_name>maize</crop_name>"
    "<harvest_unit>viss</harvest_unit><harvest_amount>100</harvest_amount></plot_crop></plot>"
    "<plot><plot_area>2.5</plot_area><plot_crop><crop_name>tea</crop_name>"
    "<harvest_unit>basket</harvest_unit><harvest_amount>7</harvest_amount></plot_crop></plot>"
    "<feedback>=cmd()</feedback><remarks>ျမန္မာႏိုင္ငံေတာ္</remarks>"
    "<withdrawal_code>aaaa-bbbb-cccc</withdrawal_code>"
)


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    with (folder / f"{table}.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture
def store(tmp_path: Path) -> SubmissionStore:
    store = SubmissionStore(tmp_path / "inbox")
    village = (
        f"{CONSENT}<visit_date>2026-02-03</visit_date><district_pcode>MA</district_pcode>"
        "<village_id>V02</village_id><households>40</households><poppy_status>never</poppy_status>"
        "<area_unit>ha</area_unit><price_fresh>500</price_fresh><weight_unit>viss</weight_unit>"
        "<village_point>20.5 97.5 900 8</village_point>"
    )
    refusal = HOUSEHOLD.replace("<consent>yes", "<consent>no")
    files = [
        xml("farmer_survey", "uuid:1", HOUSEHOLD),
        xml("farmer_survey", "uuid:2", refusal),
        xml("village_headman", "uuid:3", village),
    ]
    for number, data in enumerate(files):
        report = store.import_file(f"{number}.xml", data, received_at=NOW)
        assert report.accepted, report.problems
    return store


def test_units_are_converted_and_what_was_written_is_kept(
    store: SubmissionStore, tmp_path: Path
) -> None:
    flatten_store(store, tmp_path / "rows")
    plots = rows(tmp_path / "rows", "plot")
    keys = [(row["row_key"], row["parent_key"]) for row in plots]
    assert keys == [("uuid:1/plot[1]", "uuid:1"), ("uuid:1/plot[2]", "uuid:1")]
    assert [(row["plot_area"], row["area_unit"]) for row in plots] == [
        ("10.0", "rai"),
        ("2.5", "rai"),
    ]
    assert [float(row["plot_ha"]) for row in plots] == pytest.approx([1.6, 0.4])
    first, second = rows(tmp_path / "rows", "plot_crop")
    assert first["row_key"] == "uuid:1/plot[1]/plot_crop[1]"
    assert first["parent_key"] == "uuid:1/plot[1]"
    assert float(first["harvest_kg"]) == pytest.approx(163.293)
    # A basket has no weight: unknown, not zero.
    assert (second["harvest_amount"], second["harvest_kg"]) == ("7.0", "")
    (village,) = rows(tmp_path / "rows", "village")
    assert float(village["price_fresh_per_kg"]) == pytest.approx(500 / 1.63293)
    assert (village["price_fresh"], village["weight_unit"]) == ("500.0", "viss")
    agreed, refused = rows(tmp_path / "rows", "household")
    if agreed["consent"] == "no":
        agreed, refused = refused, agreed
    assert (agreed["household_size"], agreed["poppy_ha"], agreed["land_ha"]) == ("5", "0.0", "")
    # Whoever did not agree has a row that says so, and no answer.
    assert refused["consent"] == "no"
    assert (refused["household_size"], refused["poppy_ha"]) == ("", "")


def test_free_text_is_apart_neutralised_and_in_unicode(
    store: SubmissionStore, tmp_path: Path
) -> None:
    flatten_store(store, tmp_path / "rows")
    told = {row["question"]: row for row in rows(tmp_path / "rows", "feedback")}
    assert told["feedback"]["text"] == "'=cmd()"
    assert told["remarks"]["text"] == "မြန်မာနိုင်ငံတော်"
    assert told["remarks"]["original_text"] == "ျမန္မာႏိုင္ငံေတာ္"
    for path in (tmp_path / "rows").iterdir():
        assert "aaaa-bbbb-cccc" not in path.read_text("utf-8")
        if path.name != "feedback.csv":
            assert "cmd" not in path.read_text("utf-8")


def test_positions_are_found_and_compared_with_what_was_declared(
    store: SubmissionStore, tmp_path: Path
) -> None:
    segments = Locator(AREAS.assign(code=["S-1", "S-2"]), "code")
    flatten_store(store, tmp_path / "rows", districts=DISTRICTS, segments=segments)
    (village,) = rows(tmp_path / "rows", "village")
    assert (village["longitude"], village["latitude"]) == ("97.5", "20.5")
    assert (village["found_district_pcode"], village["found_segment_id"]) == ("MB", "S-1")
    assert village["place"] == "outside_declared_district"
    assert DISTRICTS.find([97.5, 98.5, 100.0], [20.5, 20.5, 20.5]) == ["MB", "MA", ""]
    # On the common border the first in order is meant, whatever the order of the layer.
    assert Locator(AREAS, "code").find([98.0], [20.5]) == ["MA"]
    assert Locator(AREAS[::-1], "code").find([98.0], [20.5]) == ["MA"]


def test_the_same_store_gives_the_same_bytes_with_corrections_in_it(
    store: SubmissionStore, tmp_path: Path
) -> None:
    first = flatten_store(store, tmp_path / "rows", districts=DISTRICTS)
    (tmp_path / "rows" / "left.txt").write_text("of another time", "utf-8")
    again = flatten_store(store, tmp_path / "rows", districts=DISTRICTS)
    assert [t.sha256 for t in first] == [t.sha256 for t in again]
    assert not (tmp_path / "rows" / "left.txt").exists()
    assert (tmp_path / "rows").stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "rows").iterdir()} == {0o600}
    log = ReviewLog(store)
    (review,) = log.reviews("village_headman")
    log.decide(
        review, Action.EDIT, by="reviewer", reason="again", now=NOW, changes={"households": "41"}
    )
    flatten_store(store, tmp_path / "rows")
    (village,) = rows(tmp_path / "rows", "village")
    assert village["households"] == "41"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+1", "'+1"),
        ("-A1", "'-A1"),
        ("\tx", "'\tx"),
        ("tea", "tea"),
        (-1.5, "-1.5"),
        (None, ""),
    ],
)
def test_text_that_looks_like_a_formula_is_none(cell: str | float | None, text: str) -> None:
    assert csv_text(cell) == text
