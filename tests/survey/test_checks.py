from __future__ import annotations

from datetime import date

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from survey.checks import Check, check_location, check_submissions
from survey.errors import FormError
from survey.forms import Submission

TODAY = date(2026, 2, 10)
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
    "annual_income_usd": "1000",
    "opium_income_usd": "400",
}
DISTRICT = shapely.box(97.0, 20.0, 98.0, 21.0)


def farmer(instance: str, form: str = "farmer_survey", **answers: str) -> Submission:
    return Submission(
        instance_id=instance,
        form_id=form,
        form_version="2026011501",
        answers={**FARMER, **answers},
        source="f",
    )


def checks(*submissions: Submission) -> list[tuple[str, Check]]:
    return [(f.instance_id, f.check) for f in check_submissions(submissions, today=TODAY)]


def test_a_sound_interview_has_no_flag() -> None:
    assert checks(farmer("a")) == []


def test_answers_without_consent_are_flagged() -> None:
    (flag,) = check_submissions([farmer("a", consent="no")], today=TODAY)
    assert flag.check is Check.CONSENT
    assert "withdraw" in str(flag)
    names = ("household_size", "area_unit", "land_area", "annual_income_usd", "opium_income_usd")
    refusal = dict.fromkeys(names, "")
    assert checks(farmer("a", consent="no", **refusal)) == []


@pytest.mark.parametrize(
    ("answers", "check"),
    [
        ({"visit_date": "2026-02-11"}, Check.DATE),
        ({"opium_income_usd": "1001"}, Check.SUM),
        ({"poppy_area": "2.5"}, Check.SUM),
        ({"start": "2026-02-03T10:00:00", "end": "2026-02-03T10:02:00"}, Check.DURATION),
        ({"start": "2026-02-03T10:00:00", "end": "2026-02-03T16:00:00"}, Check.DURATION),
    ],
)
def test_single_checks(answers: dict[str, str], check: Check) -> None:
    assert checks(farmer("a", **answers)) == [("a", check)]


def test_durations_that_cannot_be_compared_are_left_alone() -> None:
    assert checks(farmer("a", start="2026-02-03T10:00:00", end="2026-02-03T10:01:00+07:00")) == []


def test_more_lanced_than_capsules_is_flagged() -> None:
    plot = farmer("a", "yield_plot", n_immature="1", n_mature="2", n_lanced="4")
    assert checks(plot) == [("a", Check.SUM)]


def test_equal_and_nearly_equal_interviews_are_flagged_once() -> None:
    again = farmer("b", start="2026-02-03T10:00:00", end="2026-02-03T10:30:00")
    assert checks(farmer("a"), again) == [("b", Check.DUPLICATE)]
    assert checks(farmer("a"), farmer("b", household_size="6")) == [("b", Check.NEAR_DUPLICATE)]
    assert checks(farmer("a"), farmer("b", household_size="6", land_area="3")) == []


def test_a_slip_of_the_unit_stands_out_in_its_village() -> None:
    village = [
        farmer(f"{i}", land_area=str(2 + i / 10), household_size=str(i + 1)) for i in range(9)
    ]
    slip = farmer("slip", land_area="200", household_size="20", opium_income_usd="")
    assert ("slip", Check.OUTLIER) in checks(*village, slip)
    elsewhere = farmer("slip", land_area="200", village_id="V02", household_size="20")
    assert checks(*village, elsewhere) == []


def test_forms_are_not_mixed() -> None:
    with pytest.raises(FormError, match="one form at a time"):
        check_submissions([farmer("a"), farmer("b", "village_headman")], today=TODAY)


@given(order=st.permutations(range(6)))
def test_order_of_submissions_does_not_matter(order: list[int]) -> None:
    made = [farmer(f"{i}", land_area=str(i % 2), poppy_area=str(i)) for i in range(6)]
    assert checks(*[made[i] for i in order]) == checks(*made)


@pytest.mark.parametrize(
    ("geopoint", "expected"),
    [
        ("20.5 97.5 900 8", []),
        ("20 97 900 8", []),
        ("20.5 97.5 900 80", [Check.GPS]),
        ("20.5 97.5 0 0", [Check.GPS]),
        ("97.5 20.5 900 8", [Check.SWAPPED]),
        ("97.5 20.5 900 80", [Check.GPS, Check.SWAPPED]),
        ("25.5 97.5 900 8", [Check.OUTSIDE]),
        ("0 0 0 8", [Check.OUTSIDE]),
        ("20.5 97.5", [Check.GPS]),
        ("nan 97.5 1 1", [Check.GPS]),
        ("north of the river", [Check.GPS]),
    ],
)
def test_positions(geopoint: str, expected: list[Check]) -> None:
    flags = check_location("a", geopoint, DISTRICT)
    assert [flag.check for flag in flags] == expected
    assert not any("97.5" in str(flag) or "20.5" in str(flag) for flag in flags)
