from __future__ import annotations

import pandas as pd
import pytest

from survey.forms import Submission, farmer_rows, segment_visit_rows
from survey.types import FARMERS, REFERENCE, Crop

VISIT = {
    "segment_id": "S-1",
    "visit_date": "2026-02-03",
    "observer_code": "T1",
    "observed_percent": "80",
    "area_unit": "rai",
    "poppy_area": "၁.၃",
    "cannabis_area": "0",
    "remarks": "the house of U Ba",
}
FARMER = {
    "consent": "yes",
    "consent_version": "2026-01",
    "consent_language": "my",
    "visit_date": "2026-02-03",
    "district_pcode": "MR0101",
    "village_id": "V01",
    "sample_type": "probability",
    "household_size": "5",
    "area_unit": "acre",
    "land_area": "2",
    "grows_poppy": "yes",
    "poppy_area": "0.5",
    "remarks": "his phone is 0123456",
}


def submission(answers: dict[str, str], instance: str, form: str = "segment_visit") -> Submission:
    return Submission(
        instance_id=instance, form_id=form, form_version="1", answers=answers, source="f.csv"
    )


def test_a_visit_becomes_a_row_per_crop_in_hectares() -> None:
    table, notes = segment_visit_rows([submission(VISIT, "uuid:1")], tuple(Crop))
    assert notes == ()
    assert set(REFERENCE.columns) < set(table.columns)
    poppy = table.set_index("crop").loc["poppy"]
    assert poppy["reference_ha"] == pytest.approx(1.3 * 0.16)  # by hand: 0.208 ha
    assert poppy["observed_share"] == 0.8
    assert (poppy["original_area"], poppy["original_unit"]) == ("၁.၃", "rai")
    assert "remarks" not in table
    assert "U Ba" not in table.to_csv()


def test_the_latest_visit_counts_whatever_the_order() -> None:
    first = submission(VISIT, "uuid:1")
    second = submission({**VISIT, "visit_date": "2026-02-09", "poppy_area": "2"}, "uuid:0")
    for order in ([first, second], [second, first]):
        table, (note,) = segment_visit_rows(order, (Crop.POPPY,))
        assert list(table["instance_id"]) == ["uuid:0"]
        assert note.which == ("S-1",)
        assert "S-1" not in note.text  # the text may be published


def test_refusals_are_counted_and_free_text_stays_behind() -> None:
    agreed = submission(FARMER, "uuid:1", "farmer_survey")
    refused = submission({**FARMER, "consent": "no"}, "uuid:2", "farmer_survey")
    table, (note,) = farmer_rows([agreed, refused])
    assert "1 households did not agree" in note.text
    assert list(table["instance_id"]) == ["uuid:1"]
    assert set(table.columns) == {*FARMERS.columns, "land_ha"}
    assert table["poppy_ha"].iloc[0] == pytest.approx(0.202342821)
    assert "0123456" not in table.to_csv()


def test_not_asked_is_missing_and_not_growing_is_zero() -> None:
    silent = {k: v for k, v in FARMER.items() if k not in ("grows_poppy", "poppy_area")}
    none = {**FARMER, "grows_poppy": "no", "poppy_area": ""}
    table, _ = farmer_rows(
        [
            submission(silent, "uuid:1", "farmer_survey"),
            submission(none, "uuid:2", "farmer_survey"),
        ]
    )
    assert pd.isna(table["poppy_ha"].iloc[0])
    assert pd.isna(table["grows_poppy"].iloc[0])
    assert table["poppy_ha"].iloc[1] == 0.0


def test_no_submission_gives_an_empty_table_of_the_same_columns() -> None:
    assert set(REFERENCE.columns) < set(segment_visit_rows([], tuple(Crop))[0].columns)
    assert farmer_rows([])[0].empty
