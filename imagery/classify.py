"""The crop classifier: trees on pixel features, thresholds for the crops, stored as text."""

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

from imagery.accuracy import decide
from imagery.engines import Predict, fastest
from imagery.errors import TrainingError
from imagery.modelcard import card_text

__all__ = [
    "OUTSIDE_NAME",
    "OUTSIDE_RISK",
    "RISK_INSIDE",
    "RISK_OUTSIDE",
    "UNOBSERVED",
    "CropModel",
]

#: Class code of pixels without enough clear observations.
UNOBSERVED = 0
#: Class code and name of pixels outside the risk area: not looked at, and not unobserved.
OUTSIDE_RISK, OUTSIDE_NAME = 255, "outside risk area"
#: Codes of a risk area; 0 is where it says nothing.
RISK_INSIDE, RISK_OUTSIDE = 1, 2

_MODEL_FILE, _CARD_FILE, _TEXT_FILE = "model.txt", "model.json", "model.md"
_PREDICTION_THREADS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CropModel:
    """A fitted classifier and what is known about it.

    Attributes
    ----------
    booster : lightgbm.Booster
    class_names : tuple of str
        Class code on a map is the position here plus one; 0 is unobserved.
    n_features : int
    feature_names : tuple of str
        Names of the features in order; empty where they were not given.
    thresholds : mapping of class name to probability
        Probability from which a pixel is called this class (`imagery.accuracy.decide`); other
        classes have none.
    card : mapping
        Training counts, accuracies on plots that were left out, importance, calibration.
        The plots were chosen on purpose, so it is no estimate of the map's accuracy over the
        land and never enters an area.
    """

    booster: Any
    class_names: tuple[str, ...]
    n_features: int
    feature_names: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
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

    def classes(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Class codes of pixels from their probabilities, with the thresholds of the crops."""
        limits = [self.thresholds.get(name, np.nan) for name in self.class_names]
        return (decide(scores, np.array(limits, dtype=np.float32)) + 1).astype(np.uint8)

    def require_features(self, names: tuple[str, ...]) -> None:
        """Refuse features that are not those the model was trained on.

        Raises
        ------
        TrainingError
            Names the first feature that differs.
        """
        if not self.feature_names or names == self.feature_names:
            return
        differs = next(
            (
                f"feature {number} is {theirs!r} and was {own!r} in training"
                for number, (theirs, own) in enumerate(
                    zip(names, self.feature_names, strict=False), start=1
                )
                if theirs != own
            ),
            f"there are {len(names)} features and were {len(self.feature_names)} in training",
        )
        raise TrainingError(
            f"the scenes do not give the features of the model: {differs}; classify the scenes "
            "that it was trained on, or train it anew"
        )

    def predictor(
        self,
        *,
        is_small: bool = False,
        may_compile: bool = True,
        threads: int = _PREDICTION_THREADS,
    ) -> Predict:
        """A function like `predict_proba`, by the fastest engine that is installed.

        Parameters
        ----------
        is_small : bool
            So few pixels do not repay preparing a faster engine.
        may_compile : bool
            The pixels repay compiling the trees too.
        threads : int
            Threads of one prediction.
        """
        engine = fastest(self.booster, threads=threads, is_small=is_small, may_compile=may_compile)

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
        """Write `model.txt` (trees as text), `model.json` (card) and `model.md` (card to read).

        None of them can execute code.
        """
        text = self.booster.model_to_string()
        (folder / _MODEL_FILE).write_text(text, encoding="utf-8")
        description = {
            "class_names": self.class_names,
            "n_features": self.n_features,
            "feature_names": self.feature_names,
            "thresholds": dict(self.thresholds),
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "card": self.card,
        }
        (folder / _CARD_FILE).write_text(json.dumps(description, indent=2) + "\n")
        (folder / _TEXT_FILE).write_text(card_text(description), encoding="utf-8")

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
            card = dict(description["card"])
            features = tuple(str(name) for name in description.get("feature_names", ()))
            thresholds = {
                str(name): float(value)
                for name, value in description.get("thresholds", {}).items()
            }
        except (
            OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError,
        ) as error:  # fmt: skip
            raise TrainingError(f"{folder} holds no usable model ({error})") from error
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            raise TrainingError(
                f"{folder / _MODEL_FILE} is not the model that {_CARD_FILE} describes; "
                "train it anew"
            )
        strange = [
            f"{name} {value:g}"
            for name, value in thresholds.items()
            if name not in names or not 0.0 < value < 1.0
        ]
        if strange:
            raise TrainingError(
                f"{folder / _CARD_FILE}: threshold {', '.join(strange)} is not a probability of "
                f"one of the classes {', '.join(names)}"
            )
        return cls(
            booster=lightgbm.Booster(model_str=text),
            class_names=names,
            n_features=n_features,
            feature_names=features,
            thresholds=thresholds,
            card=card,
        )
