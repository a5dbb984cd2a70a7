"""Means by village, against a case done by hand."""

import math

import numpy as np
import pytest

from survey.errors import EstimationError
from survey.estimation import mean_by_cluster


def test_two_villages_by_hand():
    # Cluster totals of (y - 3)/4: (1+3-6)/4 = -0.5 and (3+5-6)/4 = 0.5;
    # variance 2/1 * (0.25 + 0.25) = 1.
    result = mean_by_cluster([1.0, 3.0, 3.0, 5.0], ["a", "a", "b", "b"])
    assert result.value == 3.0
    assert result.se == pytest.approx(1.0)
    assert result.df == 1.0
    assert result.ci_high - 3.0 == pytest.approx(12.706, abs=1e-3)
    assert (result.n, result.n_clusters) == (4, 2)


def test_own_cluster_for_each_respondent_is_the_simple_standard_error():
    values = np.array([2.0, 4.0, 9.0, 1.0])
    result = mean_by_cluster(values, np.arange(4))
    assert result.se == pytest.approx(values.std(ddof=1) / 2.0)


def test_weights_scale_away_and_missing_answers_leave():
    values = [1.0, np.nan, 2.0, 6.0]
    one = mean_by_cluster(values, list("abcd"), [1.0, 1.0, 2.0, 1.0])
    ten = mean_by_cluster(values, list("abcd"), [10.0, 5.0, 20.0, 10.0])
    assert one.value == ten.value == pytest.approx(11.0 / 4.0)
    assert one.se == pytest.approx(ten.se)
    assert one.n == 3


def test_one_village_has_no_interval_and_none_no_mean():
    one = mean_by_cluster([1.0, 2.0], ["a", "a"])
    assert one.value == 1.5
    assert all(math.isnan(v) for v in (one.se, one.ci_low, one.ci_high, one.df))
    none = mean_by_cluster([np.nan], ["a"])
    assert math.isnan(none.value)
    assert (none.n, none.n_clusters) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], ["a"]), "differ in shape"),
        (([1.0], ["a"], [0.0]), "positive"),
        (([np.inf], ["a"]), "finite"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(EstimationError, match=message):
        mean_by_cluster(*arguments)


def test_level_is_a_fraction():
    with pytest.raises(EstimationError, match="level"):
        mean_by_cluster([1.0], ["a"], level=95.0)
