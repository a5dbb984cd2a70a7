"""Archives that should not be opened are not; harmless ones are read in place."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest_products import write_tif

from imagery import containers
from imagery.containers import open_container
from imagery.errors import SceneError
from imagery.raster import open_raster


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_files_of_an_archive_are_read_without_unpacking(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint16).reshape(1, 3, 4)
    image = write_tif(tmp_path / "a.tif", pixels)
    zipped = make_zip(
        tmp_path / "with space.zip", {"p/a.tif": image.read_bytes(), "p/m.txt": b"hello"}
    )
    packed = tmp_path / "b.tar"
    with tarfile.open(packed, "w") as tar:
        tar.add(image, arcname="p/a.tif")
        info = tarfile.TarInfo("p/m.txt")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"hello"))
    for path in (zipped, packed):
        container = open_container(path)
        assert set(container.sizes) == {"p/a.tif", "p/m.txt"}
        assert container.read_text("p/m.txt") == b"hello"
        with open_raster(container.raster("p/a.tif")) as raster:
            np.testing.assert_array_equal(raster.read(), pixels)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"../evil.tif": b"x"}, "leads outside"),
        ({"/etc/passwd": b"x"}, "leads outside"),
        ({"C:/x.tif": b"x"}, "leads outside"),
        ({"a/inner.zip": b"x"}, "another archive"),
        ({"a/b.TAR.GZ": b"x"}, "another archive"),
        ({"zeros.jp2": bytes(60 * 2**20)}, "swells from"),
        ({}, "is empty"),
    ],
)
def test_zip_archives_that_are_refused(
    tmp_path: Path, members: dict[str, bytes], message: str
) -> None:
    with pytest.raises(SceneError, match=message):
        open_container(make_zip(tmp_path / "x.zip", members))


def test_links_encryption_twins_and_damage(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("l")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(SceneError, match="is a link"):
        open_container(tmp_path / "link.zip")
    locked = make_zip(tmp_path / "locked.zip", {"a": b"x"})
    content = bytearray(locked.read_bytes())
    content[content.rfind(b"PK\x01\x02") + 8] |= 1
    locked.write_bytes(content)
    with pytest.raises(SceneError, match="encrypted"):
        open_container(locked)
    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        info = tarfile.TarInfo("l")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(SceneError, match="link or device"):
        open_container(tmp_path / "link.tar")
    with tarfile.open(tmp_path / "twice.tar", "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("a"))
    with pytest.raises(SceneError, match="twice"):
        open_container(tmp_path / "twice.tar")
    for name in ("cut.zip", "cut.tar.gz"):
        (tmp_path / name).write_bytes(b"PK\x03\x04nonsense")
        with pytest.raises(SceneError, match="cannot be read as an archive"):
            open_container(tmp_path / name)
    whole = make_zip(tmp_path / "half.zip", {"a": bytes(range(256)) * 100})
    whole.write_bytes(whole.read_bytes()[:80])
    with pytest.raises(SceneError, match="cannot be read as an archive"):
        open_container(whole)


def test_declared_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "x.zip", {"a": bytes(1000), "b": bytes(1000)})
    monkeypatch.setattr(containers, "_MAX_BYTES", 1500)
    with pytest.raises(SceneError, match="more than a product holds"):
        open_container(archive)
    monkeypatch.undo()
    monkeypatch.setattr(containers, "_MAX_METADATA", 500)
    with pytest.raises(SceneError, match="too many for metadata"):
        open_container(archive).read_text("a")


def test_a_link_that_leads_out_of_a_folder(tmp_path: Path) -> None:
    product = tmp_path / "p"
    product.mkdir()
    (tmp_path / "secret.tif").write_text("x")
    (product / "a.tif").symlink_to(tmp_path / "secret.tif")
    with pytest.raises(SceneError, match="outside the product"):
        open_container(product).raster("a.tif")
    with pytest.raises(SceneError, match="outside the product"):
        open_container(product).read_text("a.tif")
