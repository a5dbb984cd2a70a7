"""Hectares in polygons: classes of maps, transitions between years, what a risk area leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.options import AsJson
from api.cli.terminal import progress_bars

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

__all__ = ["change", "risk", "zonal"]

ZonesArgument = Annotated[Path, typer.Argument(help="Layer of polygons.")]
IdOption = Annotated[str, typer.Option("--id", help="Column that identifies a polygon.")]
ToTable = Annotated[Path, typer.Option("--to", help="CSV that receives the hectares.")]
ByCentre = Annotated[
    bool, typer.Option("--centre", help="Whole pixels by their centre: fast, for districts only.")
]


def zonal(
    maps_and_zones: Annotated[
        list[Path],
        typer.Argument(help="Class maps of `adsurvey classify`, then the layer of polygons."),
    ],
    id_column: IdOption,
    to: ToTable,
    centre: ByCentre = False,
) -> None:
    """Measure class hectares in polygons: no estimate.

    Several class maps are read as one: land that more than one covers counts once, with the
    class of the first named that observed it. Mapped hectares are a covariate; an estimate needs
    a sample (`adsurvey run`).
    """
    from imagery.mosaic import ClassMosaic
    from imagery.zonal import class_hectares

    if len(maps_and_zones) < 2:
        raise typer.BadParameter("give one or more class maps, and then the layer of polygons")
    *class_maps, zones = maps_and_zones
    shapes = _shapes(zones, id_column)
    table = class_hectares(class_maps, shapes, id_column, method="centre" if centre else "exact")
    names = {0: "unobserved", **ClassMosaic(class_maps).names}
    table.insert(2, "class_name", table["class_code"].map(names).fillna(""))
    _write_table(table, to)
    typer.echo(f"{len(shapes)} polygons, {len(table)} rows -> {to}")


def change(
    before: Annotated[Path, typer.Argument(help="Class map of the earlier year.")],
    after: Annotated[Path, typer.Argument(help="Class map of the later year, on any grid.")],
    zones: ZonesArgument,
    id_column: IdOption,
    to: ToTable,
    centre: ByCentre = False,
) -> None:
    """Measure hectares that went from class to class between two maps: no estimate of change."""
    from imagery.change import NOTE, transition_hectares
    from imagery.classify import OUTSIDE_RISK, UNOBSERVED

    shapes = _shapes(zones, id_column)
    table = transition_hectares(
        before, after, shapes, id_column, method="centre" if centre else "exact"
    )
    _write_table(table, to)
    unseen = [UNOBSERVED, OUTSIDE_RISK]
    seen = table.loc[~table["from_code"].isin(unseen) & ~table["to_code"].isin(unseen)]
    differs = seen.loc[seen["from_name"] != seen["to_name"], "ha"].sum()
    typer.echo(f"{len(shapes)} polygons, {len(table)} rows -> {to}")
    typer.echo(
        f"{seen['ha'].sum():,.1f} of {table['ha'].sum():,.1f} ha observed in both; "
        f"{differs:,.1f} ha of them differ in class."
    )
    typer.echo(f"Note: {NOTE} (adsurvey estimate change).", err=True)


def risk(
    survey: Annotated[Path, typer.Argument(help="The round's survey.toml, or its folder.")],
    to: Annotated[Path, typer.Option("--to", help="Folder that receives the risk area.")],
    cut: Annotated[
        Path | None,
        typer.Option("--frame", help="GeoPackage for the frame cut by it, to draw a new sample."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the risk area that a round declares, and say what it does to the frame."""
    import pandas as pd

    from api.pipeline import round_risk_area
    from api.pipeline.features import round_features
    from imagery.riskarea import cut_frame, frame_effect
    from survey.readers import read_districts, read_frame
    from survey.rounds import read_round

    declared = read_round(survey)
    where = declared.locate
    districts = read_districts(where(declared.inputs.districts), declared.columns.districts)
    frame = read_frame(where(declared.inputs.frame), districts)
    scenes, _ = round_features(declared)
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    with progress_bars() as progress:
        path, version = round_risk_area(
            declared, scenes.grid, to, progress=lambda done, total: progress("Risk", done, total)
        )
    effect = frame_effect(path, frame)
    _write_table(effect.assign(risk_area_version=version), to / "risk_segments.csv")
    if cut is not None:
        _write_frame(cut_frame(path, frame, effect, version=version), districts, cut)
    sums = {
        by: effect.groupby(by).agg(
            segments=("segment_id", "size"), out=("is_out", "sum"),
            before_ha=("before_ha", "sum"), after_ha=("after_ha", "sum"),
            unknown_ha=("unknown_ha", "sum"),
        )
        for by in ("stratum_id", "district_pcode")
    }  # fmt: skip
    parts = [table.rename_axis("id").reset_index().assign(by=by) for by, table in sums.items()]
    _write_table(
        pd.concat(parts)[["by", *parts[0].columns[:-1]]].assign(risk_area_version=version),
        to / "risk_effect.csv",
    )
    sampled_out = effect.loc[effect["is_out"] & effect["is_sampled"], "segment_id"].tolist()
    if as_json:
        answer = {by: table.reset_index().to_dict("records") for by, table in sums.items()}
        typer.echo(
            json.dumps({"version": version, **answer, "sampled_out": sampled_out}, indent=2)
        )
        return
    typer.echo(f"Risk area {version}: {path}")
    for by, table in sums.items():
        typer.echo(f"\n{by:<20}{'segments':>9}{'fall out':>9}{'frame ha':>12}{'left ha':>12}")
        for row in table.reset_index().itertuples(index=False):
            typer.echo(
                f"{row[0]!s:<20}{row.segments:>9}{row.out:>9}{row.before_ha:>12,.1f}"
                f"{row.after_ha:>12,.1f}"
            )
    unknown = float(effect["unknown_ha"].sum())
    if unknown > 0.0:
        typer.echo(f"\n{unknown:,.1f} ha stay in because a layer says nothing of them.")
    if sampled_out:
        typer.echo(
            f"\n{len(sampled_out)} sampled segments fall out. This season's frame keeps them: a "
            "frame that is cut after the draw is another frame, and its sample must be drawn anew."
        )
    typer.echo(f"\nThe same as a table: {to / 'risk_effect.csv'}; by segment: risk_segments.csv")
    if cut is not None:
        typer.echo(f"The frame cut by the risk area, no segment of it drawn yet: {cut}")


