"""What runs a model's trees: LightGBM itself, or the same trees in a faster program."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Predict", "fastest"]

#: Features float32 (n, f) to class probabilities (n, k).
Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

_NO_PARENT = 2**31 - 1


def fastest(
    booster: Any, *, threads: int, is_small: bool = False, may_compile: bool = True
) -> Predict:
    """The fastest installed engine that gives the classes that LightGBM gives.

    The trees are compiled (extra ``fast``), else run by XGBoost, else by LightGBM; ratios are in
    docs/imagery.md.

    Parameters
    ----------
    booster : lightgbm.Booster
        Of objective "multiclass".
    threads : int
        Threads of one prediction.
    is_small : bool
        Few pixels: compiling, or even converting, would take longer than it saves.
    may_compile : bool
        False: leave the compiler out even where it is installed.
    """
    if is_small:
        return _lightgbm(booster, threads)
    if may_compile and importlib.util.find_spec("lleaves") is not None:
        return _compiled(booster, threads)
    if importlib.util.find_spec("xgboost") is not None:
        return _by_xgboost(booster, threads)
    return _lightgbm(booster, threads)


def _lightgbm(booster: Any, threads: int) -> Predict:
    return lambda features: np.asarray(
        booster.predict(features, num_threads=threads), dtype=np.float32
    )


def _compiled(booster: Any, threads: int) -> Predict:
    import lleaves

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.txt"
        file.write_text(booster.model_to_string(), encoding="utf-8")
        compiled = lleaves.Model(model_file=str(file))
        compiled.compile()
    return lambda features: np.asarray(
        compiled.predict(features, n_jobs=threads), dtype=np.float32
    )


def _by_xgboost(booster: Any, threads: int) -> Predict:
    import xgboost

    runner = xgboost.Booster({"nthread": threads})
    runner.load_model(bytearray(json.dumps(_xgboost_model(booster)).encode()))
    # `validate_features` would look for names; a matrix has none.
    return lambda features: np.asarray(
        runner.inplace_predict(
            np.ascontiguousarray(features, dtype=np.float32), validate_features=False
        ),
        dtype=np.float32,
    )


def _xgboost_model(booster: Any) -> dict[str, Any]:
    """The same trees in XGBoost's JSON.

    LightGBM goes left where x <= threshold (double), XGBoost where x < condition (float32); for
    float32 features the two are the same when the condition is the next float32 above the
    largest one that is not above the threshold. So every pixel ends in the same leaves, and only
    the sum over the trees is rounded otherwise (1e-6).
    """
    model = booster.dump_model()
    n_classes, n_features = model["num_tree_per_iteration"], model["max_feature_idx"] + 1
    trees = [
        _xgboost_tree(number, tree["tree_structure"], n_features)
        for number, tree in enumerate(model["tree_info"])
    ]
    return {
        "version": [3, 0, 0],
        "learner": {
            "attributes": {},
            "feature_names": [],
            "feature_types": [],
            "gradient_booster": {
                "name": "gbtree",
                "model": {
                    "gbtree_model_param": {
                        "num_parallel_tree": "1",
                        "num_trees": str(len(trees)),
                    },
                    "iteration_indptr": list(range(0, len(trees) + 1, n_classes)),
                    "tree_info": [number % n_classes for number in range(len(trees))],
                    "trees": trees,
                    "cats": {"enc": [], "feature_segments": [], "sorted_idx": []},
                },
            },
            "learner_model_param": {
                "base_score": "0.0",
                "boost_from_average": "0",
                "num_class": str(n_classes),
                "num_feature": str(n_features),
                "num_target": "1",
            },
            "objective": {
                "name": "multi:softprob",
                "softmax_multiclass_param": {"num_class": str(n_classes)},
            },
        },
    }


def _xgboost_tree(number: int, root: dict[str, Any], n_features: int) -> dict[str, Any]:
    left: list[int] = []
    right: list[int] = []
    parent: list[int] = []
    feature: list[int] = []
    default_left: list[int] = []
    condition: list[float] = []

    def place(above: int) -> int:
        for column, value in ((left, -1), (right, -1), (parent, above), (feature, 0)):
            column.append(value)
        condition.append(0.0)
        default_left.append(0)
        return len(left) - 1

    todo = [(place(_NO_PARENT), root)]
    while todo:
        at, node = todo.pop()
        if "split_feature" not in node:
            condition[at] = float(np.float32(node["leaf_value"]))
            continue
        threshold = float(node["threshold"])
        nearest = np.float32(threshold)
        if float(nearest) > threshold:
            nearest = np.nextafter(nearest, np.float32(-np.inf))
        condition[at] = float(np.nextafter(nearest, np.float32(np.inf)))
        feature[at] = node["split_feature"]
        # Where training saw no missing value, LightGBM takes one for 0.
        is_missing_known = node["missing_type"] == "NaN"
        default_left[at] = int(node["default_left"] if is_missing_known else threshold >= 0.0)
        # XGBoost looks for the right child beside the left one.
        left[at], right[at] = place(at), place(at)
        todo += [(left[at], node["left_child"]), (right[at], node["right_child"])]
    n_nodes = len(left)
    return {
        "id": number,
        "left_children": left,
        "right_children": right,
        "parents": parent,
        "split_indices": feature,
        "split_conditions": condition,
        "default_left": default_left,
        "split_type": [0] * n_nodes,
        "base_weights": [0.0] * n_nodes,
        "loss_changes": [0.0] * n_nodes,
        "sum_hessian": [0.0] * n_nodes,
        "categories": [],
        "categories_nodes": [],
        "categories_segments": [],
        "categories_sizes": [],
        "tree_param": {
            "num_deleted": "0",
            "num_feature": str(n_features),
            "num_nodes": str(n_nodes),
            "size_leaf_vector": "1",
        },
    }
