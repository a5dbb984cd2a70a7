"""The steps from scenes to mapped hectares, one by one; `adsurvey run` does them all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from api.cli.options import AsJson
from api.cli.terminal import progress_bars

__all__ = ["classify", "features", "scenes", "train", "zonal"]

scenes = typer.Typer(help="Scenes: what a folder holds, and how they come in.")

SurveyArgument = Annotated[Path, typer.Argument(help="The round's survey.toml, or its folder.")]


@scenes.command("list")
def scenes_list(
    folder: Annotated[Path, typer.Argument(help="Folder of images with their sidecars.")],
    as_json: AsJson = False,
) -> None:
    """Check the scenes of a folder and list them by date."""
    from imagery.catalog import read_scenes

    stack = read_scenes(folder)
    if as_json:
        rows = [
            {
                "date": scene.acquired.isoformat(),
                "file": scene.path.name,
                "masks": [mask.path.name for mask in scene.masks],
                "bands": scene.bands,
                "scale": scene.scale,
                "offset": scene.offset,
            }
            for scene in stack.scenes
        ]
        grid = {"crs": stack.grid.crs.to_string(), "shape": stack.grid.shape}
        typer.echo(json.dumps({"grid": grid, "scenes": rows}, indent=2))
        return
    rows_of_grid, columns = stack.grid.shape
    typer.echo(
        f"{len(stack.scenes)} scenes of {columns} x {rows_of_grid} pixels, "
        f"{stack.grid.crs.to_string()}"
    )
    for scene in stack.scenes:
        mask = ", ".join(mask.path.name for mask in scene.masks) or "no mask"
        typer.echo(f"  {scene.acquired}  {scene.path.name}  {' '.join(scene.bands)}  ({mask})")


@scenes.command("import")
def scenes_import(
    products: Annotated[list[Path], typer.Argument(help="Unpacked Sentinel-2 .SAFE folders.")],
    to: Annotated[Path, typer.Option("--to", help="Folder that receives the scenes.")],
) -> None:
    """Write Sentinel-2 products as scenes; one that fails does not stop the others."""
    from imagery.errors import ImageryError
    from imagery.sentinel import import_safe

    failed = 0
    with progress_bars() as progress:
        for product in products:

            def bar(done: int, total: int, name: str = product.name) -> None:
                progress(name, done, total)

            try:
                sidecar = import_safe(product, to, progress=bar)
            except ImageryError as error:
                failed += 1
                typer.echo(f"{product}: {error}", err=True)
            else:
                typer.echo(f"{product.name} -> {sidecar}")
    typer.echo(f"{len(products) - failed} of {len(products)} products imported")
    if failed:
        raise typer.Exit(1)


def train(
    survey: SurveyArgument,
    to: Annotated[Path, typer.Option("--to", help="Folder that receives the model.")],
    as_json: AsJson = False,
) -> None:
    """Train the classifier of a round.

    Says how well it did on training plots that were left out.
    """
    from api.pipeline import train as fit
    from api.pipeline import training_of
    from survey.readers import read_districts, read_frame
    from survey.rounds import read_round

    declared = read_round(survey)
    where = declared.locate
    districts = read_districts(where(declared.inputs.districts), declared.columns.districts)
    frame = read_frame(where(declared.inputs.frame), districts)
    plots = training_of(declared, frame)
    with progress_bars() as progress:
        progress("Training", 0, 1)
        model = fit(declared, plots)
        progress("Training", 1, 1)
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    model.save(to)
    if as_json:
        typer.echo(json.dumps(model.card, indent=2))
        return
    card = model.card
    typer.echo(f"{'class':<16}{'plots':>6}{'pixels':>8}  {'of the map right':>17}  of plots found")
    for name in model.class_names:
        typer.echo(
            f"{name:<16}{card['n_plots'][name]:>6}{card['n_pixels'][name]:>8}  "
            f"{_percent(card['users_accuracy'][name]):>17}  "
            f"{_percent(card['producers_accuracy'][name]):>14}"
        )
    for name, limit in model.thresholds.items():
        trial = card["thresholds_tried"][name]
        typer.echo(
            f"{name} is called from a probability of {limit:.2f}; as the likeliest class "
            f"{_percent(trial['users_accuracy_without'])} of the map would be right and "
            f"{_percent(trial['producers_accuracy_without'])} found."
        )
    typer.echo(
        f"Shares are of training plots, by {card['cross_validated_by']} left out in turn: "
        "not the accuracy over the land, and no area."
    )
    typer.echo(f"Model in {to}; read {to / 'model.md'}")


def classify(
    survey: SurveyArgument,
    model: Annotated[Path, typer.Option(help="Folder of `adsurvey train`.")],
    to: Annotated[Path, typer.Option("--to", help="Folder that receives the maps.")],
) -> None:
    """Write the class map and the probability map.

    Goes on where a killed one stopped; what stands already is not made again.
    """
    from api.pipeline import classify as write_maps
    from imagery.classify import CropModel
    from survey.rounds import read_round

    declared = read_round(survey)
    fitted = CropModel.load(model)
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    with progress_bars() as progress:
        class_map = write_maps(declared, fitted, to, progress, keep=to / ".windows")
    typer.echo(f"{class_map}\n{class_map.with_name('probability.tif')}")


def features(
    survey: SurveyArgument,
    to: Annotated[Path, typer.Option("--to", help="Folder that receives the rasters.")],
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            help="composites, indices, phenology, texture, terrain or observations; may be "
            "given several times. All by default.",
        ),
    ] = None,
) -> None:
    """Write features as rasters: to look at, and composites to be read as scenes.

    Goes on where a killed one stopped; what stands already is not made again.
    """
    from api.pipeline import write_features
    from imagery.layers import KINDS
    from survey.rounds import read_round

    declared = read_round(survey)
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    with progress_bars() as progress:
        paths = write_features(
            declared, to, progress, kinds=tuple(only or KINDS), keep=to / ".windows"
        )
    for path in paths:
        typer.echo(str(path))


def zonal(
    class_map: Annotated[Path, typer.Argument(help="Class map of `adsurvey classify`.")],
    zones: Annotated[Path, typer.Argument(help="Layer of polygons.")],
    id_column: Annotated[str, typer.Option("--id", help="Column that identifies a polygon.")],
    to: Annotated[Path, typer.Option("--to", help="CSV that receives the hectares.")],
    centre: Annotated[
        bool,
        typer.Option("--centre", help="Whole pixels by their centre: fast, for districts only."),
    ] = False,
) -> None:
    """Measure class hectares in polygons: no estimate.

    Mapped hectares are a covariate; an estimate needs a sample (`adsurvey run`).
    """
    from imagery.raster import class_names
    from imagery.zonal import class_hectares
    from survey.errors import SurveyError
    from survey.readers import read_shapes

    shapes = read_shapes(zones)
    if id_column not in shapes.columns:
        raise SurveyError(
            f"{zones.name} has no column {id_column!r}; it has "
            f"{', '.join(map(str, shapes.columns))}"
        )
    table = class_hectares(class_map, shapes, id_column, method="centre" if centre else "exact")
    names = {0: "unobserved", **class_names(class_map)}
    table.insert(2, "class_name", table["class_code"].map(names).fillna(""))
    try:
        table.to_csv(to, index=False)
    except OSError as error:
        raise SurveyError(f"{to} cannot be written: {error.strerror}") from error
    typer.echo(f"{len(shapes)} polygons, {len(table)} rows -> {to}")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100.0 * share:.0f}%"
