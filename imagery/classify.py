"""The crop classifier: gradient-boosted trees on pixel features, stored as text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from imagery.engines import Predict, fastest
from imagery.errors import TrainingError

__all__ = ["CANDIDATES", "CropModel", "TreeSettings", "fit_crop_model"]

_MODEL_FILE, _CARD_FILE = "model.txt", "model.json"
# Training plots are few: a second thread would mostly wait for the first.
_TRAINING_THREADS, _PREDICTION_THREADS = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSettings:
    """How the trees are grown.

    Attributes
    ----------
    rounds : int
        Trees per class.
    learning_rate, feature_share, pixel_share : float
        Shrinkage, and shares of features and pixels that a tree sees, 0-1.
    leaves, min_pixels : int
        Most leaves of a tree, and fewest pixels in one.
    is_random_split : bool
        Try one random threshold per feature (extremely randomised trees) instead of the best.
    """

    rounds: int = 60
    learning_rate: float = 0.1
    leaves: int = 15
    min_pixels: int = 10
    feature_share: float = 0.5
    pixel_share: float = 0.8
    is_random_split: bool = False


#: Settings worth comparing by cross-validation where plots are few and features many.
CANDIDATES = (
    TreeSettings(),
    TreeSettings(rounds=200, learning_rate=0.05, feature_share=0.3, is_random_split=True),
    TreeSettings(
        rounds=150,
        learning_rate=0.05,
        leaves=4,
        min_pixels=20,
        feature_share=0.2,
        pixel_share=0.5,
    ),
)


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
        return self.predictor(is_small=True)(features)

    def predictor(self, *, is_small: bool = False) -> Predict:
        """A function like `predict_proba`, by the fastest engine that is installed.

        Parameters
        ----------
        is_small : bool
            Predict with LightGBM at once: so few pixels do not repay compiling the trees.
        """
        engine = fastest(self.booster, threads=_PREDICTION_THREADS, is_small=is_small)

        def predict(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            if features.shape[1] != self.n_features:
                raise TrainingError(
                    f"pixels have {features.shape[1]} features, the model was trained on "
                    f"{self.n_features}; use the same scenes, indices and order"
                )
            if not len(features):
                return np.empty((0, len(self.class_names)), dtype=np.float32)
            return engine(features)

        return predict

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
    candidates: Sequence[TreeSettings] = (TreeSettings(),),
    spatial_block: npt.NDArray[np.object_] | None = None,
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
    candidates : sequence of TreeSettings
        With several, the one with the smallest cross-validated log loss is taken; the error
        matrix is then that of the winner and a little too kind.
    spatial_block : object array (n,), optional
        Piece of land of each pixel (`TrainingTable.spatial_block`): whole pieces are left out
        instead of single plots, since neighbouring plots resemble one another.

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
    if spatial_block is None:
        fold = _folds_of_plots(plots, plot_id, n_folds, rng)
    else:
        fold = _folds_of_blocks(spatial_block, n_folds, rng)
    scores = [
        _cross_validate(features, label, balanced, fold, len(names), seed, settings)
        for settings in candidates
    ]
    losses = [_log_loss(score, label, balanced) for score in scores]
    best = int(np.argmin(losses))
    matrix = np.zeros((len(names), len(names)))
    np.add.at(matrix, (scores[best].argmax(axis=1), label), weight)
    booster = _train(features, label, balanced, len(names), seed, candidates[best])
    return CropModel(
        booster=booster,
        class_names=names,
        n_features=features.shape[1],
        card={
            "n_plots": {name: len(plots[name]) for name in names},
            "n_pixels": {name: int((class_name == name).sum()) for name in names},
            "cross_validated_by": "plot" if spatial_block is None else "spatial block",
            "settings": asdict(candidates[best]),
            "cross_validated_log_loss": [round(loss, 5) for loss in losses],
            "error_matrix_rows_map_columns_reference": np.round(matrix, 2).tolist(),
            "users_accuracy": _shares(matrix, names, axis=1),
            "producers_accuracy": _shares(matrix, names, axis=0),
            "calibration": _calibration(scores[best], label, weight, names),
            "note": "plots were chosen on purpose: not the accuracy over the land, and no area",
        },
    )


def _class_weight(
    label: npt.NDArray[np.int32], weight: npt.NDArray[np.float64], n_classes: int
) -> npt.NDArray[np.float64]:
    """Weight that softens, but does not erase, differences in training size."""
    total = np.bincount(label, weights=weight, minlength=n_classes)
    return np.asarray(np.sqrt(total.mean() / total)[label])


def _folds_of_plots(
    plots: Mapping[str, list[Any]],
    plot_id: npt.NDArray[np.object_],
    n_folds: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.int_]:
    """Fold of every pixel; the plots of each class are spread over the folds."""
    fold_of = {
        plot: position % n_folds
        for members in plots.values()
        for position, plot in enumerate(rng.permutation(np.array(members, dtype=object)))
    }
    return np.array([fold_of[plot] for plot in plot_id])


def _folds_of_blocks(
    spatial_block: npt.NDArray[np.object_], n_folds: int, rng: np.random.Generator
) -> npt.NDArray[np.int_]:
    """Fold of every pixel; whole pieces of land, in random order, are dealt to the folds."""
    pieces, piece = np.unique(spatial_block.astype(str), return_inverse=True)
    if len(pieces) < 2:
        raise TrainingError(
            "all training plots lie in one spatial block; make the blocks smaller, or leave out "
            "plots instead of blocks"
        )
    return np.asarray((rng.permutation(len(pieces)) % n_folds)[piece])


def _calibration(
    scores: npt.NDArray[np.float64],
    label: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float64],
    names: tuple[str, ...],
) -> dict[str, list[dict[str, float]]]:
    """Per class and tenth of predicted probability: the mean of it and the share that was so.

    Over the training plots, whose classes are not in the land's proportions.
    """
    curves: dict[str, list[dict[str, float]]] = {}
    for code, name in enumerate(names):
        tenth = np.minimum((scores[:, code] * 10).astype(int), 9)
        total = np.bincount(tenth, weights=weight, minlength=10)
        predicted = np.bincount(tenth, weights=weight * scores[:, code], minlength=10)
        observed = np.bincount(tenth, weights=weight * (label == code), minlength=10)
        curves[name] = [
            {
                "predicted": round(float(predicted[i] / total[i]), 4),
                "observed": round(float(observed[i] / total[i]), 4),
                "pixels": round(float(total[i]), 1),
            }
            for i in range(10)
            if total[i] > 0.0
        ]
    return curves


def _cross_validate(
    features: npt.NDArray[np.float32],
    label: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float64],
    fold: npt.NDArray[np.int_],
    n_classes: int,
    seed: int,
    settings: TreeSettings,
) -> npt.NDArray[np.float64]:
    """Class probabilities (n, k) of every pixel by trees that did not see its plot."""
    scores = np.empty((len(label), n_classes))
    for number in np.unique(fold):
        held = fold == number
        booster = _train(features[~held], label[~held], weight[~held], n_classes, seed, settings)
        scores[held] = booster.predict(features[held], num_threads=_PREDICTION_THREADS)
    return scores


def _log_loss(
    scores: npt.NDArray[np.float64],
    label: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float64],
) -> float:
    own = np.clip(scores[np.arange(len(label)), label], 1e-12, 1.0)
    return float(-(weight * np.log(own)).sum() / weight.sum())


def _train(
    features: npt.NDArray[np.float32],
    label: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float64],
    n_classes: int,
    seed: int,
    settings: TreeSettings,
) -> Any:
    return lightgbm.train(
        {
            "objective": "multiclass",
            "num_class": n_classes,
            "learning_rate": settings.learning_rate,
            "num_leaves": settings.leaves,
            "min_data_in_leaf": settings.min_pixels,
            "feature_fraction": settings.feature_share,
            "bagging_fraction": settings.pixel_share,
            "bagging_freq": 1,
            "extra_trees": settings.is_random_split,
            "seed": seed % (2**31),
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": _TRAINING_THREADS,
            "verbosity": -1,
        },
        lightgbm.Dataset(features, label=label, weight=weight),
        num_boost_round=settings.rounds,
    )


def _shares(
    matrix: npt.NDArray[np.float64], names: tuple[str, ...], *, axis: int
) -> dict[str, float | None]:
    total = matrix.sum(axis=axis)
    return {
        name: round(float(matrix[i, i] / total[i]), 4) if total[i] > 0.0 else None
        for i, name in enumerate(names)
    }
