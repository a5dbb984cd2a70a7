"""The catalog of scenes: valid STAC without a network, relative, with sums that can be checked."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pystac
import pytest
from affine import Affine
from conftest_products import landsat_folder, write_image
from conftest_scenes import write_scene
from pyproj import CRS
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from imagery.catalog import read_scenes
from imagery.errors import SceneError
from imagery.grid import Grid
from imagery.images import sidecar_product
from imagery.importing import import_product
from imagery.landsat import landsat_product
from imagery.stac import footprint, read_catalog, write_catalog


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_catalog_is_valid_moves_with_its_scenes_and_knows_the_originals(tmp_path: Path) -> None:
    there = tmp_path / "there"
    codes = np.full((4, 5), 21824)
    product = landsat_folder(there / "raw", codes, np.zeros_like(codes))
    import_product(landsat_product(product), there / "scenes")
    write_catalog(there / "scenes", there / "stac")
    moved = tmp_path / "moved"
    shutil.move(there, moved)

    catalog = pystac.Catalog.from_file(str(moved / "stac" / "catalog.json"))
    (item,) = catalog.get_items()
    validator = JsonSchemaSTACValidator()
    # The core schemas come with pystac; those of extensions would need a network.
    for thing in (catalog, item):
        validator.validate_core(
            thing.to_dict(include_self_link=False), thing.STAC_OBJECT_TYPE, "1.1.0"
        )
    assert item.properties["proj:code"] == "EPSG:32647"
    assert item.properties["proj:shape"] == [4, 5]
    assert item.properties["start_datetime"] == "2022-01-29T00:00:00Z"
    image = item.assets["image"]
    assert [band.get("eo:common_name", band.get("common_name")) for band in band_list(image)] == [
        "coastal", "blue", "green", "red", "nir", "swir16", "swir22",
    ]  # fmt: skip
    stored = image.extra_fields["raster:bands"][0]
    assert (stored["scale"], stored["offset"], stored["nodata"]) == (2.75e-05, -0.2, 0)
    for name, asset in item.assets.items():
        assert not Path(asset.href).is_absolute()
        file = Path(str(asset.get_absolute_href()))
        assert file.is_file(), name
        if name != "sidecar":
            assert asset.extra_fields["file:checksum"] == f"1220{sha256(file)}"
            assert asset.extra_fields["file:size"] == file.stat().st_size
    assert sum(name.startswith("original") for name in item.assets) == 10
    assert item.assets["mask2"].extra_fields["adsurvey:mask"] == {
        "hidden_bits": [0, 1, 2, 3, 4, 5, 6, 11]
    }
    assert read_catalog(moved / "stac") == read_scenes(moved / "scenes")


def band_list(asset: pystac.Asset) -> list[dict[str, object]]:
    return list(asset.extra_fields.get("eo:bands") or asset.extra_fields["bands"])


def test_scenes_that_were_only_described_are_catalogued_too(tmp_path: Path) -> None:
    write_scene(tmp_path / "s", 0, np.full((6, 4, 4), 900))
    write_scene(tmp_path / "s", 1, np.full((6, 4, 4), 900), west=500_040.0)
    write_catalog(tmp_path / "s", tmp_path / "stac")
    assert read_catalog(tmp_path / "stac" / "catalog.json").grid.shape == (4, 8)
    # Written again after a scene was added, it lists that one, too.
    write_scene(tmp_path / "s", 2, np.full((6, 4, 4), 900))
    write_catalog(tmp_path / "s", tmp_path / "stac")
    assert len(read_catalog(tmp_path / "stac").dates) == 3
    with pytest.raises(SceneError, match="another folder"):
        write_catalog(tmp_path / "s", tmp_path / "s")


def test_hrefs_that_lead_elsewhere_are_not_followed(tmp_path: Path) -> None:
    import_product(sidecar_product(write_image(tmp_path / "raw" / "a.tif")), tmp_path / "s")
    file = write_catalog(tmp_path / "s", tmp_path / "stac")
    good = json.loads(file.read_text())
    for href in ("http://127.0.0.1:9/x.json", "../s/2026-01-05_a.json", "/etc/passwd"):
        bad = {**good, "links": [{"rel": "item", "href": href}]}
        file.write_text(json.dumps(bad))
        with pytest.raises(SceneError, match="not in the catalog"):
            read_catalog(file)
    (tmp_path / "stac" / "odd.json").write_text('{"type": "Feature"}')
    file.write_text(json.dumps({**good, "links": [{"rel": "item", "href": "odd.json"}]}))
    with pytest.raises(SceneError, match=r"odd\.json is no STAC item"):
        read_catalog(file)
    file.write_text("{}")
    with pytest.raises(SceneError, match="lists no items"):
        read_catalog(file)


def test_footprints_in_degrees_and_across_the_antimeridian() -> None:
    near = Grid(
        crs=CRS.from_epsg(32647), transform=Affine(10, 0, 5e5, 0, -10, 0), shape=(100, 100)
    )
    shape = footprint(near)
    ring = np.array(shape["coordinates"][0])
    assert shape["type"] == "Polygon"
    assert ring[:, 0].min() == pytest.approx(99.0, abs=1e-6)
    assert ring[:, 1].max() == pytest.approx(0.0, abs=1e-6)
    # The first tile of zone 1 begins west of 180 degrees.
    across = Grid(
        crs=CRS.from_epsg(32701), transform=Affine(10, 0, 99_960, 0, -10, 7_800_040),
        shape=(10980, 10980),
    )  # fmt: skip
    shape = footprint(across)
    assert shape["type"] == "MultiPolygon"
    lons = [np.array(part[0])[:, 0] for part in shape["coordinates"]]
    assert lons[0].min() > 170
    assert lons[0].max() <= 180
    assert lons[1].min() >= -180
    assert lons[1].max() < -170
