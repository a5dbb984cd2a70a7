"""A training never meets the survey: not its store, its phones, its forms, its results."""

from __future__ import annotations

import io
import json
import shutil
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import openpyxl
import pandas as pd
import pytest

from api.collect import devices_of
from api.db.store import connect, load_run
from api.errors import RunFolderError
from api.pipeline.inputs import read_inputs
from api.pipeline.publishing import write_publish
from api.pipeline.record import run_record
from api.pipeline.trainings import make_training
from api.settings import Settings
from survey.errors import ConfigError, FormError
from survey.forms import (
    PublishedForms,
    SubmissionStore,
    form_ids,
    parse_submissions,
    report_workbook,
)
from survey.forms.training import invented_submission, make_training_store, training_xform
from survey.rounds import Round, read_round

NOW = datetime(2026, 2, 4, tzinfo=UTC)
MINIATURE = Path(__file__).resolve().parents[2] / "sample_tiles" / "miniature"


@pytest.fixture
def real(tmp_path: Path) -> Round:
    folder = tmp_path / "real"
    folder.mkdir()
    for name in ("survey.toml", "districts.gpkg", "frame.gpkg", "projects.csv", "baselines.csv"):
        shutil.copy(MINIATURE / name, folder / name)
    return read_round(folder / "survey.toml")


@pytest.fixture
def training(real: Round, tmp_path: Path) -> Round:
    return make_training(real, tmp_path / "training", n_submissions=1, now=NOW)


def take(declared: Round, name: str, data: bytes) -> tuple[bool, str]:
    store = SubmissionStore(declared.submissions_folder)
    report = store.import_file(name, data, received_at=NOW)
    return report.accepted, "; ".join(map(str, report.problems))


def test_a_training_round_has_everything_of_its_own(real: Round, training: Round) -> None:
    assert training.title == f"TRAINING: {real.title}"
    assert training.submissions_folder != real.submissions_folder
    assert training.output_folder != real.output_folder
    assert training.locate(training.inputs.frame) == real.locate(real.inputs.frame)
    store = SubmissionStore(training.submissions_folder)
    assert {form_id: len(store.submissions(form_id)) for form_id in form_ids()} == dict.fromkeys(
        form_ids(), 1
    )
    with pytest.raises(ConfigError, match="holds something already"):
        make_training(real, training.path.parent, n_submissions=0, now=NOW)


@pytest.mark.parametrize("form_id", form_ids())
def test_the_survey_refuses_what_was_filled_for_training_and_the_reverse(
    form_id: str, real: Round, training: Round
) -> None:
    rng = np.random.default_rng(4)
    _, invented = invented_submission(form_id, rng=rng, today=NOW.date())
    accepted, told = take(real, "from a training.xml", invented)
    assert not accepted
    assert "was filled in a form for training" in told
    assert take(training, "from a training.xml", invented) == (True, "")
    filled = invented.replace(b"-training", b"")
    accepted, told = take(training, "from the survey.xml", filled)
    assert not accepted
    assert "send it to the survey's own address" in told
    assert take(real, "from the survey.xml", filled) == (True, "")
    assert SubmissionStore(real.submissions_folder).n_submissions(form_id) == 1


def test_phones_of_one_are_unknown_to_the_other(real: Round, training: Round) -> None:
    ours, theirs = (devices_of(each.submissions_folder) for each in (real, training))
    for one, other in ((ours, theirs), (theirs, ours)):
        device, secret = one.add("Team 1", now=NOW)
        assert one.check(device.device_id, secret)
        assert other.check(device.device_id, secret) is None


def test_forms_for_training_say_so(real: Round, training: Round) -> None:
    for declared, mark in ((real, False), (training, True)):
        forms = PublishedForms(declared.submissions_folder)
        assert forms.publish_own(now=NOW, only=["segment_visit"]) == ["segment_visit"]
        assert forms.publish_own(now=NOW, only=["segment_visit"]) == []
        (form,) = forms.newest()
        assert form.title.startswith("TRAINING") == mark
        assert form.version.endswith("-training") == mark
        xml = form.path.read_text("utf-8")
        assert training_xform(training_xform(xml)) == training_xform(xml)


