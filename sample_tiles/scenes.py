"""Images of the invented land: six bands on several dates, clouds, shadow, nodata."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.features import rasterize
from rasterio.transform import from_origin
from scipy import ndimage

from sample_tiles.land import CRS, NORTH, WEST, Floats, Land, Landscape

PIXEL_M = 10.0
# Borders of fields are mixed pixels: each is the mean of this many subpixels a side.
SUBPIXELS = 3
BANDS = ("blue", "green", "red", "rededge", "nir", "swir1")
# Reflectance is stored in steps of 0.002: finer steps would only store noise.
SCALE = 0.002

_SOIL = np.array([0.075, 0.105, 0.145, 0.180, 0.235, 0.300])
_WATER = np.array([0.055, 0.050, 0.035, 0.025, 0.018, 0.010])
_FOREST = np.array([0.022, 0.045, 0.026, 0.085, 0.290, 0.125])
_VEGETATION = {
    "poppy": np.array([0.036, 0.078, 0.040, 0.150, 0.410, 0.165]),
    "cannabis": np.array([0.024, 0.056, 0.027, 0.092, 0.450, 0.140]),
    "vegetables": np.array([0.034, 0.082, 0.042, 0.142, 0.420, 0.185]),
    "maize": np.array([0.032, 0.068, 0.040, 0.125, 0.390, 0.205]),
    "fallow": np.array([0.040, 0.075, 0.060, 0.130, 0.300, 0.220]),
}
# Opening flowers brighten the visible bands of poppy for some three weeks.
_FLOWER = np.array([0.060, 0.050, 0.085, 0.050, 0.010, 0.015])
# Day of season 0 is 1 November: rise and fall of green cover (middle day, slope in days), peak.
_SEASON = {
    "poppy": (48.0, 9.0, 116.0, 6.5, 0.82),
    "cannabis": (22.0, 10.0, 100.0, 9.0, 0.90),
    "vegetables": (45.0, 11.0, 112.0, 11.0, 0.78),
    "maize": (-30.0, 12.0, 22.0, 9.0, 0.80),
}
_FLOWER_DAY, _FLOWER_WIDTH = 94.0, 10.0


def write_scenes(
    folder: Path,
    landscape: Landscape,
    land: Land,
    fields: gpd.GeoDataFrame,
    rng: np.random.Generator,
    *,
    progress: Callable[[Iterable[date]], Iterable[date]] = iter,
) -> None:
    """Write one image, mask and sidecar per date into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    size = round(landscape.size_m / PIXEL_M)
    painter = _Painter(land, fields, size, rng)
    hidden = _always_cloudy(size, rng)
    for number, day in enumerate(progress(landscape.dates)):
        image = painter.image(day, rng)
        mask = _clouds(image, number, len(landscape.dates), hidden, rng)
        stored = np.clip(np.rint(image / SCALE), 1, 1.0 / SCALE).astype(np.uint16)
        if number == 1:  # the edge of the satellite's swath cuts a corner off
            row, col = np.mgrid[0:size, 0:size]
            outside = col + 0.35 * row < 0.09 * size
            stored[:, outside] = 0
            mask[outside] = 255
        _write(folder, day, stored, mask)