def _shapes(zones: Path, id_column: str) -> gpd.GeoDataFrame:
    from survey.errors import SurveyError
    from survey.readers import read_shapes

    shapes = read_shapes(zones)
    if id_column not in shapes.columns:
        raise SurveyError(
            f"{zones.name} has no column {id_column!r}; it has "
            f"{', '.join(map(str, shapes.columns))}"
        )
    twice = shapes[id_column].isna() | shapes[id_column].duplicated()
    if twice.any():
        row = int(twice.to_numpy().argmax())
        raise SurveyError(
            f"{zones.name}, row {row + 1}: {id_column} {shapes[id_column].iloc[row]!r} does not "
            f"identify one polygon ({int(twice.sum())} such rows); choose another column, or "
            "dissolve the polygons by it"
        )
    return shapes


def _write_frame(frame: gpd.GeoDataFrame, districts: gpd.GeoDataFrame, to: Path) -> None:
    """Write a frame that `adsurvey run` will take, or nothing."""
    from pyogrio.errors import DataSourceError

    from survey.errors import SurveyError
    from survey.frame import check_frame

    if to.suffix != ".gpkg":
        raise typer.BadParameter(f"{to.name} must be a GeoPackage: name it frame.gpkg")
    check_frame(frame, districts, source=to.name)
    partial = to.with_name(f".{to.stem}.part.gpkg")
    try:
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        frame.to_file(partial, layer="frame", driver="GPKG")
        partial.replace(to)
    except (OSError, DataSourceError) as error:
        raise SurveyError(f"{to} cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _write_table(table: pd.DataFrame, to: Path) -> None:
    from survey.errors import SurveyError
    from survey.spreadsheets import spreadsheet_table

    # A table cut off by a full disk would end in a wrong number.
    partial = to.with_name(f".{to.name}.part")
    try:
        spreadsheet_table(table).to_csv(partial, index=False)
        partial.replace(to)
    except OSError as error:
        raise SurveyError(f"{to} cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
