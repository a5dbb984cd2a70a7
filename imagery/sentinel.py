"""Sentinel-2 products as they are delivered: SAFE folders or zip archives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from imagery.containers import Container, open_container
from imagery.errors import SceneError
from imagery.grid import Grid, Lattice
from imagery.importing import import_product
from imagery.masks import MaskRule
from imagery.products import BandSource, MaskSource, Product, Resampling

__all__ = [
    "DEFAULT_BANDS",
    "SENTINEL2_BANDS",
    "SafeProduct",
    "import_safe",
    "read_safe",
    "safe_product",
]

#: Common name to the sensor's band.
SENTINEL2_BANDS = {
    "coastal": "B01",
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "rededge": "B05",
    "rededge2": "B06",
    "rededge3": "B07",
    "nir": "B08",
    "nir08": "B8A",
    "nir09": "B09",
    "swir1": "B11",
    "swir2": "B12",
}
#: What is imported unless something else is asked for: every band of 10 and 20 m.
DEFAULT_BANDS = tuple(name for name in SENTINEL2_BANDS if name not in ("coastal", "nir09"))
#: Scene classes of Sen2Cor that show the ground: vegetation, bare, water, unclassified. Dark
#: areas, shadow, thin cirrus, cloud and snow hide it.
CLEAR_CLASSES = (4, 5, 6, 7)
_CLASSES = "SCL"
_NODATA = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeProduct:
    """What the metadata of a product say.

    Attributes
    ----------
    container : Container
    metadata : str
        Name of the main metadata file in it.
    level : str
        ``L1C`` (top of the atmosphere, no scene classes) or ``L2A`` (surface).
    baseline : str
        Processing baseline; from 04.00 on reflectance carries an offset.
    name : str
        The product's own name, without ``.SAFE``.
    platform : str
    acquired : date
    scale, offset : float
        Reflectance = stored value * scale + offset.
    images : mapping of (band, metres) to Path
        As GDAL opens them, in place.
    cloud_probability : Path or None
        Percent, 20 m (L2A).
    cloud_classes : Path or None
        Opaque cloud, cirrus and snow as three bands, 60 m (L1C from baseline 04.00 on).
    """

    container: Container
    metadata: str
    level: str
    baseline: str
    name: str
    platform: str
    acquired: date
    scale: float
    offset: float
    images: dict[tuple[str, int], Path]
    cloud_probability: Path | None
    cloud_classes: Path | None

    @property
    def folder(self) -> Path:
        """Folder or archive of the product."""
        return self.container.path

    @property
    def tile(self) -> str:
        """MGRS tile, as in ``T47QLA``; the product's name where it tells none."""
        parts = self.name.split("_")
        return next(
            (part for part in parts if len(part) == 6 and part[0] == "T" and part[1].isdigit()),
            self.name,
        )

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


def read_safe(path: Path) -> SafeProduct:
    """Read the metadata of a SAFE folder or of the zip it was delivered in.

    Raises
    ------
    SceneError
        No metadata, malformed metadata, offsets that differ between bands, an image path that
        leads out of the product, or an archive that should not be opened.
    """
    container = open_container(path) if path.exists() else None
    found = [] if container is None else _metadata_files(container)
    if container is None or len(found) != 1:
        raise SceneError(
            f"{path} holds {len(found)} MTD_MSIL1C.xml or MTD_MSIL2A.xml; give a .SAFE folder "
            "or its zip"
        )
    where = PurePosixPath(found[0])
    try:
        root: Any = fromstring(container.read_text(found[0]))
    except (ParseError, DefusedXmlException) as error:
        raise SceneError(f"{where} cannot be read ({error}); download it again") from error
    level = where.stem[-3:]
    prefix, quantum = ("BOA", "BOA_QUANTIFICATION_VALUE")
    if level == "L1C":
        prefix, quantum = ("RADIO", "QUANTIFICATION_VALUE")
    try:
        divisor = float(_text(root, quantum))
        offsets = {float(node.text or "") for node in root.iter(f"{prefix}_ADD_OFFSET")}
        acquired = date.fromisoformat(_text(root, "DATATAKE_SENSING_START")[:10])
        baseline = _text(root, "PROCESSING_BASELINE")
        name = _text(root, "PRODUCT_URI").removesuffix(".SAFE")
        platform = _text(root, "SPACECRAFT_NAME")
        if divisor <= 0.0:
            raise ValueError(f"{quantum} is {divisor:g}")  # noqa: TRY301
    except (KeyError, ValueError) as error:
        raise SceneError(f"{where}: {error}; the metadata are incomplete") from error
    if len(offsets) > 1:
        raise SceneError(
            f"{where}: offsets differ between bands ({sorted(offsets)}); a scene has one: "
            "import the bands as separate scenes"
        )
    inside = where.parent
    images: dict[tuple[str, int], Path] = {}
    granules = set()
    for node in root.iter("IMAGE_FILE"):
        listed = PurePosixPath((node.text or "").strip())
        image = container.raster((inside / f"{listed}.jp2").as_posix())
        parts = listed.name.split("_")
        try:
            if level == "L1C":
                images[parts[-1], _L1C_METRES.get(parts[-1], 20)] = image
            else:
                images[parts[-2], int(parts[-1].removesuffix("m"))] = image
        except (IndexError, ValueError) as error:
            raise SceneError(f"{where} names an image {listed.name!r} of no known kind") from error
        granules.add((inside / PurePosixPath(*listed.parts[:2])).as_posix())
    if len(granules) > 1:
        raise SceneError(
            f"{where} holds {len(granules)} tiles in one product, the layout before 2016; split "
            "it into tiles"
        )
    granule = next(iter(granules), "")

    def beside(name: str) -> Path | None:
        inner = f"{granule}/QI_DATA/{name}"
        return container.raster(inner) if inner in container.sizes else None

    return SafeProduct(
        container=container,
        metadata=found[0],
        level=level,
        baseline=baseline,
        name=name,
        platform=platform,
        acquired=acquired,
        scale=1.0 / divisor,
        offset=offsets.pop() / divisor if offsets else 0.0,
        images=images,
        cloud_probability=beside("MSK_CLDPRB_20m.jp2"),
        cloud_classes=beside("MSK_CLASSI_B00.jp2"),
    )


