"""GeoTIFF, COG and JPEG 2000 of any sensor, described by a small sidecar or by the analyst."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagery.errors import SceneError
from imagery.products import BandSource, MaskSource, Product
from imagery.sidecars import describe, read_json

__all__ = ["IMAGE_SUFFIXES", "VIRTUAL", "image_product", "sidecar_product"]

IMAGE_SUFFIXES = (".tif", ".tiff", ".jp2")
#: Virtual file systems that an analyst may name; no sidecar and no upload ever may.
VIRTUAL = (
    "/vsizip/",
    "/vsitar/",
    "/vsigzip/",
    "/vsicurl/",
    "/vsis3/",
    "/vsigs/",
    "/vsiaz/",
)
# Keys of a sidecar that say how to import, not what the pixels mean.
_ABOUT = ("platform", "level", "sensor", "source")


def sidecar_product(sidecar: Path, override: Mapping[str, Any] | None = None) -> Product:
    """What to import by a sidecar.

    Its image is ``image``, or one file per band in ``files``, or the file with the sidecar's
    own stem; all lie beside it. ``indexes`` picks bands of an image that holds more.

    Raises
    ------
    SceneError
        A key is missing or wrong, or a file is not there, lies elsewhere or is no image.
    """
    meta = {**read_json(sidecar), **(override or {})}
    if "files" in meta:
        names = meta["files"]
        if not isinstance(names, list) or not names:
            raise SceneError(f"{sidecar.name}: files must list one file per band")
    elif "image" in meta:
        names = [meta["image"]]
    else:
        names = [
            sidecar.with_suffix(suffix).name
            for suffix in IMAGE_SUFFIXES
            if sidecar.with_suffix(suffix).is_file()
        ][:1] or [f"{sidecar.stem}.tif"]
    images = [_beside(sidecar, str(name)) for name in names]
    return _product(images, meta, sidecar.parent, name=sidecar.name, also=(sidecar,))


def image_product(image: str, meta: Mapping[str, Any]) -> Product:
    """What to import of an image that the analyst describes.

    Parameters
    ----------
    image : str
        A file, or a name in one of the virtual file systems in `VIRTUAL`.
    meta : mapping
        Keys of a sidecar: date, bands, scale, offset, nodata.

    Raises
    ------
    SceneError
        A key is missing or wrong, or it is no image.
    """
    name = Path(image).name
    if image.startswith("/vsi"):
        if not image.startswith(VIRTUAL):
            raise SceneError(
                f"{image.split('/')[1]} is not a file system to read images from; use "
                f"{', '.join(VIRTUAL)}"
            )
        _refuse_other(name)
        return _product([image], {"mask": None, **meta}, Path(), name=name, also=())
    path = Path(image)
    if not path.is_file():
        raise SceneError(f"{image} does not exist")
    _refuse_other(name)
    return _product([path], {"mask": None, **meta}, path.parent, name=name, also=())


def _product(
    images: list[Path] | list[str],
    meta: Mapping[str, Any],
    folder: Path,
    *,
    name: str,
    also: tuple[Path, ...],
) -> Product:
    said = describe(meta, folder, name=name)
    if len(images) not in (1, len(said.bands)):
        raise SceneError(
            f"{name} names {len(images)} files for {len(said.bands)} bands; give one file, or one "
            "for each band"
        )
    is_split = len(images) > 1
    indexes = meta.get("indexes", range(1, len(said.bands) + 1))
    if len(indexes) != len(said.bands) or not all(isinstance(index, int) for index in indexes):
        raise SceneError(f"{name}: indexes must give the number of each band in the image")
    sources = tuple(
        BandSource(
            name=band,
            path=images[number] if is_split else images[0],
            index=1 if is_split else indexes[number],
        )
        for number, band in enumerate(said.bands)
    )
    masks = tuple(
        MaskSource(
            suffix="mask" if number == 1 else f"mask{number}",
            path=mask.path,
            index=mask.band,
            rule=mask.rule,
        )
        for number, mask in enumerate(said.masks, start=1)
    )
    stem = Path(images[0]).stem if not also else also[0].stem
    files = [path for path in images if isinstance(path, Path)]
    day = said.acquired.isoformat()
    label = stem.removeprefix(day).strip("_- ") or "image"
    return Product(
        source=str(meta.get("source") or stem),
        label=label.replace(" ", "_").replace(",", ""),
        acquired=said.acquired,
        bands=sources,
        scale=said.scale,
        offset=said.offset,
        nodata=said.nodata,
        masks=masks,
        originals=tuple(dict.fromkeys([*files, *(mask.path for mask in said.masks), *also])),
        source_bytes=sum(path.stat().st_size for path in files) if files else None,
        about={key: meta[key] for key in _ABOUT if key in meta and key != "source"},
    )


def _beside(sidecar: Path, name: str) -> Path:
    path = sidecar.parent / name
    if path.parent != sidecar.parent or name.startswith("/vsi"):
        raise SceneError(f"{sidecar.name}: image {name!r} must lie beside its sidecar")
    _refuse_other(name)
    if not path.is_file():
        raise SceneError(f"{sidecar.name} names {name}, which does not exist beside it")
    return path


def _refuse_other(name: str) -> None:
    if not name.lower().endswith(IMAGE_SUFFIXES):
        raise SceneError(
            f"{name} is not opened: only GeoTIFF and JPEG 2000 ({', '.join(IMAGE_SUFFIXES)}) are, "
            "others may point at files or hosts elsewhere; convert it (gdal_translate -of COG)"
        )
