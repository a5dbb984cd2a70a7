"""Tiles of restricted rasters, by layer id: never by path or address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Path, Request
from morecantile import TileMatrixSets
from morecantile import tms as all_tms
from titiler.core.dependencies import DefaultDependency
from titiler.core.factory import TilerFactory

__all__ = ["FindRaster", "raster_router"]

#: Path of a layer's raster for this request's reader; raises LayerNotFoundError.
FindRaster = Callable[[Request, str], str]


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
    ) -> str:
        return find(request, layer_id)

    factory = _TilesOnly(
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
