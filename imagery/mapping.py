"""Features to maps, block by block: memory does not grow with the raster."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagery.catalog import SceneStack
from imagery.classify import (
    OUTSIDE_NAME,
    OUTSIDE_RISK,
    RISK_OUTSIDE,
    UNOBSERVED,
    CropModel,
)
from imagery.engines import Predict
from imagery.errors import TrainingError
from imagery.features import (
    OBSERVATIONS,
    FeatureSpec,
    block_features,
    block_size_for,
    feature_names,
)
from imagery.grid import Block
from imagery.mosaic import ClassMosaic
from imagery.raster import CogWriter, open_raster
from imagery.windows import FinishedWindows
from imagery.workers import cores, on_cluster, on_processes

__all__ = ["map_scenes"]

# Pixels from which converting, or compiling, a model's trees takes less time than it saves.
_WORTH_CONVERTING, _WORTH_COMPILING = 200_000, 4_000_000
# Pixels from which starting workers takes less time than it saves.
_WORTH_WORKERS = 2_000_000
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
    OUTSIDE_NAME: (228, 228, 228),
}
_OTHER_COLOURS = ((140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What a worker needs to classify any block of a mapping."""

    digest: str
    stack: SceneStack
    spec: FeatureSpec
    model: CropModel
    position: tuple[int | None, ...]
    blocks: tuple[Block, ...]
    risk: ClassMosaic | None
    is_small: bool
    may_compile: bool
    threads: int


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
    risk_area: Path | None = None,
    workers: int = 1,
    scheduler: str | None = None,
) -> None:
    """Write the class map and the probability map as valid COGs.

    Where both stand already and were made from the same scenes, model and settings, nothing is
    done.

    Parameters
    ----------
    class_map : Path
        uint8, 0 = unobserved, 1..k = the model's classes, 255 = outside the risk area; colour
        table, class names in tags.
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
    risk_area : Path, optional
        Raster of `imagery.riskarea` on any grid: pixels outside are not classified, and blocks
        wholly outside are not even read.
    workers : int
        Processes of this machine that classify; with 1 it is done in this one.
    scheduler : str, optional
        Address of a dask.distributed scheduler, whose workers classify instead.

    Raises
    ------
    SceneError, TrainingError
        The scenes do not fit together, or are not those of the model.
    WorkerError
        Workers were lost; finished windows are kept.
    WriteError
        The disk is full; nothing stands under the names.
    """
    model.require_features(feature_names(stack, spec))
    blocks = tuple(stack.grid.blocks(block_size or block_size_for(stack, spec)))
    made_from = _made_from(stack, model, spec, crops, blocks, risk_area)
    digest = hashlib.sha256(made_from.encode()).hexdigest()
    written = [path for path in (class_map, probability, observations) if path is not None]
    if all(_made_from_tag(path) == digest for path in written):
        return
    names = dict(enumerate(model.class_names, start=1))
    if len(names) >= OUTSIDE_RISK:
        raise TrainingError(f"{len(names)} classes do not fit a map; it holds {OUTSIDE_RISK - 1}")
    if risk_area is not None:
        names[OUTSIDE_RISK] = OUTSIDE_NAME
    n_pixels = stack.grid.shape[0] * stack.grid.shape[1]
    is_alone = scheduler is None and (workers < 2 or n_pixels < _WORTH_WORKERS)
    job = _Job(
        digest=digest,
        stack=stack,
        spec=spec,
        model=model,
        position=tuple(
            model.class_names.index(c) if c in model.class_names else None for c in crops
        ),
        blocks=blocks,
        risk=None if risk_area is None else ClassMosaic([risk_area], grid=stack.grid),
        is_small=n_pixels < _WORTH_CONVERTING,
        may_compile=n_pixels >= _WORTH_COMPILING,
        threads=cores() if is_alone else 1,
    )
    finished = None if keep is None else FinishedWindows(keep, made_from)
    with ExitStack() as files:
        classes = files.enter_context(
            CogWriter(
                class_map,
                stack.grid,
                bands=["class"],
                nodata=UNOBSERVED,
                colours=_colours(names),
                tags={f"CLASS_{code}": name for code, name in names.items()}
                | {_MADE_FROM: digest},
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
        for done, (number, pixels) in enumerate(
            _all_windows(job, finished, workers=1 if is_alone else workers, scheduler=scheduler),
            start=1,
        ):
            classes.write(pixels[:1], blocks[number])
            chances.write(pixels[1 : -len(OBSERVATIONS)], blocks[number])
            if counts is not None:
                counts.write(pixels[-len(OBSERVATIONS) :], blocks[number])
            if progress is not None:
                progress(done, len(blocks))
    if finished is not None:
        finished.clear()


def _all_windows(
    job: _Job, finished: FinishedWindows | None, *, workers: int, scheduler: str | None
) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Number and pixels of every block: first those kept, then the others as they are done."""
    todo = []
    for number in range(len(job.blocks)):
        pixels = None if finished is None else finished.get(number + 1)
        if pixels is None:
            todo.append(number)
        else:
            yield number, pixels
    if scheduler is not None:
        made = on_cluster(_classified, job, todo, scheduler=scheduler) if todo else iter(())
    else:
        made = on_processes(_classified, job, todo, workers=workers)
    for number, pixels in made:
        if finished is not None:
            finished.put(number + 1, pixels)
        yield number, pixels


# The engine of the last job: a worker prepares it once.
_engine: tuple[str, Predict] | None = None


def _engine_of(job: _Job) -> Predict:
    global _engine  # one for the life of a worker
    if _engine is None or _engine[0] != job.digest:
        predict = job.model.predictor(
            is_small=job.is_small, may_compile=job.may_compile, threads=job.threads
        )
        _engine = (job.digest, predict)
    return _engine[1]


def _classified(job: _Job, number: int) -> npt.NDArray[np.uint8]:
    """Class codes, percent of each crop, observations, (1 + crops + observations, rows, cols)."""
    block = job.blocks[number]
    n_layers = 1 + len(job.position) + len(OBSERVATIONS)
    pixels = np.full((n_layers, *block.shape), _NOTHING, dtype=np.uint8)
    is_outside = np.zeros(block.shape, dtype=bool)
    if job.risk is not None:
        # What the risk area says nothing of is not known to lie outside.
        is_outside = job.risk.read(block) == RISK_OUTSIDE
    pixels[0] = np.where(is_outside, OUTSIDE_RISK, UNOBSERVED)
    if is_outside.all():
        return pixels
    found = block_features(job.stack, job.spec, block)
    features, used = found.values, found.is_observed & ~is_outside
    # A table of all pixels at once would be a second copy of many features.
    n_rows = max(1, _TABLE_BYTES // (features.itemsize * len(features) * block.cols))
    for first in range(0, block.rows, n_rows):
        rows = slice(first, first + n_rows)
        seen = used[rows]
        if not seen.any():
            continue
        scores = _engine_of(job)(np.ascontiguousarray(features[:, rows][:, seen].T))
        pixels[0, rows][seen] = job.model.classes(scores)
        for band, column in enumerate(job.position, start=1):
            if column is not None:
                pixels[band, rows][seen] = np.rint(100.0 * scores[:, column])
    pixels[-len(OBSERVATIONS) :] = np.where(is_outside, _NOTHING, found.summary())
    return pixels


def _colours(names: Mapping[int, str]) -> dict[int, tuple[int, int, int, int]]:
    colours = {UNOBSERVED: (0, 0, 0, 0)}
    for code, name in names.items():
        red, green, blue = _COLOUR_OF.get(name, _OTHER_COLOURS[code % len(_OTHER_COLOURS)])
        colours[code] = (red, green, blue, 255)
    return colours


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
    risk_area: Path | None,
) -> str:
    """What the pixels of a mapping depend on: files by name, size and time of change."""
    paths = [*stack.paths, *(() if risk_area is None else (risk_area,))]
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    # What follows the trees are parameters of training, which a loaded model writes otherwise.
    trees = model.booster.model_to_string().partition("end of trees")[0]
    limits = sorted(model.thresholds.items())
    made = (
        files,
        stack.grid,
        stack.scenes,
        trees,
        model.class_names,
        limits,
        spec,
        tuple(crops),
        blocks,
    )
    return repr((*made, OBSERVATIONS))
