"""What cross-validated predictions say of a classifier: matrix, thresholds, calibration.

Training plots are chosen on purpose, so none of it is the accuracy over the land, and none of it
enters an area.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "accuracy_of",
    "calibration",
    "cross_fitted_classes",
    "decide",
    "importance_of_groups",
    "log_loss",
    "tuned_thresholds",
]

Floats = npt.NDArray[np.float64]

_THRESHOLDS = np.arange(1, 100) / 100.0
_REPEATS = 3


def decide(scores: npt.NDArray[Any], thresholds: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Class index of each pixel.

    A class with a threshold is taken where its probability reaches it (of several the one that
    exceeds its own by the largest factor); elsewhere the likeliest class without a threshold.

    Parameters
    ----------
    scores : float array (n, k)
    thresholds : float array (k,)
        0-1; NaN for classes that have none. All NaN: the likeliest class.

    Returns
    -------
    int array (n,)
    """
    tuned = np.flatnonzero(np.isfinite(thresholds))
    if not len(tuned):
        return np.asarray(scores.argmax(axis=1))
    plain = np.array(scores, copy=True)
    # Where every class has a threshold and none is reached, the likeliest it is.
    if len(tuned) < scores.shape[1]:
        plain[:, tuned] = -1.0
    chosen = plain.argmax(axis=1)
    excess = scores[:, tuned] / thresholds[tuned].astype(scores.dtype)
    best = excess.argmax(axis=1)
    reached = excess[np.arange(len(scores)), best] >= 1.0
    return np.asarray(np.where(reached, tuned[best], chosen))


def tuned_thresholds(
    scores: Floats, label: npt.NDArray[np.int32], weight: Floats, positions: Sequence[int]
) -> Floats:
    """Threshold of each crop with the best F1 of that crop against everything else.

    Parameters
    ----------
    scores : float array (n, k)
        Probabilities of pixels by trees that did not see their plot.
    label : int array (n,)
    weight : float array (n,)
    positions : sequence of int
        Classes that get a threshold.

    Returns
    -------
    float array (k,)
        Whole percents as 0-1; NaN elsewhere. Of equally good ones the one nearest to 0.5.

    References
    ----------
    van Rijsbergen (1979), Information Retrieval, 2nd ed., ch. 7 (F measure).
    """
    thresholds = np.full(scores.shape[1], np.nan)
    order = np.argsort(np.abs(_THRESHOLDS - 0.5), kind="stable")
    for position in positions:
        own = label == position
        percent = np.clip(np.floor(scores[:, position] * 100.0 + 1e-9).astype(int), 0, 100)
        # Weight at or above each whole percent.
        found = np.bincount(percent, weights=weight * own, minlength=101)[::-1].cumsum()[::-1]
        taken = np.bincount(percent, weights=weight, minlength=101)[::-1].cumsum()[::-1]
        f1 = 2.0 * found[1:100] / np.maximum(taken[1:100] + weight[own].sum(), 1e-12)
        thresholds[position] = _THRESHOLDS[order][np.argmax(np.round(f1[order], 12))]
    return thresholds


def cross_fitted_classes(
    scores: Floats,
    label: npt.NDArray[np.int32],
    weight: Floats,
    fold: npt.NDArray[np.int_],
    positions: Sequence[int],
) -> npt.NDArray[np.int64]:
    """Class of each pixel by thresholds that were tuned on the other folds only."""
    classes = np.empty(len(label), dtype=np.int64)
    for number in np.unique(fold):
        held = fold == number
        rest = ~held
        thresholds = tuned_thresholds(scores[rest], label[rest], weight[rest], positions)
        classes[held] = decide(scores[held], thresholds)
    return classes


def accuracy_of(
    classes: npt.NDArray[np.int64],
    label: npt.NDArray[np.int32],
    weight: Floats,
    names: tuple[str, ...],
) -> dict[str, Any]:
    """Error matrix (rows map, columns reference), user's and producer's accuracy, share right."""
    matrix = np.zeros((len(names), len(names)))
    np.add.at(matrix, (classes, label), weight)
    return {
        "error_matrix_rows_map_columns_reference": np.round(matrix, 2).tolist(),
        "users_accuracy": _shares(matrix, names, axis=1),
        "producers_accuracy": _shares(matrix, names, axis=0),
        "share_right": round(float(np.trace(matrix) / matrix.sum()), 4),
    }


def calibration(
    scores: Floats, label: npt.NDArray[np.int32], weight: Floats, names: tuple[str, ...]
) -> dict[str, list[dict[str, float]]]:
    """Per class and tenth of predicted probability: the mean of it and the share that was so."""
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


def log_loss(scores: Floats, label: npt.NDArray[np.int32], weight: Floats) -> float:
    """Mean of -log(probability of the true class)."""
    own = np.clip(scores[np.arange(len(label)), label], 1e-12, 1.0)
    return float(-(weight * np.log(own)).sum() / weight.sum())


def importance_of_groups(
    engine_of: Callable[[int], Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]],
    features: npt.NDArray[np.float32],
    label: npt.NDArray[np.int32],
    weight: Floats,
    fold: npt.NDArray[np.int_],
    groups: Sequence[str],
    rng: np.random.Generator,
    *,
    threads: int = 1,
) -> dict[str, float]:
    """How much the log loss of held-out plots rises when a group of features is shuffled.

    Groups that say the same (neighbouring bands, neighbouring dates) stand in for one another,
    so each may look unimportant while together they are not.

    Parameters
    ----------
    engine_of : callable (fold number) to callable (features) to probabilities
        By trees that did not see the fold.
    groups : sequence of str, shape (f,)
        Group of every feature.
    threads : int
        Folds at a time; the result is the same for any number.

    Returns
    -------
    dict of group to mean rise, largest first

    References
    ----------
    Breiman (2001), Machine Learning 45, 5-32, section 10; Fisher et al. (2019), J. Mach. Learn.
    Res. 20(177), section 3.
    """
    label_of = np.asarray(groups, dtype=object)
    names = list(dict.fromkeys(groups))
    total = weight.sum()

    def rises(number: int, rng: np.random.Generator) -> Floats:
        rows = np.flatnonzero(fold == number)
        own, predict = (label[rows], weight[rows]), engine_of(number)
        base = log_loss(predict(features[rows]), *own)
        found = np.zeros(len(names))
        for position, group in enumerate(names):
            columns = np.flatnonzero(label_of == group)
            for _ in range(_REPEATS):
                shuffled = features[rows]
                shuffled[:, columns] = shuffled[np.ix_(rng.permutation(len(rows)), columns)]
                found[position] += (log_loss(predict(shuffled), *own) - base) / _REPEATS
        return np.asarray(found * own[1].sum() / total)

    numbers = np.unique(fold).tolist()
    with ThreadPoolExecutor(threads) as pool:
        mean = np.sum(list(pool.map(rises, numbers, rng.spawn(len(numbers)))), axis=0)
    rise = dict(zip(names, mean.tolist(), strict=True))
    ordered = sorted(rise.items(), key=lambda item: -item[1])
    return {group: round(value, 5) for group, value in ordered}


def _shares(matrix: Floats, names: tuple[str, ...], *, axis: int) -> dict[str, float | None]:
    total = matrix.sum(axis=axis)
    return {
        name: round(float(matrix[i, i] / total[i]), 4) if total[i] > 0.0 else None
        for i, name in enumerate(names)
    }
