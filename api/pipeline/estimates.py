"""From tables to the estimators and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from api.pipeline.inputs import Inputs
from survey.districts import estimates_table
from survey.estimation import (
    DomainEstimate,
    Forced,
    Frame,
    LadderRule,
    Sample,
    Thresholds,
    comparability_label,
    estimate_by_methods,
    estimate_ladder,
    fill_covariate,
)
from survey.rounds import Round
from survey.spreadsheets import spreadsheet_table
from survey.types import Crop, Note

__all__ = ["estimate_crops", "method_version_of", "reference_sample", "segment_frame"]


def estimate_crops(
    declared: Round,
    inputs: Inputs,
    segment_map: pd.DataFrame,
    unobserved: dict[str, float],
    restricted: Path,
) -> tuple[dict[Crop, list[DomainEstimate]], tuple[Note, ...]]:
    """Estimates of every crop by the declared estimator; all methods compared in a table.

    Parameters
    ----------
    declared, inputs
        The round and what `read_inputs` made of it.
    segment_map : DataFrame from `segment_map_table`
    unobserved : mapping of domain id to its unobserved share, 0-1
    restricted : Path
        Folder that receives `estimates_by_method.csv`.
    """
    frame_table = inputs.frame
    settings = declared.estimation
    estimates: dict[Crop, list[DomainEstimate]] = {}
    comparison = []
    notes = []
    for crop in declared.survey.crops:
        frame, filled = segment_frame(frame_table, segment_map, crop)
        sample = reference_sample(frame, inputs.reference, crop)
        estimates[crop] = estimate_ladder(
            frame,
            sample,
            estimator=settings.estimator[crop],
            rule=ladder_rule(declared, crop, unobserved),
            # A stream of its own for each crop: adding one moves no other's figures.
            rng=np.random.default_rng([declared.survey.seed, *crop.value.encode()]),
        )
        comparison.append(
            estimates_table(
                {crop: estimate_by_methods(frame, sample, level=settings.level)},
                harvest_year=declared.survey.harvest_year,
                thresholds=Thresholds(),
                method_version={crop: method_version_of(declared, crop)},
            )
        )
        if filled.any():
            notes.append(
                Note(
                    f"{crop}: {int(filled.sum())} of {len(frame_table)} frame segments were "
                    "partly or wholly unobserved; their map hectares were filled from their "
                    "stratum",
                    which=tuple(frame.segment_id[filled].tolist()),
                )
            )
    spreadsheet_table(pd.concat(comparison)).to_csv(
        restricted / "estimates_by_method.csv", index=False
    )
    return estimates, tuple(notes)


def method_version_of(declared: Round, crop: Crop) -> str:
    """Label that two seasons must share for their figures to be compared."""
    settings = declared.estimation
    return comparability_label(
        settings.method_version, settings.estimator[crop], settings.small_area_of(crop)
    )


def ladder_rule(declared: Round, crop: Crop, unobserved: dict[str, float]) -> LadderRule:
    """What the round declares for a crop, as the ladder takes it."""
    settings = declared.estimation
    return LadderRule(
        level=settings.level,
        min_segments_district=settings.min_segments_district,
        small_area=settings.small_area_of(crop),
        max_unobserved_share=settings.max_unobserved_share,
        unobserved_share=unobserved,
        forced={
            order.domain: Forced(method=order.method, reason=order.reason)
            for order in settings.forced
            if order.crop == crop
        },
    )


def segment_frame(
    frame_table: pd.DataFrame, segment_map: pd.DataFrame, crop: Crop
) -> tuple[Frame, npt.NDArray[np.bool_]]:
    """The estimation frame of one crop, and whose covariates had to be filled."""
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
    return frame, is_filled


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
