"""Every feature has one name, in the order of the layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from imagery.catalog import read_scenes
from imagery.features import FeatureSpec, block_features, feature_names


def test_names_follow_the_layers(make_scenes: Callable[..., Path]) -> None:
    stack = read_scenes(make_scenes())
    spec = FeatureSpec(indices=("ndvi", "ndre"))
    features = block_features(stack, spec, next(stack.grid.blocks(16))).values
    names = feature_names(stack, spec)
    assert len(names) == len(set(names)) == len(features)
    assert names[0] == f"{stack.dates[0]} blue"
    assert names[-1] == f"{stack.dates[-1]} ndre"
