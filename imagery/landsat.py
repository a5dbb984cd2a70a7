"""Landsat Collection 2 level 2 as delivered: a folder or tar with its MTL file.

Notes
-----
Meaning of QA_PIXEL and QA_RADSAT: Landsat 8-9 Collection 2 Level 2 Science Product Guide
(LSDS-1619) and Landsat 4-7 (LSDS-1618).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from imagery.containers import Container, open_container
from imagery.errors import SceneError
from imagery.masks import MaskRule
from imagery.products import BandSource, MaskSource, Product

__all__ = ["LANDSAT_BANDS", "landsat_product", "metadata_files"]

_OLI = {"coastal": 1, "blue": 2, "green": 3, "red": 4, "nir": 5, "swir1": 6, "swir2": 7}
_TM = {"blue": 1, "green": 2, "red": 3, "nir": 4, "swir1": 5, "swir2": 7}
#: Common name to band number by sensor.
LANDSAT_BANDS = {"OLI_TIRS": _OLI, "OLI": _OLI, "TM": _TM, "ETM": _TM}
# Fill, dilated cloud, cirrus, cloud, cloud shadow, snow. Water (7) shows the ground.
_HIDDEN_PIXEL = (0, 1, 2, 3, 4, 5)
# Terrain occlusion (OLI) and dropped pixel (TM, ETM+), beside the saturated bands themselves.
_HIDDEN_RADSAT = {"OLI_TIRS": 11, "OLI": 11, "TM": 9, "ETM": 9}
_FILL = 0.0
_SUFFIXES = ("_MTL.txt", "_MTL.json", "_MTL.xml")
_Groups = dict[str, dict[str, str]]


def metadata_files(container: Container) -> list[str]:
    """MTL files in a folder or archive, the text form first."""
    return [
        name
        for suffix in _SUFFIXES
        for name in sorted(container.sizes)
        if name.endswith(suffix) and len(PurePosixPath(name).parts) <= 2
    ]


def landsat_product(path: Path, *, bands: Sequence[str] | None = None) -> Product:
    """What to import of a Landsat product: every reflective band, or those named.

    Clouds with their margin, cirrus, shadow and snow are hidden by QA_PIXEL, saturated and
    dropped pixels by QA_RADSAT.

    Raises
    ------
    SceneError
        No or malformed metadata, another collection or level, or a band that the sensor lacks.
    """
    container = open_container(path)
    found = metadata_files(container)
    if not found:
        raise SceneError(
            f"{path} holds no ..._MTL.txt; give an unpacked Landsat product or its tar"
        )
    where = found[0]
    groups = _groups(container.read_text(where), where)
    try:
        contents, image = groups["PRODUCT_CONTENTS"], groups["IMAGE_ATTRIBUTES"]
        level, collection = contents["PROCESSING_LEVEL"], contents["COLLECTION_NUMBER"]
        if not level.startswith("L2") or int(collection) != 2:
            raise SceneError(
                f"{where}: level {level} of collection {collection}; only level 2 of collection 2 "
                "holds surface reflectance: order that one"
            )
        sensor = image["SENSOR_ID"]
        numbers = LANDSAT_BANDS.get(sensor)
        if numbers is None:
            raise SceneError(f"{where}: sensor {sensor} has no surface reflectance here")
        wanted = tuple(bands) if bands is not None else tuple(numbers)
        unknown = [band for band in wanted if band not in numbers]
        if unknown or not wanted:
            raise SceneError(
                f"band {', '.join(unknown) or '(none)'} is not known; {sensor} has "
                f"{', '.join(numbers)}"
            )
        # Level 1 groups of the same file use the same keys for other numbers.
        radiometry = groups["LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"]
        scale = tuple(float(radiometry[f"REFLECTANCE_MULT_BAND_{numbers[b]}"]) for b in wanted)
        offset = tuple(float(radiometry[f"REFLECTANCE_ADD_BAND_{numbers[b]}"]) for b in wanted)
        folder = PurePosixPath(where).parent
        names = [
            (folder / contents[key]).as_posix()
            for key in (
                *(f"FILE_NAME_BAND_{numbers[band]}" for band in wanted),
                "FILE_NAME_QUALITY_L1_PIXEL",
                "FILE_NAME_QUALITY_L1_RADIOMETRIC_SATURATION",
            )
        ]
        acquired = date.fromisoformat(image["DATE_ACQUIRED"])
        source = contents["LANDSAT_PRODUCT_ID"]
        path_row = f"{int(image['WRS_PATH']):03d}{int(image['WRS_ROW']):03d}"
        platform = image["SPACECRAFT_ID"]
    except (KeyError, ValueError) as error:
        raise SceneError(f"{where}: {error} is missing or wrong; download it again") from error
    rasters = [container.raster(name) for name in names]
    saturated = (*(numbers[band] - 1 for band in wanted), _HIDDEN_RADSAT[sensor])
    return Product(
        source=source,
        label=f"{source[:4]}_{path_row}",
        acquired=acquired,
        bands=tuple(
            BandSource(name=band, path=raster)
            for band, raster in zip(wanted, rasters, strict=False)
        ),
        scale=scale,
        offset=offset,
        nodata=_FILL,
        masks=(
            MaskSource(
                suffix="qa_pixel", path=rasters[-2], rule=MaskRule(hidden_bits=_HIDDEN_PIXEL)
            ),
            MaskSource(suffix="qa_radsat", path=rasters[-1], rule=MaskRule(hidden_bits=saturated)),
        ),
        originals=container.originals([where, *names]),
        about={"platform": platform, "level": level},
    )


def _groups(content: bytes, where: str) -> _Groups:
    """Groups of an MTL file, one level deep, whatever its form."""
    try:
        if where.endswith(".json"):
            whole = json.loads(content)["LANDSAT_METADATA_FILE"]
            return {name: {k: str(v) for k, v in group.items()} for name, group in whole.items()}
        if where.endswith(".xml"):
            root: Any = fromstring(content)
            return {
                group.tag: {node.tag: str(node.text or "").strip() for node in group}
                for group in root
            }
        return _odl(content.decode("utf-8"))
    except (
        ValueError, KeyError, TypeError, AttributeError, RecursionError, ParseError,
        DefusedXmlException,
    ) as error:  # fmt: skip
        raise SceneError(f"{where} cannot be read ({error}); download it again") from error


def _odl(text: str) -> _Groups:
    groups: _Groups = {}
    inside: list[str] = []
    for line in text.splitlines():
        key, has_value, value = (part.strip() for part in line.partition("="))
        if not has_value:
            continue
        if key == "GROUP":
            inside.append(value)
        elif key == "END_GROUP":
            if not inside or inside.pop() != value:
                raise ValueError(f"group {value} ends where it did not begin")
        elif inside:
            groups.setdefault(inside[-1], {})[key] = value.strip('"')
    if inside:
        raise ValueError(f"group {inside[-1]} does not end: the file is cut")
    return groups
