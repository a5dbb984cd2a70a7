"""A submission as typed rows: numbers, hectares and kilograms beside what was written.

What was not asked or not answered is missing, never zero. Free text is apart: it never becomes a
column of an analytic table. Codes for withdrawal and names of photos are in none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from survey.areas import AreaUnit, to_hectares
from survey.errors import FormError
from survey.forms.questionnaires import QUESTIONS
from survey.forms.questions import Question, parse_date, parse_number, parse_point
from survey.forms.records import Submission, entry_places, repeat_of
from survey.forms.tombstones import WITHDRAWAL_CODE
from survey.forms.zawgyi import to_unicode

__all__ = ["COLUMNS", "KG_PER_UNIT", "POINT_COLUMNS", "Cell", "typed_rows"]

Cell = str | int | float | None

#: Kilograms of a unit of weight; a viss is 1.63293 kg (UNODC, Myanmar opium surveys). Baskets
#: and bags have no weight of their own.
KG_PER_UNIT: Mapping[str, float] = MappingProxyType({"kg": 1.0, "viss": 1.63293, "tonne": 1000.0})
POINT_COLUMNS = ("longitude", "latitude", "altitude_m", "accuracy_m")

_TABLES = {
    "segment_visit": "segment_visit",
    "farmer_survey": "household",
    "project_baseline": "household",
    "project_follow_up": "household",
    "village_headman": "village",
    "yield_plot": "yield_plot",
    "price_observation": "price",
    "eradication_event": "eradication",
}
_KEYS = ("row_key", "parent_key", "form_id", "form_version")
_FEEDBACK = (*_KEYS, "question", "text", "original_text")
#: Amounts in a unit of weight, with the question that names the unit: per unit, or in units.
_PRICES = {"price": "weight_unit", "price_fresh": "weight_unit", "price_dry": "weight_unit"}
_WEIGHTS = {"harvest_amount": "harvest_unit", "sold_amount": "harvest_unit"}
_KEPT_TEXT = frozenset({"consent_version", "consent_language"})
_LEFT_OUT = frozenset({WITHDRAWAL_CODE, "start", "end"})


def _columns_of(question: Question) -> list[str]:
    name = question.name
    if question.kind == "geopoint":
        return list(POINT_COLUMNS)
    if name.endswith("_area"):
        return [name, f"{name.removesuffix('_area')}_ha"]
    if name in _PRICES:
        return [name, f"{name}_per_kg"]
    if name in _WEIGHTS:
        return [name, f"{name.removesuffix('_amount')}_kg"]
    return [name]


def _is_column(question: Question) -> bool:
    if question.name in _LEFT_OUT or question.kind == "file":
        return False
    return question.kind != "text" or question.name in _KEPT_TEXT


def _table_columns() -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for form_id, questions in QUESTIONS.items():
        for question in filter(_is_column, questions):
            table = question.repeat or _TABLES[form_id]
            columns = found.setdefault(table, dict.fromkeys(_KEYS))
            columns.update(dict.fromkeys(_columns_of(question)))
            if question.repeat and question.name.endswith("_area"):
                columns["area_unit"] = None
    return {table: tuple(columns) for table, columns in found.items()} | {"feedback": _FEEDBACK}


#: Columns of each table, in order.
COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(_table_columns())


def _plans() -> dict[tuple[str, str], list[tuple[Question, list[str], bool]]]:
    """Questions of each form and repeat, the columns they fill, and whether they are text."""
    found: dict[tuple[str, str], list[tuple[Question, list[str], bool]]] = defaultdict(list)
    for form_id, questions in QUESTIONS.items():
        for question in questions:
            is_text = question.kind == "text" and question.name not in _LEFT_OUT
            if _is_column(question):
                plan = (question, _columns_of(question), False)
                found[form_id, question.repeat].append(plan)
            elif is_text:
                found[form_id, question.repeat].append((question, [], True))
    return found


_PLANS = _plans()


def typed_rows(submission: Submission) -> Iterator[tuple[str, dict[str, Cell]]]:
    """The rows of one submission, each with the name of its table.

    `row_key` is the instanceID, or the path of an entry below it (``uuid:1/plot[2]``), the same
    in whatever file and order the submission came. An interview without consent has one row that
    says so.

    Raises
    ------
    FormError
        An answer is not what its question asks; such submissions are never stored.
    """
    agreed = submission.answers.get("consent", "yes") == "yes"
    places: list[tuple[str, str, Mapping[str, str]]] = [("", "", submission.answers)]
    places += [(p.rstrip("/"), repeat_of(p), e) for p, e in entry_places(submission)]
    for path, repeat, answers in places:
        if not agreed and path:
            continue
        key = f"{submission.instance_id}/{path}" if path else submission.instance_id
        row: dict[str, Cell] = {
            "row_key": key,
            "parent_key": key.rpartition("/")[0] if path else "",
            "form_id": submission.form_id,
            "form_version": submission.form_version,
        }
        told = {**submission.answers, **answers} if path else answers
        for question, columns, is_text in _PLANS[submission.form_id, repeat]:
            if not agreed and question.needs:
                continue
            answer = answers.get(question.name, "")
            if is_text:
                if answer:
                    yield "feedback", _text(row, question.name, answer)
            elif answer:
                row |= _cells(question, columns, answer, told)
            elif question.name == "poppy_area" and told.get("grows_poppy") == "no":
                row["poppy_ha"] = 0.0  # who grows none grows zero hectares
        if repeat and "area_unit" in COLUMNS[repeat]:
            row["area_unit"] = submission.answers.get("area_unit", "")
        yield repeat or _TABLES[submission.form_id], row


def _text(row: Mapping[str, Cell], name: str, answer: str) -> dict[str, Cell]:
    read = to_unicode(answer)
    return {
        **{key: row[key] for key in _KEYS},
        "question": name,
        "text": read,
        "original_text": answer if read != answer else "",
    }


def _cells(
    question: Question, columns: Sequence[str], answer: str, told: Mapping[str, str]
) -> dict[str, Cell]:
    if question.kind == "geopoint":
        latitude, longitude, altitude, accuracy = parse_point(answer)
        return dict(zip(columns, (longitude, latitude, altitude, accuracy), strict=True))
    if question.kind == "date":
        return {question.name: parse_date(answer).isoformat()}
    if question.kind not in ("integer", "decimal"):
        return {question.name: answer}
    number = parse_number(answer)
    cells: dict[str, Cell] = {question.name: int(number) if question.kind == "integer" else number}
    if question.name.endswith("_area"):
        unit = told.get("area_unit", "")
        if not unit:
            raise FormError(f"{question.name} has no unit; answer area_unit")
        cells[columns[1]] = to_hectares(number, AreaUnit(unit))
    elif question.name in _PRICES:
        kilograms = KG_PER_UNIT.get(told.get(_PRICES[question.name], ""))
        cells[columns[1]] = None if kilograms is None else number / kilograms
    elif question.name in _WEIGHTS:
        kilograms = KG_PER_UNIT.get(told.get(_WEIGHTS[question.name], ""))
        cells[columns[1]] = None if kilograms is None else number * kilograms
    return cells
