"""What each form asks, as far as answers are checked when they arrive.

The XLSForm guides a phone; a spreadsheet never saw it. So the same limits stand here, and a
test keeps both lists of questions equal.
"""

from __future__ import annotations

from collections.abc import Mapping

from survey.areas import AreaUnit
from survey.forms.questions import Question

__all__ = ["QUESTIONS", "VERSIONS", "repeats_of"]

_UNITS = tuple(unit.value for unit in AreaUnit)
_YES_NO = ("yes", "no")
_CONSENT = "consent=yes"
_GROWS = "grows_poppy=yes"
_STANDING = "poppy_status=now"
_SAMPLE_TYPES = ("probability", "convenience")
# Survey reports give weights in kilograms and, in Myanmar, viss (1.63293 kg). No joi: its
# weight differs between markets, so a price per joi could not be converted.
_WEIGHTS = ("kg", "viss")


def _household(*more: Question) -> tuple[Question, ...]:
    """Interview with a household about a project: consent first, then `more`, remarks last."""
    return (
        *_CONSENTED,
        Question(name="project_id", kind="code", is_required=True),
        Question(name="sample_type", kind="choice", is_required=True, choices=_SAMPLE_TYPES),
        _count("household_size", low=1.0, high=60.0, needs=_CONSENT, is_required=True),
        _choice("grows_poppy", *_YES_NO, needs=_CONSENT),
        _amount("annual_income_usd", needs=_CONSENT),
        _amount("opium_income_usd", needs=_CONSENT),
        _count("food_short_months", high=12.0, needs=_CONSENT),
        _choice("market_access", "all_year", "dry_season", "none", needs=_CONSENT),
        *more,
        Question(name="remarks", needs=_CONSENT),
        *_CLOCK,
    )


def _choice(name: str, *choices: str, needs: str = "", is_required: bool = False) -> Question:
    return Question(
        name=name, kind="choice", choices=choices, needs=needs, is_required=is_required
    )


def _amount(
    name: str,
    *,
    high: float = float("inf"),
    needs: str = "",
    is_required: bool = False,
    repeat: str = "",
) -> Question:
    return Question(
        name=name, kind="decimal", high=high, needs=needs, is_required=is_required, repeat=repeat
    )


def _count(
    name: str,
    *,
    low: float = 0.0,
    high: float = float("inf"),
    needs: str = "",
    is_required: bool = False,
) -> Question:
    return Question(
        name=name, kind="integer", low=low, high=high, needs=needs, is_required=is_required
    )


# Times at which the phone opened and closed the form; a spreadsheet has none.
_CLOCK = (Question(name="start"), Question(name="end"))
_CONSENTED = (
    _choice("consent", *_YES_NO, is_required=True),
    Question(name="consent_version", is_required=True),
    Question(name="consent_language", is_required=True),
    Question(name="visit_date", kind="date", is_required=True),
    Question(name="district_pcode", kind="code", is_required=True),
    Question(name="village_id", kind="code", is_required=True),
)

