"""Features to maps, block by block: memory does not grow with the raster."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagery.catalog import SceneStack
from imagery.classify import CropModel
from imagery.engines import Predict
from imagery.features import (
    OBSERVATIONS,
    FeatureSpec,
    block_features,
    block_size_for,
    feature_names,
)
from imagery.grid import Block
from imagery.raster import CogWriter, open_raster
from imagery.windows import FinishedWindows

__all__ = ["UNOBSERVED", "map_scenes"]

#: Class code of pixels without enough clear observations.
UNOBSERVED = 0
# Pixels from which compiling a model's trees takes less time than it saves.
_WORTH_COMPILING = 4_000_000
_NO_PROBABILITY = _NOTHING = 255
_TABLE_BYTES = 64 * 2**20
_MADE_FROM = "MADE_FROM_SHA256"

# Classes that every survey has keep their colour; others take the rest in turn. The crops
# stand out, land without them stays quiet.
_COLOUR_OF = {
    "poppy": (214, 39, 40),
    "cannabis": (148, 61, 176),
    "forest": (60, 120, 72),
    "fallow": (205, 214, 168),
    "bare": (224, 206, 178),
    "water": (120, 170, 210),
    "maize": (240, 200, 80),
    "vegetables": (150, 200, 90),
}
_OTHER_COLOURS = ((140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207))


def map_scenes(
    stack: SceneStack,
    model: CropModel,
    spec: FeatureSpec,
    *,
    class_map: Path,
    probability: Path,
    crops: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
    block_size: int | None = None,
    keep: Path | None = None,
    observations: Path | None = None,
) -> None:
    """Write the class map and the probability map as valid COGs.

    Where both stand already and were made from the same scenes, model and settings, nothing is
    done.

    Parameters
    ----------
    class_map : Path
        uint8, 0 = unobserved, 1..k = the model's classes; colour table, class names in tags.
    probability : Path
        uint8 percent per crop, nodata 255.
    crops : sequence of str
        Crops that get a probability band; one that was not trained is nodata everywhere.
    progress : callable (done, total) in blocks
    block_size : int
        Pixels a side of a block; by default `block_size_for`, which bounds the memory.
    keep : Path, optional
        Folder for finished windows: a mapping that was killed goes on after them, and one that
        is done removes them.
    observations : Path, optional
        Third map, of what the classes rest on: the bands of `OBSERVATIONS`, uint8, nodata 255.
    """
    model.require_features(feature_names(stack, spec))
    blocks = list(stack.grid.blocks(block_size or block_size_for(stack, spec)))
    colours = {UNOBSERVED: (0, 0, 0, 0)}
    colours |= {
        code: (*_COLOUR_OF.get(name, _OTHER_COLOURS[code % len(_OTHER_COLOURS)]), 255)
        for code, name in enumerate(model.class_names, start=1)
    }
    made_from = _made_from(stack, model, spec, crops, blocks)
    digest = hashlib.sha256(made_from.encode()).hexdigest()
    written = [path for path in (class_map, probability, observations) if path is not None]
    if all(_made_from_tag(path) == digest for path in written):
        return
    tags = {f"CLASS_{code}": name for code, name in enumerate(model.class_names, start=1)}
    tags[_MADE_FROM] = digest
    position = [model.class_names.index(c) if c in model.class_names else None for c in crops]
    n_pixels = stack.grid.shape[0] * stack.grid.shape[1]
    predict = model.predictor(is_small=n_pixels < _WORTH_COMPILING)
    finished = None
    if keep is not None:
        finished = FinishedWindows(keep, made_from)
    with ExitStack() as files:
        classes = files.enter_context(
            CogWriter(
                class_map,
                stack.grid,
                bands=["class"],
                nodata=UNOBSERVED,
                colours=colours,
                tags=tags,
            )
        )
        chances = files.enter_context(
            CogWriter(
                probability,
                stack.grid,
                bands=list(crops),
                nodata=_NO_PROBABILITY,
                tags={_MADE_FROM: digest},
            )
        )
        counts = None
        if observations is not None:
            counts = files.enter_context(
                CogWriter(
                    observations,
                    stack.grid,
                    bands=list(OBSERVATIONS),
                    nodata=_NOTHING,
                    tags={_MADE_FROM: digest},
                )
            )
        for done, block in enumerate(blocks, start=1):
            pixels = None if finished is None else finished.get(done)
            if pixels is None:
                pixels = _classified(stack, spec, block, model, predict, position)
                if finished is not None:
                    finished.put(done, pixels)
            classes.write(pixels[:1], block)
            chances.write(pixels[1 : -len(OBSERVATIONS)], block)
            if counts is not None:
                counts.write(pixels[-len(OBSERVATIONS) :], block)
            if progress is not None:
                progress(done, len(blocks))
    if finished is not None:
        finished.clear()


def _classified(
    stack: SceneStack,
    spec: FeatureSpec,
    block: Block,
    model: CropModel,
    predict: Predict,
    position: Sequence[int | None],
) -> npt.NDArray[np.uint8]:
    """Class codes, percent of each crop, observations, (1 + crops + observations, rows, cols)."""
    found = block_features(stack, spec, block)
    features, observed = found.values, found.is_observed
    n_layers = 1 + len(position) + len(OBSERVATIONS)
    pixels = np.full((n_layers, *block.shape), _NO_PROBABILITY, dtype=np.uint8)
    pixels[0] = UNOBSERVED
    # A table of all pixels at once would be a second copy of many features.
    n_rows = max(1, _TABLE_BYTES // (features.itemsize * len(features) * block.cols))
    for first in range(0, block.rows, n_rows):
        rows = slice(first, first + n_rows)
        seen = observed[rows]
        if not seen.any():
            continue
        scores = predict(np.ascontiguousarray(features[:, rows][:, seen].T))
        pixels[0, rows][seen] = model.classes(scores)
        for band, column in enumerate(position, start=1):
            if column is not None:
                pixels[band, rows][seen] = np.rint(100.0 * scores[:, column])
    pixels[-len(OBSERVATIONS) :] = found.summary()
    return pixels


def _made_from_tag(path: Path) -> str:
    if not path.is_file():
        return ""
    with open_raster(path) as dataset:
        return str(dataset.tags().get(_MADE_FROM, ""))


def _made_from(
    stack: SceneStack,
    model: CropModel,
    spec: FeatureSpec,
    crops: Sequence[str],
    blocks: Sequence[Block],
) -> str:
    """What the pixels of a mapping depend on: files by name, size and time of change."""
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in stack.paths]
    # What follows the trees are parameters of training, which a loaded model writes otherwise.
    trees = model.booster.model_to_string().partition("end of trees")[0]
    limits = sorted(model.thresholds.items())
    made = (files, stack.scenes, trees, model.class_names, limits, spec, tuple(crops), blocks)
    return repr((*made, OBSERVATIONS))
