"""The difference estimator: by hand, and exactly unbiased over every possible sample."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from survey.errors import EstimationError
from survey.estimation import Frame, Sample, difference_total, expansion_total

TRUTH = np.array([4.0, 5.0, 3.5, 6.0, 4.5, 2.0, 3.0, 2.5, 1.5])
MAPPED = np.array([4.5, 4.0, 3.0, 7.0, 4.0, 2.5, 2.0, 2.0, 1.0])
STRATUM = np.array(["A"] * 5 + ["B"] * 4)


def frame_of(covariate: np.ndarray | None = None) -> Frame:
    return Frame(
        segment_id=np.arange(9).astype(str),
        stratum=STRATUM,
        domain=np.array(["d1", "d2", "d1", "d2", "d1", "d1", "d2", "d1", "d2"]),
        group=np.full(9, "P"),
        risk_ha=np.full(9, 25.0),
        covariate_ha=MAPPED if covariate is None else covariate,
    )


def every_sample() -> list[Sample]:
    pairs = product(combinations(range(5), 3), combinations(range(5, 9), 2))
    return [Sample(index=np.array(a + b), y_ha=TRUTH[list(a + b)]) for a, b in pairs]


@pytest.mark.parametrize("domain", [None, "d1"])
def test_the_mean_over_every_possible_sample_is_the_truth(domain: str | None) -> None:
    frame = frame_of()
    member = None if domain is None else frame.domain == domain
    found = [difference_total(frame, sample, member=member) for sample in every_sample()]
    assert len(found) == 60
    truth = TRUTH.sum() if member is None else TRUTH[member].sum()
    values = np.array([estimate.value_ha for estimate in found])
    assert values.mean() == pytest.approx(truth, rel=1e-12)
    if member is None:
        # The mean of the estimated variances is the variance over all samples.
        assert np.mean([e.se_ha**2 for e in found]) == pytest.approx(values.var(), rel=1e-12)


def test_by_hand() -> None:
    sample = Sample(index=np.array([0, 1, 2, 5, 6]), y_ha=TRUTH[[0, 1, 2, 5, 6]])
    found = difference_total(frame_of(), sample)
    # 30 ha mapped; errors -0.5, 1, 0.5 times 5/3 and -0.5, 1 times 2.
    assert found.value_ha == pytest.approx(30.0 + 1.0 * 5 / 3 + 0.5 * 2, abs=1e-12)
    # 25/3 x (1 - 3/5) x 0.5833 + 16/2 x (1 - 2/4) x 1.125
    assert found.se_ha**2 == pytest.approx(25 / 3 * 0.4 * 7 / 12 + 8 * 0.5 * 1.125, rel=1e-12)
    assert found.method == "difference_total"


def test_a_map_that_says_nothing_leaves_the_expansion() -> None:
    sample = every_sample()[7]
    blank = frame_of(np.zeros(9))
    assert difference_total(blank, sample).value_ha == expansion_total(blank, sample).value_ha
    with pytest.raises(EstimationError):
        difference_total(frame_of(np.array([np.nan, *MAPPED[1:]])), sample)
