from __future__ import annotations

import functools
from pathlib import Path

import openpyxl
import pytest
from defusedxml.ElementTree import fromstring
from pyxform.errors import PyXFormError
from pyxform.xls2xform import convert

from survey.errors import FormError
from survey.forms import form_ids, form_path, xform_xml
from survey.forms.questionnaires import QUESTIONS, VERSIONS

LANGUAGES = ("English (en)", "Burmese (my)", "Lao (lo)", "Thai (th)")
SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "xlsforms"
ASKED = (
    *("text", "integer", "decimal", "date", "select_one", "select_multiple", "geopoint", "image"),
    *("start", "end"),
)
BY_PHONE = ("withdrawal_code", "household_code")


@functools.cache
def sheet(form_id: str, name: str) -> list[dict[str, object]]:
    rows = openpyxl.load_workbook(form_path(form_id))[name].iter_rows(values_only=True)
    header = [str(cell) for cell in next(rows)]
    return [dict(zip(header, row, strict=True)) for row in rows]


def asked(form_id: str) -> list[dict[str, object]]:
    return [
        row
        for row in sheet(form_id, "survey")
        if str(row["type"] or "-").split()[0] in ASKED or row["name"] in BY_PHONE
    ]


def test_an_unknown_form_is_told_with_those_there_are() -> None:
    with pytest.raises(FormError, match="segment_visit"):
        form_path("census")


@pytest.mark.parametrize("form_id", form_ids())
def test_forms_convert_without_warnings(form_id: str) -> None:
    made = convert(str(form_path(form_id)), validate=False)
    # Columns of three languages stand empty until they are translated.
    assert [w for w in made.warnings if "missing" not in w and "language" not in w.lower()] == []
    root = fromstring(xform_xml(form_id))
    xml = xform_xml(form_id)
    assert f'id="{form_id}"' in xml
    assert f'version="{max(VERSIONS[form_id])}"' in xml
    assert root.tag.endswith("html")


@pytest.mark.parametrize("form_id", form_ids())
def test_checks_on_arrival_know_every_question(form_id: str) -> None:
    on_phone = [str(row["name"]) for row in asked(form_id)]
    assert on_phone == [question.name for question in QUESTIONS[form_id]]
    needed = {str(row["name"]) for row in asked(form_id) if row["required"] == "yes"}
    # A spreadsheet may leave out what a phone insists on, never the other way round.
    assert {q.name for q in QUESTIONS[form_id] if q.is_required} <= needed


@pytest.mark.parametrize("form_id", form_ids())
def test_the_phone_refuses_what_the_import_would_refuse(form_id: str) -> None:
    limited = {
        q.name
        for q in QUESTIONS[form_id]
        if q.kind in ("integer", "decimal", "code", "date") and q.name not in BY_PHONE
    }
    assert limited <= {str(row["name"]) for row in asked(form_id) if row["constraint"]}


@pytest.mark.parametrize("form_id", form_ids())
def test_options_are_those_of_the_checks(form_id: str) -> None:
    lists: dict[str, set[str]] = {}
    for row in sheet(form_id, "choices"):
        if row["list_name"]:
            lists.setdefault(str(row["list_name"]), set()).add(str(row["name"]))
    kinds = {str(row["name"]): str(row["type"]) for row in asked(form_id)}
    for question in QUESTIONS[form_id]:
        if question.kind in ("choice", "choices"):
            assert lists[kinds[question.name].split()[1]] == set(question.choices)


@pytest.mark.parametrize("form_id", form_ids())
def test_english_is_complete_and_other_languages_stand_empty(form_id: str) -> None:
    for name in ("survey", "choices"):
        for row in sheet(form_id, name):
            if not any(row.values()) or str(row.get("type", "")).startswith(
                ("calculate", "start", "end", "deviceid")
            ):
                continue
            english, *others = (row[f"label::{language}"] for language in LANGUAGES)
            assert english, row
            assert not any(others), row
            if row.get("constraint"):
                assert row["constraint_message::English (en)"], row


@pytest.mark.parametrize("form_id", form_ids())
def test_no_sum_can_show_nan(form_id: str) -> None:
    for row in sheet(form_id, "survey"):
        calculation = str(row.get("calculation") or "")
        if " - " in calculation or " + " in calculation or " * " in calculation:
            assert calculation.count("${") == calculation.count("coalesce("), row


INTERVIEWS = ["farmer_survey", "project_baseline", "project_follow_up", "village_headman"]


@pytest.mark.parametrize("form_id", INTERVIEWS)
def test_consent_comes_first_and_the_last_screen_shows_the_code_to_withdraw(form_id: str) -> None:
    names = [question.name for question in QUESTIONS[form_id]]
    assert names[:3] == ["consent", "consent_version", "consent_language"]
    *_, code, note, start, end = sheet(form_id, "survey")
    assert (code["name"], start["type"], end["type"]) == ("withdrawal_code", "start", "end")
    # Computed when the form is opened for the first time, and never again.
    assert code["default"]
    assert not code["calculation"]
    assert note["type"] == "note"
    assert "${withdrawal_code}" in str(note["label::English (en)"])


def test_forms_in_which_somebody_is_asked_are_those_with_consent() -> None:
    with_consent = {f for f, qs in QUESTIONS.items() if any(q.name == "consent" for q in qs)}
    assert with_consent == set(INTERVIEWS)


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data/xlsforms is not here")
@pytest.mark.filterwarnings("ignore:Unknown extension:UserWarning")  # Excel's own extras
@pytest.mark.parametrize(
    "name", [path.name for path in sorted(SHARED.glob("*.xls*"))] if SHARED.is_dir() else []
)
def test_forms_of_other_projects_convert_or_are_refused_as_stated(name: str) -> None:
    if name == "duplicate_columns.xlsx":
        with pytest.raises(PyXFormError, match="Duplicate column header: label"):
            convert(str(SHARED / name), validate=False)
    else:
        assert "<h:html" in convert(str(SHARED / name), validate=False).xform
