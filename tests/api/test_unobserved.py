"""Unobserved is not absent: what clouds hid stays in the frame, is counted and is published."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from api.pipeline import read_inputs, segment_frame
from api.pipeline.estimates import estimate_crops
from api.pipeline.inputs import Inputs
from survey.districts import estimates_table, published_estimates, unobserved_shares
from survey.estimation import DomainEstimate, Thresholds
from survey.rounds import Round, read_round
from survey.types import Crop, Reliability

pytestmark = pytest.mark.xdist_group("pipeline")
CLOUDED = "MR0104"


@pytest.fixture(scope="module")
def season(finished) -> tuple[Round, Inputs, pd.DataFrame]:
    prepared, result = finished
    declared = read_round(prepared.survey)
    inputs = read_inputs(declared)
    return declared, inputs, pd.read_csv(result.folder / "restricted" / "segment_map.csv")


def hide(segment_map: pd.DataFrame, segments: np.ndarray) -> pd.DataFrame:
    """The table as it is where clouds hid whole segments all season."""
    hidden = segment_map.copy()
    gone = hidden["segment_id"].isin(segments)
    land = hidden["observed_ha"] + hidden["unobserved_ha"]
    hidden.loc[gone, ["map_ha", "observed_ha"]] = 0.0
    hidden.loc[gone, "unobserved_ha"] = land[gone]
    return hidden


def poppy(
    season: tuple[Round, Inputs, pd.DataFrame], segment_map: pd.DataFrame, folder: Path
) -> dict[str, DomainEstimate]:
    declared, inputs, _ = season
    shares = unobserved_shares(inputs.frame, segment_map)
    estimates, _ = estimate_crops(declared, inputs, segment_map, shares, folder)
    return {each.domain_id: each for each in estimates[Crop.POPPY]}


def test_hidden_segments_carry_their_stratums_density_and_a_flag(season, tmp_path: Path) -> None:
    declared, inputs, segment_map = season
    frame_table = inputs.frame
    rng = np.random.default_rng(4)
    gone = rng.choice(frame_table["segment_id"].to_numpy(), len(frame_table) // 3, replace=False)
    hidden = hide(segment_map, gone)
    frame, is_filled = segment_frame(frame_table, hidden, Crop.POPPY)
    assert set(gone) <= set(frame.segment_id[is_filled])
    mapped = hidden[hidden["crop"] == "poppy"].set_index("segment_id").loc[frame.segment_id]
    for stratum in np.unique(frame.stratum):
        inside = frame.stratum == stratum
        seen = mapped[inside]
        density = seen["map_ha"].sum() / seen["observed_ha"].sum()
        whole = inside & np.isin(frame.segment_id, gone)
        assert frame.covariate_ha is not None
        np.testing.assert_allclose(
            frame.covariate_ha[whole], density * mapped["unobserved_ha"].to_numpy()[whole]
        )
    shares = unobserved_shares(frame_table, hidden)
    _, notes = estimate_crops(declared, inputs, hidden, shares, tmp_path)
    (note,) = [each for each in notes if each.text.startswith("poppy")]
    assert str(int(is_filled.sum())) in note.text
    assert set(gone) <= set(note.which)


def test_the_total_does_not_shrink_with_what_was_seen(season, tmp_path: Path) -> None:
    _, inputs, segment_map = season
    before = poppy(season, segment_map, tmp_path)
    rng = np.random.default_rng(9)
    ids = inputs.frame["segment_id"].to_numpy()
    gone = rng.choice(ids, len(ids) // 3, replace=False)
    after = poppy(season, hide(segment_map, gone), tmp_path)
    for code in ("MR01", "MR02", "country"):
        old, new = before[code].estimate, after[code].estimate
        # A third taken for zero would pull the total down by a third of it.
        assert new.value_ha > 0.85 * old.value_ha
        assert new.value_ha == pytest.approx(old.value_ha, abs=2.0 * old.se_ha)


def test_a_district_under_cloud_is_status_only_and_says_how_much(season, tmp_path: Path) -> None:
    declared, inputs, segment_map = season
    frame = inputs.frame
    district = frame.loc[frame["district_pcode"] == CLOUDED, "segment_id"].to_numpy()
    hidden = hide(segment_map, district)
    shares = unobserved_shares(frame, hidden)
    assert shares[CLOUDED] == 1.0
    assert 0.0 < shares["MR01"] < 1.0
    assert shares["MR02"] == unobserved_shares(frame, segment_map)["MR02"]
    estimates, _ = estimate_crops(declared, inputs, hidden, shares, tmp_path)
    table = estimates_table(
        estimates,
        harvest_year=2026,
        thresholds=Thresholds(),
        method_version=dict.fromkeys(estimates, "test"),
    )
    published = published_estimates(
        table,
        inputs.districts,
        frame,
        unobserved=shares,
        min_risk_ha=0.0,
        min_frame_segments=1,
        release_date=declared.survey.release_date,
        today=date(2026, 7, 1),
    )
    rows = published[published["crop"] == "poppy"].set_index("domain_id")
    row = rows.loc[CLOUDED]
    assert row["reliability"] == Reliability.STATUS_ONLY.value
    assert np.isnan(row["value_ha"])
    assert row["unobserved_share"] == 1.0
    assert "could not be observed" in row["why"]
    # The province keeps its land, and so its total.
    whole = poppy(season, segment_map, tmp_path)["MR01"].estimate
    assert rows.loc["MR01", "value_ha"] == pytest.approx(whole.value_ha, abs=2.0 * whole.se_ha)


def test_a_visit_that_saw_half_counts_half(season) -> None:
    """Observed hectares over observed land; seen not at all is non-response, not zero."""
    from api.pipeline.estimates import reference_sample

    _, inputs, segment_map = season
    frame, _ = segment_frame(inputs.frame, segment_map, Crop.POPPY)
    reference = inputs.reference.copy()
    whole = reference_sample(frame, reference, Crop.POPPY)
    rows = reference.index[(reference["crop"] == "poppy") & (reference["reference_ha"] > 0.0)]
    reference.loc[rows[0], ["reference_ha", "observed_share"]] *= 0.5
    reference.loc[rows[1], ["reference_ha", "observed_share"]] = 0.0
    half = reference_sample(frame, reference, Crop.POPPY)
    assert half.n_nonresponse == whole.n_nonresponse + 1
    lost = reference.loc[rows[1], "segment_id"]
    kept = frame.segment_id[whole.index] != lost
    np.testing.assert_allclose(half.y_ha, whole.y_ha[kept])
    assert lost not in frame.segment_id[half.index]
