"""What an imported scene says of itself: names of its files, what it was made from, checksums."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from imagery.errors import SceneError, WriteError
from imagery.products import MaskSource, Product, Resampling
from imagery.warp import Warp
from survey.digests import file_digest

__all__ = [
    "description_of",
    "made_from",
    "mask_path",
    "original",
    "rasters_of",
    "sidecar_for",
    "spare_originals",
    "write_text",
]


def made_from(product: Product, warp: Warp, resampling: Resampling) -> dict[str, Any]:
    """What a scene was made from and how; equal for an import that need not be done again."""
    t = warp.grid.transform
    return {
        "source": product.source,
        "source_bytes": product.source_bytes,
        "bands": [band.name for band in product.bands],
        "grid": [warp.grid.crs.to_string(), *warp.grid.shape, t.a, t.c, t.f],
        "resampling": resampling.value if warp.resamples else None,
        "mask_rules": [[mask.suffix, mask.rule.to_keys()] for mask in product.masks],
    }


def sidecar_for(product: Product, scenes: Path, made: dict[str, Any]) -> tuple[Path, bool]:
    """Where the sidecar goes, and whether the same scene stands there already."""
    name = f"{product.acquired.isoformat()}_{product.label}"
    number = 1
    while True:
        sidecar = scenes / (f"{name}.json" if number == 1 else f"{name}-{number}.json")
        if not sidecar.exists():
            return sidecar, False
        try:
            before = json.loads(sidecar.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SceneError(f"{sidecar} cannot be read ({error}); remove it") from error
        if before.get("source") == product.source:
            if any(before.get(key) != value for key, value in made.items()):
                raise SceneError(
                    f"{product.source} was imported as {sidecar.name} with other bands, masks, "
                    "grid or content; remove that scene or choose another folder"
                )
            return sidecar, True
        number += 1


def rasters_of(product: Product, sidecar: Path) -> tuple[Path, ...]:
    """Files of a scene beside its sidecar."""
    return (sidecar.with_suffix(".tif"), *(mask_path(sidecar, m) for m in product.masks))


def spare_originals(product: Product, sidecar: Path) -> None:
    """Refuse to write over a file that the scene is made from."""
    used = [source.path for source in product.bands] + [mask.path for mask in product.masks]
    kept = {Path(path).resolve() for path in (*used, *product.originals)}
    for path in rasters_of(product, sidecar):
        if path.resolve() in kept:
            raise SceneError(
                f"{path.name} would be overwritten by its own import; choose another folder (--to)"
            )


def mask_path(sidecar: Path, mask: MaskSource) -> Path:
    """Where a mask of a scene lies."""
    return sidecar.with_name(f"{sidecar.stem}_{mask.suffix}.tif")


def description_of(
    product: Product, stem: str, *, valid_share: float, clear_share: float
) -> dict[str, Any]:
    """The keys that `imagery.sidecars.describe` reads, and what was counted while writing."""

    def one(values: tuple[float, ...]) -> float | list[float]:
        return values[0] if len(set(values)) == 1 else list(values)

    return {
        "date": product.acquired.isoformat(),
        "bands": [band.name for band in product.bands],
        "scale": one(product.scale),
        "offset": one(product.offset),
        "mask": [
            {"file": f"{stem}_{mask.suffix}.tif", **mask.rule.to_keys()} for mask in product.masks
        ]
        or None,
        **product.about,
        "valid_share": round(valid_share, 6),
        "clear_share": round(clear_share, 6),
    }


def original(path: Path, scenes: Path) -> dict[str, Any]:
    """Name, size and checksum of a file that was delivered."""
    try:
        digest, size = file_digest(path), path.stat().st_size
    except OSError as error:
        raise SceneError(f"{path.name} cannot be read ({error.strerror})") from error
    return {
        "file": os.path.relpath(path.resolve(), scenes.resolve()),
        "bytes": size,
        "sha256": digest,
    }


def write_text(path: Path, text: str) -> None:
    """Write a text whole or not at all."""
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise WriteError(f"{path.name} could not be written ({error.strerror})") from error
