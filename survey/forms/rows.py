"""Submissions to typed rows: hectares for the estimators, households for the indicators."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from survey.areas import AreaUnit, to_hectares
from survey.forms.questions import parse_date, parse_number
from survey.forms.records import Submission
from survey.types import FARMERS, REFERENCE, Crop, Note

__all__ = ["farmer_rows", "segment_visit_rows"]


def segment_visit_rows(
    submissions: Sequence[Submission], crops: Sequence[Crop]
) -> tuple[pd.DataFrame, tuple[Note, ...]]:
    """Reference hectares found in visited segments.

    Where a segment was visited more than once the latest visit counts (then the larger
    instanceID, so that the order of files does not matter), and a note says so.

    Returns
    -------
    table : DataFrame meeting `survey.types.REFERENCE`
        One row per segment and crop, plus visit_date, observer_code, and the original value
        and unit beside the hectares.
    notes : tuple of Note
    """
    latest: dict[str, Submission] = {}
    superseded: set[str] = set()
    for visit in sorted(
        submissions, key=lambda s: (parse_date(s.answers["visit_date"]), s.instance_id)
    ):
        segment = visit.answers["segment_id"]
        if segment in latest:
            superseded.add(segment)
        latest[segment] = visit
    rows = []
    for segment, visit in sorted(latest.items()):
        unit = AreaUnit(visit.answers["area_unit"])
        for crop in crops:
            original = visit.answers[f"{crop.value}_area"]
            rows.append(
                {
                    "segment_id": segment,
                    "crop": crop.value,
                    "reference_ha": to_hectares(parse_number(original), unit),
                    "observed_share": parse_number(visit.answers["observed_percent"]) / 100.0,
                    "instance_id": visit.instance_id,
                    "visit_date": parse_date(visit.answers["visit_date"]),
                    "observer_code": visit.answers["observer_code"],
                    "original_area": original,
                    "original_unit": unit.value,
                }
            )
    notes: tuple[Note, ...] = ()
    if superseded:
        text = f"{len(superseded)} segments were visited again; the latest visit counts"
        notes = (Note(text, tuple(sorted(superseded))),)
    table = pd.DataFrame(rows, columns=[*REFERENCE.columns, *_VISIT_COLUMNS])
    return REFERENCE.check(table, source="segment visits"), notes


_VISIT_COLUMNS = ("visit_date", "observer_code", "original_area", "original_unit")


def farmer_rows(submissions: Sequence[Submission]) -> tuple[pd.DataFrame, tuple[Note, ...]]:
    """Households that agreed to take part.

    Free text never becomes a column. Refusals carry no answers and are only counted.

    Returns
    -------
    table : DataFrame meeting `survey.types.FARMERS`
    notes : tuple of Note
    """
    agreed = [s for s in submissions if s.answers["consent"] == "yes"]
    rows = [_household(submission) for submission in agreed]
    refused = len(submissions) - len(agreed)
    notes = (Note(f"{refused} households did not agree to be interviewed"),) if refused else ()
    table = pd.DataFrame(rows, columns=[*FARMERS.columns, "land_ha"])
    return FARMERS.check(table, source="farmer survey"), notes


def _household(submission: Submission) -> dict[str, object]:
    answers = submission.answers

    def number(name: str) -> float | None:
        return parse_number(answers[name]) if answers.get(name) else None

    def hectares(name: str) -> float | None:
        value = number(name)
        return None if value is None else to_hectares(value, AreaUnit(answers["area_unit"]))

    grows = {"yes": True, "no": False}.get(answers.get("grows_poppy", ""))
    return {
        "instance_id": submission.instance_id,
        "district_pcode": answers["district_pcode"],
        "village_id": answers["village_id"],
        "project_id": answers.get("project_id") or None,
        "sample_type": answers["sample_type"],
        "consent_version": answers["consent_version"],
        "consent_language": answers["consent_language"],
        "visit_date": parse_date(answers["visit_date"]).isoformat(),
        "household_size": number("household_size"),
        "grows_poppy": None if grows is None else float(grows),
        # Who grows none grows zero hectares; who was not asked is unknown.
        "poppy_ha": 0.0 if grows is False else hectares("poppy_area"),
        "annual_income_usd": number("annual_income_usd"),
        "opium_income_usd": number("opium_income_usd"),
        "food_short_months": number("food_short_months"),
        "ad_satisfaction": number("ad_satisfaction"),
        "land_ha": hectares("land_area"),
    }
