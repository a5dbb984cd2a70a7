"""The folder that may leave the office: districts and projects, nothing finer."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

from api.maps import MapTitle, district_map
from api.pipeline.inputs import Inputs
from survey.baselines import farmer_indicators, project_indicators
from survey.rounds import Round
from survey.spreadsheets import spreadsheet_table

__all__ = ["write_publish"]


def write_publish(
    declared: Round,
    inputs: Inputs,
    published: pd.DataFrame,
    record: dict[str, Any],
    publish: Path,
    *,
    today: date,
) -> None:
    """Write GeoPackage, tables, map and record of one run.

    Parameters
    ----------
    published : DataFrame from `survey.districts.published_estimates`
    record : dict
        From `run_record`, with notes that name no segment.
    publish : Path
        Existing empty folder.
    today : date
        Before the release date nothing below the province leaves.
    """
    reference_date = declared.survey.reference_date.isoformat()
    rows = published.assign(reference_date=reference_date)
    below = rows.loc[rows["admin_level"] == "district"]
    districts = inputs.districts[
        ["district_pcode", "district_name", "province_name", "geometry"]
    ].to_crs("EPSG:4326")
    layer = gpd.GeoDataFrame(
        below.drop(columns="domain_name").merge(
            districts, left_on="domain_id", right_on="district_pcode", validate="many_to_one"
        ),
        geometry="geometry",
        crs="EPSG:4326",
    )
    held = today < declared.survey.release_date
    reason = f"not released before {declared.survey.release_date.isoformat()}" if held else ""
    farmers = _withheld(_aggregate(declared, inputs, "district_pcode"), reason)
    projects = _projects(declared, inputs, districts, reason)

    totals = _totals(rows.loc[rows["admin_level"] != "district"], inputs.districts)

    if declared.survey.training:
        layer, totals, projects, farmers = (
            table.assign(training="TRAINING: invented data, no figure of a survey")
            for table in (layer, totals, projects, farmers)
        )

    path = publish / "districts.gpkg"
    layer.to_file(path, layer="district_estimates", driver="GPKG")
    totals.to_file(path, layer="total_estimates", driver="GPKG")
    projects.to_file(path, layer="projects", driver="GPKG")
    _write_csv(layer.drop(columns="geometry"), publish / "districts.csv")
    _write_csv(totals.drop(columns="geometry"), publish / "provinces.csv")
    _write_csv(projects.drop(columns="geometry"), publish / "projects.csv")
    _write_csv(farmers, publish / "farmers.csv")
    heading = MapTitle(
        title=declared.title,
        harvest_year=declared.survey.harvest_year,
        reference_date=reference_date,
    )
    (publish / "map.html").write_text(
        district_map(layer, totals, projects, heading), encoding="utf-8"
    )
    record = {**record, "created_at": datetime.now(UTC).isoformat(timespec="seconds")}
    (publish / "run.json").write_text(
        json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def _totals(rows: pd.DataFrame, districts: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Figures of provinces and the country on the union of their districts."""
    shapes = districts.to_crs("EPSG:4326").geometry
    of_province = shapes.groupby(districts["province_pcode"]).apply(lambda own: own.union_all())
    whole = shapes.union_all()
    return gpd.GeoDataFrame(
        rows,
        geometry=[
            whole if level == "country" else of_province.loc[code]
            for level, code in zip(rows["admin_level"], rows["domain_id"], strict=True)
        ],
        crs="EPSG:4326",
    )


def _aggregate(declared: Round, inputs: Inputs, by: str) -> pd.DataFrame:
    return farmer_indicators(
        inputs.farmers,
        by,
        level=declared.estimation.level,
        min_respondents=declared.disclosure.min_respondents,
        min_villages=declared.disclosure.min_villages,
    )


def _projects(
    declared: Round, inputs: Inputs, districts: gpd.GeoDataFrame, reason: str
) -> gpd.GeoDataFrame:
    """Indicators of each project on the union of its districts: nothing finer is published."""
    if inputs.baselines.empty:
        return gpd.GeoDataFrame({"project_id": []}, geometry=[], crs=districts.crs)
    latest = _withheld(_aggregate(declared, inputs, "project_id"), reason)
    table = project_indicators(
        inputs.projects, inputs.baselines, latest, harvest_year=declared.survey.harvest_year
    )
    shape = districts.set_index("district_pcode").geometry
    return gpd.GeoDataFrame(
        table,
        geometry=[shape.loc[codes.split(";")].union_all() for codes in table["district_pcodes"]],
        crs=districts.crs,
    )


def _withheld(table: pd.DataFrame, reason: str) -> pd.DataFrame:
    """Empty the values of cells that must not leave, for their own or the given reason."""
    table = table.copy()
    if reason:
        table["disclosure"] = reason
    hidden = table["disclosure"] != ""
    table.loc[hidden, ["value", "se", "ci_low", "ci_high"]] = np.nan
    for column in ("n_respondents", "n_villages"):
        table[column] = table[column].astype("Int64").mask(hidden)
    return table


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    spreadsheet_table(table).to_csv(path, index=False, encoding="utf-8")
