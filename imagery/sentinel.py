"""Sentinel-2 products as they are delivered (SAFE folders) to scenes on one 10 m grid."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
import numpy.typing as npt
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import parse

from imagery.errors import SceneError
from imagery.grid import Block, Grid
from imagery.raster import CogWriter, open_raster, read_block

__all__ = ["SENTINEL2_BANDS", "SafeProduct", "import_safe", "read_safe"]

#: Common name to the sensor's band.
SENTINEL2_BANDS = {
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "rededge": "B05",
    "nir": "B08",
    "swir1": "B11",
    "swir2": "B12",
}
#: Scene classes of Sen2Cor that show the ground: vegetation, bare, water, unclassified. Dark
#: areas, shadow, thin cirrus, cloud and snow hide it.
CLEAR_CLASSES = (4, 5, 6, 7)
_CLASSES = "SCL"
_NODATA = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeProduct:
    """What the metadata of a product say.

    Attributes
    ----------
    folder : Path
    level : str
        ``L1C`` (top of the atmosphere, no scene classes) or ``L2A`` (surface).
    baseline : str
        Processing baseline; from 04.00 on reflectance carries an offset.
    acquired : date
    scale, offset : float
        Reflectance = stored value * scale + offset.
    images : mapping of (band, metres) to Path
    """

    folder: Path
    level: str
    baseline: str
    acquired: date
    scale: float
    offset: float
    images: dict[tuple[str, int], Path]

    def finest(self, band: str) -> Path:
        """Image of a band at its finest resolution.

        Raises
        ------
        SceneError
            The product does not list the band.
        """
        sizes = sorted(metres for name, metres in self.images if name == band)
        if not sizes:
            raise SceneError(
                f"{self.folder.name} lists no band {band}; download the product again or leave "
                "the band out"
            )
        return self.images[band, sizes[0]]


# Metres of a pixel in L1C, whose file names do not tell.
_L1C_METRES = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B01": 60, "B09": 60, "B10": 60}


def read_safe(folder: Path) -> SafeProduct:
    """Read the metadata of a SAFE folder.

    Raises
    ------
    SceneError
        No metadata, malformed metadata, offsets that differ between bands, or an image path
        that leads out of the product.
    """
    found = sorted(folder.glob("MTD_MSIL*.xml")) if folder.is_dir() else []
    if len(found) != 1:
        raise SceneError(
            f"{folder} holds {len(found)} MTD_MSIL1C.xml or MTD_MSIL2A.xml; give an unpacked "
            ".SAFE folder"
        )
    try:
        root: Any = parse(found[0]).getroot()
    except (ParseError, DefusedXmlException, OSError) as error:
        raise SceneError(f"{found[0]} cannot be read ({error}); download it again") from error
    level = found[0].stem[-3:]
    prefix, quantum = ("BOA", "BOA_QUANTIFICATION_VALUE")
    if level == "L1C":
        prefix, quantum = ("RADIO", "QUANTIFICATION_VALUE")
    try:
        divisor = float(_text(root, quantum))
        offsets = {float(node.text or "") for node in root.iter(f"{prefix}_ADD_OFFSET")}
        acquired = date.fromisoformat(_text(root, "DATATAKE_SENSING_START")[:10])
        baseline = _text(root, "PROCESSING_BASELINE")
    except (KeyError, ValueError) as error:
        raise SceneError(f"{found[0]}: {error}; the metadata are incomplete") from error
    if len(offsets) > 1:
        raise SceneError(
            f"{found[0]}: offsets differ between bands ({sorted(offsets)}); a scene has one: "
            "import the bands as separate scenes"
        )
    images: dict[tuple[str, int], Path] = {}
    inside = folder.resolve()
    for node in root.iter("IMAGE_FILE"):
        name = (node.text or "").strip()
        image = (inside / f"{name}.jp2").resolve()
        if not image.is_relative_to(inside):
            raise SceneError(f"{found[0]} names {name}, outside the product; do not use it")
        parts = Path(name).name.split("_")
        if level == "L1C":
            images[parts[-1], _L1C_METRES.get(parts[-1], 20)] = image
        else:
            images[parts[-2], int(parts[-1].removesuffix("m"))] = image
    return SafeProduct(
        folder=folder,
        level=level,
        baseline=baseline,
        acquired=acquired,
        scale=1.0 / divisor,
        offset=offsets.pop() / divisor if offsets else 0.0,
        images=images,
    )


def import_safe(
    folder: Path,
    scenes: Path,
    *,
    bands: Sequence[str] = tuple(SENTINEL2_BANDS),
    progress: Callable[[int, int], None] | None = None,
    block_size: int = 1024,
) -> Path:
    """Write a product as a scene: image, mask and sidecar, as `read_scenes` reads them.

    Bands of 20 m are repeated onto the 10 m grid, not smoothed. The mask of an L2A product is
    its scene classification; an L1C product has none, so its sidecar says ``"mask": null`` and
    clouds must be masked otherwise. The product itself is not changed.

    Parameters
    ----------
    folder : Path
        Unpacked ``.SAFE`` folder.
    scenes : Path
        Where the scene goes; made if missing.
    bands : sequence of str
        Names of `SENTINEL2_BANDS`; the first must be a 10 m band, which gives the grid.
    progress : callable (done, total) in blocks

    Returns
    -------
    Path
        The sidecar, written last: without it `read_scenes` sees nothing of a broken import.

    Raises
    ------
    SceneError
        Metadata or images are missing, damaged, or do not lie on one another.
    WriteError
        The scene could not be written whole.
    """
    product = read_safe(folder)
    unknown = [band for band in bands if band not in SENTINEL2_BANDS]
    if unknown or not bands:
        raise SceneError(
            f"band {', '.join(unknown) or '(none)'} is not known; choose from "
            f"{', '.join(SENTINEL2_BANDS)}"
        )
    has_mask = product.level == "L2A"
    paths = [product.finest(SENTINEL2_BANDS[band]) for band in bands]
    if has_mask:
        paths.append(product.finest(_CLASSES))
    scenes.mkdir(parents=True, exist_ok=True)
    name = product.acquired.isoformat()
    sidecar = scenes / f"{name}.json"
    if sidecar.exists():
        raise SceneError(f"{sidecar} exists already; remove that scene before importing {folder}")
    with ExitStack() as files:
        images = [files.enter_context(open_raster(path)) for path in paths]
        grid = Grid.of(images[0], source=paths[0].name)
        times = [
            _times(grid, Grid.of(image, source=path.name), path.name)
            for image, path in zip(images, paths, strict=True)
        ]
        out = files.enter_context(
            CogWriter(
                scenes / f"{name}.tif", grid, bands=list(bands), nodata=_NODATA, dtype="uint16"
            )
        )
        mask = (
            files.enter_context(
                CogWriter(
                    scenes / f"{name}_mask.tif",
                    grid,
                    bands=["scene class"],
                    nodata=_NODATA,
                    is_categorical=True,
                )
            )
            if has_mask
            else None
        )
        blocks = list(grid.blocks(block_size))
        for done, block in enumerate(blocks, start=1):
            pixels = [
                _read_repeated(image, block, factor)
                for image, factor in zip(images, times, strict=True)
            ]
            out.write(np.stack(pixels[: len(bands)]).astype(np.uint16), block)
            if mask is not None:
                mask.write(pixels[-1][None].astype(np.uint8), block)
            if progress is not None:
                progress(done, len(blocks))
    description = {
        "date": name,
        "bands": list(bands),
        "scale": product.scale,
        "offset": product.offset,
        "mask": f"{name}_mask.tif" if has_mask else None,
        "mask_clear": list(CLEAR_CLASSES),
        "source": folder.name,
        "level": product.level,
        "processing_baseline": product.baseline,
    }
    sidecar.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return sidecar


def _text(root: Any, tag: str) -> str:
    for node in root.iter(tag):
        return str(node.text or "").strip()
    raise KeyError(f"{tag} is missing")


def _times(grid: Grid, other: Grid, name: str) -> int:
    """How many pixels of the grid a side one pixel of the other image holds."""
    factor = round(other.transform.a / grid.transform.a)
    fits = (
        factor >= 1
        and other.crs == grid.crs
        and np.allclose(other.bounds, grid.bounds, atol=0.01 * grid.transform.a)
        and (other.shape[0] * factor, other.shape[1] * factor) == grid.shape
    )
    if not fits:
        raise SceneError(
            f"{name} does not lie on the grid of the first band; name a 10 m band first"
        )
    return factor


def _read_repeated(image: Any, block: Block, factor: int) -> npt.NDArray[Any]:
    top, left = block.row // factor, block.col // factor
    bottom = -(-(block.row + block.rows) // factor)
    right = -(-(block.col + block.cols) // factor)
    coarse = read_block(
        image, Block(row=top, col=left, rows=bottom - top, cols=right - left), indexes=1
    )
    fine = coarse.repeat(factor, axis=0).repeat(factor, axis=1)
    row, col = block.row - top * factor, block.col - left * factor
    return fine[row : row + block.rows, col : col + block.cols]
