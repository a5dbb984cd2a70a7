"""Real Sentinel-2 metadata trees; the pixels are small JPEG 2000 files written here."""

from __future__ import annotations

import json
import shutil
import zipfile
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS, Transformer

from imagery.catalog import read_scenes
from imagery.errors import SceneError
from imagery.features import FeatureSpec, block_features
from imagery.grid import Block, Grid
from imagery.raster import is_valid_cog
from imagery.sentinel import (
    DEFAULT_BANDS,
    SENTINEL2_BANDS,
    SafeProduct,
    import_safe,
    read_safe,
)

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "s2-safe-metadata"
L1C = DATA / "S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248.SAFE"
L2A = DATA / "S2A_MSIL2A_20230821T221941_N0509_R029_T01KAB_20230822T021825.SAFE"
SIDE_M = 1200

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there"),
]


def write_band(path: Path, metres: int, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, cols = pixels.shape
    with rasterio.open(
        path, "w", driver="JP2OpenJPEG", width=cols, height=rows, count=1, dtype=pixels.dtype,
        crs="EPSG:32701", transform=Affine(metres, 0, 99960, 0, -metres, 7800040),
        quality=100, reversible=True,
    ) as out:  # fmt: skip
        out.write(pixels, 1)


def with_pixels(source: Path, target: Path) -> SafeProduct:
    """Copy of a metadata tree with small images: every 20 m pixel has its own value."""
    for file in source.rglob("*.xml"):
        copy = target / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    product = read_safe(target)
    for (band, metres), path in product.images.items():
        if band == "SCL" and metres == 20:
            scl = np.full((60, 60), 4, dtype=np.uint8)
            scl[:, 30:] = 9
            write_band(path, metres, scl)
        elif band in SENTINEL2_BANDS.values() and product.finest(band) == path:
            side = SIDE_M // metres
            number = list(SENTINEL2_BANDS.values()).index(band) * 100
            pixels = np.arange(side * side).reshape(side, side) % 100 + 2000 + number
            write_band(path, metres, pixels.astype(np.uint16))
    return product


def test_metadata_of_both_levels_and_baselines() -> None:
    old, new = read_safe(L1C), read_safe(L2A)
    assert (old.level, old.baseline, old.offset) == ("L1C", "03.01", 0.0)
    assert (new.level, new.baseline, new.offset) == ("L2A", "05.09", pytest.approx(-0.1))
    assert old.scale == new.scale == 0.0001
    assert old.acquired == date(2021, 9, 8)
    assert new.acquired == date(2023, 8, 21)
    assert new.finest("B04").name.endswith("B04_10m.jp2")
    assert new.finest("SCL").name.endswith("SCL_20m.jp2")


def test_a_product_becomes_a_scene_with_offset_and_mask(tmp_path: Path) -> None:
    product = with_pixels(L2A, tmp_path / L2A.name)
    seen: list[tuple[int, int]] = []
    sidecar = import_safe(
        product.folder,
        tmp_path / "scenes",
        progress=lambda done, total: seen.append((done, total)),
        block_size=50,
    )
    assert sidecar.name == "2023-08-21_T01KAB.json"
    assert seen[-1] == (9, 9)
    stack = read_scenes(tmp_path / "scenes")
    assert stack.grid.shape == (120, 120)
    assert all(is_valid_cog(path) for path in stack.paths)
    found = block_features(
        stack, FeatureSpec(indices=(), min_clear=1), Block(row=0, col=0, rows=120, cols=120)
    )
    # Band 4 is stored as 2300 + 0..99: from baseline 04.00 on 1000 is taken off.
    red = found.values[DEFAULT_BANDS.index("red")]
    assert red[0, 0] == pytest.approx(0.13)
    assert red[0, 7] == pytest.approx(0.1307)
    # One 20 m pixel is four equal ones.
    swir = found.values[DEFAULT_BANDS.index("swir1")]
    assert swir[10, 20] == swir[11, 21] == pytest.approx((2000 + 1000 + 10 - 1000) / 1e4)
    assert found.is_observed[:, :60].all()
    assert not found.is_observed[:, 60:].any()
    assert found.n_clear.max() == 1
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "scenes").iterdir()}
    assert import_safe(product.folder, tmp_path / "scenes") == sidecar
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "scenes").iterdir()}
    with pytest.raises(SceneError, match=r"imported as 2023-08-21_T01KAB\.json with other bands"):
        import_safe(product.folder, tmp_path / "scenes", bands=["red"])


def test_level_1c_has_no_mask_and_no_offset_before_baseline_4(tmp_path: Path) -> None:
    product = with_pixels(L1C, tmp_path / L1C.name)
    import_safe(product.folder, tmp_path / "scenes", bands=["red", "nir"])
    (scene,) = read_scenes(tmp_path / "scenes").scenes
    assert scene.masks == ()
    assert scene.bands == ("red", "nir")
    assert scene.offset == (0.0, 0.0)


