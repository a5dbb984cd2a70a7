"""Restricted raster layers: which a reader may see, and where they are cut."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from shapely import MultiPolygon, from_wkb, union_all
from sqlalchemy import Engine, or_, select

from api.db.models import DistrictEstimate, RasterLayer
from api.db.reading import reading_as
from api.disclosure import Reader

__all__ = ["RasterSource", "raster_layers", "raster_source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterSource:
    """A raster behind a layer id, as one reader may see it.

    Attributes
    ----------
    layer_id : str
    path : Path
    area : MultiPolygon or None
        In degrees of WGS 84: what lies outside is hidden. None hides nothing.
    """

    layer_id: str
    path: Path
    area: MultiPolygon | None = None


def raster_source(engine: Engine, layer_id: str, reader: Reader) -> RasterSource | None:
    """The raster of a layer id; None if there is none for this reader."""
    statement = select(RasterLayer.path, RasterLayer.run_id).where(
        RasterLayer.layer_id == layer_id
    )
    with reading_as(engine, reader) as connection:
        row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    area = None if reader.sees_everywhere else _area(engine, row.run_id, reader.areas)
    return RasterSource(layer_id=layer_id, path=Path(row.path), area=area)


def raster_layers(engine: Engine, reader: Reader) -> list[dict[str, Any]]:
    """Identifier, title and classes of every raster layer of this reader."""
    statement = select(RasterLayer.layer_id, RasterLayer.title, RasterLayer.classes).order_by(
        RasterLayer.layer_id
    )
    with reading_as(engine, reader) as connection:
        return [dict(row._mapping) for row in connection.execute(statement)]


@lru_cache(maxsize=64)
def _area(engine: Engine, run_id: str, areas: frozenset[str]) -> MultiPolygon:
    """Union of the districts of a run that lie in the areas; a run's shapes never change."""
    statement = select(DistrictEstimate.district_pcode, DistrictEstimate.geom).where(
        DistrictEstimate.run_id == run_id,
        or_(
            DistrictEstimate.district_pcode.in_(areas),
            DistrictEstimate.province_pcode.in_(areas),
        ),
    )
    with engine.connect() as connection:
        # A district has a row for each crop.
        found = {row.district_pcode: row.geom for row in connection.execute(statement)}
    union = union_all([from_wkb(bytes(shape.data)) for shape in found.values()])
    return union if isinstance(union, MultiPolygon) else MultiPolygon([union])
