from __future__ import annotations

import json
from pathlib import Path

import pytest

from survey.errors import FormError
from survey.forms import flatten_repeats

SAFI = (
    Path(__file__).resolve().parents[3].parent
    / "shared"
    / "data"
    / "safi-household-survey"
    / "SAFI.json"
)
INTERVIEW = {
    "instanceID": "uuid:1",
    "place": {"ward": "w1"},
    "needs": ["road", "water"],
    "plots": [
        {"area": 0.5, "crops": [{"name": "maize"}, {"name": "beans"}]},
        {"area": 1.0, "crops": []},
    ],
}


def test_repeats_in_repeats_become_tables_with_keys() -> None:
    tables = flatten_repeats([INTERVIEW])
    assert set(tables) == {"", "plots", "plots/crops"}
    (interview,) = tables[""].to_dict("records")
    assert (interview["place/ward"], interview["needs"]) == ("w1", "road water")
    assert list(tables["plots"]["row_key"]) == ["uuid:1/plots[1]", "uuid:1/plots[2]"]
    crops = tables["plots/crops"]
    assert list(crops["row_key"]) == ["uuid:1/plots[1]/crops[1]", "uuid:1/plots[1]/crops[2]"]
    assert set(crops["parent_key"]) == {"uuid:1/plots[1]"}


def test_records_without_or_with_the_same_identifier_are_refused() -> None:
    with pytest.raises(FormError, match="record 1 has no instanceID"):
        flatten_repeats([{"a": 1}])
    with pytest.raises(FormError, match="occurs twice"):
        flatten_repeats([INTERVIEW, INTERVIEW])


@pytest.mark.shared_data
@pytest.mark.skipif(not SAFI.is_file(), reason="../shared/data/safi-household-survey is not here")
def test_real_interviews_keep_every_plot_and_crop() -> None:
    records = json.loads(SAFI.read_text("utf-8"))
    tables = flatten_repeats(records)
    plots, crops = tables["D_plots"], tables["D_plots/D_crops"]
    assert (len(tables[""]), len(plots), len(crops)) == (131, 292, 373)
    for table, parents in ((plots, tables[""]), (crops, plots)):
        assert table["row_key"].is_unique
        assert set(table["parent_key"]) <= set(parents["row_key"])
    again = flatten_repeats(records[::-1])
    assert set(again["D_plots/D_crops"]["row_key"]) == set(crops["row_key"])
