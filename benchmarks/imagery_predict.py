"""Prediction alone: engines that run the same trees, on one thread.

    python -m benchmarks.imagery_predict           # engines that are not installed are left out

200 trees (four classes, 50 rounds, 15 leaves) on 42 features. Prints megapixels a CPU second, the
ratio to LightGBM's own predict, the largest difference of a probability and the share of pixels
whose class is the same; then how many pixels a first stage of the trees would decide for certain.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from imagery.engines import fastest

Floats = npt.NDArray[np.float32]
Engine = Callable[[Floats], npt.NDArray[np.floating]]

N_CLASSES, N_FEATURES = 4, 42


def trained(rng: np.random.Generator) -> lightgbm.Booster:
    """A model of the size that mapping uses, on separable noise."""
    label = rng.integers(0, N_CLASSES, 6_000)
    features = rng.normal(size=(len(label), N_FEATURES)).astype(np.float32)
    features[:, :10] += 0.6 * label[:, None]
    parameters = {
        "objective": "multiclass", "num_class": N_CLASSES, "num_leaves": 15, "verbosity": -1,
        "num_threads": 1, "seed": 1, "deterministic": True,
    }  # fmt: skip
    return lightgbm.train(parameters, lightgbm.Dataset(features, label), num_boost_round=50)


def engines(booster: lightgbm.Booster, folder: Path) -> dict[str, Engine]:
    """Each installed engine by name, ready to predict on one thread."""
    model = folder / "model.txt"
    booster.save_model(model)
    found: dict[str, Engine] = {"LightGBM": lambda x: booster.predict(x, num_threads=1)}
    if importlib.util.find_spec("xgboost"):
        found["XGBoost, the same trees"] = fastest(booster, threads=1, may_compile=False)
    if importlib.util.find_spec("treelite"):
        import treelite

        trees = treelite.frontend.load_lightgbm_model(model)
        found["Treelite GTIL"] = lambda x: treelite.gtil.predict(trees, x, nthread=1)
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnxmltools"):
        import onnxruntime
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        converted = convert_lightgbm(
            booster, initial_types=[("x", FloatTensorType([None, N_FEATURES]))], zipmap=False
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(converted.SerializeToString(), options)
        found["ONNX Runtime"] = lambda x: session.run(None, {"x": x})[1]
    if importlib.util.find_spec("lleaves"):
        import lleaves

        compiled = lleaves.Model(model_file=str(model))
        start = time.process_time()
        compiled.compile()
        print(f"  lleaves compiled in {time.process_time() - start:.1f} CPU s")
        found["lleaves"] = lambda x: compiled.predict(x, n_jobs=1)
    return found


def first_stage(booster: lightgbm.Booster, pixels: Floats) -> None:
    """How many pixels the first trees decide, when the others cannot change the class any more.

    The bound is the sum of the smallest, or largest, leaves of the trees left out.
    """
    trees = booster.dump_model()["tree_info"]
    leaves = np.array([extremes(tree["tree_structure"]) for tree in trees])
    bounds = leaves.reshape(-1, N_CLASSES, 2)
    classes = booster.predict(pixels, num_threads=1).argmax(axis=1)
    every = np.arange(len(pixels))
    print("\n| first rounds | pixels decided | same class | share of the work |")
    print("| ---: | ---: | ---: | ---: |")
    for rounds in (10, 20, 30, 40, 45):
        margin = booster.predict(pixels, raw_score=True, num_iteration=rounds, num_threads=1)
        left = bounds[rounds:].sum(axis=0)
        leading = margin.argmax(axis=1)
        least = margin[every, leading] + left[leading, 0]
        most = margin + left[:, 1]
        most[every, leading] = -np.inf
        decided = least > most.max(axis=1)
        same = (leading[decided] == classes[decided]).mean() if decided.any() else 1.0
        share = rounds / len(bounds) + (1.0 - decided.mean()) * (1.0 - rounds / len(bounds))
        print(f"| {rounds} of {len(bounds)} | {decided.mean():.1%} | {same:.2%} | {share:.3f} |")


def extremes(node: dict[str, Any]) -> tuple[float, float]:
    """Smallest and largest leaf of a tree."""
    if "split_feature" not in node:
        return node["leaf_value"], node["leaf_value"]
    sides = extremes(node["left_child"]), extremes(node["right_child"])
    return min(side[0] for side in sides), max(side[1] for side in sides)


def main() -> None:
    """Time the engines and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pixels", type=int, default=400_000)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(3)
    booster = trained(rng)
    pixels = rng.normal(size=(options.pixels, N_FEATURES)).astype(np.float32)
    pixels[:, :10] += 0.6 * rng.integers(0, N_CLASSES, options.pixels)[:, None]
    with tempfile.TemporaryDirectory() as folder:
        own = booster.predict(pixels, num_threads=1)
        reference = 0.0
        print("| engine | Mpx a CPU s | ratio | largest difference | same class |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for name, predict in engines(booster, Path(folder)).items():
            predict(pixels[:1000])
            best = np.inf
            for _ in range(3):
                start = time.process_time()
                scores = predict(pixels)
                best = min(best, time.process_time() - start)
            speed = options.pixels / best / 1e6
            reference = reference or speed
            scores = np.asarray(scores).reshape(own.shape)
            print(
                f"| {name} | {speed:.3f} | {speed / reference:.2f} "
                f"| {np.abs(scores - own).max():.1e} "
                f"| {(scores.argmax(axis=1) == own.argmax(axis=1)).mean():.4%} |"
            )
        first_stage(booster, pixels[:50_000])


if __name__ == "__main__":
    main()
