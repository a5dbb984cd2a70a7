"""The only place that opens rasters and writes Cloud Optimized GeoTIFFs."""

from __future__ import annotations

import glob
import os
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rio_cogeo.cogeo import cog_validate

from imagery.errors import SceneError, WriteError
from imagery.grid import Block, Grid

__all__ = [
    "CogWriter",
    "class_names",
    "is_running",
    "is_valid_cog",
    "open_raster",
    "read_block",
    "read_grid",
]

# A VRT, or anything else that may point at other files or hosts, is not an image.
_READ_DRIVERS = {".jp2": "JP2OpenJPEG"}
# Larger than any tile or strip in honest use; a lying header would ask for the memory.
_MAX_TILE_BYTES = 256 * 2**20
# 200,000 x 200,000: Myanmar at 10 m has 7e9.
_MAX_PIXELS = 4 * 10**10
# Bytes from which a raster that holds hardly any of its tiles is refused.
_SPARSE_FROM = 2**30
_SAMPLED_TILES = 64

# GDAL's default block cache is 5% of memory for every process; tiles are read once.
_COG_OPTIONS = {
    "BLOCKSIZE": 512,
    "COMPRESS": "DEFLATE",
    "NUM_THREADS": "2",
    "BIGTIFF": "IF_SAFER",
}
# rasterio lets some of GDAL's own errors through.
_GDAL_FAILURES = (RasterioError, CPLE_BaseError)
_GDAL_OPTIONS = {
    "GDAL_CACHEMAX": 128,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # Overviews on their way into a COG are not packed twice.
    "COG_TMP_COMPRESSION": "NONE",
    # Nothing is written beside an archive that is read.
    "CPL_VSIL_GZIP_WRITE_PROPERTIES": "NO",
    "CPL_VSIL_USE_TEMP_FILE_FOR_RANDOM_WRITE": "NO",
}


@contextmanager
def open_raster(path: Path | str) -> Iterator[Any]:
    """Open a raster for reading.

    Parameters
    ----------
    path : Path or str
        A file, or a name in one of GDAL's virtual file systems (``/vsizip/...``).

    Raises
    ------
    SceneError
        The file is missing, truncated, neither GeoTIFF nor JPEG 2000, stored in tiles so large
        that one would fill the memory, or it declares more pixels than it can hold.
    """
    name, suffix = Path(path).name, Path(path).suffix.lower()
    with rasterio.Env(**_GDAL_OPTIONS):
        try:
            with warnings.catch_warnings():
                # What has no place on the ground is refused by Grid, with its name.
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                dataset = rasterio.open(str(path), driver=_READ_DRIVERS.get(suffix, "GTiff"))
        except RasterioIOError as error:
            raise SceneError(
                f"{name} cannot be read as GeoTIFF or JPEG 2000 ({error}); it may be "
                "truncated or missing: copy it again"
            ) from error
        with dataset:
            _refuse_claims(dataset, path)
            for (rows, cols), kind in zip(dataset.block_shapes, dataset.dtypes, strict=True):
                if rows * cols * np.dtype(kind).itemsize > _MAX_TILE_BYTES:
                    raise SceneError(
                        f"{name} is stored in tiles of {rows} x {cols} pixels, too large to "
                        "read piece by piece; rewrite it with tiles of 512 (rio cogeo create)"
                    )
            yield dataset


