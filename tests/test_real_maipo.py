"""Real pixels: the assisted estimate is unbiased, the trees are no worse than a forest.

A smaller run of `benchmarks.maipo`; what the full one gave is in docs/real-input-maipo.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the forest to compare with is scikit-learn's")
from benchmarks import maipo
from imagery.plots import training_pixels
from imagery.training import TreeSettings

_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "maipo-landsat8"
_SEED = 2026
_DRAWS = 100

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not _DATA.is_dir(), reason=f"{_DATA} is not there"),
]


@pytest.fixture(scope="module")
def population(tmp_path_factory: pytest.TempPathFactory) -> maipo.Population:
    return maipo.map_split(
        _SEED,
        folder=tmp_path_factory.mktemp("maipo") / "split",
        candidates=(TreeSettings(),),
    )


def test_truth_is_the_readmes(tmp_path: Path) -> None:
    fields = maipo.fields_with_districts()
    found = maipo.pixel_hectares(training_pixels(maipo.scenes_of(tmp_path), maipo.SPEC, fields))
    truth = {"crop1": 66.15, "crop2": 56.70, "crop3": 88.11, "crop4": 145.98}
    assert found.to_dict() == pytest.approx(truth, abs=1e-9)
    assert fields.groupby("class_name")["area_ha"].sum().to_dict() == pytest.approx(truth)
    # Geodesic hectares, which the estimates are in, differ by the scale of the projection.
    assert fields["true_ha"].sum() == pytest.approx(356.94, rel=2e-3)


def test_fields_are_split_and_not_pixels(population: maipo.Population) -> None:
    mapped = set(population.field)
    assert not mapped & population.trained_on
    every = maipo.fields_with_districts()
    assert mapped | population.trained_on == set(every["plot_id"])
    # No pixel of a training field lies in a field of the population.
    trained = every[every["plot_id"].isin(population.trained_on)].union_all()
    others = every[every["plot_id"].isin(mapped)].union_all()
    assert trained.intersection(others).area == 0.0
    # The map says something about every hectare of the population.
    assert population.mapped_ha.sum() == pytest.approx(population.area_ha.sum(), rel=1e-4)


def test_assisted_estimate_is_unbiased(population: maipo.Population) -> None:
    drawn = maipo.draw_samples(
        population, _DRAWS, 10, np.random.default_rng(_SEED), is_by_district=False
    )
    error = drawn.estimate_ha[:, 0] - population.truth_ha[0]
    monte_carlo = error.std(axis=0, ddof=1) / np.sqrt(_DRAWS)
    assert (np.abs(error.mean(axis=0)) <= 3.0 * monte_carlo).all()
    # 95% less four standard errors of a share of 400 draws that come in fours.
    assert drawn.is_covered.mean() >= 0.95 - 4.0 * np.sqrt(0.95 * 0.05 / _DRAWS)


def test_trees_are_not_below_the_forest(population: maipo.Population) -> None:
    trees, forest = population.accuracy["lightgbm"], population.accuracy["random_forest"]
    # One split: over 20 splits the difference has a standard deviation of some 0.02.
    assert trees[0] >= forest[0] - 0.02
