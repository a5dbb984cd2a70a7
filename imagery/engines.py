"""What runs a model's trees: LightGBM itself, or the same trees compiled."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Predict", "fastest"]

#: Features float32 (n, f) to class probabilities (n, k).
Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


def fastest(booster: Any, *, threads: int, is_small: bool = False) -> Predict:
    """The fastest installed engine that gives what LightGBM gives, to the last digits.

    Compiled trees (extra ``fast``) need a second or two to be made and are some four times as
    fast afterwards (docs/imagery.md); classes and rounded probabilities are the same.

    Parameters
    ----------
    booster : lightgbm.Booster
    threads : int
        Threads of one prediction.
    is_small : bool
        Few pixels: compiling would take longer than it saves.
    """
    if is_small or importlib.util.find_spec("lleaves") is None:
        return lambda features: np.asarray(
            booster.predict(features, num_threads=threads), dtype=np.float32
        )
    import lleaves

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.txt"
        file.write_text(booster.model_to_string(), encoding="utf-8")
        compiled = lleaves.Model(model_file=str(file))
        compiled.compile()
    return lambda features: np.asarray(
        compiled.predict(features, n_jobs=threads), dtype=np.float32
    )
