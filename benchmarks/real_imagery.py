"""Real images of other kinds through the chain: degrees, monthly composites, shifted grids.

    python -m benchmarks.real_imagery

Prints what came out; docs/real-input-imagery.md says what it does and does not show.
"""

from __future__ import annotations

import json
import tempfile
from datetime import date
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from sklearn.ensemble import RandomForestClassifier

from imagery.calendars import Calendar, Season, Step
from imagery.catalog import read_scenes
from imagery.change import transition_hectares
from imagery.errors import ImageryError
from imagery.features import FeatureSpec, block_features, feature_names
from imagery.grid import Block
from imagery.mapping import map_scenes
from imagery.plots import training_pixels
from imagery.texture import MEASURES, Texture
from imagery.training import CANDIDATES, fit_crop_model
from imagery.zonal import class_hectares
from survey.areas import M2_PER_HA, geodesic_area_ha

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def degrees(folder: Path) -> None:
    """Rachel Carson: a raster in degrees, polygons in UTM, classes of few polygons."""
    source = DATA / "s2-l1c-rachel-carson-2018"
    names = ["coastal", "blue", "green", "red", "rededge", "rededge2", "rededge3", "nir"]
    files = sorted(source.glob("*.tiff"))
    with rasterio.open(files[0]) as first:
        profile = {**first.profile, "count": len(files), "driver": "GTiff"}
        extent = shapely.box(*first.bounds)
    image = folder / "2018-10-13.tif"
    with rasterio.open(image, "w", **profile) as out:
        for band, file in enumerate(files, start=1):
            with rasterio.open(file) as dataset:
                out.write(dataset.read(1), band)
    sidecar = {"date": "2018-10-13", "bands": names, "scale": 1 / 255, "mask": None}
    image.with_suffix(".json").write_text(json.dumps(sidecar))
    plots = gpd.read_file(source / "rcr_landcover.shp")
    plots = plots.assign(class_name=plots["Classname"], plot_id=plots.index.astype(str))
    stack = read_scenes(folder)
    spec = FeatureSpec(indices=("ndvi",), min_clear=1)
    for table in (plots, plots[plots["class_name"] != "Subtidal Haline"]):
        try:
            pixels = training_pixels(stack, spec, table)
            model = fit_crop_model(
                pixels.features, pixels.class_name, pixels.plot_id, pixels.weight, seed=1
            )
        except ImageryError as error:
            print(f"  refused: {error}")
    right = np.trace(np.array(model.card["error_matrix_rows_map_columns_reference"]))
    total = np.sum(model.card["error_matrix_rows_map_columns_reference"])
    print(f"  {len(pixels.weight)} training pixels; {right / total:.1%} right, left out by plot")
    class_map = folder / "class_map.tif"
    map_scenes(
        stack, model, spec, class_map=class_map, probability=folder / "p.tif", crops=["Sand"]
    )
    zone = gpd.GeoDataFrame({"zone": ["all"]}, geometry=[extent], crs="EPSG:4326")
    hectares = class_hectares(class_map, zone, "zone")["ha"].sum()
    geodesic = geodesic_area_ha(zone.geometry.to_numpy(), zone.crs)[0]
    print(
        f"  hectares of all classes {hectares:.3f}, geodesic {geodesic:.3f}; "
        f"in EPSG:3857 they would be {zone.to_crs(3857).area.sum() / M2_PER_HA:.0f}"
    )


def months(folder: Path) -> None:
    """Belgium: twelve monthly composites with gaps; what is observed, what is filled."""
    names = ["blue", "green", "red", "rededge", "rededge2", "rededge3", "nir", "swir1", "swir2"]
    for file in sorted((DATA / "s2-monthly-belgium-2021").glob("S2_L2A_monthly_*.tif")):
        month = file.stem[-7:]
        image = folder / f"{month}.tif"
        image.symlink_to(file)
        sidecar = {"date": f"{month}-15", "bands": names, "scale": 0.0001, "mask": None}
        image.with_suffix(".json").write_text(json.dumps(sidecar))
    stack = read_scenes(folder)
    for least in (3, 10, 12):
        spec = FeatureSpec(indices=("ndvi", "ndre", "ndmi"), min_clear=least)
        found = block_features(stack, spec, Block(row=0, col=0, rows=100, cols=100))
        layers, observed, count = found.values, found.is_observed, found.n_clear
        finite = np.isfinite(layers[:, observed]).all()
        print(
            f"  min_clear {least}: {len(layers)} features, {observed.mean():.1%} of pixels, "
            f"{count.min()}-{count.max()} clear months, all finite: {finite}"
        )

    season = Season(start=date(2020, 11, 1), end=date(2021, 10, 31), step=Step.MONTH)
    spec = FeatureSpec(
        indices=(), min_clear=9, calendar=Calendar(season=season), phenology=("ndvi", "nd705")
    )
    found = block_features(stack, spec, Block(row=0, col=0, rows=100, cols=100))
    names = feature_names(stack, spec)
    print(
        f"  by month of the calendar: {len(names)} features, {found.is_observed.mean():.1%} "
        f"observed, longest gap {np.nanmax(found.gap_days):.0f} days"
    )
    for number, name in enumerate(names):
        if " " not in name:
            low, middle, high = np.nanpercentile(found.values[number], [10, 50, 90])
            missing = np.isnan(found.values[number]).mean()
            print(f"  {name}: {low:.4g} {middle:.4g} {high:.4g} (10, 50, 90%), {missing:.1%} none")


