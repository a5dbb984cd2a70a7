"""Scenes of a round: images with their dates, bands and masks, on one grid."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

from imagery.errors import SceneError
from imagery.grid import Grid
from imagery.raster import open_raster

__all__ = ["Scene", "SceneStack", "read_scenes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One acquisition.

    Attributes
    ----------
    path : Path
    mask_path : Path or None
        Mask whose values in `mask_clear` mean a clear view; None where the sidecar says
        ``"mask": null``: everything but nodata is clear.
    acquired : date
    bands : tuple of str
        Common band names in file order.
    scale, offset : float
        Reflectance = stored value * scale + offset.
    """

    path: Path
    mask_path: Path | None
    acquired: date
    bands: tuple[str, ...]
    scale: float
    offset: float
    mask_clear: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneStack:
    """Scenes in order of date, all on the same grid."""

    scenes: tuple[Scene, ...]
    grid: Grid

    @property
    def dates(self) -> tuple[date, ...]:
        """Day of each acquisition."""
        return tuple(scene.acquired for scene in self.scenes)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file the stack reads: images and masks."""
        return tuple(
            path
            for scene in self.scenes
            for path in (scene.path, scene.mask_path)
            if path is not None
        )


def read_scenes(folder: Path) -> SceneStack:
    """Read every sidecar (`*.json`) of a folder and check that the scenes fit together.

    Raises
    ------
    SceneError
        Nothing found, a file missing or malformed, a repeated date, or grids that differ.
    GridError
        A raster without reference system, or rotated.
    """
    sidecars = sorted(folder.glob("*.json")) if folder.is_dir() else []
    if not sidecars:
        raise SceneError(
            f"{folder} holds no scene sidecars (*.json); a sidecar names date, bands, scale, "
            "offset and mask of the image beside it (docs/imagery.md)"
        )
    scenes = sorted((_read_sidecar(path) for path in sidecars), key=lambda s: s.acquired)
    for earlier, later in pairwise(scenes):
        if earlier.acquired == later.acquired:
            raise SceneError(
                f"{earlier.path.name} and {later.path.name} have the same date "
                f"{later.acquired}; keep one, or mosaic them first"
            )
    grid = _grid(scenes[0])
    for scene in scenes[1:]:
        other = _grid(scene)
        if other != grid:
            raise SceneError(
                f"{scene.path.name} lies on another grid than {scenes[0].path.name} "
                f"({_words(other)} against {_words(grid)}); warp it to the first one's grid"
            )
    return SceneStack(scenes=tuple(scenes), grid=grid)


def _read_sidecar(path: Path) -> Scene:
    try:
        meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        acquired = date.fromisoformat(meta["date"])
        bands = tuple(str(band) for band in meta["bands"])
        mask_path = None if meta["mask"] is None else path.parent / str(meta["mask"])
        scene = Scene(
            path=path.with_suffix(".tif"),
            mask_path=mask_path,
            acquired=acquired,
            bands=bands,
            scale=float(meta["scale"]),
            offset=float(meta.get("offset", 0.0)),
            mask_clear=tuple(int(value) for value in meta.get("mask_clear", [0])),
        )
    except json.JSONDecodeError as error:
        raise SceneError(f"{path.name} is not valid JSON: {error}") from error
    except KeyError as error:
        raise SceneError(
            f"{path.name}: key {error} is missing; a sidecar needs date, bands, scale and mask"
        ) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise SceneError(f"{path.name}: {error}; correct the value") from error
    if mask_path is not None and mask_path.parent != path.parent:
        raise SceneError(f"{path.name}: mask {meta['mask']!r} must lie beside the image")
    for file in (scene.path, scene.mask_path):
        if file is not None and not file.is_file():
            raise SceneError(f"{path.name} names {file.name}, which does not exist beside it")
    return scene


def _grid(scene: Scene) -> Grid:
    with open_raster(scene.path) as image:
        if image.count != len(scene.bands):
            raise SceneError(
                f"{scene.path.name} has {image.count} bands, its sidecar names "
                f"{len(scene.bands)} ({', '.join(scene.bands)})"
            )
        grid = Grid.of(image, source=scene.path.name)
    if scene.mask_path is not None:
        with open_raster(scene.mask_path) as mask:
            if Grid.of(mask, source=scene.mask_path.name) != grid:
                raise SceneError(f"{scene.mask_path.name} lies on another grid than its image")
    return grid


def _words(grid: Grid) -> str:
    west, south, east, north = grid.bounds
    return (
        f"{grid.crs.to_string()}, {grid.shape[0]} x {grid.shape[1]} pixels of "
        f"{grid.transform.a:g}, {west:g} {south:g} {east:g} {north:g}"
    )