def test_no_round_can_be_pointed_at_the_store_of_the_other(real: Round, training: Round) -> None:
    text = real.path.read_text("utf-8")
    own = 'submissions = "inbox"'
    assert own in text
    crossed = real.path.with_name("crossed.toml")
    crossed.write_text(
        text.replace(own, f'submissions = "{training.submissions_folder}"'), "utf-8"
    )
    with pytest.raises(ConfigError, match="holds invented data of a training"):
        _ = read_round(crossed).submissions_folder
    take(
        real,
        "v.xml",
        invented_submission("segment_visit", rng=np.random.default_rng(1), today=NOW.date())[
            1
        ].replace(b"-training", b""),
    )
    crossed.write_text(text.replace("[survey]", "[survey]\ntraining = true"), "utf-8")
    with pytest.raises(ConfigError, match="is no training store"):
        _ = read_round(crossed).submissions_folder
    with pytest.raises(FormError, match="holds something already"):
        make_training_store(real.submissions_folder)


def test_a_spreadsheet_without_versions_may_be_practised_with(training: Round) -> None:
    table = (
        b"instanceID,segment_id,visit_date,observer_code,observed_percent,area_unit,poppy_area,"
        b"cannabis_area\nuuid:1,S-1,2026-02-03,T1,80,rai,1.3,0\n"
    )
    assert parse_submissions("t.csv", table).problems == ()
    assert take(training, "t.csv", table) == (True, "")


def test_rows_of_the_survey_itself_are_not_practised_with(training: Round, tmp_path: Path) -> None:
    header = "instanceID,form_version,segment_id,visit_date,observer_code,observed_percent,"
    header += "area_unit,poppy_area,cannabis_area\n"
    row = "uuid:1,2026112601,S-1,2026-02-03,T1,80,rai,1.3,0\n"
    accepted, told = take(training, "t.csv", (header + row).encode())
    assert not accepted
    assert "this is the training" in told
    record = {"_uuid": "2", "_xform_id_string": "segment_visit", "__version__": "2026112601"}
    names = header.strip().split(",")
    record |= dict(list(zip(names, row.strip().split(","), strict=True))[2:])
    assert not take(training, "t.json", json.dumps([record]).encode())[0]
    del record["__version__"]
    assert take(training, "t.json", json.dumps([record]).encode()) == (True, "")
    # A corrected workbook names no version either where the table named none.
    wrong = (header + row).replace("form_version,", "").replace("2026112601,", "")
    wrong = wrong.replace("uuid:1", "uuid:3").replace("1.3", "x")
    parsed = parse_submissions("t.csv", wrong.encode())
    book = openpyxl.load_workbook(io.BytesIO(report_workbook([(parsed.problems, parsed)])))
    sheet = book["segment_visit"]
    column = [cell.value for cell in sheet[1]].index("poppy_area") + 1
    sheet.cell(row=2, column=column).value = "1.3"
    book.save(tmp_path / "t.xlsx")
    assert take(training, "t.xlsx", (tmp_path / "t.xlsx").read_bytes()) == (True, "")


@pytest.mark.postgis
@pytest.mark.xdist_group("pipeline")
def test_every_result_of_a_training_says_so_and_none_can_be_loaded(
    finished: tuple[Any, Any], settings: Settings, loaded: Any, tmp_path: Path
) -> None:
    prepared, result = finished
    declared = read_round(prepared.survey)
    survey = declared.survey.model_copy(update={"training": True})
    training = declared.model_copy(update={"survey": survey})
    inputs = read_inputs(declared)
    folder = Path(shutil.copytree(result.folder, tmp_path / "out"))
    publish = folder / "publish"
    shutil.rmtree(publish)
    publish.mkdir()
    record = {**run_record(training, inputs), "notes": []}
    today = date(2026, 7, 1)
    write_publish(training, inputs, result.published, record, publish, today=today)
    for name in ("districts", "provinces", "projects", "farmers"):
        table = pd.read_csv(publish / f"{name}.csv")
        assert table["training"].str.startswith("TRAINING").all()
    layer = gpd.read_file(publish / "districts.gpkg", layer="district_estimates")
    assert layer["training"].str.startswith("TRAINING").all()
    assert "TRAINING: " in (publish / "map.html").read_text("utf-8")
    assert json.loads((publish / "run.json").read_text("utf-8"))["training"] is True
    engine = connect(settings)
    try:
        with pytest.raises(RunFolderError, match="never join the survey's results"):
            load_run(engine, folder)
    finally:
        engine.dispose()