def drone(folder: Path) -> None:
    """Drone mosaic of 0.5 m: texture, the same in blocks of any size."""
    (folder / "mosaic.tif").symlink_to(DATA / "drone-rgb" / "webodm_orthophoto.tif")
    sidecar = {
        "date": "2026-01-01", "bands": ["red", "green", "blue", "alpha"], "scale": 1 / 255,
        "mask": None,
    }  # fmt: skip
    (folder / "mosaic.json").write_text(json.dumps(sidecar))
    stack = read_scenes(folder)
    spec = FeatureSpec(
        indices=("vari", "gli"),
        min_clear=1,
        texture=Texture(bands=("green",), measures=MEASURES, window=7),
    )
    rows, cols = stack.grid.shape
    whole = block_features(stack, spec, Block(row=0, col=0, rows=rows, cols=cols))
    same = True
    for block in stack.grid.blocks(50):
        (top, bottom), (left, right) = block.window
        part = block_features(stack, spec, block).values
        same &= np.array_equal(part, whole.values[:, top:bottom, left:right], equal_nan=True)
    print(f"  {len(whole.values)} features, the same in blocks of 50 pixels: {same}")
    for name, layer in zip(feature_names(stack, spec)[5:], whole.values[5:], strict=True):
        low, middle, high = np.nanpercentile(layer[whole.is_observed], [10, 50, 90])
        print(f"  {name.partition(' ')[2]}: {low:.3g} {middle:.3g} {high:.3g} (10, 50, 90%)")


def shifted(folder: Path) -> None:
    """NAIP: years whose grids differ by 2 m and a row are refused, with both grids named."""
    for number, file in enumerate(sorted((DATA / "naip-north-dakota").glob("*.tif"))):
        image = folder / f"{number}.tif"
        image.symlink_to(file)
        day = file.stem[-8:]
        sidecar = {
            "date": f"{day[:4]}-{day[4:6]}-{day[6:]}", "bands": ["red", "green", "blue", "nir"],
            "scale": 1 / 255, "mask": None,
        }  # fmt: skip
        image.with_suffix(".json").write_text(json.dumps(sidecar))
    try:
        read_scenes(folder)
    except ImageryError as error:
        print(f"  refused: {error}")


