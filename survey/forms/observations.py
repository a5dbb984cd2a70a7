"""What teams see and measure: segments, yield plots, prices, eradication. Nobody is asked."""

from __future__ import annotations

from survey.forms.answers import (
    SAMPLE_TYPE,
    WEIGHTS,
    YES_NO,
    amount,
    area_unit,
    choice,
    code,
    count,
    day,
    photo,
    point,
    text,
)
from survey.forms.questions import Question

__all__ = ["ERADICATION_EVENT", "PRICE_OBSERVATION", "SEGMENT_VISIT", "YIELD_PLOT"]

SEGMENT_VISIT = (
    code("segment_id", is_required=True),
    day("visit_date"),
    code("observer_code", is_required=True),
    Question(name="observed_percent", kind="integer", is_required=True, high=100.0),
    area_unit(),
    amount("poppy_area", is_required=True),
    amount("cannabis_area", is_required=True),
    point("segment_point"),
    text("remarks"),
)

#: Some three squares of 1 m2 along a transect of a plot, 10 to 15 capsules measured in each.
YIELD_PLOT = (
    code("plot_id", is_required=True),
    count("square_no", low=1.0, high=20.0),
    code("segment_id", is_required=True),
    day("visit_date"),
    code("observer_code", is_required=True),
    SAMPLE_TYPE,
    amount("square_area_m2", high=100.0, is_required=True),
    count("n_flower", is_required=True),
    count("n_bud", is_required=True),
    count("n_immature", is_required=True),
    count("n_mature", is_required=True),
    count("n_lanced", is_required=True),
    choice("is_irrigated", *YES_NO),
    text("variety"),
    point("plot_point"),
    photo("plot_photo"),
    amount("height_mm", high=120.0, is_required=True, repeat="capsule"),
    amount("diameter_mm", high=120.0, is_required=True, repeat="capsule"),
    text("remarks"),
)

PRICE_OBSERVATION = (
    day("visit_date"),
    code("district_pcode", is_required=True),
    code("observer_code", is_required=True),
    choice("sample_type", "probability", "convenience"),
    code("village_id"),
    choice(
        "product",
        *("fresh_opium", "dry_opium", "cannabis_herb", "cannabis_resin"),
        is_required=True,
    ),
    choice("seller_type", "farmer", "trader", "other", is_required=True),
    amount("price", is_required=True),
    code("currency", is_required=True),
    choice("weight_unit", *WEIGHTS, is_required=True),
    text("remarks"),
)

ERADICATION_EVENT = (
    day("event_date"),
    code("reported_by", is_required=True),
    code("district_pcode", is_required=True),
    code("village_id"),
    code("segment_id"),
    choice("crop", "poppy", "cannabis", is_required=True),
    choice("method", "manual", "mechanical", "chemical", "other", is_required=True),
    choice(
        "growth_stage",
        *("seedling", "cabbage", "stem", "flower", "capsule", "harvested", "unknown"),
        is_required=True,
    ),
    area_unit(),
    amount("eradicated_area", is_required=True),
    count("n_plots"),
    choice("is_verified", *YES_NO, is_required=True),
    choice("verification_mode", "field", "satellite", needs="is_verified=yes", is_required=True),
    point("event_point"),
    text("remarks"),
)