def test_missing_pixels_broken_metadata_and_paths_that_lead_out(tmp_path: Path) -> None:
    # The tree as it lies beside the project holds no pixels.
    with pytest.raises(SceneError, match=r"B02_10m\.jp2 cannot be read"):
        import_safe(L2A, tmp_path / "scenes")
    assert list((tmp_path / "scenes").iterdir()) == []
    with pytest.raises(SceneError, match=r"give a \.SAFE folder"):
        read_safe(tmp_path)
    with pytest.raises(SceneError, match="band ultraviolet is not known"):
        import_safe(L2A, tmp_path / "scenes", bands=["ultraviolet"])
    product = with_pixels(L2A, tmp_path / "p.SAFE")
    metadata = product.folder / "MTD_MSIL2A.xml"
    text = metadata.read_text()
    metadata.write_text(text.replace("GRANULE/", "../../elsewhere/"))
    with pytest.raises(SceneError, match="outside the product"):
        read_safe(product.folder)
    metadata.write_text('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>')
    with pytest.raises(SceneError, match="cannot be read"):
        read_safe(product.folder)
    metadata.write_text(text[: len(text) // 2])
    with pytest.raises(SceneError, match="download it again"):
        read_safe(product.folder)
    metadata.write_text(text)
    product.finest("B04").write_bytes(product.finest("B04").read_bytes()[:300])
    with pytest.raises(SceneError, match="B04_10m"):
        import_safe(product.folder, tmp_path / "scenes")
    assert list((tmp_path / "scenes").iterdir()) == []


def zipped(folder: Path, archive: Path) -> Path:
    """The product as it is downloaded: its folder in a zip."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                out.write(file, f"{folder.name}/{file.relative_to(folder).as_posix()}")
    return archive


def test_a_zip_gives_the_same_scene_as_its_folder_and_is_not_unpacked(tmp_path: Path) -> None:
    folder = with_pixels(L2A, tmp_path / L2A.name).folder
    archive = zipped(folder, tmp_path / "product.zip")
    before = archive.read_bytes()
    import_safe(folder, tmp_path / "a", bands=["red", "swir1", "nir09"])
    sidecar = import_safe(archive, tmp_path / "b", bands=["red", "swir1", "nir09"])
    assert archive.read_bytes() == before
    # Folder and zip of one product beside one another are one scene.
    bands = ["red", "swir1", "nir09"]
    assert import_safe(archive, tmp_path / "a", bands=bands) == tmp_path / "a" / sidecar.name
    for path in sorted((tmp_path / "a").glob("*.tif")):
        with rasterio.open(path) as one, rasterio.open(tmp_path / "b" / path.name) as other:
            np.testing.assert_array_equal(one.read(), other.read())
    meta = json.loads(sidecar.read_text())
    assert [original["file"] for original in meta["originals"]] == ["../product.zip"]
    assert {path.name for path in tmp_path.iterdir()} == {folder.name, archive.name, "a", "b"}


def test_cloud_probability_hides_what_the_classes_show(tmp_path: Path) -> None:
    folder = with_pixels(L2A, tmp_path / L2A.name).folder
    with pytest.raises(SceneError, match="has no cloud probability"):
        import_safe(folder, tmp_path / "s", bands=["red"], max_cloud_probability=40)
    (granule,) = (folder / "GRANULE").iterdir()
    percent = np.zeros((60, 60), dtype=np.uint8)
    percent[:10] = 41
    write_band(granule / "QI_DATA" / "MSK_CLDPRB_20m.jp2", 20, percent)
    import_safe(folder, tmp_path / "s", bands=["red"], max_cloud_probability=40)
    (scene,) = read_scenes(tmp_path / "s").scenes
    assert scene.has_cloud_probability
    _, clear = scene.read(["red"], Block(row=0, col=0, rows=120, cols=120))
    expected = np.zeros((120, 120), dtype=bool)
    expected[20:, :60] = True
    np.testing.assert_array_equal(clear, expected)


def test_level_1c_of_new_baselines_has_cloud_classes(tmp_path: Path) -> None:
    folder = with_pixels(L1C, tmp_path / L1C.name).folder
    (granule,) = (folder / "GRANULE").iterdir()
    classes = np.zeros((3, 20, 20), dtype=np.uint8)
    classes[0, 0], classes[1, 1], classes[2, 2] = 1, 1, 1
    path = granule / "QI_DATA" / "MSK_CLASSI_B00.jp2"
    path.parent.mkdir(exist_ok=True)
    with rasterio.open(
        path, "w", driver="JP2OpenJPEG", width=20, height=20, count=3, dtype="uint8",
        crs="EPSG:32701", transform=Affine(60, 0, 99960, 0, -60, 7800040), quality=100,
        reversible=True,
    ) as out:  # fmt: skip
        out.write(classes)
    import_safe(folder, tmp_path / "s", bands=["red"])
    (scene,) = read_scenes(tmp_path / "s").scenes
    _, clear = scene.read(["red"], Block(row=0, col=0, rows=120, cols=120))
    assert not clear[:18].any()
    assert clear[18:].all()


def test_tiles_of_an_orbit_onto_the_grid_of_another_zone(tmp_path: Path) -> None:
    """Real metadata, one tile brought from zone 1 to the neighbouring zone 60."""
    folder = with_pixels(L2A, tmp_path / L2A.name).folder
    x, y = Transformer.from_crs(32701, 32760, always_xy=True).transform(100_560, 7_799_440)
    like = Grid(
        crs=CRS.from_epsg(32760), transform=Affine(20, 0, x - 500, 0, -20, y + 500), shape=(50, 50)
    )
    import_safe(folder, tmp_path / "s", bands=["red", "swir1"], like=like)
    (scene,) = read_scenes(tmp_path / "s").scenes
    values, clear = scene.read(["red"], Block(row=0, col=0, rows=50, cols=50))
    assert 0.3 < clear.mean() < 0.7
    assert values[0][clear].min() >= 0.13 - 1e-6
    assert values[0][clear].max() <= 0.1399 + 1e-6
