"""The steps from scenes to mapped hectares, one by one; `adsurvey run` does them all."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.options import AsJson
from api.cli.terminal import progress_bars

if TYPE_CHECKING:
    from imagery.grid import Grid, Lattice
    from imagery.sidecars import SceneMask

__all__ = ["classify", "features", "scenes", "train"]

scenes = typer.Typer(help="Scenes: what a folder holds, and how they come in.")

SurveyArgument = Annotated[Path, typer.Argument(help="The round's survey.toml, or its folder.")]


@scenes.command("list")
def scenes_list(
    folder: Annotated[
        Path, typer.Argument(help="Folder of images with their sidecars, or a STAC catalog.")
    ],
    as_json: AsJson = False,
) -> None:
    """Check the scenes of a folder and list them by date."""
    from imagery.catalog import read_scenes
    from imagery.stac import read_catalog

    is_catalog = folder.is_file() or (folder / "catalog.json").is_file()
    stack = read_catalog(folder) if is_catalog else read_scenes(folder)
    if as_json:
        rows = [
            {
                "date": scene.acquired.isoformat(),
                "file": scene.path.name,
                "masks": [mask.path.name for mask in scene.masks],
                "bands": scene.bands,
                "scale": scene.scale,
                "offset": scene.offset,
                "nodata": scene.nodata,
                "shape": scene.grid.shape,
            }
            for scene in stack.scenes
        ]
        grid = {"crs": stack.grid.crs.to_string(), "shape": stack.grid.shape}
        typer.echo(json.dumps({"grid": grid, "scenes": rows}, indent=2))
        return
    rows_of_grid, columns = stack.grid.shape
    typer.echo(
        f"{len(stack.scenes)} scenes of {len(stack.dates)} dates on {columns} x {rows_of_grid} "
        f"pixels of {_pixel(stack.grid)}, {stack.grid.crs.to_string()}"
    )
    for scene in stack.scenes:
        masks = "; ".join(f"{mask.path.name}: clear where {_rule(mask)}" for mask in scene.masks)
        part = ""
        if scene.grid.shape != stack.grid.shape:
            (rows_own, cols_own), (rows_all, cols_all) = scene.grid.shape, stack.grid.shape
            part = f"  ({_percent(rows_own * cols_own / (rows_all * cols_all))} of the grid)"
        typer.echo(f"  {scene.acquired}  {scene.path.name}  {' '.join(scene.bands)}{part}")
        typer.echo(
            f"              {'mask ' + masks if masks else 'no mask: clouds are not hidden'}"
        )


@scenes.command("import")
def scenes_import(
    products: Annotated[
        list[str],
        typer.Argument(
            help="Sentinel-2 .SAFE or zip, Landsat folder or tar, GeoTIFF or its sidecar, a "
            "folder of these, or an image in a file system of GDAL (/vsizip/..., /vsis3/...)."
        ),
    ],
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Folder that receives the scenes; by default the round's."),
    ] = None,
    survey: Annotated[
        Path | None,
        typer.Option(help="Round (survey.toml or its folder) whose declared grid they come onto."),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            help="Raster whose grid the scenes come onto, or a reference system and a pixel size "
            "as EPSG:32647@10; else each keeps its own."
        ),
    ] = None,
    resampling: Annotated[
        str, typer.Option(help="nearest, bilinear or cubic: reflectance onto another grid.")
    ] = "bilinear",
    bands: Annotated[
        str | None, typer.Option(help="Bands to take, or names of an image's bands: red,nir.")
    ] = None,
    cloud_probability: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="Sentinel-2 L2A: hide pixels above this percent, too."),
    ] = None,
    day: Annotated[str | None, typer.Option("--date", help="Day of an image, 2026-01-05.")] = None,
    scale: Annotated[
        float | None, typer.Option(help="Reflectance of an image = value * scale")
    ] = None,
    offset: Annotated[float | None, typer.Option(help="+ offset.")] = None,
    nodata: Annotated[
        float | None, typer.Option(help="Value of an image's missing pixels.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write products of any sensor as scenes: image, masks and sidecar.

    One that fails does not stop the others; what was imported before is left as it is, so the
    same command goes on where it stopped.
    """
    from imagery.errors import ImageryError
    from imagery.grid import Lattice
    from imagery.importing import import_product
    from imagery.ingest import ImportOptions, find_products, open_product
    from imagery.products import Resampling
    from imagery.raster import read_grid

    try:
        how = Resampling(resampling)
        acquired = date.fromisoformat(day) if day else None
    except ValueError as error:
        raise typer.BadParameter(
            f"{error}; nearest, bilinear or cubic, and dates as 2026-01-05"
        ) from error
    options = ImportOptions(
        bands=tuple(name.strip() for name in bands.split(",")) if bands else None,
        max_cloud_probability=cloud_probability,
        acquired=acquired,
        scale=scale,
        offset=offset,
        nodata=nodata,
    )
    grid: Grid | Lattice | None = None
    if survey is not None:
        from api.pipeline.features import round_grid
        from survey.rounds import read_round

        declared = read_round(survey)
        to = to or declared.locate(declared.inputs.scenes)
        grid = round_grid(declared)
    if to is None:
        raise typer.BadParameter("say where the scenes go: --to FOLDER, or --survey survey.toml")
    if like is not None:
        if grid is not None:
            raise typer.BadParameter(f"{survey} declares the grid already; leave --like out")
        grid = read_grid(Path(like)) if Path(like).is_file() else Lattice.parse(like)
    found = find_products(products)
    rows: list[dict[str, str | float | None]] = []
    with progress_bars() as progress:
        for source in found:
            name = Path(source).name

            def bar(done: int, total: int, name: str = name) -> None:
                progress(name, done, total)

            try:
                product = open_product(source, options)
                sidecar, is_new = import_product(
                    product, to, like=grid, resampling=how, progress=bar
                )
            except ImageryError as error:
                rows.append({"product": source, "state": "failed", "reason": str(error)})
                typer.echo(f"{name}: {error}", err=True)
            else:
                clear = json.loads(sidecar.read_text(encoding="utf-8"))["clear_share"]
                state = "imported" if is_new else "stands"
                rows.append(
                    {"product": source, "state": state, "scene": str(sidecar), "clear": clear}
                )
                if not as_json:
                    note = f"{100 * clear:.0f}% clear" if is_new else "imported before"
                    typer.echo(f"{name} -> {sidecar} ({note})")
    failed = sum(row["state"] == "failed" for row in rows)
    stands = sum(row["state"] == "stands" for row in rows)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        new = len(rows) - failed - stands
        before = f", {stands} stood already" if stands else ""
        typer.echo(f"{new} of {len(rows)} products imported{before}, {failed} failed")
        for row in rows:
            if row["state"] == "failed":
                typer.echo(f"  failed: {row['product']}")
    if failed or not rows:
        if not rows:
            typer.echo("nothing to import there", err=True)
        raise typer.Exit(1)


