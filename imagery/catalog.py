"""Scenes of a round: images with their dates, bands and masks, on one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagery.errors import SceneError
from imagery.grid import Block, Grid, Lattice
from imagery.raster import open_raster, read_block
from imagery.sidecars import ALPHA, SceneMask, describe, read_json

__all__ = ["CLOUD_PROBABILITY", "Scene", "SceneStack", "read_scenes"]

#: Layer that scenes with such a mask give beside their bands, in percent.
CLOUD_PROBABILITY = "cloud_probability"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One image of one day: an acquisition, or the part of it that one tile holds.

    Attributes
    ----------
    path : Path
    masks : tuple of SceneMask
        All of them must show a pixel; none where everything but nodata is clear.
    acquired : date
    bands : tuple of str
        Common band names in file order.
    scale, offset : tuple of float
        Reflectance = stored value * scale + offset, one of each per band.
    nodata : float or None
        Stored value of missing pixels: the sidecar's, else the file's own.
    grid : Grid
        Where the image lies; a part of the stack's grid.
    """

    path: Path
    masks: tuple[SceneMask, ...]
    acquired: date
    bands: tuple[str, ...]
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    nodata: float | None
    grid: Grid

    def read(
        self, bands: Sequence[str], block: Block
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Reflectance and clear view of a block of the scene's own grid.

        Parameters
        ----------
        bands : sequence of str
            Band names; `CLOUD_PROBABILITY` may be the last.

        Returns
        -------
        reflectance : float32 array (bands, rows, cols)
        is_clear : bool array (rows, cols)
            Every mask shows it, no band is nodata, NaN or infinite, and alpha is not 0.

        Raises
        ------
        SceneError
            A band or the probability is missing, or a file is damaged.
        """
        if CLOUD_PROBABILITY in bands:
            *others, _ = bands
            values, clear = self.read(others, block)
            return np.concatenate([values, self._cloud_probability(block)[None]]), clear
        absent = [band for band in bands if band not in self.bands]
        if absent:
            raise SceneError(
                f"{self.path.name} lacks band {', '.join(absent)}; give scenes with the same bands"
            )
        wanted = [self.bands.index(band) for band in bands]
        has_alpha = ALPHA in self.bands and ALPHA not in bands
        indexes = [number + 1 for number in wanted]
        if has_alpha:
            indexes.append(self.bands.index(ALPHA) + 1)
        with open_raster(self.path) as image:
            stored = read_block(image, block, indexes=indexes)
        clear = np.ones(block.shape, dtype=bool)
        if has_alpha:
            clear = stored[-1] > 0
            stored = stored[:-1]
        values = stored.astype(np.float32)
        clear &= np.isfinite(values).all(axis=0)
        if self.nodata is not None:
            clear &= (stored != self.nodata).all(axis=0)
        for mask in self.masks:
            with open_raster(mask.path) as file:
                clear &= mask.rule.shows(read_block(file, block, indexes=mask.band))
        scale = np.array([self.scale[number] for number in wanted], dtype=np.float32)
        offset = np.array([self.offset[number] for number in wanted], dtype=np.float32)
        return values * scale[:, None, None] + offset[:, None, None], clear

    @property
    def has_cloud_probability(self) -> bool:
        """Whether a mask of it holds the probability of cloud."""
        return any(mask.rule.is_cloud_probability for mask in self.masks)

    def _cloud_probability(self, block: Block) -> npt.NDArray[np.float32]:
        for mask in self.masks:
            if mask.rule.is_cloud_probability:
                with open_raster(mask.path) as file:
                    return read_block(file, block, indexes=mask.band).astype(np.float32)
        raise SceneError(
            f"{self.path.name} has no cloud probability; name it among the masks of its sidecar "
            'with "cloud_probability": true (docs/imagery.md)'
        )


@dataclass(frozen=True, kw_only=True)
class SceneStack:
    """Scenes in order of date, all on one grid; several of one day make up its mosaic.

    A scene may cover a part of the grid. Read dates through `read`, which counts land that
    several scenes of a day show once.
    """

    scenes: tuple[Scene, ...]
    grid: Grid

    @cached_property
    def dates(self) -> tuple[date, ...]:
        """Days with an acquisition, in order, each once."""
        return tuple(sorted({scene.acquired for scene in self.scenes}))

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of the first scene, which every other must have; alpha is none of them."""
        return tuple(band for band in self.scenes[0].bands if band != ALPHA)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file the stack reads: images and masks, each once."""
        files = [
            path
            for scene in self.scenes
            for path in (scene.path, *(mask.path for mask in scene.masks))
        ]
        return tuple(dict.fromkeys(files))

    def on(self, grid: Grid | Lattice) -> SceneStack:
        """The scenes on the pixels that a round declares; a grid with bounds cuts them.

        Raises
        ------
        SceneError
            A scene has other pixels, or none meets the grid.
        """
        for scene in self.scenes:
            pixels = grid.around(scene.grid.bounds) if isinstance(grid, Lattice) else grid
            if pixels.offset_of(scene.grid) is None:
                raise SceneError(
                    f"{scene.path.name} ({_words(scene.grid)}) does not lie on the grid that "
                    f"the round declares ({_words(pixels)}); bring it there: adsurvey scenes "
                    "import FILE --survey survey.toml"
                )
        if isinstance(grid, Lattice):
            return self
        met = tuple(s for s in self.scenes if grid.window_of(s.grid.bounds) is not None)
        if not met:
            raise SceneError(
                f"no scene meets the grid that the round declares ({_words(grid)}); the scenes "
                f"have {_words(self.grid)}: correct its extent"
            )
        return SceneStack(scenes=met, grid=grid)

    def read(
        self, day: int, bands: Sequence[str], block: Block
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Reflectance and clear view of a block on one day.

        Where several scenes of the day show a pixel, the first by file name that shows it
        clearly counts, and no other.

        Parameters
        ----------
        day : int
            Position in `dates`.
        bands : sequence of str
            Band names, of which `CLOUD_PROBABILITY` may be the last; the result has their order.
        block : Block
            Of the stack's grid.

        Returns
        -------
        reflectance : float32 array (bands, rows, cols)
            NaN where no scene of the day shows the ground.
        is_clear : bool array (rows, cols)

        Raises
        ------
        SceneError
            A scene lacks a band, or a file is damaged.
        """
        values = np.full((len(bands), *block.shape), np.nan, dtype=np.float32)
        clear = np.zeros(block.shape, dtype=bool)
        for scene in self.scenes:
            if scene.acquired != self.dates[day]:
                continue
            offset = self.grid.offset_of(scene.grid)
            if offset is None:
                raise SceneError(f"{scene.path.name} does not lie on the grid of the stack")
            top, left = max(block.row, offset[0]), max(block.col, offset[1])
            bottom = min(block.row + block.rows, offset[0] + scene.grid.shape[0])
            right = min(block.col + block.cols, offset[1] + scene.grid.shape[1])
            if top >= bottom or left >= right:
                continue
            here = (
                slice(top - block.row, bottom - block.row),
                slice(left - block.col, right - block.col),
            )
            if clear[here].all():
                continue
            own = Block(
                row=top - offset[0], col=left - offset[1], rows=bottom - top, cols=right - left
            )
            seen_values, seen = scene.read(bands, own)
            seen &= ~clear[here]
            np.copyto(values[:, *here], seen_values, where=seen)
            clear[here] |= seen
        return values, clear


def read_scenes(folder: Path | Sequence[Path]) -> SceneStack:
    """Read every sidecar (`*.json`) of a folder and check that the scenes fit together.

    The stack's grid is the smallest that holds all scenes.

    Parameters
    ----------
    folder : Path or sequence of Path
        A folder, or the sidecars themselves.

    Raises
    ------
    SceneError
        Nothing found, a file missing or malformed, or grids whose pixels do not lie on one
        another.
    GridError
        A raster without reference system, or rotated.
    """
    if isinstance(folder, Path):
        sidecars = sorted(folder.glob("*.json")) if folder.is_dir() else []
    else:
        sidecars = sorted(folder)
    if not sidecars:
        raise SceneError(
            f"{folder} holds no scene sidecars (*.json); a sidecar names date, bands, scale, "
            "offset and mask of the image beside it (docs/imagery.md)"
        )
    scenes = sorted((_read_sidecar(path) for path in sidecars), key=lambda s: s.acquired)
    first = scenes[0]
    for scene in scenes[1:]:
        if first.grid.offset_of(scene.grid) is None:
            raise SceneError(
                f"{scene.path.name} lies on another grid than {first.path.name} "
                f"({_words(scene.grid)} against {_words(first.grid)}); bring it to the first "
                f"one's grid: adsurvey scenes import FILE --to FOLDER --like {first.path.name}"
            )
    grid = first.grid.union([scene.grid for scene in scenes[1:]])
    return SceneStack(scenes=tuple(scenes), grid=grid)


def _read_sidecar(path: Path) -> Scene:
    said = describe(read_json(path), path.parent, name=path.name)
    image_path = path.with_suffix(".tif")
    for file in (image_path, *(mask.path for mask in said.masks)):
        if not file.is_file():
            raise SceneError(f"{path.name} names {file.name}, which does not exist beside it")
    with open_raster(image_path) as image:
        if image.count != len(said.bands):
            raise SceneError(
                f"{image_path.name} has {image.count} bands, its sidecar names "
                f"{len(said.bands)} ({', '.join(said.bands)})"
            )
        grid = Grid.of(image, source=image_path.name)
        stored_nodata = image.nodata
    for mask in said.masks:
        with open_raster(mask.path) as file:
            if Grid.of(file, source=mask.path.name) != grid:
                raise SceneError(f"{mask.path.name} lies on another grid than its image")
            if not 1 <= mask.band <= file.count:
                raise SceneError(
                    f"{path.name}: mask {mask.path.name} has {file.count} bands, not {mask.band}"
                )
    return Scene(
        path=image_path,
        masks=said.masks,
        acquired=said.acquired,
        bands=said.bands,
        scale=said.scale,
        offset=said.offset,
        nodata=stored_nodata if said.nodata is None else said.nodata,
        grid=grid,
    )


def _words(grid: Grid) -> str:
    west, south, east, north = grid.bounds
    return (
        f"{grid.crs.to_string()}, {grid.shape[0]} x {grid.shape[1]} pixels of "
        f"{grid.transform.a:.10g}, {west:.10g} {south:.10g} {east:.10g} {north:.10g}"
    )