class _Painter:
    """Reflectance without clouds on any day of the season."""

    def __init__(
        self,
        land: Land,
        fields: gpd.GeoDataFrame,
        size: int,
        rng: np.random.Generator,
    ) -> None:
        factor = size / land.elevation_m.shape[0]
        self._size = size
        self._elevation = ndimage.zoom(
            land.elevation_m, factor, order=1, grid_mode=True, mode="nearest"
        )
        self._wildness = ndimage.zoom(
            land.wildness, factor, order=1, grid_mode=True, mode="nearest"
        )
        grain = ndimage.gaussian_filter(rng.standard_normal((size, size)), 1.6)
        self._grain = (grain / grain.std()).astype(np.float32)
        self._wildness = self._wildness + 0.05 * self._grain
        transform = from_origin(WEST, NORTH, PIXEL_M / SUBPIXELS, PIXEL_M / SUBPIXELS)
        fine = rasterize(
            zip(fields.geometry, range(1, len(fields) + 1), strict=True),
            out_shape=(size * SUBPIXELS, size * SUBPIXELS),
            transform=transform,
            dtype=np.uint32,
        )
        blocks = fine.reshape(size, SUBPIXELS, size, SUBPIXELS).transpose(0, 2, 1, 3)
        self._touched = (blocks > 0).any(axis=(2, 3))
        self._subpixel_field = blocks[self._touched].reshape(-1, SUBPIXELS**2)
        self._fields = fields

    def image(self, day: date, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """Six bands of surface reflectance, float32 (6, rows, cols)."""
        season = (day - date(2025, 11, 1)).days
        image = self._background(season)
        of_field = self._field_reflectance(season)
        below = image[:, self._touched].T  # (pixels, bands)
        shown = np.zeros_like(below)
        for sub in range(SUBPIXELS**2):
            number = self._subpixel_field[:, sub]
            shown += np.where((number > 0)[:, None], of_field[number], below)
        image[:, self._touched] = (shown / SUBPIXELS**2).T
        image *= self._light(season)
        image *= 1.0 + 0.035 * self._grain
        haze = 0.012 * (1.0 + np.sin(np.linspace(0.0, 3.0 + season / 30.0, self._size)))
        image[:3] += haze.astype(np.float32)[None, None, :]
        noise = np.array([0.004, 0.004, 0.005, 0.006, 0.009, 0.008], dtype=np.float32)
        image += noise[:, None, None] * rng.standard_normal(image.shape, dtype=np.float32)
        return image

    def _background(self, season: int) -> npt.NDArray[np.float32]:
        """Forest, fallow and bare ground by wildness; water in the lowest hollow."""
        dry = 0.5 + 0.5 * np.tanh((season - 70.0) / 30.0)
        forest = _FOREST * (1.0 + 0.15 * dry * np.array([0, 0, 1, 0.2, -0.6, 1]))
        fallow_cover = 0.70 - 0.38 * dry
        fallow = _VEGETATION["fallow"] * fallow_cover + _SOIL * (1.0 - fallow_cover)
        bare = 0.12 * _VEGETATION["fallow"] + 0.88 * _SOIL
        is_forest = self._wildness > 0.55
        is_bare = self._wildness < 0.16
        image = np.empty((6, self._size, self._size), dtype=np.float32)
        for band in range(6):
            image[band] = fallow[band]
            image[band][is_forest] = forest[band]
            image[band][is_bare] = bare[band]
            image[band][self._elevation < 425.0] = _WATER[band]
        return image

    def _field_reflectance(self, season: int) -> npt.NDArray[np.float32]:
        """Reflectance of every field on a day, float32 (n + 1, 6); row 0 stands for no field."""
        table = np.zeros((len(self._fields) + 1, 6))
        names = self._fields["class_name"].to_numpy()
        day = season - self._fields["shift_days"].to_numpy()
        vigour = self._fields["vigour"].to_numpy()
        for name, (up, up_slope, down, down_slope, peak) in _SEASON.items():
            of_class = names == name
            t = day[of_class]
            cover = (
                peak
                / (1.0 + np.exp(-(t - up) / up_slope))
                / (1.0 + np.exp((t - down) / down_slope))
            )
            cover = np.clip(cover * vigour[of_class], 0.02, 0.97)[:, None]
            shown = cover * _VEGETATION[name] + (1.0 - cover) * _SOIL
            if name == "poppy":
                bloom = np.exp(-0.5 * ((t - _FLOWER_DAY) / _FLOWER_WIDTH) ** 2)[:, None]
                shown = shown + bloom * cover * _FLOWER
            table[1:][of_class] = shown
        return table.astype(np.float32)

    def _light(self, season: int) -> npt.NDArray[np.float32]:
        """Illumination of slopes, sun from the south-east and higher towards March."""
        south, east = np.gradient(self._elevation, PIXEL_M)
        zenith = np.radians(52.0 - 0.12 * season)
        azimuth = np.radians(140.0)
        normal = np.sqrt(1.0 + south**2 + east**2)
        cosine = (
            np.cos(zenith) + np.sin(zenith) * (-east * np.sin(azimuth) - south * -np.cos(azimuth))
        ) / normal
        # Surface reflectance products correct most of it; a rest stays.
        return (0.72 + 0.28 * np.clip(cosine / np.cos(zenith), 0.2, 1.8)).astype(np.float32)


def _smooth_noise(size: int, rng: np.random.Generator, scale: float) -> Floats:
    coarse = rng.standard_normal((max(4, round(size / scale)) + 3,) * 2)
    field = ndimage.zoom(coarse, size / (coarse.shape[0] - 3), order=3)[:size, :size]
    return (field - field.mean()) / field.std()


def _always_cloudy(size: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """One mountain that clouds never leave: it stays unobserved."""
    row, col = np.mgrid[0:size, 0:size] / size
    shape = ((col - 0.64) / 0.13) ** 2 + ((row - 0.08) / 0.10) ** 2
    return np.asarray(shape + 0.25 * _smooth_noise(size, rng, size / 12) < 1.0)


def _clouds(
    image: npt.NDArray[np.float32],
    number: int,
    n_dates: int,
    hidden: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> npt.NDArray[np.uint8]:
    """Draw clouds and shadows into the image; the returned mask misses the thinnest ones."""
    size = image.shape[1]
    cover = rng.uniform(0.05, 0.22)
    field = _smooth_noise(size, rng, size / 9) + 0.3 * _smooth_noise(size, rng, size / 40)
    edge = np.quantile(field, 1.0 - cover)
    thickness = np.clip((field - edge) / 0.5, 0.0, 1.0)
    if number not in (0, n_dates - 1):
        thickness = np.where(hidden, 0.9, thickness)
    shadow = np.roll(thickness, (round(0.012 * size), round(-0.015 * size)), axis=(0, 1)) > 0.25
    image *= np.where(shadow, 0.55, 1.0).astype(np.float32)
    image += (thickness * (0.62 - image)).astype(np.float32)
    mask = np.zeros((size, size), dtype=np.uint8)
    mask[shadow] = 2
    mask[thickness > 0.12] = 1
    return mask


def _write(
    folder: Path, day: date, bands: npt.NDArray[np.uint16], mask: npt.NDArray[np.uint8]
) -> None:
    size = mask.shape[0]
    profile = {
        "driver": "GTiff",
        "width": size,
        "height": size,
        "crs": CRS,
        "transform": from_origin(WEST, NORTH, PIXEL_M, PIXEL_M),
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "zlevel": 9,
        "num_threads": 2,
    }
    image_path = folder / f"{day.isoformat()}.tif"
    with rasterio.open(
        image_path, "w", **profile, count=len(BANDS), dtype="uint16", nodata=0, interleave="band"
    ) as out:
        out.write(bands)
        for index, name in enumerate(BANDS, start=1):
            out.set_band_description(index, name)
    mask_path = folder / f"{day.isoformat()}_mask.tif"
    with rasterio.open(mask_path, "w", **profile, count=1, dtype="uint8", nodata=255) as out:
        out.write(mask, 1)
    sidecar = {
        "date": day.isoformat(),
        "bands": list(BANDS),
        "scale": SCALE,
        "offset": 0.0,
        "mask": mask_path.name,
        "mask_clear": [0],
    }
    text = json.dumps(sidecar, indent=2) + "\n"
    (folder / f"{day.isoformat()}.json").write_text(text, encoding="utf-8")
