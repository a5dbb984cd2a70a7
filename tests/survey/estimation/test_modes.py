"""Ranges, minima, censuses, field checks and interpreters, by hand."""

import math

import numpy as np
import pytest

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation import reliability_of
from survey.estimation.modes import (
    census_with_omission,
    detected_minimum,
    field_checked_area,
    range_only,
    with_interpreter_variance,
)
from survey.types import Estimate, EstimateType, Reliability


def test_a_range_has_no_point():
    estimate = range_only(9000.0, 29000.0, why="published as a range")
    assert math.isnan(estimate.value_ha)
    assert (estimate.ci_low_ha, estimate.ci_high_ha) == (9000.0, 29000.0)
    assert reliability_of(estimate) is Reliability.STATUS_ONLY
    for low, high in ((2.0, 1.0), (-1.0, 1.0), (math.nan, 1.0)):
        with pytest.raises(EstimationError, match="range"):
            range_only(low, high, why="")


def test_a_detected_minimum_is_never_an_estimate():
    estimate = detected_minimum([0.4, 0.0, 1.1])
    assert estimate.ci_low_ha == pytest.approx(1.5)
    assert math.isnan(estimate.value_ha)
    assert math.isnan(estimate.ci_high_ha)
    assert (estimate.n_segments, estimate.n_positive) == (3, 2)
    assert reliability_of(estimate) is Reliability.STATUS_ONLY
    with pytest.raises(EstimationError, match="finite"):
        detected_minimum([math.nan])


def test_census_adjusted_by_check_segments():
    # R = 22/20; residuals 0, -1, 1, 0: s2 = 2/3; se = 250 * sqrt(s2 / 4) / 5.
    estimate = census_with_omission(250.0, [10.0, 10.0, 0.0, 0.0], [11.0, 10.0, 1.0, 0.0])
    assert estimate.value_ha == pytest.approx(275.0)
    assert estimate.se_ha == pytest.approx(250.0 * math.sqrt(2.0 / 3.0 / 4.0) / 5.0)
    whole = census_with_omission(250.0, [10.0, 10.0], [11.0, 10.0], n_frame=2)
    assert whole.se_ha == 0.0
    with pytest.raises(TooFewUnitsError, match="omission"):
        census_with_omission(250.0, [0.0, 0.0], [1.0, 0.0])
    with pytest.raises(EstimationError, match="each check segment"):
        census_with_omission(250.0, [0.0, 0.0], [1.0])
    with pytest.raises(EstimationError, match="finite"):
        census_with_omission(250.0, [1.0, math.nan], [1.0, 0.0])


def test_field_checks_correct_both_kinds_of_error():
    # 80% of called land and 1% of the rest is crop: 80 + 9 of 1000 ha.
    estimate = field_checked_area(100.0, 900.0, [[40, 10], [1, 99]])
    assert estimate.value_ha == pytest.approx(89.0)
    assert estimate.method == "field_checked_area"
    with pytest.raises(EstimationError, match="2 x 2"):
        field_checked_area(1.0, 1.0, [[1, 2, 3], [1, 2, 3]])


def base(**changes):
    values = {
        "value_ha": 100.0,
        "se_ha": 6.0,
        "ci_low_ha": 88.0,
        "ci_high_ha": 115.0,
        "df": 30.0,
        "n_segments": 40,
        "n_positive": 20,
        "estimate_type": EstimateType.DIRECT,
        "method": "expansion_total",
    }
    return Estimate(**(values | changes))


def test_interpreters_disagreement_enters_the_error():
    # Totals 92 and 108: s2 = 128, of the mean 64; se = sqrt(36 + 64) = 10.
    estimate = with_interpreter_variance(base(), [92.0, 108.0])
    assert estimate.se_ha == pytest.approx(10.0)
    assert estimate.df < 30.0
    assert estimate.ci_high_ha - 100.0 > 15.0 * 10.0 / 6.0
    assert "2 interpreters" in estimate.why
    assert with_interpreter_variance(base(), [100.0, 100.0]) == base()
    with pytest.raises(TooFewUnitsError, match="two interpreters"):
        with_interpreter_variance(base(), [100.0])
    with pytest.raises(EstimationError, match="no standard error"):
        with_interpreter_variance(base(se_ha=math.nan), [90.0, 100.0])


def test_wide_disagreement_never_makes_hectares_negative():
    assert with_interpreter_variance(base(), np.array([10.0, 190.0])).ci_low_ha == 0.0
