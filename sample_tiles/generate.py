"""Generate a survey round on an invented land: `python -m sample_tiles.generate FOLDER`.

Truth lies in `truth/` beside the round and is never read by the pipeline. This package imports
neither the estimators nor the classifier: it could not be tuned to them.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
from rich.console import Console
from rich.progress import track

from sample_tiles.fieldwork import (
    BASELINES,
    PROJECTS,
    farmer_interviews,
    make_frame,
    make_training,
    segment_truth,
    segment_visits,
    write_submissions,
)
from sample_tiles.land import MINIATURE, Landscape, make_fields, make_land
from sample_tiles.scenes import write_scenes

__all__ = ["MINIATURE", "Landscape", "generate"]

SEED = 20261123

_SURVEY = """\
# A survey round: everything that a figure depends on. Paths are relative to this file.
[survey]
country = "Meru"                # invented
title = "Meru cultivation survey 2026"
harvest_year = 2026
reference_date = 2026-02-10
release_date = 2026-06-01       # before it nothing of the season below province is published
crops = ["poppy", "cannabis"]
admin_level = 2
seed = {seed}

[inputs]
districts = "districts.gpkg"
frame = "frame.gpkg"
scenes = "scenes"
training = "training.gpkg"
submissions = "inbox"           # filled by: adsurvey forms import submissions
projects = "projects.csv"
baselines = "baselines.csv"

[imagery]
min_clear = 3                   # clear dates a pixel needs to count as observed
indices = ["ndvi", "ndre", "ndmi"]

[estimation]                    # decided before the season's data were seen
estimator = {{ poppy = "regression", cannabis = "regression" }}
level = 0.95
min_segments_district = 10      # with fewer sampled segments a model speaks, and says so
small_area = "two_part"
max_unobserved_share = 0.5

[disclosure]
min_risk_ha = {min_risk_ha}
min_frame_segments = 10

[output]
folder = "out"
"""


def generate(folder: Path, *, landscape: Landscape, seed: int = SEED) -> None:
    """Write a whole round into `folder`, replacing what an earlier call left there.

    Parameters
    ----------
    folder : Path
        Receives survey.toml, layers, scenes, submissions and truth.
    landscape : Landscape
        Size and density; `MINIATURE` is the committed one.
    seed : int
        Equal seeds and library versions give equal content.
    """
    # GeoPackages carry a timestamp; a fixed one keeps equal content equal.
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2026-01-01T00:00:00.000Z"})
    try:
        _generate(folder, landscape, seed)
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def _generate(folder: Path, landscape: Landscape, seed: int) -> None:
    streams = np.random.default_rng(seed).spawn(6)
    land = make_land(landscape, streams[0])
    fields = make_fields(landscape, land, streams[1])
    frame = make_frame(landscape, land, streams[2])
    truth = segment_truth(frame, fields)
    training = make_training(landscape, land, fields, frame, streams[3])

    for name in ("scenes", "submissions", "truth", "inbox", "out"):
        shutil.rmtree(folder / name, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    _save(land.districts, folder / "districts.gpkg", "districts")
    _save(frame, folder / "frame.gpkg", "segments")
    _save(training, folder / "training.gpkg", "plots")
    _write_projects(folder)

    incoming = folder / "submissions"
    write_submissions(incoming, segment_visits(frame, fields, streams[4]), "segment_visits.csv")
    write_submissions(incoming, farmer_interviews(land, streams[4]), "farmers.csv")

    beside = folder / "truth"
    beside.mkdir()
    truth.to_csv(beside / "segment_truth.csv", index=False, float_format="%.6f")
    of_district = truth.merge(frame[["segment_id", "district_pcode"]], on="segment_id")
    of_district = of_district.groupby(["district_pcode", "crop"], as_index=False)["truth_ha"].sum()
    of_district.to_csv(beside / "district_truth.csv", index=False, float_format="%.6f")
    _save(fields[["field_id", "class_name", "geometry"]], beside / "crops.gpkg", "fields")

    write_scenes(folder / "scenes", landscape, land, fields, streams[5], progress=_bar)
    small = landscape.size_m < 10_000.0
    (folder / "survey.toml").write_text(
        _SURVEY.format(seed=seed, min_risk_ha="10.0" if small else "50.0"), encoding="utf-8"
    )


def _bar(dates: Iterable[date]) -> Iterator[date]:
    yield from track(
        list(dates), description="Drawing scenes", console=Console(stderr=True), transient=True
    )


def _save(layer: gpd.GeoDataFrame, path: Path, name: str) -> None:
    path.unlink(missing_ok=True)
    layer.to_file(path, layer=name, driver="GPKG")


def _write_projects(folder: Path) -> None:
    pd.DataFrame(
        [(i, name, ";".join(codes), year) for i, name, codes, year in PROJECTS],
        columns=["project_id", "project_name", "district_pcodes", "start_year"],
    ).to_csv(folder / "projects.csv", index=False)
    pd.DataFrame(
        BASELINES,
        columns=[
            "project_id",
            "indicator_code",
            "unit",
            "direction",
            "baseline_value",
            "baseline_year",
            "target_value",
        ],
    ).to_csv(folder / "baselines.csv", index=False)


def main() -> None:
    """Command line of the generator."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size-km", type=float, default=None, help="side of the square, 12 to 20")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--miniature", action="store_true", help="the small one of the tests")
    options = parser.parse_args()
    landscape = MINIATURE if options.miniature else Landscape()
    if options.size_km is not None:
        scale = (1000.0 * options.size_km / landscape.size_m) ** 2
        landscape = replace(
            landscape,
            size_m=round(options.size_km * 20.0) * 50.0,
            n_villages=max(4, round(scale * landscape.n_villages)),
        )
    generate(options.folder, landscape=landscape, seed=options.seed)


if __name__ == "__main__":
    main()
