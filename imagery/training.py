"""Training the crop classifier, judged on plots and land that it did not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from imagery.accuracy import (
    accuracy_of,
    calibration,
    cross_fitted_classes,
    importance_of_groups,
    log_loss,
    tuned_thresholds,
)
from imagery.classify import CropModel
from imagery.engines import fastest
from imagery.errors import TrainingError
from imagery.workers import cores

__all__ = ["CANDIDATES", "TreeSettings", "fit_crop_model"]

Floats = npt.NDArray[np.float64]

# Training plots are few: a second thread would mostly wait for the first. Folds do not.
_THREADS = 1
# A threshold that gains less than this in F1 on plots left out is not worth its own noise.
_LEAST_GAIN = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSettings:
    """How the trees are grown.

    Attributes
    ----------
    rounds : int
        Trees per class.
    learning_rate, feature_share, pixel_share : float
        Shrinkage, and shares of features and pixels that a tree sees, 0-1.
    feature_share_of_split : float
        Share of the features that each split may choose from, 0-1.
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
    feature_share_of_split: float = 1.0
    pixel_share: float = 0.8
    is_random_split: bool = False


#: Settings of which cross-validation takes the best: found by cross-validation within the
#: training plots of real images (docs/imagery.md), never on plots that judged the result.
CANDIDATES = (
    TreeSettings(),
    TreeSettings(
        rounds=60,
        leaves=6,
        feature_share=0.2,
        pixel_share=0.5,
    ),
    TreeSettings(
        rounds=120,
        leaves=6,
        min_pixels=5,
        feature_share=0.3,
        pixel_share=0.6,
        is_random_split=True,
    ),
)


def fit_crop_model(
    features: npt.NDArray[np.float32],
    class_name: npt.NDArray[np.object_],
    plot_id: npt.NDArray[np.object_],
    weight: Floats,
    *,
    seed: int,
    n_folds: int = 5,
    candidates: Sequence[TreeSettings] = (TreeSettings(),),
    spatial_block: npt.NDArray[np.object_] | None = None,
    crops: Sequence[str] = (),
    feature_names: Sequence[str] = (),
) -> CropModel:
    """Train on pixels of plots; cross-validate by plot or by land, never by pixel.

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
        Of several the one with the smallest cross-validated log loss is taken, and its
        accuracies are a little too kind.
    spatial_block : object array (n,), optional
        Piece of land of each pixel (`TrainingTable.spatial_block`): whole pieces are left out
        instead of single plots, since neighbouring plots resemble one another.
    crops : sequence of str
        Classes for which a threshold is tuned; it is used where, tuned on the other folds, it
        betters the F1 of plots left out. Those that were not trained are passed over.
    feature_names : sequence of str
        Date and kind of each feature (`imagery.features.feature_names`), for the importance.

    Raises
    ------
    TrainingError
        Fewer than two classes, or a class with fewer than two plots.
    """
    names = tuple(sorted(set(class_name.tolist())))
    label, plots = _labels(class_name, plot_id, names)
    if feature_names and len(feature_names) != features.shape[1]:
        raise TrainingError(
            f"{len(feature_names)} names were given for {features.shape[1]} features"
        )
    balanced = weight * _class_weight(label, weight, len(names))
    rng = np.random.default_rng(seed)
    if spatial_block is None:
        fold = _folds_of_plots(plots, plot_id, n_folds, rng)
    else:
        fold = _folds_of_blocks(spatial_block, n_folds, rng)
    data = _Data(features, label, balanced, len(names), seed)
    trials = [_cross_validate(data, fold, settings) for settings in candidates]
    losses = [log_loss(scores, label, balanced) for scores, _ in trials]
    best = int(np.argmin(losses))
    scores, boosters = trials[best]
    likeliest = accuracy_of(scores.argmax(axis=1), label, weight, names)
    tried = [names.index(crop) for crop in crops if crop in names]
    limits = tuned_thresholds(scores, label, weight, tried)
    thresholds, trials_of, judged = {}, {}, likeliest
    used: list[int] = []
    for position in tried:
        name = names[position]
        other = accuracy_of(
            cross_fitted_classes(scores, label, weight, fold, [*used, position]),
            label,
            weight,
            names,
        )
        is_used = _f1(other, name) > _f1(judged, name) + _LEAST_GAIN
        trials_of[name] = {
            "threshold": round(float(limits[position]), 2),
            "is_used": is_used,
            **{
                f"{kind}_{when}": accuracy[kind][name]
                for kind in ("users_accuracy", "producers_accuracy")
                for when, accuracy in (("without", judged), ("with", other))
            },
        }
        if is_used:
            used.append(position)
            thresholds[name] = trials_of[name]["threshold"]
            judged = other
    card: dict[str, Any] = {
        "n_plots": {name: len(plots[name]) for name in names},
        "n_pixels": {name: int((class_name == name).sum()) for name in names},
        "cross_validated_by": "plot" if spatial_block is None else "spatial block",
        "n_folds": len(np.unique(fold)),
        "settings": asdict(candidates[best]),
        "candidates": [asdict(settings) for settings in candidates],
        "cross_validated_log_loss": [round(loss, 5) for loss in losses],
        **judged,
        "thresholds_tried": trials_of,
        "calibration": calibration(scores, label, weight, names),
        "note": "plots were chosen on purpose: not the accuracy over the land, and no area",
    }
    if feature_names:
        # Hundreds of predictions: the faster engine's differ by 3e-7 (docs/imagery.md).
        engines = {
            number: fastest(booster, threads=_THREADS, may_compile=False)
            for number, booster in boosters.items()
        }
        card["importance"] = {
            kind: importance_of_groups(
                engines.__getitem__, features, label, balanced, fold, groups, rng,
                threads=cores(),
            )
            for kind, groups in _groups(feature_names).items()
        }  # fmt: skip
    return CropModel(
        booster=_train(data, np.ones(len(label), dtype=bool), candidates[best]),
        class_names=names,
        n_features=features.shape[1],
        feature_names=tuple(feature_names),
        thresholds=thresholds,
        card=card,
    )


