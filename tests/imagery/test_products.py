"""Products onto a grid: what is copied stays, what is resampled is right, what is wrong fails."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from conftest_products import write_image, write_sidecar, write_tif
from pyproj import CRS, Transformer
from rasterio.vrt import WarpedVRT

from imagery.catalog import read_scenes
from imagery.errors import GridError, ImageryError, SceneError, WriteError
from imagery.grid import Block, Grid, pixel_area_ha
from imagery.images import sidecar_product
from imagery.importing import import_product
from imagery.products import Resampling
from imagery.raster import is_valid_cog, read_grid
from survey.areas import geodesic_area_ha


def ramp(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """A reflectance that is smooth on the ground, whatever the grid: stored x 10,000."""
    return 3000.0 + 60_000.0 * (lon - 96.0) + 40_000.0 * (lat - 20.0)


def ground(grid: Grid) -> np.ndarray:
    """The ramp at the centre of every pixel of a grid."""
    rows, cols = grid.shape
    t = grid.transform
    x, y = np.meshgrid(t.c + (np.arange(cols) + 0.5) * t.a, t.f + (np.arange(rows) + 0.5) * t.e)
    return ramp(*Transformer.from_crs(grid.crs, 4326, always_xy=True).transform(x, y))


def zone_scene(path: Path, epsg: int, lon: float, size: int = 300) -> Path:
    """A scene of the ramp on the grid of a UTM zone around a longitude, 20 N."""
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, 20.0)
    west, north = round(x / 10) * 10 - 5 * size, round(y / 10) * 10 + 5 * size
    grid = Grid(
        crs=CRS.from_epsg(epsg),
        transform=Affine(10, 0, west, 0, -10, north),
        shape=(size, size),
    )
    write_tif(
        path, np.rint(ground(grid))[None].astype(np.uint16), crs=f"EPSG:{epsg}", west=west,
        north=north, nodata=0,
    )  # fmt: skip
    return write_sidecar(path)


def test_one_day_in_two_utm_zones_becomes_one_mosaic(tmp_path: Path) -> None:
    """Zones 46 and 47 meet at 96 E; the two tiles overlap by about a kilometre there."""
    left = zone_scene(tmp_path / "raw" / "zone46.tif", 32646, 95.990)
    right = zone_scene(tmp_path / "raw" / "zone47.tif", 32647, 96.008)
    scenes = tmp_path / "scenes"
    x, y = Transformer.from_crs(4326, 32647, always_xy=True).transform(95.999, 20.0)
    like = Grid(
        crs=CRS.from_epsg(32647),
        transform=Affine(10, 0, round(x / 10) * 10 - 3000, 0, -10, round(y / 10) * 10 + 2000),
        shape=(400, 600),
    )
    for sidecar in (left, right):
        import_product(sidecar_product(sidecar), scenes, like=like, block_size=128)
    stack = read_scenes(scenes)
    assert len(stack.dates) == 1
    assert [scene.path.name for scene in stack.scenes] == [
        "2026-01-05_zone46.tif", "2026-01-05_zone47.tif",
    ]  # fmt: skip
    # The second tile is on the zone already: copied, not resampled.
    assert json.loads((scenes / "2026-01-05_zone47.json").read_text())["resampling"] is None
    whole = Block(row=0, col=0, rows=stack.grid.shape[0], cols=stack.grid.shape[1])
    values, clear = stack.read(0, ["red"], whole)
    each = [
        scene.read(["red"], next(scene.grid.blocks(max(scene.grid.shape))))[1]
        for scene in stack.scenes
    ]
    assert clear.sum() < each[0].sum() + each[1].sum()
    # The ramp rises by some 6 units a pixel: resampling is right to a rounding or two, at the
    # very edge of a tile, where a neighbour is missing, to half a pixel.
    error = np.abs(values[0] * 1e4 - ground(stack.grid))[clear]
    assert np.quantile(error, 0.99) < 1.5
    assert error.max() < 5.0
    # Land that both tiles show counts once: pixel areas of the union are those of its outline.
    seen = pixel_area_ha(stack.grid)[clear].sum()
    outlines = []
    for path, epsg in ((left, 32646), (right, 32647)):
        grid = read_grid(path.with_suffix(".tif"))
        box = shapely.segmentize(shapely.box(*grid.bounds), 100.0)
        to_47 = Transformer.from_crs(epsg, 32647, always_xy=True)
        outlines.append(
            shapely.transform(box, lambda xy, t=to_47: np.column_stack(t.transform(*xy.T)))
        )
    union = shapely.intersection(shapely.union_all(outlines), shapely.box(*like.bounds))
    expected = geodesic_area_ha([union], CRS.from_epsg(32647))[0]
    assert seen == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("resampling", list(Resampling))
def test_resampling_agrees_with_gdals_own_and_does_not_depend_on_blocks(
    tmp_path: Path, resampling: Resampling
) -> None:
    rng = np.random.default_rng(1)
    image = write_tif(
        tmp_path / "noise.tif", rng.integers(500, 6000, (1, 90, 110), dtype=np.uint16), nodata=0
    )
    product = sidecar_product(write_sidecar(image))
    like = Grid(
        crs=CRS.from_epsg(32648),
        transform=Affine(12, 0, -131_000, 0, -12, 2_325_000),
        shape=(3000, 3000),
    )
    stored = []
    for size in (16, 37, 1024):
        folder = tmp_path / f"{size}"
        sidecar, _ = import_product(
            product, folder, like=like, resampling=resampling, block_size=size
        )
        with rasterio.open(sidecar.with_suffix(".tif")) as out:
            stored.append(out.read(1))
            transform, shape = out.transform, out.shape
    # A hundredth of a pixel of noise this strong is some 50; a nearest pixel may be the next one.
    for other in stored[:2]:
        assert (np.abs(other.astype(int) - stored[2]) > 60).mean() < 0.002
        assert ((other == 0) != (stored[2] == 0)).mean() < 0.002
    with (
        rasterio.open(image) as source,
        WarpedVRT(
            source, crs="EPSG:32648", transform=transform, height=shape[0], width=shape[1],
            resampling=rasterio.enums.Resampling[resampling.value], tolerance=0.01,
            XSCALE=10 / 12, YSCALE=10 / 12,
        ) as peer,
    ):  # fmt: skip
        expected = peer.read(1)
    both = (stored[2] > 0) & (expected > 0)
    assert both.sum() > 0.97 * (expected > 0).sum()
    assert (np.abs(stored[2].astype(int) - expected.astype(int))[both] > 60).mean() < 0.01


def test_missing_pixels_never_mix_into_their_neighbours(tmp_path: Path) -> None:
    pixels = np.full((1, 40, 40), 4000, dtype=np.uint16)
    pixels[0, 10:20, 10:20] = 65535
    image = write_tif(tmp_path / "a.tif", pixels)
    product = sidecar_product(write_sidecar(image, nodata=65535))
    like = Grid(
        crs=CRS.from_epsg(32647),
        transform=Affine(10, 0, 500_003, 0, -10, 2_300_004),
        shape=(45, 45),
    )
    sidecar, _ = import_product(product, tmp_path / "s", like=like)
    with rasterio.open(sidecar.with_suffix(".tif")) as out:
        assert set(np.unique(out.read(1))) == {4000, 65535}
        assert out.nodata == 65535


def test_a_scene_on_the_pixels_of_the_grid_is_copied_and_cut(tmp_path: Path) -> None:
    pixels = np.arange(1, 401, dtype=np.uint16).reshape(1, 20, 20) + 1000
    image = write_tif(tmp_path / "a.tif", pixels, nodata=0)
    product = sidecar_product(write_sidecar(image))
    like = Grid(
        crs=CRS.from_epsg(32647),
        transform=Affine(10, 0, 499_950, 0, -10, 2_300_000 - 30),
        shape=(8, 15),
    )
    sidecar, _ = import_product(product, tmp_path / "s", like=like, block_size=7)
    with rasterio.open(sidecar.with_suffix(".tif")) as out:
        np.testing.assert_array_equal(out.read(), pixels[:, 3:11, :10])
    assert is_valid_cog(sidecar.with_suffix(".tif"))
    away = Grid(crs=like.crs, transform=Affine(10, 0, 0, 0, -10, 0), shape=(5, 5))
    with pytest.raises(GridError, match="does not meet the grid"):
        import_product(product, tmp_path / "t", like=away)


def test_alpha_edges_stay_transparent_on_another_grid(tmp_path: Path) -> None:
    pixels = np.full((4, 60, 60), 90, dtype=np.uint8)
    pixels[:3, :, 30:] = 255
    pixels[3] = 255
    pixels[3, :, 30:] = 0
    product = sidecar_product(
        write_sidecar(
            write_tif(tmp_path / "drone.tif", pixels, pixel=0.5, alpha="NO"),
            bands=["red", "green", "blue", "alpha"],
            scale=1 / 255,
        )
    )
    like = Grid(
        crs=CRS.from_epsg(32647),
        transform=Affine(1, 0, 499_999.7, 0, -1, 2_300_000.2),
        shape=(40, 40),
    )
    import_product(product, tmp_path / "s", like=like)
    (scene,) = read_scenes(tmp_path / "s").scenes
    rows, cols = scene.grid.shape
    values, clear = scene.read(["red", "green", "blue"], Block(row=0, col=0, rows=rows, cols=cols))
    assert 0.4 < clear.mean() < 0.6
    np.testing.assert_allclose(values[:, clear], 90 / 255, atol=1e-6)


def test_bytes_without_nodata_get_one_when_pixels_lie_beyond_them(tmp_path: Path) -> None:
    image = write_tif(tmp_path / "a.tif", np.full((1, 30, 30), 7, dtype=np.uint8))
    product = sidecar_product(write_sidecar(image, scale=1 / 255))
    like = Grid(
        crs=CRS.from_epsg(32648),
        transform=Affine(10, 0, -131_000, 0, -10, 2_325_000),
        shape=(3000, 3000),
    )
    sidecar, _ = import_product(product, tmp_path / "s", like=like)
    with rasterio.open(sidecar.with_suffix(".tif")) as out:
        assert (out.dtypes[0], out.nodata) == ("int16", -32768)
        assert set(np.unique(out.read())) == {-32768, 7}


def test_one_pixel(tmp_path: Path) -> None:
    sidecar, _ = import_product(
        sidecar_product(write_image(tmp_path / "a.tif", size=1)), tmp_path / "s"
    )
    assert read_scenes(tmp_path / "s").grid.shape == (1, 1)
    assert json.loads(sidecar.read_text())["clear_share"] == 1.0


def test_bands_in_files_of_their_own_and_of_coarser_pixels(tmp_path: Path) -> None:
    write_tif(tmp_path / "r.tif", np.full((1, 12, 12), 900, dtype=np.uint16), nodata=0)
    coarse = np.array([[[1000, 2000], [3000, 4000]]], dtype=np.uint16)
    write_tif(tmp_path / "s.tif", coarse, pixel=60.0, nodata=0)
    sidecar = write_sidecar(
        tmp_path / "both.tif", bands=["red", "swir16"], files=["r.tif", "s.tif"]
    )
    import_product(sidecar_product(sidecar), tmp_path / "out", block_size=5)
    (scene,) = read_scenes(tmp_path / "out").scenes
    assert scene.bands == ("red", "swir1")
    values, _ = scene.read(["swir1"], Block(row=0, col=0, rows=12, cols=12))
    np.testing.assert_allclose(
        values[0] * 1e4, coarse[0].repeat(6, axis=0).repeat(6, axis=1), rtol=1e-6
    )


def test_udm2_and_a_drawn_mask_together(tmp_path: Path) -> None:
    image = write_tif(tmp_path / "p.tif", np.full((1, 2, 2), 900, dtype=np.uint16), nodata=0)
    udm2 = np.zeros((8, 2, 2), dtype=np.uint8)
    udm2[0] = [[1, 1], [0, 1]]
    write_tif(tmp_path / "p_udm2.tif", udm2)
    write_tif(tmp_path / "drawn.tif", np.array([[[0, 1], [0, 0]]], dtype=np.uint8))
    sidecar = write_sidecar(
        image,
        mask=[
            {"file": "p_udm2.tif", "band": 1, "clear": [1]},
            {"file": "drawn.tif", "hidden": [1]},
        ],
    )
    import_product(sidecar_product(sidecar), tmp_path / "s")
    (scene,) = read_scenes(tmp_path / "s").scenes
    _, clear = scene.read(["red"], Block(row=0, col=0, rows=2, cols=2))
    assert clear.tolist() == [[True, False], [False, True]]
    # The same image is a scene as it lies, too: one sidecar for both ways.
    direct = read_scenes([sidecar]).scenes[0]
    np.testing.assert_array_equal(
        direct.read(["red"], Block(row=0, col=0, rows=2, cols=2))[1], clear
    )


def empty(path: Path, side: int) -> None:
    """A file that declares a side of many pixels and holds none of them."""
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=1, dtype="uint8",
        crs="EPSG:32647", transform=Affine(10, 0, 0, 0, -10, 0), tiled=True, sparse_ok=True,
        bigtiff="YES",
    ):  # fmt: skip
        pass


def flawed(folder: Path, kind: str) -> Path:
    """A sidecar whose image or masks are wrong in one way."""
    image = folder / "x.tif"
    ones = np.full((1, 8, 8), 1200, dtype=np.uint16)
    keys: dict[str, Any] = {}
    match kind:
        case "no CRS":
            write_tif(image, ones, crs=None)
        case "rotated":
            write_tif(image, ones, transform=Affine(10, 2, 5e5, 2, -10, 23e5))
        case "band missing":
            write_tif(image, ones)
            keys = {"bands": ["red", "nir"]}
        case "fill taken for reflectance":
            ones[0, 2:] = 65535
            write_tif(image, ones)
        case "scale wrong":
            write_tif(image, ones)
            keys = {"scale": 1.0}
        case "nodata impossible":
            write_tif(image, ones)
            keys = {"nodata": -1}
        case "only nodata":
            write_tif(image, ones * 0, nodata=0)
        case "nothing but an unnamed fill":
            write_tif(image, ones * 0)
        case "only NaN and infinity":
            values = np.full((1, 8, 8), np.nan, dtype=np.float32)
            values[0, 0] = np.inf
            write_tif(image, values)
            keys = {"scale": 1.0}
        case "complex":
            write_tif(image, ones.astype(np.complex64))
        case "only cloud":
            write_tif(image, ones)
            write_tif(folder / "m.tif", np.ones((1, 8, 8), dtype=np.uint8))
            keys = {"mask": {"file": "m.tif", "hidden": [1]}}
        case "cut":
            write_tif(image, np.random.default_rng(0).integers(1, 9000, (1, 300, 300), "uint16"))
            image.write_bytes(image.read_bytes()[:90_000])
        case "declares more than it holds":
            empty(image, 100_000)
        case "too many pixels":
            empty(image, 400_000)
        case "a VRT by another name":
            image.write_text("<VRTDataset rasterXSize='8' rasterYSize='8'></VRTDataset>")
        case "a VRT":
            (folder / "x.vrt").write_text("<VRTDataset/>")
            keys = {"image": "x.vrt"}
        case "an image elsewhere":
            keys = {"image": "../y.tif"}
        case "an image on another host":
            keys = {"image": "/vsicurl/http://127.0.0.1:9/x.tif"}
        case "a mask on another host":
            write_tif(image, ones)
            keys = {"mask": {"file": "/vsicurl/http://127.0.0.1:9/x.tif", "clear": [1]}}
    return write_sidecar(image, **keys)


FLAWS = {
    "no CRS": "carries no coordinate reference system",
    "rotated": "rotated or not north-up",
    "band missing": "has 1 bands, not 2",
    "fill taken for reflectance": "75% of the values are no reflectance .up to 6.55",
    "scale wrong": "100% of the values are no reflectance",
    "nodata impossible": "nodata -1 cannot occur in uint16",
    "only nodata": "no pixel with a value",
    "nothing but an unnamed fill": "is 0 in every pixel of every band; .* name it as nodata",
    "only NaN and infinity": "no pixel with a value",
    "complex": "complex64 pixels",
    "only cloud": "shows no ground",
    "cut": r"x\.tif (is damaged|cannot be read)",
    "declares more than it holds": "it is sparse or its header lies",
    "too many pixels": "more than any scene",
    "a VRT by another name": "cannot be read as GeoTIFF",
    "a VRT": "only GeoTIFF and JPEG 2000",
    "an image elsewhere": "must lie beside",
    "an image on another host": "must lie beside",
    "a mask on another host": "must lie beside",
}


@pytest.mark.parametrize("kind", FLAWS)
def test_what_is_wrong_is_named_and_nothing_is_left(tmp_path: Path, kind: str) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    sidecar = flawed(raw, kind)
    before = {path: path.read_bytes() for path in raw.iterdir() if path.stat().st_size < 1e6}
    with pytest.raises(ImageryError, match=FLAWS[kind]):
        import_product(sidecar_product(sidecar), tmp_path / "s")
    assert not (tmp_path / "s").exists() or list((tmp_path / "s").iterdir()) == []
    assert before == {path: path.read_bytes() for path in before}


def test_a_float_image_keeps_its_gaps(tmp_path: Path) -> None:
    values = np.full((2, 4, 4), 0.2, dtype=np.float32)
    values[0, 0, 0], values[1, 1, 1], values[0, 2, 2] = np.nan, np.inf, -9999
    image = write_tif(tmp_path / "f.tif", values, nodata=-9999)
    import_product(
        sidecar_product(write_sidecar(image, bands=["red", "nir"], scale=1.0)), tmp_path / "s"
    )
    (scene,) = read_scenes(tmp_path / "s").scenes
    got, clear = scene.read(["red", "nir"], Block(row=0, col=0, rows=4, cols=4))
    assert [tuple(pixel) for pixel in np.argwhere(~clear)] == [(0, 0), (1, 1), (2, 2)]
    assert (got[:, clear] == np.float32(0.2)).all()


def test_an_import_never_overwrites_what_it_reads(tmp_path: Path) -> None:
    image = write_tif(
        tmp_path / "2026-01-05_a.tif", np.full((1, 4, 4), 900, dtype=np.uint16), nodata=0
    )
    sidecar = write_sidecar(tmp_path / "b.tif", image=image.name, source="b")
    product = sidecar_product(sidecar)
    before = image.read_bytes()
    with pytest.raises(SceneError, match="would be overwritten by its own import"):
        import_product(replace(product, label="a"), tmp_path)
    assert image.read_bytes() == before


def test_a_second_product_of_the_same_name_gets_its_own_files(tmp_path: Path) -> None:
    first = sidecar_product(write_image(tmp_path / "one" / "a.tif", source="one"))
    second = sidecar_product(write_image(tmp_path / "two" / "a.tif", source="two"))
    scenes = tmp_path / "s"
    assert import_product(first, scenes)[0].name == "2026-01-05_a.json"
    assert import_product(second, scenes)[0].name == "2026-01-05_a-2.json"
    assert import_product(first, scenes) == (scenes / "2026-01-05_a.json", False)
    assert import_product(second, scenes) == (scenes / "2026-01-05_a-2.json", False)


def test_an_image_that_changed_under_its_name_is_not_taken_for_the_old_one(
    tmp_path: Path,
) -> None:
    sidecar = write_image(tmp_path / "a.tif")
    import_product(sidecar_product(sidecar), tmp_path / "s")
    write_image(tmp_path / "a.tif", size=30)
    with pytest.raises(SceneError, match="remove that scene"):
        import_product(sidecar_product(sidecar), tmp_path / "s")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    product = sidecar_product(write_image(tmp_path / "a.tif"))
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be made"):
        import_product(product, tmp_path / "file" / "s")
