"""Features written as rasters: to look at, and composites that serve as scenes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagery.catalog import SceneStack
from imagery.errors import SceneError, WriteError
from imagery.features import (
    BlockFeatures,
    FeatureSpec,
    block_features,
    block_size_for,
    feature_names,
    step_names,
)
from imagery.phenology import PHENOLOGY
from imagery.raster import CogWriter, open_raster
from imagery.windows import FinishedWindows

__all__ = ["KINDS", "write_layers"]

#: What can be written: pictures of each step without what was interpolated; indices of each step
#: with it; and the numbers that stand beside them.
KINDS = ("composites", "indices", "phenology", "texture", "terrain", "observations")
_MADE_FROM = "MADE_FROM_SHA256"
_NO_COUNT = 65535
_MOST_COUNTED = 65534


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """One file: its bands, and which planes of a window they are."""

    path: Path
    bands: tuple[str, ...]
    planes: slice
    is_count: bool = False


def write_layers(
    stack: SceneStack,
    spec: FeatureSpec,
    folder: Path,
    *,
    kinds: Collection[str] = KINDS,
    keep: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    block_size: int | None = None,
) -> tuple[Path, ...]:
    """Write features as valid COGs, by the function that training and mapping use.

    ``composites/p01.tif`` holds the reflectance of the first period, NaN where it has no clear
    date; with one season for all land each gets a sidecar, so that the folder can be read as
    scenes: features of it are the same, and are had without reading every date again.
    ``indices/p01.tif`` and ``texture/p01.tif`` are of the gap-filled period;
    ``phenology.tif``, ``terrain.tif``; ``observations.tif`` counts the clear dates of each step
    (uint16) and says the longest gap in days, the share of steps without a clear date in
    percent, and whether a pixel counts as observed. Without a calendar a step is a date.

    Where all files stand already and were made from the same scenes and settings, nothing is
    done.

    Parameters
    ----------
    kinds : collection of str
        Of `KINDS`; what the spec does not ask for is left out.
    keep : Path, optional
        Folder for finished windows: what was killed goes on after them.
    progress : callable (done, total) in blocks

    Returns
    -------
    tuple of Path

    Raises
    ------
    SceneError
        An unknown kind, or nothing to write.
    WriteError
        The disk is full or fails; no file stands under its name half-written.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise SceneError(
            f"layer {', '.join(unknown)} is not known; choose from {', '.join(KINDS)}"
        )
    wanted = _only(spec, kinds)
    layers = list(_layers(stack, wanted, folder, kinds))
    if not layers:
        raise SceneError(f"nothing to write: survey.toml asks for no {' and no '.join(kinds)}")
    blocks = list(stack.grid.blocks(block_size or block_size_for(stack, wanted)))
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in stack.paths]
    made_from = repr((files, stack.grid, stack.scenes, wanted, layers, blocks))
    digest = hashlib.sha256(made_from.encode()).hexdigest()
    paths = tuple(layer.path for layer in layers)
    if all(_tag(path) == digest for path in paths):
        return paths
    for path in paths:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"{path.parent} cannot be made ({error.strerror})") from error
    finished = None if keep is None else FinishedWindows(keep, made_from)
    with ExitStack() as open_files:
        writers = [
            open_files.enter_context(
                CogWriter(
                    layer.path,
                    stack.grid,
                    bands=layer.bands,
                    nodata=_NO_COUNT if layer.is_count else float("nan"),
                    dtype="uint16" if layer.is_count else "float32",
                    tags={_MADE_FROM: digest},
                )
            )
            for layer in layers
        ]
        for done, block in enumerate(blocks, start=1):
            planes = None if finished is None else finished.get(done)
            if planes is None:
                planes = _planes(block_features(stack, wanted, block), stack, wanted)
                if finished is not None:
                    finished.put(done, planes)
            for layer, writer in zip(layers, writers, strict=True):
                writer.write(planes[layer.planes].astype(writer.dtype), block)
            if progress is not None:
                progress(done, len(blocks))
    if "composites" in kinds and (spec.calendar is None or not spec.calendar.strata):
        _write_sidecars(stack, wanted, folder / "composites")
    if finished is not None:
        finished.clear()
    return paths


