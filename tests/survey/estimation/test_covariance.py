"""Many domains at once: the same figures as one at a time, and their covariance."""

import math

import numpy as np
import pytest

from survey.errors import EstimationError
from survey.estimation import (
    Frame,
    Sample,
    domain_totals,
    expansion_total,
    ratio_total,
    regression_total,
)


def survey(seed=0, n=300):
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(n) < 0.6, rng.gamma(1.0, 2.0, n), 0.0)
    frame = Frame(
        segment_id=np.arange(n).astype(str),
        stratum=rng.choice(["a", "b", "c"], n),
        domain=rng.choice(["D1", "D2", "D3", "D4"], n),
        group=np.array(["P"] * n),
        risk_ha=rng.uniform(20.0, 40.0, n),
        covariate_ha=truth + rng.gamma(1.0, 0.3, n),
    )
    rows = rng.choice(n, 120, replace=False)
    return frame, Sample(index=rows, y_ha=truth[rows])


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("expansion", expansion_total),
        ("ratio", ratio_total),
        ("regression", regression_total),
    ],
)
def test_same_as_one_domain_at_a_time(name, function):
    frame, sample = survey()
    totals = domain_totals(frame, sample, estimator=name)
    for k, label in enumerate(totals.domain_id):
        one = function(frame, sample, member=frame.domain == label)
        assert totals.value_ha[k] == pytest.approx(one.value_ha)
        linearised = math.sqrt(totals.covariance_ha2[k, k])
        if name == "regression":
            # A district's own figure carries the pooled error of its strata where that is larger.
            assert linearised <= one.se_ha * (1.0 + 1e-12)
        else:
            assert linearised == pytest.approx(one.se_ha)
        assert totals.n_segments[k] == one.n_segments


def test_sum_over_domains_is_the_country():
    frame, sample = survey()
    for name, function in (("expansion", expansion_total), ("regression", regression_total)):
        value, se = domain_totals(frame, sample, estimator=name).contrast([1, 1, 1, 1])
        whole = function(frame, sample)
        assert value == pytest.approx(whole.value_ha)
        assert se == pytest.approx(whole.se_ha)


def test_unsampled_domain_is_unknown_and_spares_the_others():
    frame, sample = survey()
    keep = frame.domain[sample.index] != "D3"
    totals = domain_totals(
        frame, Sample(index=sample.index[keep], y_ha=sample.y_ha[keep]), estimator="ratio"
    )
    assert np.isnan(totals.value_ha).tolist() == [False, False, True, False]
    assert np.isnan(totals.covariance_ha2[2]).all()
    value, se = totals.contrast([1, -1, 0, 0])
    assert math.isfinite(value)
    assert se > 0.0
    assert math.isnan(totals.contrast([1, 0, 1, 0])[0])


def test_refused():
    frame, sample = survey()
    with pytest.raises(EstimationError, match="unknown"):
        domain_totals(frame, sample, estimator="best")
    with pytest.raises(EstimationError, match="one code"):
        domain_totals(frame, sample, domain=["D1"])
    with pytest.raises(EstimationError, match="4 domains"):
        domain_totals(frame, sample).contrast([1, 0])
