"""The sampling frame: every segment that could be drawn, checked against its districts."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import shapely

from survey.areas import geodesic_area_ha
from survey.errors import GeometryError, TableError
from survey.types import DISTRICTS, FRAME

__all__ = ["check_districts", "check_frame"]

# A stated risk area may differ from the polygon's by rounding, not by more.
_RISK_AREA_TOLERANCE = 0.01
# Digitised borders touch; overlaps beyond this share of the frame would count land twice.
_OVERLAP_TOLERANCE = 0.001


def check_districts(districts: gpd.GeoDataFrame, *, source: str) -> gpd.GeoDataFrame:
    """Check columns, codes, reference system and shapes of the domain level.

    Names may repeat within a country, so only P-codes identify a district.

    Parameters
    ----------
    districts : GeoDataFrame with the columns of `survey.types.DISTRICTS`
    source : str
        File name for messages.

    Raises
    ------
    TableError, GeometryError
        What is wrong, in which file and row, and the remedy.
    """
    _require_crs(districts, source)
    table = DISTRICTS.check(districts, source=source)
    checked = gpd.GeoDataFrame(table, geometry=districts.geometry.name, crs=districts.crs)
    _require_polygons(checked, "district_pcode", source)
    _require_plausible_degrees(checked, source)
    parents = checked.groupby("province_pcode")["province_name"].nunique()
    if (parents > 1).any():
        code = parents.index[parents > 1][0]
        names = sorted(checked.loc[checked["province_pcode"] == code, "province_name"].unique())
        raise TableError(
            f"{source}: province {code} has several names ({', '.join(names)}); one code, one name"
        )
    return checked.sort_values("district_pcode", ignore_index=True)


def check_frame(
    frame: gpd.GeoDataFrame, districts: gpd.GeoDataFrame, *, source: str
) -> gpd.GeoDataFrame:
    """Check the frame against its contract and its districts.

    Every segment must belong to a known district and lie in it, must not overlap others, and
    its `risk_ha` must be the geodesic area of its polygon (1% tolerance).

    Parameters
    ----------
    frame : GeoDataFrame with the columns of `survey.types.FRAME`
    districts : GeoDataFrame from `check_districts`
    source : str
        File name for messages.

    Returns
    -------
    GeoDataFrame
        Sorted by segment_id, so that results do not depend on the file's order.
    """
    _require_crs(frame, source)
    table = FRAME.check(frame, source=source)
    checked = gpd.GeoDataFrame(table, geometry=frame.geometry.name, crs=frame.crs)
    _require_polygons(checked, "segment_id", source)
    _require_plausible_degrees(checked, source)
    unknown = ~checked["district_pcode"].isin(districts["district_pcode"])
    if unknown.any():
        row = int(np.flatnonzero(unknown.to_numpy())[0])
        raise TableError(
            f"{source}, row {row + 1}: district_pcode {checked['district_pcode'].iloc[row]!r} is "
            "not among the districts; correct the code or add the district"
        )
    parent = checked["district_pcode"].map(
        districts.set_index("district_pcode")["province_pcode"].to_dict()
    )
    if (parent != checked["province_pcode"]).any():
        row = int(np.flatnonzero((parent != checked["province_pcode"]).to_numpy())[0])
        raise TableError(
            f"{source}, row {row + 1}: province_pcode {checked['province_pcode'].iloc[row]!r}, "
            f"but district {checked['district_pcode'].iloc[row]} belongs to {parent.iloc[row]!r}"
        )
    _require_stated_area(checked, source)
    _require_inside(checked, districts, source)
    _require_no_overlap(checked, source)
    return checked.sort_values("segment_id", ignore_index=True)


def _require_crs(shapes: gpd.GeoDataFrame, source: str) -> None:
    if shapes.crs is None:
        raise GeometryError(
            f"{source} carries no coordinate reference system; set the one it was digitised in "
            "(in QGIS: Layer > Set Layer CRS, then export), it is never guessed"
        )


def _require_polygons(shapes: gpd.GeoDataFrame, key: str, source: str) -> None:
    kinds = shapes.geometry.geom_type
    empty = shapes.geometry.isna() | shapes.geometry.is_empty
    bad = empty | ~kinds.isin(["Polygon", "MultiPolygon"]) | ~shapes.geometry.is_valid
    if bad.any():
        row = int(np.flatnonzero(bad.to_numpy())[0])
        shape = shapes.geometry.iloc[row]
        what = "empty" if empty.iloc[row] else str(kinds.iloc[row])
        if not empty.iloc[row] and not shape.is_valid:
            what = shapely.is_valid_reason(shape)
        raise GeometryError(
            f"{source}, row {row + 1}: {key} {shapes[key].iloc[row]!r} is not a valid polygon "
            f"({what}); repair it (in QGIS: Fix geometries)"
        )


def _require_plausible_degrees(shapes: gpd.GeoDataFrame, source: str) -> None:
    if not shapes.crs.is_geographic:
        return
    west, south, east, north = shapes.total_bounds
    if west < -180.0 or east > 180.0 or south < -90.0 or north > 90.0:
        raise GeometryError(
            f"{source}: extent {west:.1f}, {south:.1f}, {east:.1f}, {north:.1f} is not in degrees "
            "although its reference system is; it may be in metres with the wrong CRS set, or "
            "have latitude and longitude swapped"
        )


def _require_stated_area(frame: gpd.GeoDataFrame, source: str) -> None:
    stated = frame["risk_ha"].to_numpy()
    actual = geodesic_area_ha(frame.geometry.to_numpy(), frame.crs)
    wrong = np.abs(stated - actual) > _RISK_AREA_TOLERANCE * actual + 0.01
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise TableError(
            f"{source}, row {row + 1}: segment {frame['segment_id'].iloc[row]} says risk_ha "
            f"{stated[row]:.2f}, its polygon has {actual[row]:.2f} ha ({int(wrong.sum())} such "
            "segments); compute risk_ha anew from the geometry"
        )


def _require_inside(frame: gpd.GeoDataFrame, districts: gpd.GeoDataFrame, source: str) -> None:
    homes = districts.to_crs(frame.crs).set_index("district_pcode").geometry
    home = homes.reindex(frame["district_pcode"]).to_numpy()
    inside = shapely.covers(home, shapely.point_on_surface(frame.geometry.to_numpy()))
    if not inside.all():
        row = int(np.flatnonzero(~inside)[0])
        raise GeometryError(
            f"{source}, row {row + 1}: segment {frame['segment_id'].iloc[row]} lies outside its "
            f"district {frame['district_pcode'].iloc[row]} ({int((~inside).sum())} segments do); "
            "correct the code, or check that both files name the right CRS"
        )


def _require_no_overlap(frame: gpd.GeoDataFrame, source: str) -> None:
    shapes = frame.geometry.to_numpy()
    total = float(shapely.area(shapes).sum())
    left, right = frame.sindex.query(shapes, predicate="overlaps")
    pairs = left < right
    shared = shapely.area(shapely.intersection(shapes[left[pairs]], shapes[right[pairs]]))
    if shared.sum() > _OVERLAP_TOLERANCE * total:
        worst = int(np.argmax(shared))
        ids = frame["segment_id"].to_numpy()
        raise GeometryError(
            f"{source}: segments {ids[left[pairs][worst]]} and {ids[right[pairs][worst]]} "
            f"overlap, {100.0 * shared.sum() / total:.2f}% of the frame in all; cut them so that "
            "no land is counted twice"
        )
