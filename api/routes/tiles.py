"""Tiles of restricted rasters, by layer id and cut at the reader's areas: never by path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import attrs
import numpy as np
from fastapi import APIRouter, Path, Request
from morecantile import TileMatrixSets
from morecantile import tms as all_tms
from rasterio.features import geometry_mask
from rasterio.transform import array_bounds
from rasterio.warp import transform_geom
from rio_tiler.errors import TileOutsideBounds
from rio_tiler.io import Reader as RasterReader
from rio_tiler.models import ImageData
from shapely import MultiPolygon, box
from shapely.geometry import shape
from titiler.core.dependencies import DefaultDependency
from titiler.core.factory import TilerFactory

from api.db.rasters import RasterSource

__all__ = ["FindRaster", "raster_router"]

#: A layer's raster for this request's reader; raises LayerNotFoundError.
FindRaster = Callable[[Request, str], RasterSource]


def _show_only(image: ImageData, area: MultiPolygon) -> ImageData:
    """Hide every pixel whose centre lies outside an area (WGS 84, degrees).

    The values go too, not only the mask: a format without transparency would show them.

    Raises
    ------
    TileOutsideBounds
        Nothing of the area lies in the picture.
    """
    outline = transform_geom("EPSG:4326", image.crs, area.__geo_interface__)
    if not shape(outline).intersects(
        box(*array_bounds(image.height, image.width, image.transform))
    ):
        raise TileOutsideBounds("the tile lies outside your areas")
    outside = geometry_mask(
        [outline], out_shape=(image.height, image.width), transform=image.transform
    )
    hidden = np.broadcast_to(outside, image.array.shape)
    image.array = np.ma.masked_array(
        np.where(hidden, 0, image.array.data), np.ma.getmaskarray(image.array) | hidden
    )
    return image


@attrs.define
class _AreaReader(RasterReader):
    """Reads a raster as one reader may see it."""

    area: MultiPolygon | None = attrs.field(default=None, kw_only=True)

    def tile(self, *arguments: Any, **options: Any) -> ImageData:
        """A tile, cut at the area."""
        image = super().tile(*arguments, **options)
        return image if self.area is None else _show_only(image, self.area)


def _open(source: RasterSource, **options: Any) -> _AreaReader:
    return _AreaReader(str(source.path), area=source.area, **options)


class _TilesOnly(TilerFactory):
    """TileJSON and tiles; no information, statistics, previews, expressions or viewers."""

    def register_routes(self) -> None:
        """Register the two routes."""
        self.tile()  # type: ignore[no-untyped-call]  # titiler is untyped here
        self.tilejson()  # type: ignore[no-untyped-call]


def raster_router(find: FindRaster) -> APIRouter:
    """Router of `/raster/{layer_id}`.

    Parameters
    ----------
    find : callable
        Looks a layer up for the reader of a request.
    """

    def path_of(
        request: Request, layer_id: Annotated[str, Path(pattern="^[a-z0-9-]{1,80}$")]
    ) -> RasterSource:
        return find(request, layer_id)

    factory = _TilesOnly(
        reader=_open,  # type: ignore[arg-type]  # titiler calls it, no more
        path_dependency=path_of,
        router_prefix="/raster/{layer_id}",
        supported_tms=TileMatrixSets({"WebMercatorQuad": all_tms.get("WebMercatorQuad")}),
        # Nothing about a layer can be asked for but its picture.
        layer_dependency=DefaultDependency,
        dataset_dependency=DefaultDependency,
        tile_dependency=DefaultDependency,
        render_dependency=DefaultDependency,
        process_dependency=_nothing,
        colormap_dependency=_nothing,
        add_preview=False,
        add_part=False,
        add_viewer=False,
    )
    router: APIRouter = factory.router
    return router


def _nothing() -> None:
    return None