def _refuse_claims(dataset: Any, path: Path | str) -> None:
    """Refuse a raster that declares more than it can hold: it would be read for days."""
    name = Path(path).name
    if dataset.width * dataset.height > _MAX_PIXELS:
        raise SceneError(
            f"{name} declares {dataset.width} x {dataset.height} pixels, more than any scene; cut "
            "it into parts if it is real"
        )
    rows, cols = dataset.block_shapes[0]
    down, across = -(-dataset.height // rows), -(-dataset.width // cols)
    declared = dataset.width * dataset.height * np.dtype(dataset.dtypes[0]).itemsize
    if dataset.driver != "GTiff" or declared < _SPARSE_FROM:
        return
    tiles = np.linspace(0, down * across - 1, _SAMPLED_TILES).astype(int)
    missing = sum(
        dataset.get_tag_item(f"BLOCK_OFFSET_{tile % across}_{tile // across}", "TIFF", bidx=1)
        is None
        for tile in tiles.tolist()
    )
    if missing >= _SAMPLED_TILES - 1:
        raise SceneError(
            f"{name} declares {dataset.width} x {dataset.height} pixels but holds next to none of "
            "them: it is sparse or its header lies; cut it to where it has pixels if it is real"
        )


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


def read_grid(path: Path) -> Grid:
    """Grid of a raster."""
    with open_raster(path) as dataset:
        return Grid.of(dataset, source=path.name)


def class_names(path: Path) -> dict[int, str]:
    """Names of the classes of a class map, by code, from its tags; none for other rasters."""
    with open_raster(path) as dataset:
        tags = dataset.tags()
    return {
        int(key.removeprefix("CLASS_")): str(name)
        for key, name in tags.items()
        if key.startswith("CLASS_")
    }


class CogWriter:
    """Writes a raster block by block and leaves a valid COG, or nothing at all.

    Blocks go to a tiled GeoTIFF under a temporary name in the same folder; on a clean exit it is
    translated into a COG with overviews, read back against what was written, and renamed.
    After an error both are removed; those of a killed process are removed by the next writer.

    Parameters
    ----------
    path : Path
        Final name.
    grid : Grid
    bands : sequence of str
        Band descriptions, in order.
    nodata : float or None
        None where every value counts, as where an alpha band says what is missing.
    colours : mapping of value to (red, green, blue, alpha), optional
        Colour table of a single-band class map.
    tags : mapping of str, optional
    dtype : str
        Type of the stored values.
    is_categorical : bool
        Values are codes, so overviews take the most frequent one. Implied by `colours`.

    Raises
    ------
    WriteError
        The disk is full or fails; nothing stands under the final name.
    """

    def __init__(
        self,
        path: Path,
        grid: Grid,
        *,
        bands: Sequence[str],
        nodata: float | None,
        colours: Mapping[int, tuple[int, int, int, int]] | None = None,
        tags: Mapping[str, str] | None = None,
        dtype: str = "uint8",
        is_categorical: bool = False,
    ) -> None:
        self._path = path
        self._raw = path.with_name(f".{path.stem}-raw-{os.getpid()}.part.tif")
        self._cog = path.with_name(f".{path.stem}-cog-{os.getpid()}.part.tif")
        self._grid = grid
        self._bands = tuple(bands)
        self._nodata = nodata
        self._colours = dict(colours or {})
        self._tags = dict(tags or {})
        self.dtype = dtype
        self._is_categorical = is_categorical or bool(self._colours)

    def __enter__(self) -> CogWriter:
        self._checksums: dict[Block, int] = {}
        # With what GDAL puts beside a COG while it makes its overviews.
        for left in self._path.parent.glob(f".{glob.escape(self._path.stem)}-*.part.tif*"):
            if not is_running(left.name.partition(".part.tif")[0].rsplit("-", 1)[1]):
                left.unlink()
        self._env = rasterio.Env(**_GDAL_OPTIONS)
        self._env.__enter__()
        try:
            self._out = rasterio.open(
                self._raw,
                "w",
                driver="GTiff",
                width=self._grid.shape[1],
                height=self._grid.shape[0],
                count=len(self._bands),
                dtype=self.dtype,
                crs=self._grid.crs.to_wkt(),
                transform=self._grid.transform,
                nodata=self._nodata,
                tiled=True,
                blockxsize=512,
                blockysize=512,
                bigtiff="if_safer",
                photometric="MINISBLACK",
                alpha="NO",
            )
        except _GDAL_FAILURES as error:
            self._env.__exit__(None, None, None)
            raise self._failed(error) from error
        return self

    def write(self, pixels: npt.NDArray[Any], block: Block) -> None:
        """Write the pixels of a block, (bands, rows, cols)."""
        try:
            self._out.write(pixels, window=block.window)
        except _GDAL_FAILURES as error:
            raise self._failed(error) from error
        self._checksums[block] = _checksum(pixels)

    def __exit__(self, kind: Any, *_: object) -> None:
        try:
            if kind is not None:
                self._out.close()
                return
            try:
                for index, name in enumerate(self._bands, start=1):
                    self._out.set_band_description(index, name)
                self._out.update_tags(**self._tags)
                if self._colours:
                    self._out.write_colormap(1, self._colours)
                self._out.close()
                self._translate()
                self._verify()
            except _GDAL_FAILURES as error:
                raise self._failed(error) from error
            self._cog.replace(self._path)
        finally:
            self._raw.unlink(missing_ok=True)
            for left in self._cog.parent.glob(f"{glob.escape(self._cog.name)}*"):
                left.unlink()
            self._env.__exit__(None, None, None)

    def _failed(self, error: object) -> WriteError:
        return WriteError(
            f"{self._path.name} could not be written ({error}); check that "
            f"{self._path.parent} is writable and the disk is not full"
        )

    def _verify(self) -> None:
        # GDAL reports a full disk late or, when a file is closed, not at all.
        with rasterio.open(self._cog) as cog:
            for block, checksum in self._checksums.items():
                if _checksum(cog.read(window=block.window)) != checksum:
                    raise self._failed(
                        f"row {block.row}, column {block.col} does not read back as written"
                    )

    def _translate(self) -> None:
        is_codes = self._is_categorical
        # GDAL's own driver: rio-cogeo's translation, through a warp, takes half as long again.
        rasterio.shutil.copy(
            str(self._raw),
            str(self._cog),
            driver="COG",
            # A mean of class codes would be another class.
            OVERVIEW_RESAMPLING="MODE" if is_codes else "AVERAGE",
            # Neighbours of codes are equal more often than close. Differences of neighbours in
            # an image are mostly noise, which the higher levels make no smaller.
            PREDICTOR="NO" if is_codes else "YES",
            LEVEL=6 if is_codes else 1,
            **_COG_OPTIONS,
        )
        valid, errors, _ = cog_validate(str(self._cog))
        if not valid:
            raise self._failed(f"no valid COG: {errors}")


def is_running(process: str) -> bool:
    """Whether the process that named a partial file is still at work."""
    try:
        os.kill(int(process), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, ValueError):
        return False
    return True


def _checksum(pixels: npt.NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(pixels).tobytes())


def is_valid_cog(path: Path) -> bool:
    """Whether a file is a valid Cloud Optimized GeoTIFF, as rio-cogeo judges it."""
    return bool(cog_validate(str(path), quiet=True)[0])
