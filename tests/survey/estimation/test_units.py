"""Frame, sample and covariate: what is refused, and what is made of partly seen segments."""

import numpy as np
import pytest

from survey.errors import DuplicateIdError, EstimationError, TooFewUnitsError
from survey.estimation import Frame, Sample, expansion_total, fill_covariate


def frame(**changes):
    columns = {
        "segment_id": np.array(["a", "b", "c", "d"]),
        "stratum": np.array(["1", "1", "2", "2"]),
        "domain": np.array(["D1", "D2", "D1", "D2"]),
        "group": np.array(["P1"] * 4),
        "risk_ha": np.array([10.0, 20.0, 30.0, 40.0]),
    }
    return Frame(**(columns | changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segment_id": np.array(["a", "a", "c", "d"])}, "occurs 2 times"),
        ({"risk_ha": np.array([1.0, np.nan, 1.0, 1.0])}, "'b': risk_ha is nan"),
        ({"risk_ha": np.array([1.0, -2.0, 1.0, 1.0])}, "'b': risk_ha is -2"),
        ({"stratum": np.array(["1"])}, "stratum has shape"),
        ({"risk_ha": np.array([1.0])}, "risk_ha has shape"),
        ({"covariate_ha": np.array([1.0, np.inf, 1.0, 1.0])}, "covariate_ha is inf"),
        ({"segment_id": np.empty((0,), dtype=str)}, "one row for each"),
    ],
)
def test_frame_refuses(change, message):
    with pytest.raises((EstimationError, DuplicateIdError), match=message):
        frame(**change)


def test_frame_knows_whether_its_covariate_is_complete():
    assert not frame().has_covariate
    assert frame(covariate_ha=np.zeros(4)).has_covariate
    assert not frame(covariate_ha=np.array([1.0, np.nan, 0.0, 0.0])).has_covariate


def test_domain_mask_is_checked():
    with pytest.raises(EstimationError, match="one bool"):
        frame().is_member(np.array([0, 1, 1, 0]))
    with pytest.raises(EstimationError, match="no segment"):
        frame().is_member(np.zeros(4, dtype=bool))


@pytest.mark.parametrize(
    ("index", "y", "message"),
    [
        ([0, 0], [1.0, 1.0], "2 times"),
        ([0, 1], [1.0, np.nan], "y_ha is nan"),
        ([0, 1], [1.0, -1.0], "y_ha is -1"),
        ([0.0, 1.0], [1.0, 1.0], "rows of the frame"),
        ([0, 1], [1.0], "one value for each"),
    ],
)
def test_sample_refuses(index, y, message):
    with pytest.raises((EstimationError, DuplicateIdError), match=message):
        Sample(index=np.array(index), y_ha=np.array(y))


@pytest.mark.parametrize(
    ("index", "y", "message"),
    [([0, 4], [1.0, 1.0], "has 4 rows"), ([0, 1], [11.0, 0.0], "'a': 11.0 ha of crop")],
)
def test_sample_must_fit_the_frame(index, y, message):
    with pytest.raises(EstimationError, match=message):
        Sample(index=np.array(index), y_ha=np.array(y)).check_in(frame())


def test_empty_sample_is_an_error():
    with pytest.raises(TooFewUnitsError, match="empty"):
        expansion_total(frame(), Sample(index=np.array([], dtype=int), y_ha=np.array([])))


def test_partly_seen_segments_are_expanded_and_unseen_ones_leave():
    sample = Sample.from_observed(frame(), [0, 1, 2], [2.0, 3.0, np.nan], [1.0, 0.5, 0.0])
    assert sample.y_ha.tolist() == [2.0, 6.0]
    assert sample.index.tolist() == [0, 1]
    assert sample.n_nonresponse == 1


def test_expansion_stops_at_the_segment():
    sample = Sample.from_observed(frame(), [0], [4.0], [0.1])
    assert sample.y_ha.tolist() == [10.0]


@pytest.mark.parametrize(
    ("index", "found", "share", "message"),
    [
        ([0, 9], [1.0, 1.0], [1.0, 1.0], "has 4 rows"),
        ([0], [1.0], [50.0], "divide percent"),
        ([0], [1.0], [np.nan], "between 0 and 1"),
        ([0], [10.6], [1.0], "check the unit"),
        ([0], [np.nan], [1.0], "y_ha is nan"),
        ([0, 0], [1.0, 1.0], [1.0, 0.0], "2 times"),
        ([0, 1], [1.0], [1.0], "differ in shape"),
    ],
)
def test_observations_refused(index, found, share, message):
    with pytest.raises((EstimationError, DuplicateIdError), match=message):
        Sample.from_observed(frame(), index, found, share)


def test_covariate_is_filled_at_its_strata_density():
    x, filled = fill_covariate(
        [1.0, 0.0, 0.0, 0.0], [10.0, 10.0, 0.0, 0.0], [0.0, 10.0, 30.0, 0.0], list("AABB")
    )
    # Stratum A: 1 ha on 20 ha seen; stratum B was not seen and takes the density of all.
    assert x.tolist() == [1.0, 0.5, 1.5, 0.0]
    assert filled.tolist() == [False, True, True, False]


def test_no_observed_land_gives_no_covariate():
    x, filled = fill_covariate([0.0], [0.0], [5.0], ["A"])
    assert np.isnan(x).all()
    assert filled.all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([np.nan], [1.0], [0.0], ["A"]), "row 0: map_ha is nan"),
        (([1.0], [-1.0], [0.0], ["A"]), "row 0: observed_ha is -1"),
        (([1.0, 2.0], [1.0], [0.0], ["A"]), "differ in shape"),
    ],
)
def test_covariate_input_is_checked(arguments, message):
    with pytest.raises(EstimationError, match=message):
        fill_covariate(*arguments)
