"""Scenes to features, block by block: what a pixel is described by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from imagery.calendars import Calendar, Season
from imagery.catalog import CLOUD_PROBABILITY, SceneStack
from imagery.composites import Composite, fill_gaps, least_cloud, longest_gap, median, nearest
from imagery.errors import SceneError
from imagery.grid import Block, Grid
from imagery.indices import compute_index, required_bands
from imagery.phenology import PHENOLOGY, phenology
from imagery.terrain import TERRAIN, Elevation, pixel_metres, terrain
from imagery.texture import Texture, texture

__all__ = [
    "OBSERVATIONS",
    "BlockFeatures",
    "FeatureSpec",
    "block_features",
    "block_size_for",
    "feature_names",
    "step_names",
]

#: Layers of `BlockFeatures.summary`: clear dates in the season (254 and more as 254), share of
#: its steps without a clear date in percent, and 1 where the pixel counts as observed.
OBSERVATIONS = ("clear_dates", "unobserved_percent", "is_observed")

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

# Divisors of the tiles on disk, so that none is read or written in parts by two rows of blocks.
_BLOCK_SIZES = (512, 256, 128, 64)
_MOST_COUNTED = 254
_ROWS = 64
_BLOCK_BYTES = 660 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """What a pixel is described by.

    Attributes
    ----------
    indices : tuple of str
        Names of `imagery.indices.INDICES`, computed in every step: a period of the calendar or,
        without one, a date.
    min_clear : int
        Clear steps below which a pixel counts as unobserved.
    calendar : Calendar or None
        Composites by period instead of single dates.
    max_gap_days : int or None
        Days without a clear step above which a pixel counts as unobserved.
    cloud_buffer_m : float
        Metres around a gap (cloud, shadow, missing pixel) that are taken for a gap too.
    phenology : tuple of str
        Indices or bands whose course over the season gives peak, date of peak, amplitude and
        senescence.
    texture : Texture or None
        Texture of some bands, in every step.
    elevation : Elevation or None
        Altitude, slope and aspect.
    """

    indices: tuple[str, ...]
    min_clear: int = 3
    calendar: Calendar | None = None
    max_gap_days: int | None = None
    cloud_buffer_m: float = 0.0
    phenology: tuple[str, ...] = ()
    texture: Texture | None = None
    elevation: Elevation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFeatures:
    """Features of the pixels of one block, and what they rest on.

    Attributes
    ----------
    values : float32 array (features, rows, cols)
        In the order of `feature_names`; NaN where a pixel was never clear.
    is_observed : bool array (rows, cols)
        At least `min_clear` clear steps and no gap beyond `max_gap_days`.
    n_dates : uint16 array (steps, rows, cols)
        Clear dates in each step; 0 where the step was interpolated.
    gap_days : float32 array (rows, cols)
        Longest stretch of days without a clear step, NaN where there is none at all.
    """

    values: Floats
    is_observed: Bools
    n_dates: npt.NDArray[np.uint16]
    gap_days: Floats

    @property
    def n_clear(self) -> npt.NDArray[np.uint16]:
        """Clear steps, (rows, cols)."""
        clear: npt.NDArray[np.intp] = np.count_nonzero(self.n_dates, axis=0)
        return clear.astype(np.uint16)

    def summary(self) -> npt.NDArray[np.uint8]:
        """What the features rest on, (3, rows, cols) in the order of `OBSERVATIONS`."""
        n_steps = len(self.n_dates)
        dates = np.minimum(self.n_dates.sum(axis=0, dtype=np.uint32), _MOST_COUNTED)
        unobserved = np.rint(100.0 * (n_steps - self.n_clear) / n_steps)
        return np.stack([dates, unobserved, self.is_observed]).astype(np.uint8)


def feature_names(stack: SceneStack, spec: FeatureSpec) -> tuple[str, ...]:
    """Name of every feature in the order of `block_features`: its step, then what it is.

    ``p03 ndvi`` is the index in the third period, ``2026-01-05 ndvi`` on a date,
    ``p01 green_contrast`` a texture. A feature without a step is its name alone:
    ``ndvi_peak_day``, ``slope_deg``. Models keep the names, so that one is not applied to other
    features, and their importance is reported by step and by what they are.
    """
    bands = stack.bands
    steps = step_names(stack, spec)
    names = [f"{step} {name}" for step in steps for name in (*bands, *spec.indices)]
    names += [f"{name}_{number}" for name in spec.phenology for number in PHENOLOGY]
    if spec.texture is not None:
        names += [
            f"{step} {band}_{measure}"
            for step in steps
            for band in spec.texture.bands
            for measure in spec.texture.measures
        ]
    if spec.elevation is not None:
        names += TERRAIN
    return tuple(names)


def block_features(stack: SceneStack, spec: FeatureSpec, block: Block) -> BlockFeatures:
    """Features of the pixels of one block; they do not depend on how the grid is cut.

    Every step gives its reflectance bands and indices; where a step is hidden its reflectance
    is interpolated linearly in time between the clear ones around it (the nearest one at the
    ends of the season).

    Raises
    ------
    SceneError
        A band is missing, or no date lies in the season.
    """
    _require_bands(stack, spec)
    reach = 0 if spec.texture is None else spec.texture.radius
    area = _grown(block, reach, stack.grid)
    seasons: Iterable[tuple[Season | None, Bools | None]] = ((None, None),)
    if spec.calendar is not None:
        seasons = spec.calendar.parts(stack.grid, block)
    found: list[BlockFeatures] = []
    for season, here in seasons:
        own = _of_season(stack, spec, season, area, block)
        if not found:
            found.append(own)
        elif here is not None:
            found[0].values[:, here] = own.values[:, here]
            found[0].n_dates[:, here] = own.n_dates[:, here]
            found[0].is_observed[here] = own.is_observed[here]
            found[0].gap_days[here] = own.gap_days[here]
    if spec.elevation is not None:
        found[0].values[-len(TERRAIN) :] = terrain(spec.elevation, stack.grid, block)
    return found[0]


def _of_season(
    stack: SceneStack, spec: FeatureSpec, season: Season | None, area: Block, block: Block
) -> BlockFeatures:
    """Features as if the whole block had one season; terrain is left empty."""
    bands = stack.bands
    steps, days = _steps(stack, season)
    n_layers = len(bands) + len(spec.indices)
    n_features = len(feature_names(stack, spec))
    values = np.empty((n_features, *area.shape), dtype=np.float32)
    by_step = values[: len(steps) * n_layers].reshape(len(steps), n_layers, *area.shape)
    n_dates = np.empty((len(steps), *area.shape), dtype=np.uint16)
    for number, dates in enumerate(steps):
        by_step[number, : len(bands)], n_dates[number] = _picture(
            stack, spec, dates, days[number], area
        )
    clear = n_dates > 0
    fill_gaps(by_step[:, : len(bands)], clear, days)
    for layers in by_step:
        reflectance = dict(zip(bands, layers, strict=False))
        for position, name in enumerate(spec.indices, start=len(bands)):
            layers[position] = compute_index(name, reflectance)
    rows = slice(block.row - area.row, block.row - area.row + block.rows)
    cols = slice(block.col - area.col, block.col - area.col + block.cols)
    at = len(steps) * n_layers
    known = (*bands, *spec.indices)
    for name in spec.phenology:
        for strip in _strips(rows):
            if name in known:
                curve = by_step[:, known.index(name), strip, cols]
            else:
                pictures = [
                    dict(zip(bands, layers[:, strip, cols], strict=False)) for layers in by_step
                ]
                curve = np.stack([compute_index(name, picture) for picture in pictures])
            values[at : at + len(PHENOLOGY), strip, cols] = phenology(curve, days)
        at += len(PHENOLOGY)
    if spec.texture is not None:
        missing = _beyond(block, spec.texture.radius, stack.grid)
        for layers in by_step:
            for band in spec.texture.bands:
                whole = np.pad(layers[known.index(band)], missing, constant_values=np.nan)
                measures = texture(whole, spec.texture)
                values[at : at + len(measures), rows, cols] = measures
                at += len(measures)
    clear, n_dates = clear[:, rows, cols], n_dates[:, rows, cols]
    gap = longest_gap(clear, days)
    observed = np.count_nonzero(clear, axis=0) >= spec.min_clear
    if spec.max_gap_days is not None:
        observed &= gap <= spec.max_gap_days
    return BlockFeatures(
        values=values[:, rows, cols], is_observed=observed, n_dates=n_dates, gap_days=gap
    )


def _strips(rows: slice) -> Iterable[slice]:
    """Rows a few at a time: what is needed on the way stays small."""
    for first in range(rows.start, rows.stop, _ROWS):
        yield slice(first, min(first + _ROWS, rows.stop))


def _picture(
    stack: SceneStack, spec: FeatureSpec, dates: Sequence[int], day: np.float32, area: Block
) -> tuple[Floats, npt.NDArray[np.uint16]]:
    """Reflectance of one step (bands, rows, cols), and its clear dates."""
    bands = stack.bands
    layers = _layers(stack, spec)
    if not dates:
        return (
            np.full((len(bands), *area.shape), np.nan, dtype=np.float32),
            np.zeros(area.shape, dtype=np.uint16),
        )
    values = np.empty((len(dates), len(layers), *area.shape), dtype=np.float32)
    clear = np.empty((len(dates), *area.shape), dtype=bool)
    for position, number in enumerate(dates):
        values[position], clear[position] = _read(stack, spec, number, area)
    n_clear = np.count_nonzero(clear, axis=0).astype(np.uint16)
    if spec.calendar is None:
        return values[0], n_clear
    distance = [abs(stack.dates[number].toordinal() - float(day)) for number in dates]
    if spec.calendar.composite is Composite.NEAREST:
        return nearest(values, clear, distance), n_clear
    if spec.calendar.composite is Composite.LEAST_CLOUD:
        return least_cloud(values[:, :-1], clear, values[:, -1], distance), n_clear
    return median(values, clear), n_clear


def _layers(stack: SceneStack, spec: FeatureSpec) -> tuple[str, ...]:
    """What is read of every date."""
    is_by_cloud = spec.calendar is not None and spec.calendar.composite is Composite.LEAST_CLOUD
    return (*stack.bands, CLOUD_PROBABILITY) if is_by_cloud else stack.bands


def _read(stack: SceneStack, spec: FeatureSpec, number: int, area: Block) -> tuple[Floats, Bools]:
    """Layers of a date and where it is clear, the cloud buffer taken off."""
    bands = _layers(stack, spec)
    if spec.cloud_buffer_m <= 0.0:
        return stack.read(number, bands, area)
    width, height = _middle_pixel_m(stack.grid)
    reach = int(np.ceil(spec.cloud_buffer_m / min(width, height)))
    around = _grown(area, reach, stack.grid)
    values, clear = stack.read(number, bands, around)
    if not clear.all():
        clear = distance_transform_edt(clear, sampling=(height, width)) > spec.cloud_buffer_m
    top, left = area.row - around.row, area.col - around.col
    inner = np.s_[top : top + area.rows, left : left + area.cols]
    return values[:, *inner], clear[inner]


def _steps(stack: SceneStack, season: Season | None) -> tuple[list[list[int]], Floats]:
    """Dates of each step by their position in the stack, and the day of each step."""
    if season is None:
        days = [float(day.toordinal()) for day in stack.dates]
        return [[number] for number in range(len(days))], np.array(days, dtype=np.float32)
    steps = [
        [number for number, day in enumerate(stack.dates) if period.holds(day)]
        for period in season.periods
    ]
    if not any(steps):
        raise SceneError(
            f"no scene lies in the season {season.start} to {season.end}; the scenes are of "
            f"{stack.dates[0]} to {stack.dates[-1]}: correct the calendar or give other scenes"
        )
    return steps, np.array([period.centre for period in season.periods], dtype=np.float32)


def step_names(stack: SceneStack, spec: FeatureSpec) -> list[str]:
    """Names of the steps: periods from ``p01`` on or, without a calendar, dates."""
    if spec.calendar is None:
        return [day.isoformat() for day in stack.dates]
    return [f"p{number:02d}" for number in range(1, len(spec.calendar) + 1)]


def _require_bands(stack: SceneStack, spec: FeatureSpec) -> None:
    bands = stack.bands
    curves = tuple(name for name in spec.phenology if name not in bands)
    wanted = dict.fromkeys((*spec.indices, *curves))
    absent = [band for band in required_bands(tuple(wanted)) if band not in bands]
    if absent:
        raise SceneError(
            f"band {', '.join(absent)} is needed by the indices {', '.join(wanted)} but the "
            f"scenes have {', '.join(bands)}; leave the index out of survey.toml"
        )
    if _layers(stack, spec) != bands:
        blind = [scene.path.name for scene in stack.scenes if not scene.has_cloud_probability]
        if blind:
            raise SceneError(
                f'the composite "least_cloud" needs a cloud probability of every scene, and '
                f"{len(blind)} have none ({blind[0]}): name it among the masks of the sidecars "
                'with "cloud_probability": true, or choose "median" or "nearest"'
            )
    if spec.texture is not None:
        absent = [band for band in spec.texture.bands if band not in (*bands, *spec.indices)]
        if absent:
            raise SceneError(
                f"texture of {', '.join(absent)} is asked for, but the scenes have "
                f"{', '.join((*bands, *spec.indices))}; correct it in survey.toml"
            )


def _middle_pixel_m(grid: Grid) -> tuple[float, float]:
    width, height = pixel_metres(grid, np.array([grid.shape[0] // 2]))
    return float(width[0]), float(height[0])


def _grown(block: Block, reach: int, grid: Grid) -> Block:
    """Block with `reach` pixels more on each side, as far as the grid goes."""
    top, left = max(0, block.row - reach), max(0, block.col - reach)
    bottom = min(grid.shape[0], block.row + block.rows + reach)
    right = min(grid.shape[1], block.col + block.cols + reach)
    return Block(row=top, col=left, rows=bottom - top, cols=right - left)


def _beyond(block: Block, reach: int, grid: Grid) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of a grown block that the grid does not have, before and after."""
    area = _grown(block, reach, grid)
    return (
        (
            reach - (block.row - area.row),
            reach - (area.row + area.rows - block.row - block.rows),
        ),
        (
            reach - (block.col - area.col),
            reach - (area.col + area.cols - block.col - block.cols),
        ),
    )


