"""A rare class that a map hardly sees: shrubland in 1 km2 of Slovenia, by sample and by count.

68 Sentinel-2 dates of NDVI with cloud masks. Per split 30 of 100 cells of 1 ha train the map,
the other 70 are the population; samples of 20 cells are drawn many times.

    python -m benchmarks.slovenia --splits 5 --draws 1000
    python -m benchmarks.slovenia --features

The second prints how the map fares with features of other kinds. What came out is in
docs/real-input-imagery.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from rasterio.features import shapes

from benchmarks.maipo import ESTIMATORS
from imagery.calendars import Calendar, Season, Step
from imagery.catalog import SceneStack, read_scenes
from imagery.features import FeatureSpec, block_features
from imagery.grid import Block
from imagery.mapping import map_scenes
from imagery.plots import training_pixels
from imagery.terrain import Elevation
from imagery.training import fit_crop_model
from imagery.zonal import class_hectares
from survey.areas import geodesic_area_ha
from survey.estimation import Frame, Sample

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "s2-ndvi-series-slovenia"
NAMES = {2: "forest", 3: "grassland", 4: "shrubland", 8: "artificial"}
REPORTED = ("shrubland", "grassland")
CELL, N_TRAINING, N_SAMPLE = 10, 30, 20
SPEC = FeatureSpec(indices=(), min_clear=20)


def specs() -> dict[str, FeatureSpec]:
    """Features of every date, of every month, and of one year with its course and the terrain."""
    whole = Season(start=date(2015, 7, 1), end=date(2017, 12, 31), step=Step.MONTH)
    year = Season(start=date(2017, 1, 1), end=date(2017, 12, 31))
    months = FeatureSpec(indices=(), min_clear=12, calendar=Calendar(season=whole))
    half_months = FeatureSpec(indices=(), min_clear=12, calendar=Calendar(season=year))
    course = replace(half_months, phenology=("ndvi",))
    return {
        "67 dates": SPEC,
        "30 months": months,
        "30 months, clouds + 20 m": replace(months, cloud_buffer_m=20.0),
        "24 half-months of 2017": half_months,
        "and their course": course,
        "and terrain": replace(course, elevation=Elevation.of(DATA / "dem.tif")),
    }


Floats = npt.NDArray[np.float64]


def scenes_of(folder: Path) -> SceneStack:
    """One image and one mask a date; of two images of a day the first."""
    days: set[str] = set()
    with (
        rasterio.open(DATA / "ndvi_68dates.tif") as values,
        rasterio.open(DATA / "cloud_mask_68dates.tif") as clouds,
    ):
        profile = {**values.profile, "count": 1, "interleave": "band"}
        for band, moment in enumerate(values.descriptions, start=1):
            day = moment[:10]
            if day in days:
                continue
            days.add(day)
            image = folder / f"{day}.tif"
            with rasterio.open(image, "w", **profile) as out:
                out.write(values.read(band), 1)
            mask = folder / f"{day}_mask.tif"
            with rasterio.open(mask, "w", **{**profile, "dtype": "uint8", "nodata": None}) as out:
                out.write(clouds.read(band), 1)
            sidecar = {
                "date": day, "bands": ["ndvi"], "scale": 0.0001,
                "mask": mask.name, "mask_clear": [0],
            }  # fmt: skip
            image.with_suffix(".json").write_text(json.dumps(sidecar))
    return read_scenes(folder)


def truth_by_cell() -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Cells of 10 x 10 pixels, and patches of one true class within one cell."""
    with rasterio.open(DATA / "lulc_raster_truth.tif") as dataset:
        truth = dataset.read(1)
        transform, crs = dataset.transform, dataset.crs
    rows, cols = truth.shape
    number = (np.arange(rows)[:, None] // CELL) * 100 + np.arange(cols)[None, :] // CELL
    number[CELL * (rows // CELL) :] = -1
    corners = [(r * CELL, c * CELL) for r in range(rows // CELL) for c in range(cols // CELL)]
    cells = gpd.GeoDataFrame(
        {"segment_id": [f"{r // CELL}-{c // CELL}" for r, c in corners]},
        geometry=[
            shapely.box(*(transform @ (c, r + CELL)), *(transform @ (c + CELL, r)))
            for r, c in corners
        ],
        crs=crs.to_wkt(),
    )
    found = []
    for code, name in NAMES.items():
        own = np.where((truth == code) & (number >= 0), number, -1).astype(np.int32)
        for geometry, value in shapes(own, mask=own >= 0, transform=transform):
            cell = f"{int(value) // 100}-{int(value) % 100}"
            found.append((cell, name, shapely.geometry.shape(geometry)))
    patches = gpd.GeoDataFrame(
        {
            "plot_id": [f"{cell}/{i}" for i, (cell, _, _) in enumerate(found)],
            "segment_id": [cell for cell, _, _ in found],
            "class_name": [name for _, name, _ in found],
        },
        geometry=[geometry for _, _, geometry in found],
        crs=crs.to_wkt(),
    )
    return cells, patches


def population(seed: int, folder: Path, spec: FeatureSpec = SPEC) -> tuple[Floats, Floats]:
    """True and mapped hectares (cells, classes reported) of the cells that trained nothing."""
    folder.mkdir(parents=True)
    stack = scenes_of(folder)
    cells, patches = truth_by_cell()
    rng = np.random.default_rng(seed)
    chosen = set(rng.permutation(cells["segment_id"].to_numpy())[:N_TRAINING])
    training = patches[patches["segment_id"].isin(chosen)]
    pixels = training_pixels(stack, spec, training)
    model = fit_crop_model(
        pixels.features, pixels.class_name, pixels.plot_id, pixels.weight, seed=seed
    )
    class_map = folder / "class_map.tif"
    map_scenes(
        stack, model, spec, class_map=class_map, probability=folder / "p.tif", crops=["shrubland"]
    )
    others = cells[~cells["segment_id"].isin(chosen)].reset_index(drop=True)
    hectares = class_hectares(class_map, others, "segment_id")
    codes = {model.class_names.index(name) + 1: name for name in REPORTED}
    wide = hectares.pivot_table(index="segment_id", columns="class_code", values="ha")
    mapped = wide.reindex(index=others["segment_id"], columns=list(codes)).fillna(0.0)
    areas = patches.assign(ha=geodesic_area_ha(patches.geometry.to_numpy(), patches.crs))
    true = areas.pivot_table(
        index="segment_id", columns="class_name", values="ha", aggfunc="sum", fill_value=0.0
    ).reindex(index=others["segment_id"], columns=list(codes.values()), fill_value=0.0)
    return true.to_numpy(), mapped.to_numpy()


def compare_features(seed: int, n_splits: int) -> None:
    """How much of the rare class a map finds, cell by cell, with features of other kinds."""
    print("| features | number | filled | shrubland mapped ha | r by cell | grassland | r |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, spec in specs().items():
        mapped, r = np.empty((n_splits, 2)), np.empty((n_splits, 2))
        with tempfile.TemporaryDirectory() as folder:
            for k in range(n_splits):
                true, found = population(seed + k, Path(folder) / str(k), spec)
                mapped[k] = found.sum(axis=0)
                r[k] = [np.corrcoef(true[:, c], found[:, c])[0, 1] for c in range(2)]
            stack = read_scenes(Path(folder) / "0")
            rows, cols = stack.grid.shape
            block = block_features(stack, spec, Block(row=0, col=0, rows=rows, cols=cols))
        gaps = (block.n_dates == 0).mean()
        print(
            f"| {name} | {len(block.values)} | {gaps:.0%} of steps "
            f"| {mapped[:, 0].mean():.2f} | {r[:, 0].mean():.2f} "
            f"| {mapped[:, 1].mean():.2f} | {r[:, 1].mean():.2f} |",
            flush=True,
        )


def main() -> None:
    """Draw samples in every split and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--features", action="store_true", help="compare kinds of features")
    options = parser.parse_args()
    if options.features:
        compare_features(options.seed, options.splits)
        return
    with tempfile.TemporaryDirectory() as folder:
        populations = [
            population(options.seed + k, Path(folder) / str(k)) for k in range(options.splits)
        ]
    print("| class | truth ha | method | bias ha | MC SE | RMSE ha | covered | below | above |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for column, name in enumerate(REPORTED):
        truth = np.array([true[:, column].sum() for true, _ in populations])
        count = np.array([mapped[:, column].sum() for _, mapped in populations]) - truth
        head = f"| {name} | {truth.mean():.2f}"
        for method, estimator in ESTIMATORS.items():
            error = np.empty((options.splits, options.draws))
            low, high = np.empty_like(error, dtype=bool), np.empty_like(error, dtype=bool)
            for split, (true, mapped) in enumerate(populations):
                rng = np.random.default_rng([options.seed, split])
                n = len(true)
                frame = Frame(
                    segment_id=np.arange(n).astype(str),
                    stratum=np.full(n, "A"),
                    domain=np.full(n, "D"),
                    group=np.full(n, "P"),
                    risk_ha=np.ones(n),
                    covariate_ha=mapped[:, column],
                )
                for draw in range(options.draws):
                    rows = rng.choice(n, N_SAMPLE, replace=False)
                    sample = Sample(index=rows, y_ha=true[rows, column])
                    found = estimator(frame, sample, member=np.ones(n, dtype=bool))
                    error[split, draw] = found.value_ha - truth[split]
                    low[split, draw] = found.ci_high_ha < truth[split]
                    high[split, draw] = found.ci_low_ha > truth[split]
            spread = np.sqrt((error.var(axis=1, ddof=1) / options.draws).sum()) / options.splits
            print(
                f"{head} | {method} | {error.mean():+.3f} | {spread:.3f} "
                f"| {np.sqrt((error**2).mean()):.2f} | {1 - (low | high).mean():.1%} "
                f"| {low.mean():.1%} | {high.mean():.1%} |"
            )
        print(
            f"{head} | pixel count | {count.mean():+.3f} | - | {np.sqrt((count**2).mean()):.2f} "
            "| - | - | - |"
        )


if __name__ == "__main__":
    main()
