"""Scenes as items of a static STAC catalog: what there is, from which files, with which sums."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import shapely
from pyproj import Transformer
from pystac.extensions.eo import Band, EOExtension
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.raster import RasterBand, RasterExtension

from imagery.catalog import Scene, SceneStack, read_scenes
from imagery.errors import SceneError, WriteError
from imagery.grid import Grid
from imagery.raster import is_valid_cog, open_raster
from imagery.sidecars import ALPHA, COMMON_NAMES, read_json
from survey.digests import file_digest

__all__ = ["footprint", "read_catalog", "write_catalog"]

_CATALOG = "catalog.json"
_SIDECAR = "sidecar"
_ABOUT = ("platform", "level", "processing_baseline", "source", "valid_share", "clear_share")
# Common names of the eo extension; a band that has none goes by its own name.
_STAC_NAMES = {ours: theirs for theirs, ours in COMMON_NAMES.items() if theirs.startswith("swir")}
_STAC_NAMES |= {"rededge": "rededge", "rededge2": "rededge", "rededge3": "rededge"}
_STAC_NAMES |= {
    name: name
    for name in ("coastal", "blue", "green", "yellow", "red", "nir", "nir08", "nir09", "pan")
}
_SIDES = 21


def write_catalog(
    scenes: Path, to: Path, *, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Write a self-contained STAC catalog of a folder of scenes; the path of `catalog.json`.

    Hrefs are relative, so folder and catalog can move together. Every file carries its SHA-256:
    of images and masks as they lie there now, of originals as they were when imported.

    Parameters
    ----------
    scenes : Path
        Folder that `imagery.catalog.read_scenes` reads.
    to : Path
        Folder for the catalog; not the scenes' own, whose JSON files are sidecars.
    progress : callable (done, total) in scenes

    Raises
    ------
    SceneError
        The scenes cannot be read, or `to` is their folder.
    WriteError
        The catalog could not be written.
    """
    if to.resolve() == scenes.resolve():
        raise SceneError(f"{to} holds the sidecars; give another folder for the catalog")
    stack = read_scenes(scenes)
    catalog = pystac.Catalog(
        id=scenes.resolve().name,
        description=f"Scenes of {stack.dates[0]} to {stack.dates[-1]}, as ad-survey reads them.",
    )
    for done, scene in enumerate(stack.scenes, start=1):
        catalog.add_item(_item(scene))
        if progress is not None:
            progress(done, len(stack.scenes))
    to = to.resolve()
    catalog.normalize_hrefs(str(to))
    catalog.make_all_asset_hrefs_relative()
    try:
        catalog.save(catalog_type=pystac.CatalogType.SELF_CONTAINED)
    except OSError as error:
        raise WriteError(f"{to} could not be written ({error.strerror})") from error
    return to / _CATALOG


def read_catalog(path: Path) -> SceneStack:
    """Scenes that a catalog of `write_catalog` lists.

    Parameters
    ----------
    path : Path
        `catalog.json` or its folder.

    Raises
    ------
    SceneError
        It is no catalog, an item names no sidecar, or a scene cannot be read.
    """
    file = path / _CATALOG if path.is_dir() else path
    root = file.resolve().parent
    sidecars = []
    for link in read_json(file).get("links", []):
        if not isinstance(link, dict) or link.get("rel") != "item":
            continue
        item_file = (root / str(link.get("href"))).resolve()
        # An href with a scheme is no file here, and one that leads out of the catalog is not ours.
        if not item_file.is_relative_to(root) or not item_file.is_file():
            raise SceneError(f"{file} lists {link.get('href')!r}, which is not in the catalog")
        content = read_json(item_file)
        try:
            item = pystac.Item.from_dict(content)
        except (
            KeyError, TypeError, ValueError, AttributeError, pystac.STACError,
            pystac.STACTypeError,
        ) as error:  # fmt: skip
            raise SceneError(
                f"{item_file.name} is no STAC item ({type(error).__name__}: {error}); write the "
                "catalog anew (adsurvey scenes catalog)"
            ) from error
        if _SIDECAR not in item.assets:
            raise SceneError(f"{item_file.name} has no asset {_SIDECAR!r}; write it anew")
        sidecars.append((item_file.parent / item.assets[_SIDECAR].href).resolve())
    if not sidecars:
        raise SceneError(f"{file} lists no items; write it with adsurvey scenes catalog")
    return read_scenes(sidecars)


