"""Scenes to features to maps, block by block: memory does not grow with the raster."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagery.catalog import SceneStack
from imagery.classify import CropModel
from imagery.engines import Predict
from imagery.errors import SceneError
from imagery.grid import Block
from imagery.indices import compute_index, required_bands
from imagery.raster import CogWriter, open_raster, read_block
from imagery.windows import FinishedWindows

__all__ = [
    "ALPHA",
    "UNOBSERVED",
    "FeatureSpec",
    "block_features",
    "block_size_for",
    "map_scenes",
]

#: Class code of pixels without enough clear observations.
UNOBSERVED = 0
#: Band that says where an orthomosaic has pixels; it is no feature.
ALPHA = "alpha"
# Pixels from which compiling a model's trees takes less time than it saves.
_WORTH_COMPILING = 4_000_000
_NO_PROBABILITY = 255
_MADE_FROM = "MADE_FROM_SHA256"

# Divisors of the tiles on disk, so that none is read or written in parts by two rows of blocks.
_BLOCK_SIZES = (512, 256, 128, 64)
_BLOCK_BYTES = 300 * 2**20
# A feature is a float32 and up to three copies of it live at once.
_BYTES_PER_FEATURE = 14

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


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """What a pixel is described by.

    Attributes
    ----------
    indices : tuple of str
        Names of `imagery.indices.INDICES`, computed on every date.
    min_clear : int
        Clear dates below which a pixel counts as unobserved.
    """

    indices: tuple[str, ...]
    min_clear: int = 3


def block_features(
    stack: SceneStack, spec: FeatureSpec, block: Block
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.uint8]]:
    """Features of the pixels of one block.

    Every date gives its reflectance bands and indices; where a date is masked its reflectance
    is interpolated linearly in time between the clear dates around it (the nearest one at the
    ends of the season).

    Returns
    -------
    features : float32 array (dates x (bands + indices), rows, cols)
        NaN where a pixel was never clear.
    is_observed : bool array (rows, cols)
        At least `min_clear` clear dates.
    n_clear : uint8 array (rows, cols)
    """
    bands = tuple(band for band in stack.scenes[0].bands if band != ALPHA)
    _require_bands(stack, spec)
    n_dates = len(stack.scenes)
    reflectance = np.empty((n_dates, len(bands), *block.shape), dtype=np.float32)
    clear = np.empty((n_dates, *block.shape), dtype=bool)
    for number, scene in enumerate(stack.scenes):
        order = [scene.bands.index(band) + 1 for band in bands]
        with open_raster(scene.path) as image:
            stored = read_block(image, block, indexes=order)
            nodata = image.nodata
        clear[number] = True
        if scene.mask_path is not None:
            with open_raster(scene.mask_path) as mask:
                clear[number] = np.isin(read_block(mask, block, indexes=1), scene.mask_clear)
        values = stored.astype(np.float32)
        clear[number] &= np.isfinite(values).all(axis=0)
        if nodata is not None:
            clear[number] &= (stored != nodata).all(axis=0)
        if ALPHA in scene.bands:
            with open_raster(scene.path) as image:
                opaque = read_block(image, block, indexes=scene.bands.index(ALPHA) + 1)
            clear[number] &= opaque > 0
        reflectance[number] = values * np.float32(scene.scale) + np.float32(scene.offset)
    n_clear = clear.sum(axis=0).astype(np.uint8)
    days = np.array([scene.acquired.toordinal() for scene in stack.scenes], dtype=np.float32)
    _interpolate(reflectance, clear, days)
    layers = [reflectance]
    for number in range(n_dates):
        by_name = dict(zip(bands, reflectance[number], strict=True))
        layers.append(
            np.stack([compute_index(name, by_name) for name in spec.indices])[None]
            if spec.indices
            else np.empty((1, 0, *block.shape), dtype=np.float32)
        )
    features = np.concatenate([layers[0], np.concatenate(layers[1:])], axis=1).reshape(
        -1, *block.shape
    )
    return features, n_clear >= spec.min_clear, n_clear


def _require_bands(stack: SceneStack, spec: FeatureSpec) -> None:
    bands = stack.scenes[0].bands
    for scene in stack.scenes:
        missing = [band for band in bands if band not in scene.bands]
        if missing:
            raise SceneError(
                f"{scene.path.name} lacks band {', '.join(missing)} that "
                f"{stack.scenes[0].path.name} has; give scenes with the same bands"
            )
    absent = [band for band in required_bands(spec.indices) if band not in bands]
    if absent:
        raise SceneError(
            f"band {', '.join(absent)} is needed by the indices {', '.join(spec.indices)} but the "
            f"scenes have {', '.join(bands)}; leave the index out of survey.toml"
        )


def _interpolate(
    values: npt.NDArray[np.float32],
    clear: npt.NDArray[np.bool_],
    days: npt.NDArray[np.float32],
) -> None:
    """Fill masked dates in place, linearly in time; NaN where no date is clear."""
    n = len(days)
    step = np.arange(n)[:, None, None]
    before = np.maximum.accumulate(np.where(clear, step, -1), axis=0)
    after = np.minimum.accumulate(np.where(clear, step, n)[::-1], axis=0)[::-1]
    never = ~clear.any(axis=0)
    source = values.copy()
    for number in range(n):
        hidden = ~clear[number] & ~never
        if hidden.any():
            row, col = np.nonzero(hidden)
            low, high = before[number][hidden], after[number][hidden]
            # At the ends of the season only one side exists.
            low = np.where(low < 0, high, low)
            high = np.where(high >= n, low, high)
            span = days[high] - days[low]
            share = np.where(span > 0, (days[number] - days[low]) / np.maximum(span, 1), 0.0)
            share = share.astype(np.float32)[:, None]
            values[number][:, row, col] = (
                (1.0 - share) * source[low, :, row, col] + share * source[high, :, row, col]
            ).T
        values[number][:, never] = np.nan


def block_size_for(stack: SceneStack, spec: FeatureSpec) -> int:
    """Pixels a side of the largest block whose features stay within the memory budget."""
    n_features = len(stack.scenes) * (len(stack.scenes[0].bands) + len(spec.indices))
    for size in _BLOCK_SIZES:
        if size * size * n_features * _BYTES_PER_FEATURE <= _BLOCK_BYTES:
            return size
    return _BLOCK_SIZES[-1]


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
    """
    blocks = list(stack.grid.blocks(block_size or block_size_for(stack, spec)))
    colours = {UNOBSERVED: (0, 0, 0, 0)}
    colours |= {
        code: (*_COLOUR_OF.get(name, _OTHER_COLOURS[code % len(_OTHER_COLOURS)]), 255)
        for code, name in enumerate(model.class_names, start=1)
    }
    made_from = _made_from(stack, model, spec, crops, blocks)
    digest = hashlib.sha256(made_from.encode()).hexdigest()
    if all(_made_from_tag(path) == digest for path in (class_map, probability)):
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
        for done, block in enumerate(blocks, start=1):
            pixels = None if finished is None else finished.get(done)
            if pixels is None:
                pixels = _classified(stack, spec, block, predict, position)
                if finished is not None:
                    finished.put(done, pixels)
            classes.write(pixels[:1], block)
            chances.write(pixels[1:], block)
            if progress is not None:
                progress(done, len(blocks))
    if finished is not None:
        finished.clear()


def _classified(
    stack: SceneStack,
    spec: FeatureSpec,
    block: Block,
    predict: Predict,
    position: Sequence[int | None],
) -> npt.NDArray[np.uint8]:
    """Class codes and then percent of each crop, (1 + crops, rows, cols)."""
    features, observed, _ = block_features(stack, spec, block)
    pixels = np.full((1 + len(position), *block.shape), _NO_PROBABILITY, dtype=np.uint8)
    pixels[0] = UNOBSERVED
    if observed.any():
        scores = predict(np.ascontiguousarray(features[:, observed].T))
        pixels[0][observed] = scores.argmax(axis=1).astype(np.uint8) + 1
        for band, column in enumerate(position, start=1):
            if column is not None:
                pixels[band][observed] = np.rint(100.0 * scores[:, column])
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
    return repr((files, stack.scenes, trees, model.class_names, spec, tuple(crops), blocks))
