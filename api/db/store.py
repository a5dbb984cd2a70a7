"""Connections, migrations, and loading a run. Nothing of SQLAlchemy's leaves this package."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
from alembic import command
from alembic.config import Config
from geoalchemy2 import WKBElement
from pyogrio.errors import DataLayerError, DataSourceError
from shapely import MultiPolygon, Polygon, wkb
from sqlalchemy import Connection, Engine, create_engine, delete, event, insert, select, text
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import OperationalError

from api.db.cluster import WEB_ROLE, PrivateCluster
from api.db.models import DistrictEstimate, ProjectIndicator, RasterLayer, Run, TotalEstimate
from api.disclosure import DISTRICT_COLUMNS, PROJECT_COLUMNS, TOTAL_COLUMNS, require_emptied
from api.errors import DatabaseError, RunFolderError
from api.settings import Settings
from imagery.raster import class_names, open_raster
from survey.privacy import RECOMPUTE

__all__ = [
    "LoadReport",
    "connect",
    "load_run",
    "loaded_runs",
    "migrate",
    "web_engine",
    "web_pool_arguments",
]

_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 7_201_123


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What a load did."""

    run_id: str
    title: str
    n_district_rows: int
    n_project_rows: int
    replaced: str | None
    to_be_recomputed: bool = False

    def __str__(self) -> str:
        warning = (
            "\nTO BE RECOMPUTED: submissions behind its figures were withdrawn since; run it "
            "again, then load"
            if self.to_be_recomputed
            else ""
        )
        return self._done() + warning

    def _done(self) -> str:
        if self.replaced == self.run_id:
            return f"Run {self.run_id} ({self.title}) was loaded before; nothing changed"
        before = f", replacing run {self.replaced}" if self.replaced else ""
        return (
            f"Loaded run {self.run_id} ({self.title}): {self.n_district_rows} district estimates, "
            f"{self.n_project_rows} project indicators{before}"
        )


def connect(settings: Settings) -> Engine:
    """Engine of the owner on a migrated database; starts the private cluster when needed.

    Raises
    ------
    DatabaseError
        No server answers, or PostGIS is missing.
    """
    if settings.database_url is None:
        url = PrivateCluster(settings.state_dir, durable=settings.durable).ensure_running()
    else:
        url = settings.database_url.get_secret_value()
    engine = create_engine(url, pool_pre_ping=True)
    try:
        with engine.begin() as connection:
            migrate(connection)
    except OperationalError as error:
        engine.dispose()
        # The text of the error may hold the password; its first line names host and reason.
        reason = str(error.orig).splitlines()[0] if error.orig else "no answer"
        raise DatabaseError(f"the database cannot be used ({reason}); check it is up") from None
    return engine


def web_engine(settings: Settings) -> Engine:
    """Engine of the reading role, for the few queries that the service makes itself.

    Raises
    ------
    DatabaseError
        A database of your own is set, but not how the reading role reaches it.
    """
    engine = create_engine(_web_url(settings), pool_pre_ping=True, pool_size=4)
    event.listen(engine, "handle_error", _say_no_answer)
    return engine


def web_pool_arguments(settings: Settings) -> dict[str, Any]:
    """Keyword arguments with which asyncpg connects as the reading role."""
    url = make_url(_web_url(settings))
    arguments = {
        "host": url.query.get("host", url.host),
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "database": url.database,
    }
    return {key: value for key, value in arguments.items() if value is not None}


def _say_no_answer(context: ExceptionContext) -> None:
    """Name a server that does not answer as what it is; its own text may hold the address."""
    if isinstance(context.sqlalchemy_exception, OperationalError) and not context.is_pre_ping:
        raise DatabaseError("the database does not answer; try again in a moment") from None


def _web_url(settings: Settings) -> str:
    if settings.database_url is None:
        return PrivateCluster(settings.state_dir).url(WEB_ROLE)
    if settings.web_database_url is None:
        raise DatabaseError(
            "ADSURVEY_DATABASE_URL is set without ADSURVEY_WEB_DATABASE_URL; give the same "
            f"database as the role {WEB_ROLE}, which may only read what is published"
        )
    return settings.web_database_url.get_secret_value()


def migrate(connection: Connection, revision: str = "head") -> None:
    """Bring the schema to a revision; two processes at once do it one after the other."""
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    connection.execute(text("create extension if not exists postgis"))
    for schema in ("published", "restricted", "people"):
        connection.execute(text(f"create schema if not exists {schema}"))
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    if revision == "head":
        command.upgrade(config, revision)
    else:
        command.downgrade(config, revision)


