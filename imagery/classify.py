"""The crop classifier: gradient-boosted trees on pixel features, stored as text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from imagery.errors import TrainingError

__all__ = ["CropModel", "fit_crop_model"]

_MODEL_FILE, _CARD_FILE = "model.txt", "model.json"
# Training plots are few: a second thread would mostly wait for the first.
_TRAINING_THREADS, _PREDICTION_THREADS = 1, 2
_SHRINKAGE_ROUNDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class CropModel:
    """A fitted classifier and what is known about it.

    Attributes
    ----------
    booster : lightgbm.Booster
    class_names : tuple of str
        Class code on a map is the position here plus one; 0 is unobserved.
    n_features : int
    card : mapping
        Training counts and the cross-validated error matrix (rows map, columns reference).
        The plots were chosen on purpose, so it is no estimate of the map's accuracy over the
        land and never enters an area.
    """

    booster: Any
    class_names: tuple[str, ...]
    n_features: int
    card: Mapping[str, Any] = field(default_factory=dict)

    def predict_proba(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Class probabilities of pixels.

        Parameters
        ----------
        features : float32 array (n, f)

        Returns
        -------
        float32 array (n, k)
            Columns in the order of `class_names`; rows sum to one.
        """
        if features.shape[1] != self.n_features:
            raise TrainingError(
                f"pixels have {features.shape[1]} features, the model was trained on "
                f"{self.n_features}; use the same scenes, indices and order"
            )
        if not len(features):
            return np.empty((0, len(self.class_names)), dtype=np.float32)
        scores = self.booster.predict(features, num_threads=_PREDICTION_THREADS)
        return np.asarray(scores, dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write `model.txt` (trees as text) and `model.json` (card); neither can execute code."""
        text = self.booster.model_to_string()
        (folder / _MODEL_FILE).write_text(text, encoding="utf-8")
        description = {
            "class_names": self.class_names,
            "n_features": self.n_features,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "card": self.card,
        }
        (folder / _CARD_FILE).write_text(json.dumps(description, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> CropModel:
        """Read what `save` wrote.

        Raises
        ------
        TrainingError
            A file is missing, malformed, or the two do not belong together.
        """
        try:
            text = (folder / _MODEL_FILE).read_text(encoding="utf-8")
            description = json.loads((folder / _CARD_FILE).read_text(encoding="utf-8"))
            names = tuple(str(name) for name in description["class_names"])
            n_features = int(description["n_features"])
            digest = description["sha256"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"{folder} holds no usable model ({error})") from error
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            raise TrainingError(
                f"{folder / _MODEL_FILE} is not the model that {_CARD_FILE} describes; "
                "train it anew"
            )
        return cls(
            booster=lightgbm.Booster(model_str=text),
            class_names=names,
            n_features=n_features,
            card=description["card"],
        )


def fit_crop_model(
    features: npt.NDArray[np.float32],
    class_name: npt.NDArray[np.object_],
    plot_id: npt.NDArray[np.object_],
    weight: npt.NDArray[np.float64],
    *,
    seed: int,
    n_folds: int = 5,
) -> CropModel:
    """Train on pixels of plots; cross-validate by plot, never by pixel.

    Parameters
    ----------
    features : float32 array (n, f)
    class_name, plot_id : object arrays (n,)
    weight : float array (n,)
        Share of the pixel that the plot covers, 0-1.
    seed : int
        Decides folds and trees; equal input and seed give an equal model.
    n_folds : int
        Folds of the cross-validation; classes with fewer plots are in fewer folds.

    Raises
    ------
    TrainingError
        Fewer than two classes, or a class with fewer than two plots.
    """
    names = tuple(sorted(set(class_name.tolist())))
    if len(names) < 2:
        raise TrainingError(
            f"training plots show {len(names)} class ({', '.join(names)}); a map needs at least "
            "two, for example the crop and everything else"
        )
    label = np.searchsorted(np.array(names, dtype=object), class_name).astype(np.int32)
    plots = {name: sorted(set(plot_id[class_name == name].tolist())) for name in names}
    thin = [name for name in names if len(plots[name]) < 2]
    if thin:
        raise TrainingError(
            f"class {', '.join(thin)} has a single training plot with clear pixels; give at least "
            "two, better twenty"
        )
    balanced = weight * _class_weight(label, weight, len(names))
    rng = np.random.default_rng(seed)
    fold_of = {
        plot: position % n_folds
        for name in names
        for position, plot in enumerate(rng.permutation(np.array(plots[name], dtype=object)))
    }
    fold = np.array([fold_of[plot] for plot in plot_id])
    matrix = np.zeros((len(names), len(names)))
    for number in range(n_folds):
        held = fold == number
        if not held.any():
            continue
        booster = _train(features[~held], label[~held], balanced[~held], len(names), seed)
        mapped = np.asarray(
            booster.predict(features[held], num_threads=_PREDICTION_THREADS)
        ).argmax(axis=1)
        np.add.at(matrix, (mapped, label[held]), weight[held])
    booster = _train(features, label, balanced, len(names), seed)
    return CropModel(
        booster=booster,
        class_names=names,
        n_features=features.shape[1],
        card={
            "n_plots": {name: len(plots[name]) for name in names},
            "n_pixels": {name: int((class_name == name).sum()) for name in names},
            "cross_validated_by": "plot",
            "error_matrix_rows_map_columns_reference": np.round(matrix, 2).tolist(),
            "users_accuracy": _shares(matrix, names, axis=1),
            "producers_accuracy": _shares(matrix, names, axis=0),
            "note": "plots were chosen on purpose: not the accuracy over the land, and no area",
        },
    )


def _class_weight(
    label: npt.NDArray[np.int32], weight: npt.NDArray[np.float64], n_classes: int
) -> npt.NDArray[np.float64]:
    """Weight that softens, but does not erase, differences in training size."""
    total = np.bincount(label, weights=weight, minlength=n_classes)
    return np.asarray(np.sqrt(total.mean() / total)[label])


def _train(
    features: npt.NDArray[np.float32],
    label: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float64],
    n_classes: int,
    seed: int,
) -> Any:
    return lightgbm.train(
        {
            "objective": "multiclass",
            "num_class": n_classes,
            "learning_rate": 0.1,
            "num_leaves": 15,
            "min_data_in_leaf": 10,
            "feature_fraction": 0.5,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "seed": seed % (2**31),
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": _TRAINING_THREADS,
            "verbosity": -1,
        },
        lightgbm.Dataset(features, label=label, weight=weight),
        num_boost_round=_SHRINKAGE_ROUNDS,
    )


def _shares(
    matrix: npt.NDArray[np.float64], names: tuple[str, ...], *, axis: int
) -> dict[str, float | None]:
    total = matrix.sum(axis=axis)
    return {
        name: round(float(matrix[i, i] / total[i]), 4) if total[i] > 0.0 else None
        for i, name in enumerate(names)
    }