def change(folder: Path) -> None:
    """NAIP 2010, 2012, 2017: class transitions on shifted grids and in another system, by quarter.

    Three classes by fixed limits of NDVI, not by labels: what is shown is the geometry.
    """
    maps = {}
    for file in sorted((DATA / "naip-north-dakota").glob("*.tif")):
        year = file.stem[-8:-4]
        with rasterio.open(file) as dataset:
            red, _, _, nir = dataset.read().astype(float)
            profile = {**dataset.profile, "count": 1, "photometric": "MINISBLACK", "nodata": 0}
            extent, crs = shapely.box(*dataset.bounds), dataset.crs
        ndvi = (nir - red) / np.maximum(nir + red, 1.0)
        codes = np.where(red + nir == 0.0, 0, 1 + (ndvi > 0.0).astype(int) + (ndvi > 0.3))
        maps[year] = folder / f"{year}.tif"
        with rasterio.open(maps[year], "w", **profile) as out:
            out.write(codes.astype(np.uint8), 1)
            out.update_tags(CLASS_1="water or bare", CLASS_2="sparse", CLASS_3="green")
    degrees_map = folder / "2017-degrees.tif"
    with (
        rasterio.open(maps["2017"]) as source,
        WarpedVRT(source, crs="EPSG:4326", resampling=Resampling.nearest) as warped,
        rasterio.open(degrees_map, "w", **{**warped.profile, "driver": "GTiff"}) as out,
    ):
        out.write(warped.read())
        out.update_tags(CLASS_1="water or bare", CLASS_2="sparse", CLASS_3="green")
    west, south, east, north = extent.bounds
    x, y = (west + east) / 2.0, (south + north) / 2.0
    quarters = gpd.GeoDataFrame(
        {"quarter": ["sw", "se", "nw", "ne"]},
        geometry=[
            shapely.box(*corner)
            for corner in (
                (west, south, x, y), (x, south, east, y), (west, y, x, north), (x, y, east, north)
            )
        ],
        crs=crs.to_wkt(),
    )  # fmt: skip
    whole = geodesic_area_ha(quarters.geometry.to_numpy(), quarters.crs).sum()
    tables = {}
    for name, after in (("2012", maps["2012"]), ("2017", maps["2017"]), ("deg", degrees_map)):
        table = transition_hectares(maps["2010"], after, quarters, "quarter")
        tables[name] = table
        seen = table[(table["from_code"] > 0) & (table["to_code"] > 0)]
        differs = seen.loc[seen["from_code"] != seen["to_code"], "ha"].sum()
        print(
            f"  2010 to {name}: {table['ha'].sum():.2f} ha (geodesic {whole:.2f}), observed in "
            f"both {seen['ha'].sum():.2f}, another class in {differs / seen['ha'].sum():.1%}"
        )
    wide = [
        tables[name].groupby(["quarter", "from_code", "to_code"])["ha"].sum()
        for name in ("2017", "deg")
    ]
    both = pd.concat(wide, axis=1, keys=["own", "degrees"]).fillna(0.0)
    gap = (both["own"] - both["degrees"]).abs()
    print(
        f"  2017 in its own grid or in degrees: largest difference of a transition in a quarter "
        f"{gap.max():.2f} ha of {both['own'].loc[gap.idxmax()]:.2f} ha"
    )
    both = class_hectares([maps["2010"], degrees_map], quarters, "quarter")["ha"].sum()
    print(f"  2010 and 2017 in degrees as one mosaic: {both:.2f} ha: land counts once")


def samples(_: Path) -> None:
    """Myanmar land cover: the trees and a forest of 300 on polygons that trained neither."""
    source = DATA / "myanmar-landcover-samples"
    parts = [
        pd.read_csv(source / f"{kind}_SetB_2015_LP_30m_RF.csv")
        for kind in ("Training", "Validation")
    ]
    columns = [
        name
        for name in parts[0].columns
        if name in parts[1].columns
        and name not in ("system:index", "ClassID", "random", ".geo", "classification")
    ]
    given, test = (
        (
            part[columns].to_numpy(dtype=np.float32),
            part["ClassID"].astype(str).to_numpy(dtype=object),
            part["system:index"].str.rsplit("_", n=1).str[0].to_numpy(dtype=object),
        )
        for part in parts
    )
    print(f"  {len(given[1])} and {len(test[1])} pixels, {len(columns)} columns")
    shared = set(given[2]) & set(test[2])
    print(f"  polygons in both: {len(shared)}")
    for seed in range(3):
        model = fit_crop_model(*given, np.ones(len(given[1])), seed=seed)
        names = np.array(model.class_names, dtype=object)
        trees = (names[model.predict_proba(test[0]).argmax(axis=1)] == test[1]).mean()
        forest = RandomForestClassifier(300, random_state=seed, n_jobs=1).fit(given[0], given[1])
        other = (forest.predict(test[0]) == test[1]).mean()
        tuned = fit_crop_model(*given, np.ones(len(given[1])), seed=seed, candidates=CANDIDATES)
        chosen = (names[tuned.predict_proba(test[0]).argmax(axis=1)] == test[1]).mean()
        print(
            f"  seed {seed}: trees {trees:.4f}, chosen settings {chosen:.4f}, forest {other:.4f}"
        )
    if "classification" in parts[1].columns:
        own = (parts[1]["classification"] == parts[1]["ClassID"]).mean()
        print(f"  the authors' own prediction {own:.4f}")


def main() -> None:
    """Run all."""
    for part in (degrees, months, drone, shifted, change, samples):
        print(str(part.__doc__))
        with tempfile.TemporaryDirectory() as folder:
            part(Path(folder))


if __name__ == "__main__":
    main()
