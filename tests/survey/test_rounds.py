"""`survey.toml` is read strictly, and every fault is named at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from survey.errors import ConfigError
from survey.rounds import read_round
from survey.types import Crop

GOOD = """
[survey]
country = "Meru"
title = "Meru 2026"
harvest_year = 2026
reference_date = 2026-02-10
release_date = 2026-06-01
crops = ["poppy", "cannabis"]
admin_level = 2
seed = 7
[inputs]
districts = "districts.gpkg"
frame = "frame.gpkg"
scenes = "scenes"
training = "training.gpkg"
submissions = "inbox"
[estimation]
estimator = { poppy = "regression", cannabis = "ratio" }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "survey.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_a_round_and_locates_its_inputs(tmp_path: Path) -> None:
    declared = read_round(write(tmp_path, GOOD))
    assert declared.survey.crops == (Crop.POPPY, Crop.CANNABIS)
    assert declared.locate(declared.inputs.frame) == tmp_path / "frame.gpkg"
    assert declared.output_folder == tmp_path / "out"
    # A folder means the survey.toml in it.
    assert read_round(tmp_path) == declared


def test_the_model_of_thin_districts_and_orders(tmp_path: Path) -> None:
    settings = read_round(write(tmp_path, GOOD)).estimation
    assert settings.small_area_of(Crop.POPPY) == "two_part"
    text = GOOD + 'small_area = { cannabis = "none" }\n'
    text += "[[estimation.forced]]\n"
    text += 'crop = "poppy"\ndomain = "MR0103"\nmethod = "expansion"\nreason = "seam"\n'
    settings = read_round(write(tmp_path, text)).estimation
    assert settings.small_area_of(Crop.CANNABIS) == "none"
    assert settings.small_area_of(Crop.POPPY) == "two_part"
    assert settings.forced[0].domain == "MR0103"
    twice = text + text[text.index("[[") :]
    with pytest.raises(ConfigError, match="forced twice"):
        read_round(write(tmp_path, twice))
    whole = read_round(write(tmp_path, GOOD + 'small_area = "bhf"\n')).estimation
    assert whole.small_area_of(Crop.CANNABIS) == "bhf"


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ('crs = "EPSG:32647"', "write crs and resolution, or like"),
        ('like = "a.tif"\nresolution = 10', "write like alone"),
        ('crs = "EPSG:32647"\nresolution = 0', "resolution is 0"),
        ('crs = "EPSG:32647"\nresolution = 10\nextent = [0, 5, 10, 5]', "must be west, south"),
    ],
)
def test_a_grid_is_a_raster_or_numbers(tmp_path: Path, grid: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_round(write(tmp_path, f"{GOOD}\n[imagery.grid]\n{grid}\n"))


def test_the_raster_of_a_grid_is_an_input(tmp_path: Path) -> None:
    declared = read_round(write(tmp_path, GOOD + '[imagery.grid]\nlike = "like.tif"\n'))
    assert ("grid", tmp_path / "like.tif") in list(declared.input_files())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("harvest_year = 2026", 'harvest_year = "soon"', r"survey\.harvest_year is 'soon'"),
        ('frame = "frame.gpkg"', "", r"inputs\.frame is missing"),
        ("districts =", "distrits =", "did you mean districts"),
        ('"regression"', '"regresion"', r"estimator\.poppy is 'regresion'"),
        (', cannabis = "ratio"', "", "names none for cannabis"),
        ("2026-06-01", "2026-01-01", "lies before reference_date"),
        ('["poppy", "cannabis"]', '["poppy", "coca"]', "'coca'"),
        ("seed = 7", "seed = -7", r"survey\.seed is -7"),
        ("[survey]", "[survey", "is not valid TOML"),
    ],
)
def test_faults_name_key_value_and_remedy(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError, match=message):
        read_round(write(tmp_path, GOOD.replace(old, new, 1)))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        read_round(tmp_path / "survey.toml")
