"""The whole chain of a round."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd

from api.pipeline.estimates import estimate_crops, method_version_of
from api.pipeline.hectares import Progress, map_hectares, segment_map_table
from api.pipeline.inputs import read_inputs
from api.pipeline.publishing import write_publish
from api.pipeline.record import run_record
from imagery.raster import is_running
from survey.districts import estimates_table, published_estimates, unobserved_shares
from survey.errors import SurveyError
from survey.estimation import Thresholds
from survey.forms import SubmissionStore
from survey.forms.durable import store_lock
from survey.rounds import Round
from survey.spreadsheets import spreadsheet_table
from survey.types import ESTIMATES, Note

__all__ = ["RunResult", "run_round"]


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
    for left in final.parent.glob(f".{final.name}-partial-*"):
        if not is_running(left.name.rsplit("-", 1)[1]):
            shutil.rmtree(left)  # of a run that was killed
    try:
        partial.mkdir(parents=True)
        publish, restricted = partial / "publish", partial / "restricted"
        publish.mkdir()
        restricted.mkdir(mode=0o700)
        result, used = _run(declared, publish, restricted, today=today, progress=progress)
        store = SubmissionStore(declared.submissions_folder)
        with store_lock(store.folder):  # nobody is withdrawn between the look and the renaming
            _refuse_withdrawn(store, used)
            _swap(partial, final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return RunResult(
        run_id=result.run_id, folder=final, published=result.published, notes=result.notes
    )


def _run(
    declared: Round, publish: Path, restricted: Path, *, today: date, progress: Progress
) -> tuple[RunResult, frozenset[str]]:
    progress("Reading inputs", 0, 1)
    inputs = read_inputs(declared)
    progress("Reading inputs", 1, 1)

    # Beside the results: a run that is killed while it maps goes on there next time.
    keep = declared.output_folder.with_name(f".{declared.output_folder.name}-windows")
    hectares, model = map_hectares(declared, inputs, restricted, progress, keep=keep)
    segment_map = segment_map_table(hectares, model, declared.survey.crops)
    spreadsheet_table(segment_map).to_csv(restricted / "segment_map.csv", index=False)
    unobserved = unobserved_shares(inputs.frame, segment_map)

    progress("Estimating", 0, 1)
    estimates, notes = estimate_crops(declared, inputs, segment_map, unobserved, restricted)
    table = ESTIMATES.check(
        estimates_table(
            estimates,
            harvest_year=declared.survey.harvest_year,
            thresholds=Thresholds(),
            method_version={crop: method_version_of(declared, crop) for crop in estimates},
        )
    )
    spreadsheet_table(table).to_csv(restricted / "estimates.csv", index=False)
    spreadsheet_table(inputs.reference).to_csv(restricted / "reference.csv", index=False)
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
    record = run_record(declared, inputs)
    notes = (*inputs.notes, *notes)
    # The record is published: it counts segments and never names one.
    public = {**record, "notes": [note.text for note in notes]}
    write_publish(declared, inputs, published, public, publish, today=today)
    text = "".join(f"{note.text}: {', '.join(note.which)}\n" for note in notes if note.which)
    (restricted / "notes.txt").write_text(text, encoding="utf-8")
    progress("Publishing", 1, 1)
    if declared.survey.training:
        for folder in (publish, restricted, publish.parent):
            (folder / "TRAINING.txt").write_text(
                "Invented data. No figure of a survey.\n", "utf-8"
            )
    result = RunResult(
        run_id=record["run_id"], folder=publish.parent, published=published, notes=notes
    )
    return result, inputs.instance_ids


def _refuse_withdrawn(store: SubmissionStore, used: frozenset[str]) -> None:
    gone = sum(store.tombstones.stands_for(instance_id) for instance_id in used)
    if gone:
        raise SurveyError(
            f"{gone} submissions were withdrawn while the run was under way; run it again"
        )


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
