"""The main job, files to files: scenes, submissions and baselines to hectares and `publish/`.

`run_round` glues the steps of `survey` and `imagery` together and holds no statistics itself.
Nothing appears under the output folder until everything succeeded.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

import api
import imagery
import survey
from api.maps import MapTitle, district_map
from imagery.catalog import read_scenes
from imagery.classify import CropModel, fit_crop_model
from imagery.mapping import FeatureSpec, map_scenes
from imagery.zonal import class_hectares, training_pixels
from survey.baselines import farmer_indicators, project_indicators
from survey.districts import (
    estimates_table,
    published_estimates,
    unobserved_shares,
)
from survey.errors import SurveyError
from survey.estimation import (
    DomainEstimate,
    Frame,
    LadderRule,
    Sample,
    Thresholds,
    estimate_by_methods,
    estimate_ladder,
    fill_covariate,
)
from survey.forms import SubmissionStore, farmer_rows, segment_visit_rows
from survey.readers import (
    file_digest,
    read_baselines,
    read_districts,
    read_frame,
    read_projects,
    read_training,
)
from survey.rounds import Round
from survey.types import ESTIMATES, PROJECTS, SEGMENT_MAP, Crop, Note

__all__ = [
    "Inputs",
    "Progress",
    "RunResult",
    "read_inputs",
    "reference_sample",
    "run_round",
    "segment_frame",
    "segment_map_table",
]

#: Called with the name of a step, how much of it is done, and its total.
Progress = Callable[[str, int, int], None]

_LIBRARIES = ("numpy", "scipy", "pandas", "geopandas", "rasterio", "exactextract", "lightgbm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Everything a round's figures come from, read and checked."""

    districts: gpd.GeoDataFrame
    frame: gpd.GeoDataFrame
    training: gpd.GeoDataFrame
    reference: pd.DataFrame
    farmers: pd.DataFrame
    projects: pd.DataFrame
    baselines: pd.DataFrame
    digests: dict[str, str]
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run made.

    Attributes
    ----------
    run_id : str
        Digest of inputs, parameters and code: equal for equal runs.
    folder : Path
        Holds `publish/` and `restricted/`.
    published : DataFrame
        Rows of `survey.districts.published_estimates`.
    notes : tuple of Note
        What the analyst should know: non-response, visits left out, filled covariates.
    """

    run_id: str
    folder: Path
    published: pd.DataFrame
    notes: tuple[Note, ...]


def run_round(declared: Round, *, today: date, progress: Progress) -> RunResult:
    """Run the whole chain of a declared round.

    Parameters
    ----------
    declared : Round
        From `survey.rounds.read_round`.
    today : date
        Decides whether districts are released yet.
    progress : callable (step, done, total)

    Raises
    ------
    SurveyError, ImageryError, ApiError
        What is wrong with the input; the earlier results, if any, stay as they were.
    """
    final = declared.output_folder
    partial = final.with_name(f".{final.name}-partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        publish, restricted = partial / "publish", partial / "restricted"
        publish.mkdir()
        restricted.mkdir(mode=0o700)
        result = _run(declared, publish, restricted, today=today, progress=progress)
        _swap(partial, final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return RunResult(
        run_id=result.run_id, folder=final, published=result.published, notes=result.notes
    )


def _run(
    declared: Round, publish: Path, restricted: Path, *, today: date, progress: Progress
) -> RunResult:
    progress("Reading inputs", 0, 1)
    inputs = read_inputs(declared)
    progress("Reading inputs", 1, 1)

    hectares, model = _map_hectares(declared, inputs, restricted, progress)
    segment_map = segment_map_table(hectares, model, declared.survey.crops)
    segment_map.to_csv(restricted / "segment_map.csv", index=False)
    unobserved = unobserved_shares(inputs.frame, segment_map)

    progress("Estimating", 0, 1)
    estimates, notes = _estimate(declared, inputs, segment_map, unobserved, restricted)
    table = ESTIMATES.check(
        estimates_table(
            estimates, harvest_year=declared.survey.harvest_year, thresholds=Thresholds()
        )
    )
    table.to_csv(restricted / "estimates.csv", index=False)
    inputs.reference.to_csv(restricted / "reference.csv", index=False)
    inputs.frame.to_file(restricted / "segments.gpkg", layer="segments", driver="GPKG")
    progress("Estimating", 1, 1)

    progress("Publishing", 0, 1)
    published = published_estimates(
        table,
        inputs.districts,
        inputs.frame,
        unobserved=unobserved,
        min_risk_ha=declared.disclosure.min_risk_ha,
        min_frame_segments=declared.disclosure.min_frame_segments,
        release_date=declared.survey.release_date,
        today=today,
    )
    record = _record(declared, inputs)
    notes = (*inputs.notes, *notes)
    # The record is published: it counts segments and never names one.
    public = {**record, "notes": [note.text for note in notes]}
    _publish(declared, inputs, published, public, publish, today=today)
    text = "".join(f"{note.text}: {', '.join(note.which)}\n" for note in notes if note.which)
    (restricted / "notes.txt").write_text(text, encoding="utf-8")
    progress("Publishing", 1, 1)
    return RunResult(
        run_id=record["run_id"], folder=publish.parent, published=published, notes=notes
    )


def read_inputs(declared: Round) -> Inputs:
    """Read and check every table and layer of a round; scenes are opened later."""
    missing = [f"{name} ({path})" for name, path in declared.input_files() if not path.exists()]
    if missing:
        raise SurveyError(
            f"{declared.path.name} names inputs that do not exist: {', '.join(missing)}; correct "
            "the paths under [inputs]"
        )
    where = declared.locate
    districts = read_districts(where(declared.inputs.districts), declared.columns.districts)
    frame = read_frame(where(declared.inputs.frame), districts)
    training = read_training(where(declared.inputs.training), frame)
    projects = pd.DataFrame(columns=list(PROJECTS.columns))
    baselines = pd.DataFrame()
    if declared.inputs.projects is not None:
        projects = read_projects(where(declared.inputs.projects), districts)
        if declared.inputs.baselines is not None:
            baselines = read_baselines(where(declared.inputs.baselines), projects)

    store = SubmissionStore(declared.submissions_folder)
    visits = store.submissions("segment_visit")
    if not visits:
        raise SurveyError(
            f"the submission store {declared.submissions_folder} holds no segment visits; import "
            f"them with: adsurvey forms import FILE --survey {declared.path}"
        )
    interviews = store.submissions("farmer_survey")
    visited, visit_notes = segment_visit_rows(visits, declared.survey.crops)
    reference, sample_notes = _reference_in_sample(visited, frame)
    farmers, farmer_notes = farmer_rows(interviews)
    digests = {
        os.path.relpath(path, declared.path.parent): file_digest(path)
        for _, source in declared.input_files()
        for path in _files(source)
    }
    both = sorted((s.instance_id, s.sha256) for s in (*visits, *interviews))
    digests["submissions"] = hashlib.sha256(json.dumps(both).encode()).hexdigest()
    return Inputs(
        districts=districts,
        frame=frame,
        training=training,
        reference=reference,
        farmers=farmers,
        projects=projects,
        baselines=baselines,
        digests=digests,
        notes=(*visit_notes, *sample_notes, *farmer_notes),
    )


def _reference_in_sample(
    reference: pd.DataFrame, frame: pd.DataFrame
) -> tuple[pd.DataFrame, tuple[Note, ...]]:
    """Keep visits of drawn segments; say what was left out and what is missing."""
    notes = []
    drawn = set(frame.loc[frame["is_sampled"], "segment_id"])
    known = set(frame["segment_id"])
    visited = set(reference["segment_id"])
    for segments, what in (
        (visited - known, "visits name segments that are not in the frame and were left out"),
        (
            (visited & known) - drawn,
            "visited segments were not drawn and were left out (no probability sample)",
        ),
        (drawn - visited, "drawn segments have no visit (treated as missing at random)"),
    ):
        if segments:
            notes.append(Note(f"{len(segments)} {what}", tuple(sorted(segments))))
    kept = reference.loc[reference["segment_id"].isin(drawn)]
    return kept.sort_values(["segment_id", "crop"], ignore_index=True), tuple(notes)


def _map_hectares(
    declared: Round, inputs: Inputs, restricted: Path, progress: Progress
) -> tuple[pd.DataFrame, CropModel]:
    scenes = read_scenes(declared.locate(declared.inputs.scenes))
    spec = FeatureSpec(indices=declared.imagery.indices, min_clear=declared.imagery.min_clear)
    progress("Training", 0, 1)
    pixels = training_pixels(scenes, spec, inputs.training)
    model = fit_crop_model(
        pixels.features,
        pixels.class_name,
        pixels.plot_id,
        pixels.weight,
        seed=declared.survey.seed,
    )
    model.save(restricted)
    progress("Training", 1, 1)
    class_map = restricted / "class_map.tif"
    map_scenes(
        scenes,
        model,
        spec,
        class_map=class_map,
        probability=restricted / "probability.tif",
        crops=[crop.value for crop in declared.survey.crops],
        progress=lambda done, total: progress("Mapping", done, total),
    )
    progress("Measuring", 0, 2)
    per_segment = class_hectares(class_map, inputs.frame, "segment_id")
    progress("Measuring", 1, 2)
    per_district = class_hectares(class_map, inputs.districts, "district_pcode")
    names = {0: "unobserved", **{code + 1: name for code, name in enumerate(model.class_names)}}
    per_district.assign(class_name=per_district["class_code"].map(names)).to_csv(
        restricted / "district_map.csv", index=False
    )
    progress("Measuring", 2, 2)
    return per_segment, model


def segment_map_table(
    hectares: pd.DataFrame, model: CropModel, crops: tuple[Crop, ...]
) -> pd.DataFrame:
    """Class hectares per segment as rows of segment and crop."""
    wide = hectares.pivot_table(
        index="segment_id", columns="class_code", values="ha", aggfunc="sum", fill_value=0.0
    )
    unobserved = wide.get(0, pd.Series(0.0, index=wide.index))
    observed = wide.drop(columns=0, errors="ignore").sum(axis=1)
    codes = {name: code + 1 for code, name in enumerate(model.class_names)}
    parts = [
        pd.DataFrame(
            {
                "segment_id": wide.index,
                "crop": crop.value,
                "map_ha": (
                    wide[codes[crop]].to_numpy() if codes.get(crop) in wide.columns else 0.0
                ),
                "observed_ha": observed.to_numpy(),
                "unobserved_ha": unobserved.to_numpy(),
            }
        )
        for crop in crops
    ]
    return SEGMENT_MAP.check(pd.concat(parts, ignore_index=True))


def _estimate(
    declared: Round,
    inputs: Inputs,
    segment_map: pd.DataFrame,
    unobserved: dict[str, float],
    restricted: Path,
) -> tuple[dict[Crop, list[DomainEstimate]], tuple[Note, ...]]:
    frame_table = inputs.frame
    settings = declared.estimation
    rule = LadderRule(
        level=settings.level,
        min_segments_district=settings.min_segments_district,
        max_unobserved_share=settings.max_unobserved_share,
        unobserved_share=unobserved,
    )
    estimates: dict[Crop, list[DomainEstimate]] = {}
    comparison = []
    notes = []
    for crop in declared.survey.crops:
        frame, filled = segment_frame(frame_table, segment_map, crop)
        sample = reference_sample(frame, inputs.reference, crop)
        estimates[crop] = estimate_ladder(
            frame, sample, estimator=settings.estimator[crop], rule=rule
        )
        comparison.append(
            estimates_table(
                {crop: estimate_by_methods(frame, sample, level=settings.level)},
                harvest_year=declared.survey.harvest_year,
                thresholds=Thresholds(),
            )
        )
        if filled:
            notes.append(
                Note(
                    f"{crop}: {filled} of {len(frame_table)} frame segments were partly or wholly "
                    "unobserved; their map hectares were filled from their stratum"
                )
            )
    pd.concat(comparison).to_csv(restricted / "estimates_by_method.csv", index=False)
    return estimates, tuple(notes)


def segment_frame(
    frame_table: pd.DataFrame, segment_map: pd.DataFrame, crop: Crop
) -> tuple[Frame, int]:
    """The estimation frame of one crop, and how many covariates had to be filled."""
    mapped = segment_map.loc[segment_map["crop"] == crop].set_index("segment_id")
    mapped = mapped.loc[frame_table["segment_id"]]
    covariate, is_filled = fill_covariate(
        mapped["map_ha"].to_numpy(),
        mapped["observed_ha"].to_numpy(),
        mapped["unobserved_ha"].to_numpy(),
        frame_table["stratum_id"].to_numpy(dtype=object),
    )
    frame = Frame(
        segment_id=frame_table["segment_id"].to_numpy(dtype=object),
        stratum=frame_table["stratum_id"].to_numpy(dtype=object),
        domain=frame_table["district_pcode"].to_numpy(dtype=object),
        group=frame_table["province_pcode"].to_numpy(dtype=object),
        risk_ha=frame_table["risk_ha"].to_numpy(),
        covariate_ha=covariate,
    )
    return frame, int(is_filled.sum())


def reference_sample(frame: Frame, reference: pd.DataFrame, crop: Crop) -> Sample:
    """Reference hectares of one crop as a sample of the frame."""
    rows = reference.loc[reference["crop"] == crop]
    position = {segment: row for row, segment in enumerate(frame.segment_id)}
    return Sample.from_observed(
        frame,
        np.array([position[segment] for segment in rows["segment_id"]], dtype=np.int64),
        rows["reference_ha"].to_numpy(),
        rows["observed_share"].to_numpy(),
    )


def _record(declared: Round, inputs: Inputs) -> dict[str, Any]:
    """What makes the run recomputable; its digest is the run's id."""
    record: dict[str, Any] = {
        "title": declared.survey.title,
        "country": declared.survey.country,
        "harvest_year": declared.survey.harvest_year,
        "reference_date": declared.survey.reference_date.isoformat(),
        "release_date": declared.survey.release_date.isoformat(),
        "crops": [crop.value for crop in declared.survey.crops],
        "seed": declared.survey.seed,
        "parameters": declared.parameters(),
        "inputs": inputs.digests,
        "versions": {
            "ad-survey": version("ad-survey"),
            "source": _source_digest(),
            **{name: version(name) for name in _LIBRARIES},
        },
    }
    canonical = json.dumps(record, sort_keys=True).encode()
    return {"run_id": hashlib.sha256(canonical).hexdigest()[:16], **record}


