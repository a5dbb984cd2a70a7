"""The main job on the miniature: what comes out, what must not, and what changes it."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

from api.pipeline import RunResult, read_inputs, run_round, segment_frame
from api.reviewing import round_reviews
from imagery.raster import is_valid_cog
from survey.areas import geodesic_area_ha
from survey.errors import SurveyError
from survey.estimation import Sample, expansion_total, regression_total
from survey.forms import SubmissionStore
from survey.privacy import withdraw
from survey.review import Action, ReviewLog
from survey.rounds import read_round
from survey.types import Crop

pytestmark = pytest.mark.xdist_group("pipeline")

FIGURES = ["value_ha", "se_ha", "ci_low_ha", "ci_high_ha"]


def published(result: RunResult) -> Path:
    return result.folder / "publish"


def test_run_writes_what_it_promises(finished) -> None:
    _, result = finished
    publish, restricted = result.folder / "publish", result.folder / "restricted"
    assert {path.name for path in publish.iterdir()} == {
        "districts.csv", "districts.gpkg", "farmers.csv", "map.html", "projects.csv",
        "provinces.csv", "run.json",
    }  # fmt: skip
    assert stat.S_IMODE(restricted.stat().st_mode) == 0o700
    assert is_valid_cog(restricted / "class_map.tif")
    assert is_valid_cog(restricted / "probability.tif")
    estimates = gpd.read_file(publish / "districts.gpkg", layer="district_estimates")
    assert estimates.crs.to_epsg() == 4326
    assert len(estimates) == 8 * 2
    assert estimates["why"].str.len().min() > 10
    shown = estimates.dropna(subset=["value_ha"])
    assert (shown["ci_low_ha"] <= shown["value_ha"] + 1e-9).all()
    assert (shown["value_ha"] <= shown["ci_high_ha"] + 1e-9).all()
    projects = pd.read_csv(publish / "projects.csv")
    assert set(projects["project_id"]) == {"AD01", "AD02"}
    assert projects["latest_value"].notna().any()
    by_method = pd.read_csv(restricted / "estimates_by_method.csv")
    assert by_method["method"].str.startswith("expansion").any()
    assert by_method["method"].str.startswith("regression").any()


def test_record_reproduces_the_run(finished) -> None:
    prepared, result = finished
    record = json.loads((published(result) / "run.json").read_text())
    assert record["run_id"] == result.run_id
    assert record["seed"] == 20261123
    assert record["parameters"]["estimation"]["estimator"]["poppy"] == "regression"
    assert len(record["inputs"]["frame.gpkg"]) == 64
    assert {"submissions", "scenes/2026-02-06.tif"} <= record["inputs"].keys()
    assert {"ad-survey", "source", "numpy", "lightgbm"} <= record["versions"].keys()
    assert str(prepared.folder) not in json.dumps(record)


def test_nothing_published_is_finer_than_a_district_or_names_a_respondent(finished) -> None:
    prepared, result = finished
    districts = gpd.read_file(prepared.folder / "districts.gpkg").to_crs("EPSG:4326")
    smallest = geodesic_area_ha(districts.geometry, districts.crs).min()
    package = published(result) / "districts.gpkg"
    with sqlite3.connect(package) as database:
        layers = {row[0] for row in database.execute("select table_name from gpkg_contents")}
    assert layers == {"district_estimates", "total_estimates", "projects"}
    outlines = [shape.wkb for shape in districts.geometry.normalize()]
    for layer in layers:
        table = gpd.read_file(package, layer=layer)
        assert table.geom_type.isin(["Polygon", "MultiPolygon"]).all()
        assert geodesic_area_ha(table.geometry, table.crs).min() > 0.999 * smallest
        if layer == "district_estimates":
            assert all(shape.wkb in outlines for shape in table.geometry.normalize())

    frame = gpd.read_file(prepared.folder / "frame.gpkg")
    training = gpd.read_file(prepared.folder / "training.gpkg")
    farmers = pd.read_csv(prepared.folder / "submissions" / "farmers.csv", dtype=str)
    visits = pd.read_csv(prepared.folder / "submissions" / "segment_visits.csv", dtype=str)
    # Notes of the record count segments; they must not name them either.
    secrets = {
        *frame["segment_id"],
        *training["plot_id"],
        *farmers["instanceID"],
        *farmers["village_id"],
        *visits["instanceID"],
        *visits["observer_code"],
    }
    for path in published(result).iterdir():
        content = path.read_bytes()
        found = [secret for secret in secrets if secret.encode() in content]
        assert not found, f"{path.name} holds {found[:3]}"


def test_map_file_asks_no_other_host(finished) -> None:
    _, result = finished
    page = (published(result) / "map.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    assert 'src="http' not in page
    assert "hectares" in page


def test_the_same_input_gives_identical_numbers(finished, fresh) -> None:
    _, first = finished
    second = fresh().run()
    assert second.run_id == first.run_id
    for name in ("districts.csv", "provinces.csv", "projects.csv", "farmers.csv"):
        a, b = (published(result) / name for result in (first, second))
        assert a.read_bytes() == b.read_bytes(), name
    np.testing.assert_array_equal(
        *(
            pd.read_csv(r.folder / "restricted" / "segment_map.csv")["map_ha"]
            for r in (first, second)
        )
    )


def test_leaving_out_one_visit_changes_estimate_and_n(
    finished, fresh: Callable[..., object]
) -> None:
    _, whole = finished
    prepared = fresh()
    reference = pd.read_csv(whole.folder / "restricted" / "reference.csv")
    poppy = reference.loc[reference["crop"] == "poppy"]
    dropped = poppy.loc[poppy["reference_ha"].idxmax()]
    stored = [
        path
        for path in (prepared.folder / "inbox" / "submissions" / "segment_visit").iterdir()
        if dropped["instance_id"] in path.read_text()
    ]
    assert len(stored) == 1
    stored[0].unlink()
    less = prepared.run()

    def country(result: RunResult) -> pd.Series:
        table = pd.read_csv(result.folder / "restricted" / "estimates.csv")
        rows = table.loc[(table["admin_level"] == "country") & (table["crop"] == "poppy")]
        return rows.iloc[0]

    assert country(less)["n_segments"] == country(whole)["n_segments"] - 1
    assert country(less)["n_positive"] == country(whole)["n_positive"] - 1
    assert country(less)["value_ha"] != pytest.approx(country(whole)["value_ha"], rel=1e-6)
    assert less.run_id != whole.run_id
    assert any(dropped["segment_id"] in note.which for note in less.notes)


def test_before_the_release_date_nothing_below_the_province_leaves(fresh) -> None:
    result = fresh().run(today=date(2026, 5, 31))
    publish = published(result)
    districts = pd.read_csv(publish / "districts.csv")
    assert districts[FIGURES].isna().all(axis=None)
    assert (districts["disclosure"] == "not released before 2026-06-01").all()
    assert pd.read_csv(publish / "farmers.csv")["value"].isna().all()
    assert pd.read_csv(publish / "projects.csv")["latest_value"].isna().all()
    assert pd.read_csv(publish / "provinces.csv")["value_ha"].notna().any()
    with sqlite3.connect(publish / "districts.gpkg") as database:
        rows = database.execute("select count(value_ha) from district_estimates").fetchone()
    assert rows == (0,)


def test_estimates_over_many_draws_of_the_sample(finished, record_property) -> None:
    """Bias of the assisted total is zero within Monte Carlo error; coverage is reported.

    The map is fixed; 300 stratified samples of the same size are drawn from the frame, whose
    true hectares the generator knows.
    """
    prepared, result = finished
    frame_table = gpd.read_file(result.folder / "restricted" / "segments.gpkg")
    segment_map = pd.read_csv(result.folder / "restricted" / "segment_map.csv")
    truth = pd.read_csv(prepared.folder / "truth" / "segment_truth.csv")
    frame, _ = segment_frame(frame_table, segment_map, Crop.POPPY)
    true_ha = (
        (truth.loc[truth["crop"] == "poppy"].set_index("segment_id")["truth_ha"])
        .loc[frame.segment_id]
        .to_numpy()
    )
    drawn = frame_table["is_sampled"].to_numpy()
    sizes = {stratum: int(drawn[frame.stratum == stratum].sum()) for stratum in set(frame.stratum)}
    rng = np.random.default_rng(20261123)
    errors: dict[str, list[float]] = {"expansion": [], "regression": []}
    covered: dict[str, list[bool]] = {"expansion": [], "regression": []}
    for _ in range(300):
        index = np.sort(
            np.concatenate(
                [
                    rng.choice(np.flatnonzero(frame.stratum == stratum), size=n, replace=False)
                    for stratum, n in sorted(sizes.items())
                ]
            )
        )
        sample = Sample(index=index, y_ha=true_ha[index])
        for name, total in (("expansion", expansion_total), ("regression", regression_total)):
            estimate = total(frame, sample, level=0.95)
            errors[name].append(estimate.value_ha - true_ha.sum())
            covered[name].append(estimate.ci_low_ha <= true_ha.sum() <= estimate.ci_high_ha)
    for name in errors:
        error = np.array(errors[name])
        monte_carlo_se = error.std(ddof=1) / np.sqrt(len(error))
        coverage = float(np.mean(covered[name]))
        record_property(f"{name}_coverage", coverage)
        print(
            f"{name}: bias {error.mean():+.3f} ha (MC SE {monte_carlo_se:.3f}), "
            f"RMSE {np.sqrt((error**2).mean()):.2f} ha, coverage {coverage:.3f}, "
            f"truth {true_ha.sum():.1f} ha"
        )
        # Two estimators: 3.5 standard errors are passed by chance once in 1,000 seeds.
        assert abs(error.mean()) < 3.5 * monte_carlo_se
        # 300 draws: a true 0.95 falls below 0.90 about once in 10,000 times.
        assert coverage > 0.90
    assert np.std(errors["regression"]) < np.std(errors["expansion"])


def test_only_accepted_submissions_make_the_estimate(finished, fresh) -> None:
    """A rejected visit leaves, an edited one counts as edited, and the run says how many wait."""
    _, whole = finished
    prepared = fresh()
    reviewed = round_reviews(read_round(prepared.survey), "segment_visit", today=date(2026, 7, 1))
    log = ReviewLog(reviewed.store)
    now = datetime(2026, 7, 1, tzinfo=UTC)
    first, second, third = reviewed.reviews[:3]
    opened = [
        log.decide(each, Action.REOPEN, by="t", reason="again", now=now)
        for each in (first, second, third)
    ]
    log.decide(opened[0], Action.REJECT, by="t", reason="made up", now=now)
    edited = log.decide(
        opened[1], Action.EDIT, by="t", reason="unit", now=now, changes={"poppy_area": "0.5"}
    )
    log.decide(edited, Action.ACCEPT, by="t", reason="", now=now)
    inputs = read_inputs(read_round(prepared.survey))
    before = pd.read_csv(whole.folder / "restricted" / "reference.csv")
    left = set(before["instance_id"]) - set(inputs.reference["instance_id"])
    assert left == {first.instance_id, third.instance_id}
    (area,) = inputs.reference.loc[
        (inputs.reference["instance_id"] == second.instance_id)
        & (inputs.reference["crop"] == "poppy"),
        "original_area",
    ]
    assert area == "0.5"
    assert "1 waiting for review, 1 rejected" in " ".join(str(note) for note in inputs.notes)
    assert (
        inputs.digests["submissions"]
        != json.loads((published(whole) / "run.json").read_text())["inputs"]["submissions"]
    )


def test_a_run_that_used_what_was_withdrawn_meanwhile_leaves_nothing(fresh) -> None:
    prepared = fresh()
    declared = read_round(prepared.survey)
    store = SubmissionStore(declared.submissions_folder)
    instance = store.submissions("farmer_survey")[0].instance_id

    def withdraw_late(step: str, done: int, _: int) -> None:
        if (step, done) == ("Publishing", 0):
            out = declared.output_folder
            withdraw(store, instance, output_folder=out, now=datetime.now(UTC), by="t")

    with pytest.raises(SurveyError, match="withdrawn while the run was under way"):
        run_round(declared, today=date(2026, 7, 1), progress=withdraw_late)
    assert not declared.output_folder.exists()
    assert not list(prepared.folder.glob(".out-partial-*"))
