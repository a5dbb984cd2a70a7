"""Tables from questionnaires: means and totals of households, yields of fields, prices.

Every figure says how many respondents and villages are behind it, by which method, and when it
was asked. What is no probability sample gets no interval. Cells that would tell of few people are
named with a reason; `protected` empties them.
"""

from survey.aggregates.cells import COLUMNS, Limits, protected
from survey.aggregates.households import HOUSEHOLD_FORMS, household_aggregates
from survey.aggregates.prices import price_aggregates
from survey.aggregates.yields import capsule_volume, yield_aggregates

__all__ = [
    "COLUMNS",
    "HOUSEHOLD_FORMS",
    "Limits",
    "capsule_volume",
    "household_aggregates",
    "price_aggregates",
    "protected",
    "yield_aggregates",
]
