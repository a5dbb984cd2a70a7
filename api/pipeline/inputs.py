"""What a round is made from, read and checked."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import pandas as pd

from survey.digests import file_digest
from survey.errors import SurveyError
from survey.forms import SubmissionStore, farmer_rows, segment_visit_rows
from survey.readers import (
    read_baselines,
    read_districts,
    read_frame,
    read_projects,
    read_shapes,
    read_training,
)
from survey.review import ReviewState, accepted_submissions
from survey.rounds import Round
from survey.types import PROJECTS, Note

__all__ = ["Inputs", "read_inputs", "training_of"]


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
    instance_ids: frozenset[str]
    notes: tuple[Note, ...]


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
    training = training_of(declared, frame)
    projects = pd.DataFrame(columns=list(PROJECTS.columns))
    baselines = pd.DataFrame()
    if declared.inputs.projects is not None:
        projects = read_projects(where(declared.inputs.projects), districts)
        if declared.inputs.baselines is not None:
            baselines = read_baselines(where(declared.inputs.baselines), projects)

    store = SubmissionStore(declared.submissions_folder)
    visits, visits_left_out = accepted_submissions(store, "segment_visit")
    if not visits:
        raise SurveyError(_no_visits(declared, visits_left_out))
    interviews, interviews_left_out = accepted_submissions(store, "farmer_survey")
    review_notes = (
        *_left_out("segment visits", visits_left_out),
        *_left_out("interviews", interviews_left_out),
    )
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
        instance_ids=frozenset(s.instance_id for s in (*visits, *interviews)),
        districts=districts,
        frame=frame,
        training=training,
        reference=reference,
        farmers=farmers,
        projects=projects,
        baselines=baselines,
        digests=digests,
        notes=(*review_notes, *visit_notes, *sample_notes, *farmer_notes),
    )


def _no_visits(declared: Round, left_out: dict[ReviewState, int]) -> str:
    folder = declared.submissions_folder
    if not left_out:
        return (
            f"the submission store {folder} holds no segment visits; import them with: adsurvey "
            f"forms import FILE --survey {declared.path}"
        )
    return (
        f"none of the segment visits in {folder} is accepted ({_listed(left_out)}); review them "
        f"with: adsurvey forms review list --survey {declared.path}"
    )


def _left_out(what: str, left_out: dict[ReviewState, int]) -> tuple[Note, ...]:
    """One note on the submissions of a form that do not count, by state."""
    if not left_out:
        return ()
    return (Note(f"{what} left out because they are not accepted: {_listed(left_out)}"),)


def _listed(left_out: dict[ReviewState, int]) -> str:
    names = {ReviewState.RECEIVED: "waiting for review"}
    return ", ".join(f"{n} {names.get(state, state)}" for state, n in left_out.items())


def training_of(declared: Round, frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Training plots of a round, none of which shares land with a reference sample."""
    reference = None
    if declared.inputs.reference is not None:
        reference = read_shapes(declared.locate(declared.inputs.reference))
    return read_training(declared.locate(declared.inputs.training), frame, reference=reference)


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


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    return sorted(path for path in source.rglob("*") if path.is_file())
