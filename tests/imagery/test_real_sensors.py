"""Real images of the reference data through the import: degrees, shifts, gaps, alpha."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest_products import write_sidecar
from pyproj import CRS, Transformer
from scipy.ndimage import map_coordinates

from imagery.catalog import SceneStack, read_scenes
from imagery.errors import SceneError
from imagery.grid import Block, Grid, Lattice
from imagery.images import image_product, sidecar_product
from imagery.importing import import_product
from imagery.products import Resampling
from imagery.raster import read_grid

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there"),
]


def linked(source: Path, folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).symlink_to(source / name)
    return folder / names[0]


def everything(stack: SceneStack, day: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = stack.grid.shape
    return stack.read(day, stack.bands, Block(row=0, col=0, rows=rows, cols=cols))


def test_rachel_carson_from_degrees_onto_the_grid_of_its_polygons(tmp_path: Path) -> None:
    source = DATA / "s2-l1c-rachel-carson-2018"
    files = [f"2018-10-13, Sentinel-2B L1C, B0{band}.tiff" for band in (2, 3, 4, 8)]
    linked(source, tmp_path / "raw", *files)
    # Bytes stretched for display: no reflectance, only a number between 0 and 1.
    sidecar = write_sidecar(
        tmp_path / "raw" / "rcr.tif", date="2018-10-13", files=files, scale=1 / 255,
        bands=["blue", "green", "red", "nir"],
    )  # fmt: skip
    polygons = gpd.read_file(source / "rcr_landcover.shp")
    assert polygons.crs.to_epsg() == 32618
    west, south, east, north = polygons.total_bounds
    like = Lattice.parse("EPSG:32618@10").around((west, south, east, north))
    for how in (Resampling.NEAREST, Resampling.BILINEAR):
        import_product(sidecar_product(sidecar), tmp_path / how, like=like, resampling=how)
    stack = read_scenes(tmp_path / "nearest")
    assert stack.grid == like
    values, clear = everything(stack)
    smooth, _ = everything(read_scenes(tmp_path / "bilinear"))
    assert clear.all()
    # Any pixel centre, sought in the original by hand.
    rng = np.random.default_rng(0)
    rows, cols = rng.integers(0, like.shape[0], 400), rng.integers(0, like.shape[1], 400)
    t = like.transform
    lon, lat = Transformer.from_crs(32618, 4326, always_xy=True).transform(
        t.c + (cols + 0.5) * t.a, t.f + (rows + 0.5) * t.e
    )
    with rasterio.open(source / files[3]) as image:
        seen = np.array([pixel[0] for pixel in image.sample(zip(lon, lat, strict=True))])
        assert image.nodata is None
    same = np.rint(values[3][rows, cols] * 255) == seen
    # Some centres fall on the line between two pixels.
    assert same.mean() > 0.97
    assert smooth.mean() == pytest.approx(values.mean(), rel=0.002)


def test_naip_of_2017_comes_onto_the_grid_of_2010(tmp_path: Path) -> None:
    source = DATA / "naip-north-dakota"
    names = {2010: "m_4709963_se_14_1_20100629.tif", 2017: "m_4709963_se_14_1_20170827.tif"}
    like = read_grid(source / names[2010])
    own = read_grid(source / names[2017])
    assert like.offset_of(own) is None
    for year, name in names.items():
        product = image_product(
            str(source / name),
            {"date": f"{year}-07-01", "bands": ["red", "green", "blue", "nir"], "scale": 1 / 255},
        )
        import_product(product, tmp_path, like=like)
    stack = read_scenes(tmp_path)
    assert stack.grid == like
    values, clear = everything(stack, 1)
    assert clear.mean() > 0.99
    # Bilinear interpolation by another library at the same places.
    with rasterio.open(source / names[2017]) as image:
        stored = image.read(4).astype(float)
    t, o = like.transform, own.transform
    row = (t.f + (np.arange(like.shape[0]) + 0.5) * t.e - o.f) / o.e - 0.5
    col = (t.c + (np.arange(like.shape[1]) + 0.5) * t.a - o.c) / o.a - 0.5
    expected = map_coordinates(stored, np.meshgrid(row, col, indexing="ij"), order=1)
    inside = clear.copy()
    inside[:3] = inside[-3:] = inside[:, :3] = inside[:, -3:] = False
    # Pixels whose four neighbours are all there.
    holes = map_coordinates(
        (stored == 0).astype(float), np.meshgrid(row, col, indexing="ij"), order=1
    )
    inside &= holes == 0
    error = np.abs(values[3] * 255 - expected)[inside]
    # Stored as whole numbers.
    assert error.max() < 1.01


def test_belgian_months_without_a_pixel_are_refused_and_netcdf_is_not_opened(
    tmp_path: Path,
) -> None:
    source = DATA / "s2-monthly-belgium-2021"
    bands = ["blue", "green", "red", "rededge", "rededge2", "rededge3", "nir", "swir1", "swir2"]
    refused = []
    for image in sorted(source.glob("*.tif")):
        month = image.stem[-7:]
        product = image_product(str(image), {"date": f"{month}-15", "bands": bands, "scale": 1e-4})
        try:
            import_product(product, tmp_path)
        except SceneError as error:
            assert "no pixel with a value" in str(error)  # noqa: PT017
            refused.append(month)
    assert refused == ["2020-12", "2021-01"]
    stack = read_scenes(tmp_path)
    assert len(stack.dates) == 10
    assert stack.scenes[0].nodata == 65535
    # The same values without their nodata tag: the fill would be a reflectance of 6.5.
    naked = tmp_path / "raw" / "x.tif"
    naked.parent.mkdir()
    with rasterio.open(source / "S2_L2A_monthly_2020-11.tif") as image:
        profile: dict[str, Any] = {**image.profile, "nodata": None}
        pixels = image.read()
    pixels[:, :50] = 65535
    with rasterio.open(naked, "w", **profile) as out:
        out.write(pixels)
    meta = {"date": "2020-11-15", "bands": bands, "scale": 1e-4}
    with pytest.raises(SceneError, match="50% of the values are no reflectance"):
        import_product(image_product(str(naked), meta), tmp_path / "s")
    import_product(image_product(str(naked), {**meta, "nodata": 65535}), tmp_path / "s")
    with pytest.raises(SceneError, match="only GeoTIFF and JPEG 2000"):
        image_product(str(source / "worldcereal_preprocessed_inputs.nc"), meta)


def test_slovenian_stack_by_date_with_its_cloud_probability(tmp_path: Path) -> None:
    source = DATA / "s2-ndvi-series-slovenia"
    raw = tmp_path / "raw"
    linked(source, raw, "ndvi_68dates.tif", "cloud_probability_68dates.tif")
    days = [line.split(",") for line in (source / "dates.csv").read_text().split()[1:]]
    stamp = next(i for i, text in enumerate(days[0]) if text.startswith("20"))
    n_hidden = 0
    for number, line in list(enumerate(days, start=1))[:12]:
        day = date.fromisoformat(line[stamp][:10]).isoformat()
        sidecar = write_sidecar(
            raw / f"{number:02d}.tif", date=day, bands=["ndvi"], indexes=[number], scale=1e-4,
            image="ndvi_68dates.tif",
            mask={"file": "cloud_probability_68dates.tif", "band": number, "max": 102},
        )  # fmt: skip
        try:
            import_product(sidecar_product(sidecar), tmp_path / "s")
        except SceneError as error:
            assert "shows no ground" in str(error)  # noqa: PT017
            n_hidden += 1
    stack = read_scenes(tmp_path / "s")
    assert len(stack.scenes) + n_hidden == 12
    with (
        rasterio.open(source / "ndvi_68dates.tif") as ndvi,
        rasterio.open(source / "cloud_probability_68dates.tif") as clouds,
    ):
        number = int(stack.scenes[-1].path.stem.split("_")[1])
        expected, percent = ndvi.read(number), clouds.read(number)
    values, clear = everything(stack, len(stack.dates) - 1)
    np.testing.assert_array_equal(clear, (percent <= 102) & (expected != -32768))
    np.testing.assert_allclose(values[0][clear], expected[clear] * 1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "bands", "nodata"),
    [
        ("webodm_orthophoto.tif", ["red", "green", "blue", "alpha"], None),
        ("OSBS_029.tif", ["red", "green", "blue"], 255),
    ],
)
def test_drone_mosaics_with_alpha_or_nodata_as_they_are_and_on_a_coarser_grid(
    tmp_path: Path, name: str, bands: list[str], nodata: int | None
) -> None:
    image = DATA / "drone-rgb" / name
    product = image_product(str(image), {"date": "2026-01-05", "bands": bands, "scale": 1 / 255})
    import_product(product, tmp_path / "own")
    with rasterio.open(image) as source:
        stored = source.read()
        assert source.nodata == nodata
    missing = stored[3] == 0 if nodata is None else (stored == nodata).any(axis=0)
    _, clear = everything(read_scenes(tmp_path / "own"))
    np.testing.assert_array_equal(clear, ~missing)
    own = read_grid(image)
    pixel = own.transform.a * 3
    import_product(product, tmp_path / "coarse", like=Lattice(crs=own.crs, pixel=pixel))
    stack = read_scenes(tmp_path / "coarse")
    values, coarse = everything(stack)
    assert coarse.mean() == pytest.approx(clear.mean(), abs=0.03)
    assert np.isfinite(values[:, coarse]).all()
    expected = stored[0][~missing].mean() / 255
    assert values[0][coarse].mean() == pytest.approx(expected, rel=0.02)


def test_maipo_dates_have_to_be_said(tmp_path: Path) -> None:
    image = tmp_path / "raw" / "t1.tif"
    image.parent.mkdir()
    shutil.copyfile(DATA / "maipo-landsat8" / "maipo_A_t1.tif", image)
    bands = ["blue", "green", "red", "nir", "swir1", "swir2"]
    with pytest.raises(SceneError, match="key 'date' is missing"):
        sidecar_product(write_sidecar(image, date="absent", bands=bands))
    grid = read_grid(image)
    rows, cols = grid.shape
    like = grid.part(Block(row=rows // 2, col=cols // 2, rows=300, cols=300))
    sidecar, _ = import_product(
        sidecar_product(write_sidecar(image, date="2014-01-01", bands=bands)),
        tmp_path / "s",
        like=like,
    )
    meta = json.loads(sidecar.read_text())
    # Only the fields have pixels.
    assert meta["valid_share"] < 0.5
    assert meta["clear_share"] == meta["valid_share"]


def test_a_lattice_holds_what_it_is_put_around() -> None:
    lattice = Lattice.parse("EPSG:32647@10")
    grid = lattice.around((499_980.0, 2_190_240.0, 609_780.0, 2_300_040.0))
    assert grid == Grid(
        crs=CRS.from_epsg(32647), transform=Affine(10, 0, 499_980, 0, -10, 2_300_040),
        shape=(10980, 10980),
    )  # fmt: skip
    assert lattice.around((3.0, 4.0, 11.0, 12.0)).bounds == (0.0, 0.0, 20.0, 20.0)
