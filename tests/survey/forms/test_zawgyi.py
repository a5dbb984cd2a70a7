from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from myanmar import converter

from survey.forms.zawgyi import is_zawgyi, to_unicode

NAMES = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "admin-golden-triangle"
with_names = pytest.mark.skipif(not NAMES.is_dir(), reason="../shared/data is not here")


def test_a_sentence_in_zawgyi_is_read() -> None:
    # "Myanmar is a country" as it stands in both encodings.
    unicode_text = "မြန်မာနိုင်ငံတော်"
    zawgyi = "ျမန္မာႏိုင္ငံေတာ္"
    assert is_zawgyi(zawgyi)
    assert to_unicode(zawgyi) == unicode_text
    assert to_unicode(unicode_text) == unicode_text


@pytest.mark.parametrize(
    "text", ["", "coffee", "ฝิ่น ๑๒ ไร่", "ຝິ່ນ ໑໒", "ၵႅင်းတုင်", "၁၂.၅", "ကာ", "ပၢင်လူင်"]
)
def test_everything_else_stays_as_it_is(text: str) -> None:
    assert to_unicode(text) == text


def names(content: object) -> list[str]:
    if isinstance(content, dict):
        return [name for value in content.values() for name in names(value)]
    return [content] if isinstance(content, str) else []


@pytest.mark.shared_data
@with_names
@pytest.mark.parametrize("language", ["myn", "shn"])
def test_no_name_of_a_township_is_taken_for_zawgyi(language: str) -> None:
    content = json.loads((NAMES / f"townships_{language}.json").read_text("utf-8"))
    found = names(content)
    assert len(found) >= 55
    assert [name for name in found if to_unicode(name) != name] == []


@pytest.mark.shared_data
@with_names
def test_names_come_back_from_zawgyi_or_are_left_alone() -> None:
    with (NAMES / "mmr_townships_gazetteer.csv").open(encoding="utf-8") as handle:
        cells = {cell for row in csv.reader(handle) for cell in row}
    burmese = {cell for cell in cells if any("\u1000" <= sign <= "\u109f" for sign in cell)}
    assert [name for name in burmese if is_zawgyi(name)] == []
    written = {name: converter.convert(name, "unicode", "zawgyi") for name in burmese}
    differing = {name: zawgyi for name, zawgyi in written.items() if zawgyi != name}
    detected = {name: to_unicode(z) for name, z in differing.items() if is_zawgyi(z)}
    # Single words are the hardest case: nine of ten are recognised, the others stay as they came.
    assert len(detected) / len(differing) > 0.9
    right = sum(name == read for name, read in detected.items())
    assert right / len(detected) > 0.99