@scenes.command("catalog")
def scenes_catalog(
    folder: Annotated[Path, typer.Argument(help="Folder of scenes.")],
    to: Annotated[Path, typer.Option("--to", help="Folder that receives the STAC catalog.")],
) -> None:
    """Write the scenes of a folder as a static STAC catalog with checksums."""
    from imagery.stac import write_catalog

    with progress_bars() as progress:
        written = write_catalog(
            folder, to, progress=lambda done, total: progress("Cataloguing", done, total)
        )
    typer.echo(f"{written}")


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
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes on this machine; by default one a processor."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a dask.distributed scheduler, as tcp://10.0.0.5:8786."),
    ] = None,
) -> None:
    """Write the class map and the probability map.

    Goes on where a killed one stopped; what stands already is not made again. Where the round
    declares a risk area, land outside it is not classified.
    """
    from api.pipeline import classify as write_maps
    from imagery.classify import CropModel
    from survey.rounds import read_round

    declared = read_round(survey)
    fitted = CropModel.load(model)
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    with progress_bars() as progress:
        class_map = write_maps(
            declared, fitted, to, progress, keep=to / ".windows", workers=workers,
            scheduler=scheduler,
        )  # fmt: skip
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


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100.0 * share:.0f}%"


def _pixel(grid: Grid) -> str:
    return f"{grid.transform.a:g} {'degrees' if grid.crs.is_geographic else 'm'}"


def _rule(mask: SceneMask) -> str:
    words = {
        "clear": "in",
        "hidden": "not in",
        "hidden_bits": "no bit of",
        "min": ">=",
        "max": "<=",
    }
    said = mask.rule.to_keys()
    is_probability = said.pop("cloud_probability", False)
    rules = [f"{words[key]} {value}" for key, value in said.items()]
    return " and ".join([*rules, *(["a cloud probability"] if is_probability else [])])
