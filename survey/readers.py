"""File access: the round's vector layers and tables, checked as they enter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely

from survey.areas import M2_PER_HA, geodesic_area_ha
from survey.errors import DuplicateIdError, GeometryError, SurveyError, TableError
from survey.frame import check_districts, check_frame
from survey.spreadsheets import as_written
from survey.types import BASELINES, DISTRICTS, PROJECTS

__all__ = [
    "read_baselines",
    "read_csv",
    "read_districts",
    "read_frame",
    "read_projects",
    "read_shapes",
    "read_training",
]


def read_shapes(path: Path) -> gpd.GeoDataFrame:
    """Read the single layer with shapes of a vector file; tables such as QGIS's styles are none.

    A TopoJSON is quantised and carries no reference system; by its specification (and that of
    GeoJSON, RFC 7946) its positions are longitude and latitude on WGS 84, so that is set.

    Raises
    ------
    SurveyError
        The file is missing, unreadable or holds several layers, with its name and the remedy.
    """
    if not path.is_file():
        raise SurveyError(f"{path} does not exist; check the path under [inputs] in survey.toml")
    try:
        layers = [name for name, kind in pyogrio.list_layers(path) if kind is not None]
        if len(layers) > 1:
            raise GeometryError(
                f"{path} holds several layers ({', '.join(layers)}); save the one meant in "
                "a file of its own"
            )
        shapes = gpd.read_file(path, engine="pyogrio", layer=layers[0] if layers else None)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError) as error:
        raise SurveyError(
            f"{path} cannot be read as a vector file ({error}); export it anew"
        ) from error
    if not isinstance(shapes, gpd.GeoDataFrame):
        raise GeometryError(f"{path} holds no shapes; give a layer with polygons")
    if shapes.crs is None and path.suffix.lower() == ".topojson":
        shapes = shapes.set_crs("EPSG:4326")
    return shapes


def read_districts(path: Path, columns: Mapping[str, str] | None = None) -> gpd.GeoDataFrame:
    """Read and check the districts; see `survey.frame.check_districts`.

    Parameters
    ----------
    path : Path
        Layer of the domain level.
    columns : mapping of our column name to the layer's, where they differ
    """
    shapes = read_shapes(path)
    theirs = dict(columns or {})
    missing = [name for name in theirs.values() if name not in shapes.columns]
    if missing:
        raise TableError(
            f"{path.name} has no column {', '.join(missing)} (named under [columns] in "
            f"survey.toml); it has {', '.join(map(str, shapes.columns))}"
        )
    # One column may serve twice, so columns are added and not renamed.
    named = shapes.assign(**{ours: shapes[name] for ours, name in theirs.items()})
    absent = [name for name in DISTRICTS.columns if name not in named.columns]
    if absent:
        raise TableError(
            f"{path.name} has no column {', '.join(absent)}; it has "
            f"{', '.join(map(str, shapes.columns))}: say which is which under [columns] in "
            'survey.toml, as in districts = { district_pcode = "TS_PCODE" }'
        )
    return check_districts(named, source=path.name)


def read_frame(path: Path, districts: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Read and check the sampling frame; see `survey.frame.check_frame`."""
    return check_frame(read_shapes(path), districts, source=path.name)


def read_training(
    path: Path, frame: gpd.GeoDataFrame, *, reference: gpd.GeoDataFrame | None = None
) -> gpd.GeoDataFrame:
    """Read training plots and make sure that none shares land with a reference sample.

    Reference samples that had trained the map would make the map-assisted estimate biased and
    its interval too short, so overlap is an error and not a warning.

    Parameters
    ----------
    path : Path
        Layer with `plot_id`, `class_name` and polygons.
    frame : GeoDataFrame from `read_frame`
        Its sampled segments are reference samples.
    reference : GeoDataFrame, optional
        Further reference samples, points or polygons, in any reference system.

    Raises
    ------
    TableError, GeometryError
        Columns missing, ids repeated, a shape that is no valid polygon, or a plot that lies
        wholly or partly in a reference sample.
    """
    plots = read_shapes(path)
    if plots.crs is None:
        raise GeometryError(f"{path.name} carries no coordinate reference system; set it")
    for column in ("plot_id", "class_name"):
        if column not in plots.columns:
            raise TableError(f"{path.name}: column {column} is missing")
    repeated = plots["plot_id"].duplicated()
    if repeated.any():
        raise DuplicateIdError(
            f"{path.name}: plot_id {plots.loc[repeated, 'plot_id'].iloc[0]!r} occurs more than "
            "once; keep one row for each"
        )
    usable = (
        plots.geometry.geom_type.isin(["Polygon", "MultiPolygon"])
        & plots.geometry.is_valid
        & ~plots.geometry.is_empty
    )
    if not usable.all():
        row = int(np.flatnonzero(~usable.to_numpy())[0])
        raise GeometryError(
            f"{path.name}, row {row + 1}: training plot {plots['plot_id'].iloc[row]} is not a "
            "valid polygon; repair it (in QGIS: Fix geometries)"
        )
    sampled = frame.loc[frame["is_sampled"]]
    _require_apart(plots, sampled, sampled["segment_id"], "sampled segment", source=path.name)
    if reference is not None:
        numbers = pd.Series([f"in row {row}" for row in range(1, len(reference) + 1)])
        _require_apart(plots, reference, numbers, "the reference sample", source=path.name)
    return plots.sort_values("plot_id", ignore_index=True)


