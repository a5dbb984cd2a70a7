"""What people are asked: households, headmen, households of AD projects.

Consent comes first; after a "no" nothing more is asked. No name, no phone number, no position of
a house.
"""

from __future__ import annotations

from survey.forms.answers import (
    SAMPLE_TYPE,
    WEIGHTS,
    YES_NO,
    amount,
    area_unit,
    choice,
    choices,
    code,
    count,
    day,
    point,
    text,
)
from survey.forms.questions import Question

__all__ = ["FARMER_SURVEY", "PROJECT_BASELINE", "PROJECT_FOLLOW_UP", "VILLAGE_HEADMAN"]

_CONSENT = "consent=yes"
_GROWS = "grows_poppy=yes"
_NOW = "poppy_status=now"
_BEFORE = "poppy_status=before"
_OWES = "has_debt=yes"
_HELPED = "received_assistance=yes"

_ASSISTANCE = ("crops", "livestock", "infrastructure", "training", "credit", "other")
_TENURE = ("owned", "customary", "rented", "shared", "other")
_WATER = ("piped", "spring", "well", "river", "rain", "other")
#: Licit crops of alternative development in the region, and the two surveyed ones.
_CROPS = (
    *("upland_rice", "paddy_rice", "maize", "coffee", "tea", "rubber", "fruit", "vegetables"),
    *("beans", "poppy", "cannabis", "other"),
)
_ANIMALS = ("cattle", "buffalo", "pig", "goat", "poultry", "horse", "other")

_HEADER = (
    choice("consent", *YES_NO, is_required=True),
    text("consent_version", is_required=True),
    text("consent_language", is_required=True),
    day("visit_date"),
    code("district_pcode", is_required=True),
    code("village_id", is_required=True),
)
#: On the last screen the respondent is shown the code by which to withdraw; the phone sets the
#: times at which the form was opened and closed. A spreadsheet has neither.
_END = (
    text("remarks", needs=_CONSENT),
    code("withdrawal_code"),
    Question(name="start"),
    Question(name="end"),
)
_DEBT = (
    choice("has_debt", *YES_NO, needs=_CONSENT),
    amount("debt_usd", needs=_OWES),
    choice(
        "debt_source",
        *("trader", "shop", "relative", "village_fund", "bank", "other"),
        needs=_OWES,
    ),
)

FARMER_SURVEY = (
    *_HEADER,
    code("project_id"),
    SAMPLE_TYPE,
    code("observer_code"),
    count("household_size", low=1.0, high=60.0, needs=_CONSENT, is_required=True),
    choice("head_sex", "female", "male", "other", needs=_CONSENT),
    area_unit(needs=_CONSENT),
    amount("land_area", needs=_CONSENT),
    amount("land_upland_area", needs=_CONSENT, at_most="land_area"),
    amount("land_paddy_area", needs=_CONSENT, at_most="land_area"),
    choice("tenure", *_TENURE, needs=_CONSENT),
    amount("plot_area", needs=_CONSENT, repeat="plot"),
    choice("plot_tenure", *_TENURE, needs=_CONSENT, repeat="plot"),
    choice("crop_name", *_CROPS, needs=_CONSENT, repeat="plot_crop"),
    amount("crop_area", needs=_CONSENT, repeat="plot_crop"),
    choice(
        "harvest_unit",
        *WEIGHTS,
        "tonne",
        "basket",
        "bag",
        "other",
        needs=_CONSENT,
        repeat="plot_crop",
    ),
    amount("harvest_amount", needs=_CONSENT, repeat="plot_crop"),
    amount("sold_amount", needs=_CONSENT, repeat="plot_crop", at_most="harvest_amount"),
    amount("sold_income_usd", needs=_CONSENT, repeat="plot_crop"),
    choice("animal", *_ANIMALS, needs=_CONSENT, repeat="livestock"),
    count("n_animals", needs=_CONSENT, repeat="livestock"),
    choice("grows_poppy", *YES_NO, needs=_CONSENT),
    amount("poppy_area", needs=_GROWS),
    count("poppy_years", high=80.0, needs=_GROWS),
    choices("poppy_inputs", "fertiliser", "pesticide", "irrigation", "hired_labour", needs=_GROWS),
    amount("annual_income_usd", needs=_CONSENT),
    amount("opium_income_usd", needs=_CONSENT, at_most="annual_income_usd"),
    amount("crop_income_usd", needs=_CONSENT, at_most="annual_income_usd"),
    amount("livestock_income_usd", needs=_CONSENT, at_most="annual_income_usd"),
    amount("wage_income_usd", needs=_CONSENT, at_most="annual_income_usd"),
    amount("remittance_usd", needs=_CONSENT, at_most="annual_income_usd"),
    *_DEBT,
    count("food_short_months", high=12.0, needs=_CONSENT),
    count("rice_months", high=12.0, needs=_CONSENT),
    count("meals_per_day", high=6.0, needs=_CONSENT),
    choice("market_access", "all_year", "dry_season", "none", needs=_CONSENT),
    choices("preferred_crops", *_CROPS, needs=_CONSENT),
    choice("ad_participation", *YES_NO, needs=_CONSENT),
    count("ad_satisfaction", low=1.0, high=5.0, needs=_CONSENT),
    text("feedback", needs=_CONSENT),
    *_END,
)

