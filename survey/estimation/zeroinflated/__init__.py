"""District totals where most segments hold nothing: a two-part unit-level model."""

from survey.estimation.zeroinflated.frame import TwoPartFrame, two_part_frame
from survey.estimation.zeroinflated.model import TwoPartFit, TwoPartRule, fit_two_part
from survey.estimation.zeroinflated.totals import TwoPartTotals, two_part_totals

__all__ = [
    "TwoPartFit",
    "TwoPartFrame",
    "TwoPartRule",
    "TwoPartTotals",
    "fit_two_part",
    "two_part_frame",
    "two_part_totals",
]