def _require_apart(
    plots: gpd.GeoDataFrame, kept: gpd.GeoDataFrame, names: pd.Series, what: str, *, source: str
) -> None:
    """Refuse plots that share more than a square metre, or a point, with what is kept apart."""
    if kept.crs is None:
        raise GeometryError("the reference samples carry no coordinate reference system; set it")
    shapes, others = plots.to_crs(kept.crs).geometry.to_numpy(), kept.geometry.to_numpy()
    plot_rows, rows = kept.sindex.query(shapes, predicate="intersects")
    shared = shapely.intersection(shapes[plot_rows], others[rows])
    # Touching borders share no land; a square metre is digitising noise. In degrees a planar
    # area would be next to nothing, so it is measured on the ellipsoid.
    has_no_area = shapely.get_dimensions(others[rows]) < 2  # points, transects
    inside = np.flatnonzero(has_no_area | (geodesic_area_ha(shared, kept.crs) * M2_PER_HA > 1.0))
    if len(inside):
        first = inside[0]
        raise TableError(
            f"{source}: training plot {plots['plot_id'].iloc[plot_rows[first]]} lies in "
            f"{what} {names.iloc[rows[first]]} ({len(inside)} such plots); reference samples "
            "must never train the map: remove these plots"
        )


def read_projects(path: Path, districts: gpd.GeoDataFrame) -> pd.DataFrame:
    """Read AD projects; `district_pcodes` becomes a tuple of known codes."""
    projects = PROJECTS.check(read_csv(path), source=path.name)
    known = set(districts["district_pcode"])
    projects["district_pcodes"] = [
        tuple(part.strip() for part in text.split(";") if part.strip())
        for text in projects["district_pcodes"]
    ]
    for row, codes in enumerate(projects["district_pcodes"], start=1):
        unknown = [code for code in codes if code not in known]
        if unknown or not codes:
            raise TableError(
                f"{path.name}, row {row}: district_pcodes {';'.join(unknown) or '(none)'} is not "
                "among the districts; write their P-codes separated by ';'"
            )
    return projects.sort_values("project_id", ignore_index=True)


def read_baselines(path: Path, projects: pd.DataFrame) -> pd.DataFrame:
    """Read baseline values; each must belong to a known project."""
    baselines = BASELINES.check(read_csv(path), source=path.name)
    unknown = ~baselines["project_id"].isin(projects["project_id"])
    if unknown.any():
        row = int(np.flatnonzero(unknown.to_numpy())[0])
        raise TableError(
            f"{path.name}, row {row + 1}: project_id {baselines['project_id'].iloc[row]!r} is not "
            "among the projects"
        )
    wrong = ~baselines["direction"].isin(["up", "down"])
    if wrong.any():
        row = int(np.flatnonzero(wrong.to_numpy())[0])
        raise TableError(
            f"{path.name}, row {row + 1}: direction {baselines['direction'].iloc[row]!r}; write "
            "'up' where more is better and 'down' where less is better"
        )
    return baselines.sort_values(["project_id", "indicator_code"], ignore_index=True)


def read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV with every value as text, so that codes such as 0101 keep their zeros.

    Space around column names is dropped, and empty rows at the end.

    Raises
    ------
    TableError
        The file is empty, not UTF-8, separated by something else than commas, has a column name
        twice, or a row with more values than there are columns (which would shift them).
    """
    if not path.exists():
        raise SurveyError(f"{path} does not exist; check the path")
    if path.is_dir():
        raise SurveyError(f"{path} is a folder; name the file in it")
    try:
        _refuse_other_separators(path)
        # Everything as text: P-codes such as 0101 must keep their zeros. The header is a row
        # like others, or pandas takes the first column of too long rows for an index.
        table = pd.read_csv(
            path, dtype=str, encoding="utf-8-sig", keep_default_na=False, header=None
        )
    except pd.errors.EmptyDataError as error:
        raise TableError(f"{path.name} is empty; export it anew") from error
    except pd.errors.ParserError as error:
        raise TableError(
            f"{path.name} cannot be read as CSV ({_in_words(error)}); a value that holds a comma "
            "needs quotes"
        ) from error
    except UnicodeDecodeError as error:
        raise TableError(
            f"{path.name} cannot be read as CSV in UTF-8 ({error}); save it as 'CSV UTF-8'"
        ) from error
    table = as_written(table.fillna(""))
    names = table.iloc[0].str.strip()
    rows = table.iloc[1:].reset_index(drop=True)
    filled = np.flatnonzero((rows != "").any(axis=1))
    rows = rows.iloc[: int(filled[-1]) + 1 if filled.size else 0]
    nameless = (names == "").to_numpy()
    for at in np.flatnonzero(nameless):
        held = rows[at].str.strip() != ""
        if held.any():
            raise TableError(
                f"{path.name}, row {int(held.to_numpy().argmax()) + 1}: column {at + 1} holds a "
                "value but has no name; name it in the first line or remove it"
            )
    repeated = names[names.duplicated() & ~nameless]
    if len(repeated):
        raise TableError(
            f"{path.name} has more than one column {repeated.iloc[0]!r}; keep the one meant"
        )
    rows = rows.loc[:, ~nameless]
    rows.columns = pd.Index(names[~nameless].tolist())
    return rows


def _refuse_other_separators(path: Path) -> None:
    """Say so where the first line has no comma but another mark between its columns."""
    with path.open(encoding="utf-8-sig") as handle:
        first = handle.readline()
    for mark, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if mark in first and "," not in first:
            raise TableError(
                f"{path.name}: its columns are separated by {word}; save it with commas (and "
                "numbers with a decimal point)"
            )


def _in_words(error: Exception) -> str:
    """What pandas says of a row that is too long, with our count of rows."""
    found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
    if found is None:
        return str(error)
    columns, line, values = (int(number) for number in found.groups())
    return f"row {line - 1} has {values} values for {columns} columns"