def load_run(engine: Engine, folder: Path) -> LoadReport:
    """Load the output folder of a run in one transaction.

    The same run again changes nothing; another run of the same country and year takes the
    earlier one's place.

    Raises
    ------
    RunFolderError
        Not a complete output folder, or rows that should have been emptied.
    """
    folder = folder.resolve()
    publish = folder / "publish"
    record = _record(publish / "run.json")
    if record.get("training"):
        raise RunFolderError(
            f"{folder} is of a training: its data are invented and never join the survey's results"
        )
    districts = _layer(publish / "districts.gpkg", "district_estimates", DISTRICT_COLUMNS)
    totals = _layer(publish / "districts.gpkg", "total_estimates", TOTAL_COLUMNS)
    projects = _layer(publish / "districts.gpkg", "projects", PROJECT_COLUMNS)
    run_id, year = str(record["run_id"]), int(record["harvest_year"])
    # Ids of projects and layers are unique within a country only.
    place = re.sub(r"[^a-z0-9]+", "-", str(record["country"]).lower()).strip("-")
    with engine.begin() as connection:
        same_round = (Run.country == record["country"]) & (
            Run.harvest_year == record["harvest_year"]
        )
        replaced = connection.scalar(select(Run.run_id).where(same_round).with_for_update())
        connection.execute(delete(Run).where(same_round | (Run.run_id == run_id)))
        connection.execute(
            insert(Run).values(
                run_id=run_id,
                country=record["country"],
                harvest_year=record["harvest_year"],
                title=record["title"],
                reference_date=date.fromisoformat(record["reference_date"]),
                release_date=date.fromisoformat(record["release_date"]),
                loaded_at=datetime.now(UTC),
                record=record,
            )
        )
        rows = _rows(districts, DISTRICT_COLUMNS, run_id)
        for row in rows:
            row["id"] = f"{row['district_pcode']}-{row['crop']}-{row['harvest_year']}"
        connection.execute(insert(DistrictEstimate), rows)
        sums = _rows(totals, TOTAL_COLUMNS, run_id)
        for row in sums:
            row["id"] = f"{place}-{row['domain_id']}-{row['crop']}-{row['harvest_year']}"
        connection.execute(insert(TotalEstimate), sums)
        indicators = _rows(projects, PROJECT_COLUMNS, run_id) if len(projects) else []
        for row in indicators:
            row["harvest_year"] = year
            row["id"] = f"{place}-{row['project_id']}-{row['indicator_code']}-{year}"
        if indicators:
            connection.execute(insert(ProjectIndicator), indicators)
        class_map = folder / "restricted" / "class_map.tif"
        if class_map.is_file():
            connection.execute(
                insert(RasterLayer).values(
                    layer_id=f"class-map-{place}-{year}",
                    run_id=run_id,
                    title=f"Class map {record['country']} {year}",
                    path=str(class_map),
                    classes=_classes(class_map),
                    areas=sorted(
                        {row[key] for row in rows for key in ("district_pcode", "province_pcode")}
                    ),
                )
            )
    return LoadReport(
        run_id=run_id,
        title=str(record["title"]),
        n_district_rows=len(rows),
        n_project_rows=len(indicators),
        replaced=replaced,
        to_be_recomputed=(folder / RECOMPUTE).is_file(),
    )


def loaded_runs(engine: Engine) -> frozenset[str]:
    """Identifiers of the runs whose figures are in the database."""
    with engine.connect() as connection:
        return frozenset(connection.scalars(select(DistrictEstimate.run_id).distinct()))


def _record(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        needed = {"run_id", "country", "harvest_year", "title", "reference_date", "release_date"}
        missing = needed - record.keys()
    except FileNotFoundError as error:
        raise RunFolderError(
            f"{path} does not exist; give the output folder of `adsurvey run` (the one that holds "
            "publish/)"
        ) from error
    except (ValueError, AttributeError) as error:
        raise RunFolderError(
            f"{path} is not the record of a run ({error}); run it again"
        ) from error
    if missing:
        raise RunFolderError(f"{path} lacks {', '.join(sorted(missing))}; run it again")
    return record


def _layer(path: Path, layer: str, columns: Sequence[str]) -> gpd.GeoDataFrame:
    try:
        table = gpd.read_file(path, layer=layer)
    except (DataSourceError, DataLayerError) as error:
        raise RunFolderError(f"{path} has no layer {layer} ({error}); run it again") from error
    if not len(table):
        return table
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise RunFolderError(
            f"{path}, layer {layer}: {', '.join(missing)} is missing; run it again"
        )
    require_emptied(table, layer)
    return table


def _rows(table: gpd.GeoDataFrame, columns: Sequence[str], run_id: str) -> list[dict[str, Any]]:
    shapes = table.to_crs("EPSG:4326").geometry
    rows: list[dict[str, Any]] = []
    for record, shape in zip(
        pd.DataFrame(table)[list(columns)].to_dict("records"), shapes, strict=True
    ):
        multi = MultiPolygon([shape]) if isinstance(shape, Polygon) else shape
        row: dict[str, Any] = {str(key): _plain(value) for key, value in record.items()}
        # An empty text is a text, not a missing value.
        row["disclosure"] = row["disclosure"] or ""
        row["run_id"] = run_id
        row["geom"] = WKBElement(wkb.dumps(multi), srid=4326)
        rows.append(row)
    return rows


def _plain(value: Any) -> Any:
    """A value as the driver takes it; NaN and NaT are missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NaT:
        return None
    if value is pd.NA:
        return None
    if isinstance(value, pd.Timestamp):
        return value.date()
    return value.item() if hasattr(value, "item") else value


def _classes(class_map: Path) -> dict[str, dict[str, str]]:
    """Name and colour of each class code, from the raster's own table."""
    with open_raster(class_map) as dataset:
        colours = dataset.colormap(1)
    return {
        str(code): {"name": name, "colour": "#{:02x}{:02x}{:02x}".format(*colours[code])}
        for code, name in sorted(class_names(class_map).items())
    }