def _source_digest() -> str:
    """Digest of the code itself: a version number alone does not pin a checkout."""
    digest = hashlib.sha256()
    for package in (survey, imagery, api):
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root.parent).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _publish(
    declared: Round,
    inputs: Inputs,
    published: pd.DataFrame,
    record: dict[str, Any],
    publish: Path,
    *,
    today: date,
) -> None:
    reference_date = declared.survey.reference_date.isoformat()
    rows = published.assign(reference_date=reference_date)
    below = rows.loc[rows["admin_level"] == "district"]
    districts = inputs.districts[
        ["district_pcode", "district_name", "province_name", "geometry"]
    ].to_crs("EPSG:4326")
    layer = gpd.GeoDataFrame(
        below.drop(columns="domain_name").merge(
            districts, left_on="domain_id", right_on="district_pcode", validate="many_to_one"
        ),
        geometry="geometry",
        crs="EPSG:4326",
    )
    held = today < declared.survey.release_date
    reason = f"not released before {declared.survey.release_date.isoformat()}" if held else ""
    farmers = _withheld(_aggregate(declared, inputs, "district_pcode"), reason)
    projects = _projects(declared, inputs, districts, reason)

    path = publish / "districts.gpkg"
    layer.to_file(path, layer="district_estimates", driver="GPKG")
    projects.to_file(path, layer="projects", driver="GPKG")
    _write_csv(layer.drop(columns="geometry"), publish / "districts.csv")
    _write_csv(rows.loc[rows["admin_level"] != "district"], publish / "provinces.csv")
    _write_csv(projects.drop(columns="geometry"), publish / "projects.csv")
    _write_csv(farmers, publish / "farmers.csv")
    heading = MapTitle(
        title=declared.survey.title,
        harvest_year=declared.survey.harvest_year,
        reference_date=reference_date,
    )
    (publish / "map.html").write_text(district_map(layer, projects, heading), encoding="utf-8")
    record = {**record, "created_at": datetime.now(UTC).isoformat(timespec="seconds")}
    (publish / "run.json").write_text(
        json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def _aggregate(declared: Round, inputs: Inputs, by: str) -> pd.DataFrame:
    return farmer_indicators(
        inputs.farmers,
        by,
        level=declared.estimation.level,
        min_respondents=declared.disclosure.min_respondents,
        min_villages=declared.disclosure.min_villages,
    )


def _projects(
    declared: Round, inputs: Inputs, districts: gpd.GeoDataFrame, reason: str
) -> gpd.GeoDataFrame:
    """Indicators of each project on the union of its districts: nothing finer is published."""
    if inputs.baselines.empty:
        return gpd.GeoDataFrame({"project_id": []}, geometry=[], crs=districts.crs)
    latest = _withheld(_aggregate(declared, inputs, "project_id"), reason)
    table = project_indicators(
        inputs.projects, inputs.baselines, latest, harvest_year=declared.survey.harvest_year
    )
    shape = districts.set_index("district_pcode").geometry
    return gpd.GeoDataFrame(
        table,
        geometry=[shape.loc[codes.split(";")].union_all() for codes in table["district_pcodes"]],
        crs=districts.crs,
    )


def _withheld(table: pd.DataFrame, reason: str) -> pd.DataFrame:
    """Empty the values of cells that must not leave, for their own or the given reason."""
    table = table.copy()
    if reason:
        table["disclosure"] = reason
    hidden = table["disclosure"] != ""
    table.loc[hidden, ["value", "se", "ci_low", "ci_high"]] = np.nan
    for column in ("n_respondents", "n_villages"):
        table[column] = table[column].astype("Int64").mask(hidden)
    return table


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    """CSV that a spreadsheet opens as text: a leading = + - @ would run as a formula."""
    safe = table.copy()
    for column in safe.select_dtypes(include=["object", "string"]).columns:
        text = safe[column].astype("string")
        risky = text.str.match(r"^[=+\-@\t\r]", na=False)
        safe[column] = text.mask(risky, "'" + text)
    safe.to_csv(path, index=False, encoding="utf-8")


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    return sorted(path for path in source.rglob("*") if path.is_file())


def _swap(partial: Path, final: Path) -> None:
    """Put the finished results in place of the earlier ones by renames."""
    final.parent.mkdir(parents=True, exist_ok=True)
    if not final.exists():
        partial.rename(final)
        return
    if not (final / "publish" / "run.json").is_file() and any(final.iterdir()):
        raise SurveyError(
            f"{final} exists and holds something other than results of a run; choose another "
            "folder under [output] in survey.toml"
        )
    old = final.with_name(f".{final.name}-old-{os.getpid()}")
    final.rename(old)
    partial.rename(final)
    shutil.rmtree(old)