def _f1(accuracy: Mapping[str, Any], name: str) -> float:
    """Harmonic mean of user's and producer's accuracy; 0 where the class is never mapped."""
    users = accuracy["users_accuracy"][name] or 0.0
    producers = accuracy["producers_accuracy"][name] or 0.0
    return 2.0 * users * producers / (users + producers) if users + producers > 0.0 else 0.0


@dataclass(frozen=True, slots=True)
class _Data:
    features: npt.NDArray[np.float32]
    label: npt.NDArray[np.int32]
    weight: Floats
    n_classes: int
    seed: int


def _labels(
    class_name: npt.NDArray[np.object_], plot_id: npt.NDArray[np.object_], names: tuple[str, ...]
) -> tuple[npt.NDArray[np.int32], dict[str, list[Any]]]:
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
    return label, plots


def _class_weight(label: npt.NDArray[np.int32], weight: Floats, n_classes: int) -> Floats:
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


def _groups(feature_names: Sequence[str]) -> dict[str, list[str]]:
    """Features by what they are and, where there are several dates, by date."""
    parts = [name.partition(" ") for name in feature_names]
    groups = {"by layer": [rest or first for first, _, rest in parts]}
    dates = [first if rest else "undated" for first, _, rest in parts]
    if len(set(dates)) > 1:
        groups["by date"] = dates
    return groups


def _cross_validate(
    data: _Data, fold: npt.NDArray[np.int_], settings: TreeSettings
) -> tuple[Floats, dict[int, Any]]:
    """Class probabilities (n, k) of every pixel by trees that did not see its plot; the trees.

    LightGBM leaves the interpreter free, so the folds share the processors; each by itself is
    trained on one, and the trees are the same however many there are.
    """

    def without(number: int) -> tuple[Any, Floats]:
        booster = _train(data, fold != number, settings)
        return booster, _probabilities(booster, data.features[fold == number])

    numbers = np.unique(fold).tolist()
    scores = np.empty((len(data.label), data.n_classes))
    boosters = {}
    with ThreadPoolExecutor(cores()) as pool:
        for number, (booster, found) in zip(numbers, pool.map(without, numbers), strict=True):
            boosters[number], scores[fold == number] = booster, found
    return scores, boosters


def _probabilities(booster: Any, pixels: npt.NDArray[np.float32]) -> Floats:
    return np.asarray(booster.predict(pixels, num_threads=_THREADS))


def _train(data: _Data, rows: npt.NDArray[np.bool_], settings: TreeSettings) -> Any:
    return lightgbm.train(
        {
            "objective": "multiclass",
            "num_class": data.n_classes,
            "learning_rate": settings.learning_rate,
            "num_leaves": settings.leaves,
            "min_data_in_leaf": settings.min_pixels,
            "feature_fraction": settings.feature_share,
            "feature_fraction_bynode": settings.feature_share_of_split,
            "bagging_fraction": settings.pixel_share,
            "bagging_freq": 1,
            "extra_trees": settings.is_random_split,
            "seed": data.seed % (2**31),
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": _THREADS,
            "verbosity": -1,
        },
        lightgbm.Dataset(data.features[rows], label=data.label[rows], weight=data.weight[rows]),
        num_boost_round=settings.rounds,
    )