def footprint(grid: Grid) -> dict[str, Any]:
    """Outline of a grid in degrees as GeoJSON, cut in two where it crosses the antimeridian."""
    west, south, east, north = grid.bounds
    across, up = np.linspace(0.0, 1.0, _SIDES), np.linspace(0.0, 1.0, _SIDES)
    x = west + (east - west) * np.r_[across, np.ones(_SIDES), across[::-1], np.zeros(_SIDES)]
    y = south + (north - south) * np.r_[np.zeros(_SIDES), up, np.ones(_SIDES), up[::-1]]
    lon, lat = Transformer.from_crs(grid.crs, 4326, always_xy=True).transform(x, y)
    if np.ptp(lon) > 180.0:
        lon = np.where(lon < 0.0, lon + 360.0, lon)
    ring = np.round(np.column_stack([lon, lat]), 7)
    keep = np.r_[True, (np.diff(ring, axis=0) != 0.0).any(axis=1)]
    outline = shapely.orient_polygons(shapely.Polygon(ring[keep]))
    if lon.max() > 180.0:
        near = shapely.intersection(outline, shapely.box(-360.0, -90.0, 180.0, 90.0))
        far = shapely.intersection(outline, shapely.box(180.0, -90.0, 540.0, 90.0))
        beyond = shapely.transform(far, lambda xy: xy - [360.0, 0.0])
        outline = shapely.orient_polygons(shapely.MultiPolygon([near, beyond]))
    shape: dict[str, Any] = json.loads(shapely.to_geojson(outline))
    return shape


def _bbox(shape: dict[str, Any]) -> list[float]:
    outline = shapely.from_geojson(json.dumps(shape))
    if outline.geom_type == "MultiPolygon":
        near, far = (part.bounds for part in outline.geoms)
        return [near[0], min(near[1], far[1]), far[2], max(near[3], far[3])]
    return list(outline.bounds)


def _item(scene: Scene) -> pystac.Item:
    sidecar = scene.path.with_suffix(".json")
    meta = read_json(sidecar)
    start = datetime.combine(scene.acquired, time(), tzinfo=UTC)
    shape = footprint(scene.grid)
    # The day is known, the hour is not kept.
    item = pystac.Item(
        id=scene.path.stem,
        geometry=shape,
        bbox=_bbox(shape),
        datetime=None,
        properties={f"adsurvey:{key}": meta[key] for key in _ABOUT if key in meta}
        | ({"platform": str(meta["platform"]).lower()} if "platform" in meta else {}),
        start_datetime=start,
        end_datetime=start + timedelta(days=1) - timedelta(seconds=1),
    )
    t = scene.grid.transform
    authority = scene.grid.crs.to_authority()
    projection = ProjectionExtension.ext(item, add_if_missing=True)
    projection.apply(
        code=":".join(authority) if authority else None,
        wkt2=None if authority else scene.grid.crs.to_wkt(),
        shape=list(scene.grid.shape),
        transform=[t.a, t.b, t.c, t.d, t.e, t.f],
    )
    item.add_asset("image", _image(scene))
    _bands(item.assets["image"], scene)
    for number, mask in enumerate(scene.masks, start=1):
        asset = pystac.Asset(
            href=str(mask.path.resolve()),
            media_type=_media(mask.path),
            roles=["data-mask"],
            extra_fields={"adsurvey:mask_band": mask.band, "adsurvey:mask": mask.rule.to_keys()},
        )
        item.add_asset("mask" if number == 1 else f"mask{number}", asset)
        _checksum(asset, mask.path)
    item.add_asset(
        _SIDECAR,
        pystac.Asset(
            href=str(sidecar.resolve()), media_type=pystac.MediaType.JSON, roles=["metadata"]
        ),
    )
    for number, original in enumerate(meta.get("originals", []), start=1):
        href = os.path.normpath(scene.path.resolve().parent / str(original["file"]))
        asset = pystac.Asset(href=href, roles=["source"], title=Path(href).name)
        item.add_asset(f"original{number}", asset)
        FileExtension.ext(asset, add_if_missing=True).apply(
            checksum=_multihash(str(original["sha256"])), size=int(original["bytes"])
        )
    return item


def _image(scene: Scene) -> pystac.Asset:
    return pystac.Asset(
        href=str(scene.path.resolve()),
        media_type=_media(scene.path),
        roles=["data", "reflectance"],
    )


def _bands(asset: pystac.Asset, scene: Scene) -> None:
    with open_raster(scene.path) as image:
        kinds = image.dtypes
    size = abs(scene.grid.transform.a)
    nodata: Any = scene.nodata
    if nodata is not None and np.isnan(nodata):
        nodata = "nan"
    EOExtension.ext(asset, add_if_missing=True).apply(
        bands=[Band.create(name=band, common_name=_STAC_NAMES.get(band)) for band in scene.bands]
    )
    RasterExtension.ext(asset, add_if_missing=True).apply(
        bands=[
            RasterBand.create(
                nodata=nodata,
                data_type=kind,
                scale=None if band == ALPHA else scale,
                offset=None if band == ALPHA else offset,
                spatial_resolution=None if scene.grid.crs.is_geographic else size,
            )
            for band, kind, scale, offset in zip(
                scene.bands, kinds, scene.scale, scene.offset, strict=True
            )
        ]
    )
    _checksum(asset, scene.path)


def _media(path: Path) -> str:
    return pystac.MediaType.COG if is_valid_cog(path) else pystac.MediaType.GEOTIFF


def _checksum(asset: pystac.Asset, path: Path) -> None:
    FileExtension.ext(asset, add_if_missing=True).apply(
        checksum=_multihash(file_digest(path)), size=path.stat().st_size
    )


def _multihash(sha256: str) -> str:
    """SHA-256 as the file extension writes it: its code 0x12 and length 0x20 before it."""
    return f"1220{sha256}"
