"""Landsat level 2 from folder and tar: the right group of the metadata, QA bits, archives."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from conftest_products import landsat_folder

from imagery.catalog import read_scenes
from imagery.errors import SceneError
from imagery.grid import Block
from imagery.importing import import_product
from imagery.landsat import landsat_product

# Clear land, cloud, shadow, dilated cloud, cirrus, snow, water, fill.
CODES = np.array([[21824, 22280, 23888, 21762, 54596, 30048, 21952, 1]])
SHOWS = [True, False, False, False, False, False, True, False]


def test_reflectance_and_every_quality_bit(tmp_path: Path) -> None:
    qa = np.repeat(CODES, 2, axis=0)
    saturation = np.zeros_like(qa)
    # Band 4 saturated; terrain hides it; band 9, which is not imported, saturated.
    saturation[1, :3] = [1 << 3, 1 << 11, 1 << 8]
    qa[1, :3] = 21824
    product = landsat_product(landsat_folder(tmp_path, qa, saturation))
    sidecar, is_new = import_product(product, tmp_path / "scenes")
    assert is_new
    assert sidecar.name == "2022-01-29_LC09_131047.json"
    (scene,) = read_scenes(tmp_path / "scenes").scenes
    assert scene.bands == ("coastal", "blue", "green", "red", "nir", "swir1", "swir2")
    values, clear = scene.read(["red", "nir"], Block(row=0, col=0, rows=2, cols=8))
    # 14,000 * 0.0000275 - 0.2, not the 14,000 * 0.00002 - 0.1 of level 1.
    assert values[0, 0, 6] == pytest.approx(0.185)
    assert values[1, 0, 6] == pytest.approx(0.2125)
    # Pixel 0 is fill in the bands although QA calls it clear.
    assert clear[0].tolist() == [False, *SHOWS[1:]]
    assert clear[1, :3].tolist() == [False, False, True]
    meta = json.loads(sidecar.read_text())
    assert meta["platform"] == "LANDSAT_9"
    assert meta["clear_share"] == pytest.approx(clear.mean(), abs=1e-5)
    assert len(meta["originals"]) == 10


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_the_tar_as_it_was_delivered_is_read_in_place(tmp_path: Path, mode: str) -> None:
    folder = landsat_folder(tmp_path / "unpacked", CODES, np.zeros_like(CODES))
    archive = tmp_path / f"{folder.name}{'.tar' if mode == 'w' else '.tar.gz'}"
    with tarfile.open(archive, mode) as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, arcname=file.name)
    before = archive.read_bytes()
    for source, scenes in ((folder, "a"), (archive, "b")):
        import_product(landsat_product(source, bands=["red", "nir"]), tmp_path / scenes)
    (one,), (other,) = (read_scenes(tmp_path / name).scenes for name in "ab")
    whole = Block(row=0, col=0, rows=1, cols=8)
    for got, expected in zip(
        other.read(other.bands, whole), one.read(one.bands, whole), strict=True
    ):
        np.testing.assert_array_equal(got, expected)
    assert archive.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"unpacked", "a", "b", archive.name}


def test_metadata_of_other_levels_cut_files_and_unknown_bands(tmp_path: Path) -> None:
    folder = landsat_folder(tmp_path, CODES, np.zeros_like(CODES))
    (mtl,) = folder.glob("*_MTL.txt")
    text = mtl.read_text()
    for wrong, message in (
        (text.replace('"L2SP"', '"L1TP"'), "order that one"),
        (text.replace("COLLECTION_NUMBER = 02", "COLLECTION_NUMBER = 01"), "order that one"),
        (text[: len(text) // 2], "the file is cut"),
        (text.replace("DATE_ACQUIRED = 2022-01-29", "DATE_ACQUIRED = soon"), "missing or wrong"),
        (text.replace("LC09_L2SP_131047_20220129_20220131_02_T1_SR_B4.TIF", "../../x.TIF"),
         "outside the product"),
    ):  # fmt: skip
        mtl.write_text(wrong)
        with pytest.raises(SceneError, match=message):
            landsat_product(folder)
    mtl.write_text(text)
    with pytest.raises(SceneError, match="OLI_TIRS has coastal, blue"):
        landsat_product(folder, bands=["rededge"])
    (folder / "LC09_L2SP_131047_20220129_20220131_02_T1_SR_B4.TIF").unlink()
    with pytest.raises(SceneError, match=r"SR_B4\.TIF cannot be read"):
        import_product(landsat_product(folder), tmp_path / "scenes")
    assert list((tmp_path / "scenes").iterdir()) == []


def test_the_json_and_xml_forms_say_the_same(tmp_path: Path) -> None:
    folder = landsat_folder(tmp_path, CODES, np.zeros_like(CODES))
    expected = landsat_product(folder)
    (mtl,) = folder.glob("*_MTL.txt")
    groups: dict[str, dict[str, str]] = {}
    for line in mtl.read_text().splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "GROUP":
            name = value
        elif value and key != "END_GROUP":
            groups.setdefault(name, {})[key] = value.strip('"')
    mtl.unlink()
    as_json = mtl.with_suffix(".json")
    as_json.write_text(json.dumps({"LANDSAT_METADATA_FILE": groups}))
    assert landsat_product(folder).bands == expected.bands
    as_json.unlink()
    mtl.with_suffix(".xml").write_text(
        "<LANDSAT_METADATA_FILE>"
        + "".join(
            f"<{group}>" + "".join(f"<{k}>{v}</{k}>" for k, v in keys.items()) + f"</{group}>"
            for group, keys in groups.items()
        )
        + "</LANDSAT_METADATA_FILE>"
    )
    got = landsat_product(folder)
    assert (got.bands, got.scale, got.offset, got.masks) == (
        expected.bands, expected.scale, expected.offset, expected.masks,
    )  # fmt: skip
