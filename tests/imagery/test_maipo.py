"""Real pixels: the assisted estimate is unbiased, and the trees are no worse than a forest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
from benchmarks import maipo

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not maipo.DATA.is_dir(), reason=f"{maipo.DATA} is not there"),
]


def test_assisted_estimate_is_unbiased_and_trees_match_the_forest(tmp_path: Path) -> None:
    population = maipo.map_split(2026, folder=tmp_path / "m", candidates=maipo.CANDIDATES[:1])
    draws = maipo.draw_samples(population, 100, 12, np.random.default_rng(1))
    # The whole area: in a district the rule for "found nowhere" cuts the estimate to zero.
    error = draws.estimate_ha[:, 0] - population.truth_ha[0]
    monte_carlo = error.std(axis=0, ddof=1) / np.sqrt(len(error))
    # Four crops at once: 3.5 standard errors are passed by chance once in 500 runs.
    assert (np.abs(error.mean(axis=0)) <= 3.5 * monte_carlo).all()
    assert draws.is_covered[:, 0].mean() > 0.9
    assert population.truth_ha[0].sum() == pytest.approx(population.area_ha.sum())
    trees, forest = population.accuracy["lightgbm"], population.accuracy["random_forest"]
    assert trees[0] >= forest[0]