VILLAGE_HEADMAN = (
    *_HEADER,
    code("project_id"),
    choice("sample_type", "probability", "convenience"),
    code("observer_code"),
    count("households", low=1.0, needs=_CONSENT, is_required=True),
    count("population", needs=_CONSENT),
    text("ethnic_groups", needs=_CONSENT),
    count("altitude_m", high=5000.0, needs=_CONSENT),
    choice("road_access", "paved", "gravel", "track", "path", needs=_CONSENT),
    amount("road_km", high=500.0, needs=_CONSENT),
    amount("market_km", high=500.0, needs=_CONSENT),
    amount("travel_hours_dry", high=240.0, needs=_CONSENT),
    amount("travel_hours_rainy", high=240.0, needs=_CONSENT),
    choice("electricity", "grid", "hydro", "solar", "generator", "none", needs=_CONSENT),
    choice("water_source", *_WATER, needs=_CONSENT),
    choice("school_level", "none", "primary", "middle", "high", needs=_CONSENT),
    amount("clinic_km", high=500.0, needs=_CONSENT),
    count("security_score", low=1.0, high=5.0, needs=_CONSENT),
    choice("poppy_status", "now", "before", "never", needs=_CONSENT, is_required=True),
    count("households_poppy", needs=_NOW, at_most="households"),
    choice(
        "reason_grow",
        *("income", "debt", "no_market", "no_other_crop", "medicine", "pressure", "other"),
        needs=_NOW,
    ),
    choice(
        "reason_stop",
        *("eradication", "ban", "other_crops", "project", "price", "yield", "other"),
        needs=_BEFORE,
    ),
    area_unit(needs=_CONSENT),
    amount("poppy_area", needs=_NOW),
    amount("eradicated_area", needs=_CONSENT),
    choice(
        "eradicated_by", "authorities", "village", "armed_group", "other", "nobody", needs=_CONSENT
    ),
    amount("price_fresh", needs=_CONSENT),
    amount("price_dry", needs=_CONSENT),
    code("currency", needs=_CONSENT),
    choice("weight_unit", *WEIGHTS, needs=_CONSENT),
    count("opium_users", needs=_CONSENT),
    choices(
        "natural_disaster",
        *("none", "drought", "flood", "frost", "hail", "landslide", "pests"),
        needs=_CONSENT,
    ),
    amount("crop_loss_percent", high=100.0, needs=_CONSENT),
    choices("assistance_type", *_ASSISTANCE, "none", needs=_CONSENT),
    count("assistance_year", low=1970.0, high=2100.0, needs=_CONSENT),
    point("village_point", needs=_CONSENT),
    *_END,
)


def _household(*more: Question, lowest_wave: float, highest_wave: float) -> tuple[Question, ...]:
    """Interview with a household about a project, and what one wave asks beyond the others."""
    return (
        *_HEADER,
        code("project_id", is_required=True),
        SAMPLE_TYPE,
        code("observer_code"),
        choice("village_group", "project", "comparison"),
        count("wave", low=lowest_wave, high=highest_wave),
        # Random; the phone makes it in the baseline, the household keeps it on a card.
        code("household_code", needs="" if highest_wave == 0.0 else _CONSENT),
        count("household_size", low=1.0, high=60.0, needs=_CONSENT, is_required=True),
        choice("head_sex", "female", "male", "other", needs=_CONSENT),
        choice("grows_poppy", *YES_NO, needs=_CONSENT),
        choice("area_unit", "ha", "rai", "acre", "m2", "jerib", needs=_CONSENT),
        amount("poppy_area", needs=_GROWS),
        amount("land_area", needs=_CONSENT),
        choice("tenure", *_TENURE, needs=_CONSENT),
        amount("annual_income_usd", needs=_CONSENT),
        amount("opium_income_usd", needs=_CONSENT, at_most="annual_income_usd"),
        *_DEBT,
        count("food_short_months", high=12.0, needs=_CONSENT),
        choice("market_access", "all_year", "dry_season", "none", needs=_CONSENT),
        count("school_age_children", high=30.0, needs=_CONSENT),
        count("children_in_school", needs=_CONSENT, at_most="school_age_children"),
        choice("water_source", *_WATER, needs=_CONSENT),
        amount("clinic_hours", high=240.0, needs=_CONSENT),
        choice("woman_in_group", *YES_NO, needs=_CONSENT),
        *more,
        *_END,
    )


PROJECT_BASELINE = _household(
    choice("main_need", "road", "water", "market", "credit", "health", "other", needs=_CONSENT),
    lowest_wave=-5.0,  # waves before the baseline show the trend that was there already
    highest_wave=0.0,
)

PROJECT_FOLLOW_UP = _household(
    choice("received_assistance", *YES_NO, needs=_CONSENT, is_required=True),
    choice("assistance_type", *_ASSISTANCE, needs=_HELPED),
    count("assistance_usefulness", low=1.0, high=5.0, needs=_HELPED),
    choice("had_a_say", *YES_NO, needs=_CONSENT),
    choice("replanted_poppy", *YES_NO, needs=_CONSENT),
    choice("would_recommend", *YES_NO, needs=_CONSENT),
    count("ad_satisfaction", low=1.0, high=5.0, needs=_CONSENT),
    text("feedback", needs=_CONSENT),
    lowest_wave=1.0,
    highest_wave=20.0,
)
