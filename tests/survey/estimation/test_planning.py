"""Sample sizes and expected errors, against published and hand-made figures."""

import numpy as np
import pytest

from survey.errors import EstimationError
from survey.estimation import expected_error, sample_size_for_overall


def test_olofsson_2014_section_5():
    # 0.02, 0.015, 0.32 and 0.645 of the map, user's accuracies 0.7, 0.6, 0.9, 0.95, S(O) 0.01.
    mapped = [200_000.0, 150_000.0, 3_200_000.0, 6_450_000.0]
    assert sample_size_for_overall(mapped, [0.7, 0.6, 0.9, 0.95], 0.01) == 641


@pytest.mark.parametrize(
    ("n", "cv"), [((50, 200), 0.32), ((50, 500), 0.21), ((50, 1000), 0.15), ((100, 2000), 0.11)]
)
def test_a_rare_crop_with_a_stratum_of_its_own(n, cv):
    # Crop mapped on 1% of the area, user's accuracy 0.8, 0.2% of the rest is missed.
    plan = expected_error([1.0, 99.0], [0.8, 0.002], n)
    assert plan.cv == pytest.approx(cv, abs=0.005)
    assert plan.share == pytest.approx(0.01 * 0.8 + 0.99 * 0.002)
    assert plan.variance_share.sum() == pytest.approx(1.0)
    if n == (50, 200):
        assert plan.variance_share[1] == pytest.approx(0.97, abs=0.005)


@pytest.mark.parametrize(("n", "cv"), [(3636, 0.165), (893, 0.333)])
def test_a_simple_random_sample_of_a_crop_on_one_percent(n, cv):
    assert expected_error([5.0], [0.01], [n]).cv == pytest.approx(cv, abs=1e-4)


def test_the_expected_error_is_that_of_many_samples():
    rng = np.random.default_rng(1)
    weight, p, n = np.array([0.1, 0.9]), np.array([0.6, 0.05]), np.array([40, 120])
    drawn = rng.binomial(n, p, size=(20_000, 2)) / n @ weight
    # Monte Carlo error of a standard deviation from 20,000 draws: 0.5%.
    assert expected_error(weight, p, n).se == pytest.approx(drawn.std(), rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [1.2], [5]), "expected_share, row 1: 1.2"),
        (([1.0, np.nan], [0.2, 0.1], [5, 5]), "size, row 2: nan"),
        (([1.0], [0.2], [0]), "n, row 1: 0"),
        (([1.0, 2.0], [0.2], [5]), "2 sizes, 1 expected shares"),
        (([1.0], [0.0], [5]), "no error can be foreseen"),
        (([], [], []), "one for each stratum"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(EstimationError, match=message):
        expected_error(*arguments)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(EstimationError, match="1 sizes and 2 accuracies"):
        sample_size_for_overall([1.0], [0.5, 0.5], 0.01)
    with pytest.raises(EstimationError, match="target standard error"):
        sample_size_for_overall([1.0], [0.5], 0.0)
