"""Net cultivation after verified eradication."""

import math
from datetime import date

import pytest

from survey.errors import EstimationError
from survey.estimation import Eradication, net_of_eradication, range_only
from survey.types import Estimate, EstimateType

GROSS = Estimate(
    value_ha=120.0,
    se_ha=15.0,
    ci_low_ha=89.0,
    ci_high_ha=160.0,
    df=40.0,
    n_segments=44,
    n_positive=21,
    estimate_type=EstimateType.DIRECT,
    method="expansion_total",
)
SEEN = date(2026, 2, 1)


def gone(hectares, on=date(2026, 2, 20), *, is_verified=True):
    return Eradication(eradicated_ha=hectares, on=on, is_verified=is_verified)


def test_only_verified_and_later_events_are_subtracted():
    events = [gone(10.0), gone(30.0, SEEN), gone(7.0, is_verified=False), gone(2.5)]
    net = net_of_eradication(GROSS, events, image_date=SEEN)
    assert net.value_ha == pytest.approx(107.5)
    assert [net.ci_low_ha, net.ci_high_ha] == pytest.approx([76.5, 147.5])
    assert net.se_ha == 15.0
    assert net.method == "expansion_total_net"
    assert "12.5 ha destroyed" in net.why
    assert "7 ha claimed" in net.why


def test_an_uncertain_eradication_widens_the_interval():
    net = net_of_eradication(GROSS, [gone(10.0)], image_date=SEEN, se_ha=8.0)
    assert net.se_ha == pytest.approx(17.0)
    assert net.ci_high_ha - net.value_ha == pytest.approx(40.0 * 17.0 / 15.0)


def test_more_than_estimated_is_zero_and_more_than_possible_an_error():
    net = net_of_eradication(GROSS, [gone(130.0)], image_date=SEEN)
    assert [net.value_ha, net.ci_low_ha, net.ci_high_ha] == [0.0, 0.0, 30.0]
    assert "shown as 0" in net.why
    with pytest.raises(EstimationError, match="more than the 160 ha that can have stood there"):
        net_of_eradication(GROSS, [gone(161.0)], image_date=SEEN)
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(EstimationError, match="finite and not negative"):
            gone(bad)
    with pytest.raises(EstimationError, match="standard error"):
        net_of_eradication(GROSS, [], image_date=SEEN, se_ha=-1.0)


def test_a_range_stays_a_range():
    net = net_of_eradication(range_only(50.0, 90.0, why="Range."), [gone(10.0)], image_date=SEEN)
    assert math.isnan(net.value_ha)
    assert [net.ci_low_ha, net.ci_high_ha] == [40.0, 80.0]
