from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from survey.errors import ConfigError
from survey.forms import SubmissionStore, parse_submissions, read_mapping, segment_visit_rows
from survey.types import Crop

NOW = datetime(2026, 2, 4, tzinfo=UTC)
MAPPING = """
form_id = "segment_visit"
identity = ["segment_id", "visit_date", "observer_code"]
[columns]
segment_id = "Segment no."
visit_date = "Day"
observer_code = "Team"
observed_percent = "Seen %"
poppy_area = "Poppy (rai)"
cannabis_area = "Cannabis (rai)"
[constants]
area_unit = "rai"
[values.cannabis_area]
"none" = "0"
"""
TABLE = (
    b"Segment no.;Day;Team;Seen %;Poppy (rai);Cannabis (rai);Village head\n"
    b"S-1;2026-02-03;T1;80;1.3;none;U Ba\n"
)


def test_a_plain_table_becomes_submissions_once(tmp_path: Path) -> None:
    store = SubmissionStore(tmp_path)
    first = store.import_file("t.csv", TABLE, received_at=NOW, mapping=MAPPING)
    again = store.import_file("t.csv", TABLE, received_at=NOW, mapping=MAPPING)
    assert (first.problems, first.n_new, again.n_known) == ((), 1, 1)
    kept = store.submissions("segment_visit")
    table, _ = segment_visit_rows(kept, (Crop.POPPY, Crop.CANNABIS))
    assert list(table["reference_ha"]) == pytest.approx([0.208, 0.0])
    assert kept[0].instance_id.startswith("table:")
    assert "U Ba" not in str(kept[0])  # a column that the form does not ask
    corrected = store.import_file(
        "t.csv", TABLE.replace(b";1.3;", b";1.5;"), received_at=NOW, mapping=MAPPING
    )
    assert corrected.n_conflict == 1
    assert len(list((tmp_path / "raw").iterdir())) == 3  # two tables and their mapping


def test_problems_name_the_question_and_missing_headings() -> None:
    how = read_mapping(MAPPING)
    parsed = parse_submissions("t.csv", TABLE.replace(b";1.3;", b";-1;"), mapping=how)
    assert [(p.row, p.field) for p in parsed.problems] == [(1, "poppy_area")]
    (problem,) = parse_submissions("t.csv", TABLE.replace(b"Day", b"Date"), mapping=how).problems
    assert "no column 'Day'" in str(problem)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("form_id = ", "not TOML"),
        ('form_id = "census"', "choose form_id from"),
        ('form_id = "segment_visit"\nnew = 1', "it may have"),
        ('form_id = "segment_visit"\n[columns]\npopy = "x"', "does not ask"),
        ('form_id = "segment_visit"\ncolumns = "x"', "see the example"),
        ('form_id = "segment_visit"\nidentity = "x"', "see the example"),
        ('form_id = "segment_visit"\n[values]\narea_unit = "x"', "a table for each question"),
    ],
)
def test_a_wrong_mapping_is_told(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read_mapping(text)