def _metadata_files(container: Container) -> list[str]:
    """Main metadata at the root of a folder, or one level down as archives hold it."""
    return sorted(
        name
        for name in container.sizes
        if PurePosixPath(name).match("MTD_MSIL[12]?.xml")
        and len(PurePosixPath(name).parts) <= (1 if container.kind == "folder" else 2)
    )


def safe_product(
    product: SafeProduct,
    *,
    bands: Sequence[str] = DEFAULT_BANDS,
    max_cloud_probability: float | None = None,
) -> Product:
    """What to import of a product.

    The mask of an L2A product is its scene classification, and its cloud probability where a
    limit is given. That of an L1C product is its cloud classification, which comes with
    baseline 04.00; older ones hold clouds as GML only, which is not opened: they have no mask.

    Parameters
    ----------
    bands : sequence of str
        Names of `SENTINEL2_BANDS`.
    max_cloud_probability : float, optional
        Percent above which a pixel counts as hidden.

    Raises
    ------
    SceneError
        A band is not known or the product lacks it.
    """
    unknown = [band for band in bands if band not in SENTINEL2_BANDS]
    if unknown or not bands:
        raise SceneError(
            f"band {', '.join(unknown) or '(none)'} is not known; choose from "
            f"{', '.join(SENTINEL2_BANDS)}"
        )
    masks = []
    if product.level == "L2A":
        rule = MaskRule(clear=CLEAR_CLASSES)
        masks.append(MaskSource(suffix="scl", path=product.finest(_CLASSES), rule=rule))
    elif product.cloud_classes is not None:
        masks = [
            MaskSource(
                suffix=suffix, path=product.cloud_classes, index=index, rule=MaskRule(hidden=(1,))
            )
            for index, suffix in enumerate(("cloud", "cirrus", "snow"), start=1)
        ]
    if max_cloud_probability is not None:
        if product.cloud_probability is None:
            raise SceneError(
                f"{product.folder.name} has no cloud probability (MSK_CLDPRB_20m.jp2); leave the "
                "limit out"
            )
        masks.append(
            MaskSource(
                suffix="cldprb",
                path=product.cloud_probability,
                rule=MaskRule(maximum=max_cloud_probability, is_cloud_probability=True),
            )
        )
    sources = tuple(
        BandSource(name=band, path=product.finest(SENTINEL2_BANDS[band])) for band in bands
    )
    used = [product.metadata]
    if product.container.kind == "folder":
        root = product.container.path.resolve()
        paths = [source.path for source in sources] + [mask.path for mask in masks]
        rasters = dict.fromkeys(Path(path) for path in paths)
        used += [raster.relative_to(root).as_posix() for raster in rasters]
    return Product(
        source=product.name,
        label=product.tile,
        acquired=product.acquired,
        bands=sources,
        scale=(product.scale,) * len(sources),
        offset=(product.offset,) * len(sources),
        nodata=_NODATA,
        masks=tuple(masks),
        originals=product.container.originals(used),
        about={
            "platform": product.platform,
            "level": product.level,
            "processing_baseline": product.baseline,
        },
    )


def import_safe(
    path: Path,
    scenes: Path,
    *,
    bands: Sequence[str] = DEFAULT_BANDS,
    max_cloud_probability: float | None = None,
    like: Grid | Lattice | None = None,
    resampling: Resampling = Resampling.BILINEAR,
    progress: Callable[[int, int], None] | None = None,
    block_size: int = 1024,
) -> Path:
    """Write a SAFE folder or zip as a scene; the sidecar's path.

    See `safe_product` for bands and masks, `imagery.importing.import_product` for the grid. A
    product that was imported before is left as it is.

    Raises
    ------
    SceneError
        Metadata or images are missing, damaged, or do not lie on one another.
    WriteError
        The scene could not be written whole.
    """
    product = safe_product(
        read_safe(path), bands=bands, max_cloud_probability=max_cloud_probability
    )
    sidecar, _ = import_product(
        product,
        scenes,
        like=like,
        resampling=resampling,
        progress=progress,
        block_size=block_size,
    )
    return sidecar


def _text(root: Any, tag: str) -> str:
    for node in root.iter(tag):
        return str(node.text or "").strip()
    raise KeyError(f"{tag} is missing")