def _only(spec: FeatureSpec, kinds: Collection[str]) -> FeatureSpec:
    """The spec without what is not written, so that it need not be computed."""
    texture = spec.texture if "texture" in kinds else None
    of_indices = texture is not None and not set(texture.bands).isdisjoint(spec.indices)
    return replace(
        spec,
        indices=spec.indices if "indices" in kinds or of_indices else (),
        phenology=spec.phenology if "phenology" in kinds else (),
        texture=texture,
        elevation=spec.elevation if "terrain" in kinds else None,
    )


def _layers(
    stack: SceneStack, spec: FeatureSpec, folder: Path, kinds: Collection[str]
) -> Iterator[_Layer]:
    """Files in order; a plane is a feature, and after those stand the counts."""
    names = feature_names(stack, spec)
    steps = step_names(stack, spec)
    n_bands, n_indices = len(stack.bands), len(spec.indices)
    at = 0
    for step in steps:
        if "composites" in kinds:
            yield _Layer(
                path=folder / "composites" / f"{step}.tif",
                bands=stack.bands,
                planes=slice(at, at + n_bands),
            )
        if "indices" in kinds and n_indices:
            yield _Layer(
                path=folder / "indices" / f"{step}.tif",
                bands=spec.indices,
                planes=slice(at + n_bands, at + n_bands + n_indices),
            )
        at += n_bands + n_indices
    n_phenology = len(PHENOLOGY) * len(spec.phenology)
    if n_phenology:
        planes = slice(at, at + n_phenology)
        yield _Layer(path=folder / "phenology.tif", bands=names[planes], planes=planes)
        at += n_phenology
    if spec.texture is not None:
        n_texture = len(spec.texture.bands) * len(spec.texture.measures)
        for step in steps:
            planes = slice(at, at + n_texture)
            yield _Layer(
                path=folder / "texture" / f"{step}.tif",
                bands=tuple(name.removeprefix(f"{step} ") for name in names[planes]),
                planes=planes,
            )
            at += n_texture
    if spec.elevation is not None:
        planes = slice(at, len(names))
        yield _Layer(path=folder / "terrain.tif", bands=names[planes], planes=planes)
    if "observations" in kinds:
        yield _Layer(
            path=folder / "observations.tif",
            bands=(*steps, "gap_days", "unobserved_percent", "is_observed"),
            planes=slice(len(names), len(names) + len(steps) + 3),
            is_count=True,
        )


def _planes(found: BlockFeatures, stack: SceneStack, spec: FeatureSpec) -> npt.NDArray[np.float32]:
    """Features with interpolated reflectance taken out again, then the counts."""
    n_steps, n_bands = len(found.n_dates), len(stack.bands)
    counts = np.concatenate(
        [
            np.minimum(found.n_dates, _MOST_COUNTED),
            np.where(np.isnan(found.gap_days), _NO_COUNT, found.gap_days)[None],
            np.rint(100.0 * (n_steps - found.n_clear[None]) / n_steps),
            found.is_observed[None],
        ]
    )
    planes = np.concatenate([found.values, counts.astype(np.float32)])
    n_layers = n_bands + len(spec.indices)
    for step in range(n_steps):
        hidden = found.n_dates[step] == 0
        planes[step * n_layers : step * n_layers + n_bands, hidden] = np.nan
    return planes


def _write_sidecars(stack: SceneStack, spec: FeatureSpec, folder: Path) -> None:
    days: Sequence[date] = stack.dates
    if spec.calendar is not None:
        periods = spec.calendar.season.periods
        days = [date.fromordinal(int(period.centre)) for period in periods]
    for step, day in zip(step_names(stack, spec), days, strict=True):
        sidecar = {"date": day.isoformat(), "bands": stack.bands, "scale": 1.0, "mask": None}
        path = folder / f"{step}.json"
        try:
            path.write_text(json.dumps(sidecar), encoding="utf-8")
        except OSError as error:
            raise WriteError(f"{path} cannot be written ({error.strerror})") from error


def _tag(path: Path) -> str:
    if not path.is_file():
        return ""
    with open_raster(path) as dataset:
        return str(dataset.tags().get(_MADE_FROM, ""))
