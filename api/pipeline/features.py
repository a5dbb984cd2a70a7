"""What a round declares of its pixels, as the functions of `imagery` take it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from imagery.calendars import Calendar, Season, Step, Zones
from imagery.catalog import SceneStack, read_scenes
from imagery.composites import Composite
from imagery.features import FeatureSpec
from imagery.grid import Grid, Lattice
from imagery.layers import write_layers
from imagery.raster import read_grid
from imagery.terrain import Elevation
from imagery.texture import Texture
from survey.readers import read_shapes
from survey.rounds import CalendarSection, Round

__all__ = ["round_features", "round_grid", "write_features"]

Progress = Callable[[str, int, int], None]

_STRATUM = "stratum_id"


def round_features(declared: Round) -> tuple[SceneStack, FeatureSpec]:
    """Scenes of a round and the features it declares: the same for training and mapping.

    Raises
    ------
    SceneError, GridError
        The scenes do not fit together, or the declaration does not fit them.
    """
    settings = declared.imagery
    stack = read_scenes(declared.locate(declared.inputs.scenes))
    pixels = round_grid(declared)
    if pixels is not None:
        stack = stack.on(pixels)
    calendar = elevation = texture = None
    if settings.calendar is not None:
        layer = declared.inputs.calendar_zones or declared.inputs.frame
        calendar = _calendar(settings.calendar, declared.locate(layer), stack.grid)
    if declared.inputs.elevation is not None:
        elevation = Elevation.of(declared.locate(declared.inputs.elevation))
        elevation.require_overlap(stack.grid)
    if settings.texture is not None:
        texture = Texture(**settings.texture.model_dump())
    spec = FeatureSpec(
        indices=settings.indices,
        min_clear=settings.min_clear,
        calendar=calendar,
        max_gap_days=settings.max_gap_days,
        cloud_buffer_m=settings.cloud_buffer_m,
        phenology=settings.phenology,
        texture=texture,
        elevation=elevation,
    )
    return stack, spec


def round_grid(declared: Round) -> Grid | Lattice | None:
    """The pixels that a round declares: with bounds, everywhere, or those of its scenes.

    Raises
    ------
    GridError, SceneError
        The reference system is not known, or the raster cannot be read.
    """
    wanted = declared.imagery.grid
    if wanted is None:
        return None
    if wanted.like is not None:
        return read_grid(declared.locate(wanted.like))
    lattice = Lattice.parse(f"{wanted.crs}@{wanted.resolution!r}")
    return lattice if wanted.extent is None else lattice.around(wanted.extent)


def write_features(
    declared: Round, folder: Path, progress: Progress, *, kinds: Collection[str], keep: Path
) -> tuple[Path, ...]:
    """Write the features of a round as rasters; finished windows are kept until all is whole."""
    stack, spec = round_features(declared)
    return write_layers(
        stack,
        spec,
        folder,
        kinds=kinds,
        keep=keep,
        progress=lambda done, total: progress("Features", done, total),
    )


def _calendar(settings: CalendarSection, layer: Path, grid: Grid) -> Calendar:
    step = Step(settings.step)
    zones = None
    if settings.strata:
        zones = Zones.of(read_shapes(layer), _STRATUM, grid)
    return Calendar(
        season=Season(start=settings.start, end=settings.end, step=step),
        composite=Composite(settings.composite),
        strata=tuple(
            (name, Season(start=own.start, end=own.end, step=step))
            for name, own in sorted(settings.strata.items())
        ),
        zones=zones,
    )