QUESTIONS: Mapping[str, tuple[Question, ...]] = {
    "segment_visit": (
        Question(name="segment_id", kind="code", is_required=True),
        Question(name="visit_date", kind="date", is_required=True),
        Question(name="observer_code", kind="code", is_required=True),
        Question(name="observed_percent", kind="integer", is_required=True, high=100.0),
        Question(name="area_unit", kind="choice", is_required=True, choices=_UNITS),
        Question(name="poppy_area", kind="decimal", is_required=True),
        Question(name="cannabis_area", kind="decimal", is_required=True),
        Question(name="remarks"),
    ),
    "farmer_survey": (
        Question(name="consent", kind="choice", is_required=True, choices=_YES_NO),
        Question(name="consent_version", is_required=True),
        Question(name="consent_language", is_required=True),
        Question(name="visit_date", kind="date", is_required=True),
        Question(name="district_pcode", kind="code", is_required=True),
        Question(name="village_id", kind="code", is_required=True),
        Question(name="project_id", kind="code"),
        Question(
            name="sample_type",
            kind="choice",
            is_required=True,
            choices=("probability", "convenience"),
        ),
        Question(
            name="household_size",
            kind="integer",
            is_required=True,
            low=1.0,
            high=60.0,
            needs=_CONSENT,
        ),
        Question(
            name="area_unit", kind="choice", is_required=True, choices=_UNITS, needs=_CONSENT
        ),
        Question(name="land_area", kind="decimal", needs=_CONSENT),
        Question(name="grows_poppy", kind="choice", choices=_YES_NO, needs=_CONSENT),
        Question(name="poppy_area", kind="decimal", needs=_GROWS),
        Question(name="annual_income_usd", kind="decimal", needs=_CONSENT),
        Question(name="opium_income_usd", kind="decimal", needs=_CONSENT),
        Question(name="food_short_months", kind="integer", high=12.0, needs=_CONSENT),
        Question(name="ad_satisfaction", kind="integer", low=1.0, high=5.0, needs=_CONSENT),
        Question(name="remarks", needs=_CONSENT),
        *_CLOCK,
    ),
    "village_headman": (
        *_CONSENTED,
        _count("households", low=1.0, needs=_CONSENT, is_required=True),
        _count("population", needs=_CONSENT),
        _count("altitude_m", high=5000.0, needs=_CONSENT),
        _choice("road_access", "paved", "gravel", "track", "path", needs=_CONSENT),
        _amount("market_km", high=500.0, needs=_CONSENT),
        _choice("poppy_status", "now", "before", "never", needs=_CONSENT, is_required=True),
        _count("households_poppy", needs=_STANDING),
        _choice("area_unit", *_UNITS, needs=_CONSENT, is_required=True),
        _amount("poppy_area", needs=_STANDING),
        _amount("eradicated_area", needs=_CONSENT),
        _count("opium_users", needs=_CONSENT),
        _amount("crop_loss_percent", high=100.0, needs=_CONSENT),
        Question(name="village_point", kind="geopoint", needs=_CONSENT),
        Question(name="remarks", needs=_CONSENT),
        *_CLOCK,
    ),
    "yield_plot": (
        Question(name="plot_id", kind="code", is_required=True),
        Question(name="segment_id", kind="code", is_required=True),
        Question(name="visit_date", kind="date", is_required=True),
        Question(name="observer_code", kind="code", is_required=True),
        _choice("sample_type", *_SAMPLE_TYPES, is_required=True),
        _amount("plot_area_m2", high=100.0, is_required=True),
        _count("n_flower", is_required=True),
        _count("n_bud", is_required=True),
        _count("n_immature", is_required=True),
        _count("n_mature", is_required=True),
        _count("n_lanced", is_required=True),
        _choice("is_irrigated", *_YES_NO),
        _amount("height_mm", high=120.0, is_required=True, repeat="capsule"),
        _amount("diameter_mm", high=120.0, is_required=True, repeat="capsule"),
        Question(name="remarks"),
    ),
    "price_observation": (
        Question(name="visit_date", kind="date", is_required=True),
        Question(name="district_pcode", kind="code", is_required=True),
        Question(name="observer_code", kind="code", is_required=True),
        _choice(
            "product",
            "fresh_opium",
            "dry_opium",
            "cannabis_herb",
            "cannabis_resin",
            is_required=True,
        ),
        _choice("seller_type", "farmer", "trader", "other", is_required=True),
        _amount("price", is_required=True),
        Question(name="currency", kind="code", is_required=True),
        _choice("weight_unit", *_WEIGHTS, is_required=True),
        Question(name="remarks"),
    ),
    "eradication_event": (
        Question(name="event_date", kind="date", is_required=True),
        Question(name="reported_by", kind="code", is_required=True),
        Question(name="district_pcode", kind="code", is_required=True),
        _choice("crop", "poppy", "cannabis", is_required=True),
        _choice("method", "manual", "mechanical", "chemical", "other", is_required=True),
        _choice(
            "growth_stage",
            "seedling",
            "cabbage",
            "stem",
            "flower",
            "capsule",
            "harvested",
            "unknown",
            is_required=True,
        ),
        _choice("area_unit", *_UNITS, is_required=True),
        _amount("eradicated_area", is_required=True),
        _choice("is_verified", *_YES_NO, is_required=True),
        _choice(
            "verification_mode", "field", "satellite", needs="is_verified=yes", is_required=True
        ),
        Question(name="remarks"),
    ),
    "project_baseline": _household(
        _choice(
            "main_need", "road", "water", "market", "credit", "health", "other", needs=_CONSENT
        ),
    ),
    "project_follow_up": _household(
        _choice("received_assistance", *_YES_NO, needs=_CONSENT, is_required=True),
        _choice(
            "assistance_type",
            "crops",
            "livestock",
            "infrastructure",
            "training",
            "credit",
            "other",
            needs="received_assistance=yes",
        ),
        _count("ad_satisfaction", low=1.0, high=5.0, needs=_CONSENT),
        Question(name="feedback", needs=_CONSENT),
    ),
}

VERSIONS: Mapping[str, frozenset[str]] = {
    form_id: frozenset({"2026011501"}) for form_id in QUESTIONS
}


def repeats_of(form_id: str) -> frozenset[str]:
    """Names of the groups of a form that are filled several times."""
    return frozenset(q.repeat for q in QUESTIONS.get(form_id, ()) if q.repeat)
