"""The only place that opens rasters and writes Cloud Optimized GeoTIFFs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioIOError
from rio_cogeo.cogeo import cog_translate, cog_validate

from imagery.errors import SceneError
from imagery.grid import Block, Grid

__all__ = ["CogWriter", "is_valid_cog", "open_raster", "read_block"]

# GDAL's default block cache is 5% of memory for every process; tiles are read once.
_COG_PROFILE = {
    "driver": "GTiff",
    "interleave": "pixel",
    "tiled": True,
    "blockxsize": 512,
    "blockysize": 512,
    "compress": "DEFLATE",
    # GDAL takes three or four byte bands for a photograph with an alpha band.
    "photometric": "MINISBLACK",
    "alpha": "NO",
}
_GDAL_OPTIONS = {
    "GDAL_CACHEMAX": 128,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_USE_TEMP_FILE_FOR_RANDOM_WRITE": "NO",
}


@contextmanager
def open_raster(path: Path) -> Iterator[Any]:
    """Open a raster for reading.

    Raises
    ------
    SceneError
        The file is missing, truncated or no raster.
    """
    with rasterio.Env(**_GDAL_OPTIONS):
        try:
            dataset = rasterio.open(path)
        except RasterioIOError as error:
            raise SceneError(
                f"{path.name} cannot be read as a raster ({error}); it may be truncated or "
                "missing: copy it again"
            ) from error
        with dataset:
            yield dataset


def read_block(
    dataset: Any, block: Block, *, indexes: Sequence[int] | int | None = None
) -> npt.NDArray[Any]:
    """Read pixels of a block, (bands, rows, cols) or (rows, cols) for a single index.

    Raises
    ------
    SceneError
        The file ends early or its compressed data are broken.
    """
    try:
        pixels: npt.NDArray[Any] = dataset.read(indexes, window=block.window)
    except RasterioIOError as error:
        raise SceneError(
            f"{Path(dataset.name).name} is damaged at row {block.row}, column {block.col} "
            f"({error}); copy it again"
        ) from error
    return pixels


class CogWriter:
    """Writes a raster block by block and leaves a valid COG, or nothing at all.

    Blocks go to a tiled GeoTIFF under a temporary name in the same folder; on a clean exit it is
    translated into a COG with overviews and renamed. After an error both are removed.

    Parameters
    ----------
    path : Path
        Final name.
    grid : Grid
    bands : sequence of str
        Band descriptions, in order.
    nodata : int
    colours : mapping of value to (red, green, blue, alpha), optional
        Colour table of a single-band class map.
    tags : mapping of str, optional
    """

    def __init__(
        self,
        path: Path,
        grid: Grid,
        *,
        bands: Sequence[str],
        nodata: int,
        colours: Mapping[int, tuple[int, int, int, int]] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self._path = path
        self._raw = path.with_name(f".{path.stem}-{os.getpid()}.tif")
        self._cog = path.with_name(f".{path.stem}-{os.getpid()}-cog.tif")
        self._grid = grid
        self._bands = tuple(bands)
        self._nodata = nodata
        self._colours = dict(colours or {})
        self._tags = dict(tags or {})
        self._is_class_map = bool(self._colours)

    def __enter__(self) -> CogWriter:
        self._env = rasterio.Env(**_GDAL_OPTIONS)
        self._env.__enter__()
        self._out = rasterio.open(
            self._raw,
            "w",
            driver="GTiff",
            width=self._grid.shape[1],
            height=self._grid.shape[0],
            count=len(self._bands),
            dtype="uint8",
            crs=self._grid.crs.to_wkt(),
            transform=self._grid.transform,
            nodata=self._nodata,
            tiled=True,
            blockxsize=512,
            blockysize=512,
            compress="zstd",
            zstd_level=1,
            bigtiff="if_safer",
            photometric="MINISBLACK",
            alpha="NO",
        )
        return self

    def write(self, pixels: npt.NDArray[np.uint8], block: Block) -> None:
        """Write the pixels of a block, (bands, rows, cols)."""
        self._out.write(pixels, window=block.window)

    def __exit__(self, kind: Any, *_: object) -> None:
        try:
            for index, name in enumerate(self._bands, start=1):
                self._out.set_band_description(index, name)
            self._out.update_tags(**self._tags)
            if self._colours:
                self._out.write_colormap(1, self._colours)
            self._out.close()
            if kind is None:
                self._translate()
                self._cog.replace(self._path)
        finally:
            self._raw.unlink(missing_ok=True)
            self._cog.unlink(missing_ok=True)
            self._env.__exit__(None, None, None)

    def _translate(self) -> None:
        cog_translate(
            str(self._raw),
            str(self._cog),
            {**_COG_PROFILE},
            nodata=self._nodata,
            # A mean of class codes would be another class.
            overview_resampling="mode" if self._is_class_map else "average",
            forward_band_tags=True,
            config={**_GDAL_OPTIONS, "GDAL_NUM_THREADS": "2"},
            in_memory=False,
            quiet=True,
        )
        valid, errors, _ = cog_validate(str(self._cog))
        if not valid:
            raise SceneError(f"{self._path.name} could not be made a valid COG: {errors}")


def is_valid_cog(path: Path) -> bool:
    """Whether a file is a valid Cloud Optimized GeoTIFF, as rio-cogeo judges it."""
    return bool(cog_validate(str(path), quiet=True)[0])