def block_size_for(stack: SceneStack, spec: FeatureSpec) -> int:
    """Pixels a side of the largest block whose features stay within the memory budget.

    A block smaller than the tiles on disk reads each of them several times, so it is made
    smaller only where memory demands it.
    """
    steps = step_names(stack, spec)
    n_seasons = 1 if spec.calendar is None else 1 + len(spec.calendar.strata)
    # Where seasons meet, two sets of features live at once.
    pixel = 4 * len(feature_names(stack, spec)) * min(n_seasons, 2)
    # Counts of each step; the dates of a step, as stored, as reflectance, and in order.
    pixel += 3 * len(steps)
    pixel += 14 * len(_layers(stack, spec)) * _most_dates(stack, spec)
    reach = 0 if spec.texture is None else spec.texture.radius
    for size in _BLOCK_SIZES:
        if (size + 2 * reach) ** 2 * pixel <= _BLOCK_BYTES:
            return size
    return _BLOCK_SIZES[-1]


def _most_dates(stack: SceneStack, spec: FeatureSpec) -> int:
    """Dates that a single step holds at most."""
    if spec.calendar is None:
        return 1
    seasons = (spec.calendar.season, *(season for _, season in spec.calendar.strata))
    return max(len(dates) for season in seasons for dates in _steps(stack, season)[0])
