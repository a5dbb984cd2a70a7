"""Quality labels at and around their limits."""

import math

import pytest

from survey.errors import EstimationError
from survey.estimation import (
    Thresholds,
    reliability_of,
    reliability_of_change,
    reliability_of_figure,
)
from survey.types import Estimate, EstimateType, Reliability


def estimate(value, se, n=20, positive=5, kind=EstimateType.DIRECT):
    return Estimate(
        value_ha=value,
        se_ha=se,
        ci_low_ha=0.0,
        ci_high_ha=1000.0,
        df=10.0,
        n_segments=n,
        n_positive=positive,
        estimate_type=kind,
        method="test",
    )


@pytest.mark.parametrize(
    ("value", "se", "n", "kind", "expected"),
    [
        (100.0, 16.5, 10, EstimateType.DIRECT, Reliability.PUBLISHABLE),
        (100.0, 16.6, 10, EstimateType.ASSISTED, Reliability.INDICATIVE),
        (100.0, 33.3, 10, EstimateType.DIRECT, Reliability.INDICATIVE),
        (100.0, 33.4, 10, EstimateType.DIRECT, Reliability.SUPPRESSED),
        (100.0, 5.0, 9, EstimateType.DIRECT, Reliability.SUPPRESSED),
        (100.0, 5.0, 9, EstimateType.SYNTHETIC, Reliability.INDICATIVE),
        (100.0, 5.0, 20, EstimateType.SMALL_AREA, Reliability.INDICATIVE),
        (100.0, 40.0, 20, EstimateType.SYNTHETIC, Reliability.SUPPRESSED),
        (0.0, 5.0, 20, EstimateType.ASSISTED, Reliability.SUPPRESSED),
        (math.nan, math.nan, 20, EstimateType.STATUS_ONLY, Reliability.STATUS_ONLY),
    ],
)
def test_labels(value, se, n, kind, expected):
    assert reliability_of(estimate(value, se, n, kind=kind)) is expected


def test_not_detected_comes_before_the_count_of_segments():
    assert reliability_of(estimate(0.0, math.nan, 5, 0)) is Reliability.NOT_DETECTED


def test_a_fitted_zero_where_nobody_looked_is_a_status():
    nobody = estimate(0.0, 0.2, 0, 0, kind=EstimateType.SYNTHETIC)
    assert reliability_of(nobody) is Reliability.STATUS_ONLY
    looked = estimate(0.0, 0.2, 3, 0, kind=EstimateType.SYNTHETIC)
    assert reliability_of(looked) is Reliability.NOT_DETECTED


def test_thresholds_are_data():
    strict = Thresholds(publishable_cv=0.05, indicative_cv=0.1)
    assert reliability_of(estimate(100.0, 12.0), strict) is Reliability.SUPPRESSED
    free = Thresholds(model_based_at_most_indicative=False)
    small = estimate(100.0, 12.0, kind=EstimateType.SMALL_AREA)
    assert reliability_of(small, free) is Reliability.PUBLISHABLE
    with pytest.raises(EstimationError, match="not increasing"):
        Thresholds(publishable_cv=0.4, indicative_cv=0.3)


def test_few_positive_segments_are_judged_by_the_interval():
    # Upper arm 45 ha over t(10) = 2.228: 20 ha, a fifth of the value, although the CV is 1%.
    few = Estimate(
        value_ha=100.0,
        se_ha=1.0,
        ci_low_ha=10.0,
        ci_high_ha=145.0,
        df=10.0,
        n_segments=40,
        n_positive=4,
        estimate_type=EstimateType.ASSISTED,
        method="test",
    )
    assert reliability_of(few) is Reliability.INDICATIVE
    assert reliability_of(few, Thresholds(min_positive=3)) is Reliability.PUBLISHABLE
    assert reliability_of(estimate(100.0, 1.0, positive=4)) is Reliability.SUPPRESSED


def test_a_change_is_judged_against_the_larger_season():
    # No change, well measured: a coefficient of variation of the difference would be infinite.
    assert reliability_of_change(1000.0, 1000.0, 100.0, n=30) is Reliability.PUBLISHABLE
    assert reliability_of_change(300.0, 1000.0, 300.0, n=30) is Reliability.INDICATIVE
    assert reliability_of_change(1000.0, 300.0, 400.0, n=30) is Reliability.SUPPRESSED
    assert reliability_of_change(1000.0, 900.0, 10.0, n=9) is Reliability.SUPPRESSED


def test_figures_in_any_unit_have_labels():
    assert reliability_of_figure(0.4, 0.04, n=50) is Reliability.PUBLISHABLE
    assert reliability_of_figure(-0.4, 0.04, n=50) is Reliability.PUBLISHABLE
    assert reliability_of_figure(0.0, 0.04, n=50) is Reliability.SUPPRESSED
    assert reliability_of_figure(0.0, math.nan, n=50, n_positive=0) is Reliability.NOT_DETECTED
    assert reliability_of_figure(0.4, math.nan, n=50) is Reliability.SUPPRESSED
    assert reliability_of_figure(0.4, 0.04, n=math.nan) is Reliability.SUPPRESSED
