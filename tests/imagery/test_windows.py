"""A mapping that is killed goes on where it stopped, and gives the same maps."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest_maps import SPEC, pixels_of, trained

from imagery import mapping, windows
from imagery.catalog import read_scenes
from imagery.errors import WriteError
from imagery.mapping import map_scenes
from imagery.windows import FinishedWindows

ROOT = Path(__file__).resolve().parents[2]
KILLED = """
import sys, time
from pathlib import Path
from imagery import mapping, windows
from imagery.catalog import read_scenes
from imagery.classify import CropModel
from imagery.features import FeatureSpec
scenes, model, out, keep = map(Path, sys.argv[1:])
mapping.map_scenes(
    read_scenes(scenes), CropModel.load(model),
    FeatureSpec(indices=("ndvi",), min_clear=2),
    class_map=out / "class_map.tif", probability=out / "p.tif", crops=["poppy"],
    block_size=64, keep=keep,
    progress=lambda done, total: (print(done, flush=True), time.sleep(0.1)),
)
"""


def test_a_killed_mapping_goes_on_where_it_stopped(
    make_scenes: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = make_scenes(rows=256, cols=320)
    stack = read_scenes(scenes)
    model = trained(stack)
    model.save(tmp_path)
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    straight.mkdir()
    resumed.mkdir()

    def run(out: Path, keep: Path | None) -> int:
        made = 0
        plain = mapping.block_features

        def counted(*arguments: object) -> object:
            nonlocal made
            made += 1
            return plain(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(mapping, "block_features", counted)
        map_scenes(
            stack, model, SPEC, class_map=out / "class_map.tif", probability=out / "p.tif",
            crops=["poppy"], block_size=64, keep=keep,
        )  # fmt: skip
        monkeypatch.undo()
        return made

    assert run(straight, None) == 20
    keep = tmp_path / "windows"
    command = [sys.executable, "-c", KILLED, scenes, tmp_path, resumed, keep]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as killed:
        assert killed.stdout is not None
        while killed.stdout.readline().strip() != "6":
            time.sleep(0.01)
        killed.kill()
    assert not (resumed / "class_map.tif").exists()
    assert run(resumed, keep) == 20 - 6
    for one, other in zip(pixels_of(straight), pixels_of(resumed), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not keep.exists()
    assert sorted(path.name for path in resumed.iterdir()) == ["class_map.tif", "p.tif"]


def test_windows_of_another_job_are_not_taken(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    first = FinishedWindows(tmp_path / "w", "model 1")
    first.put(1, pixels)
    np.testing.assert_array_equal(FinishedWindows(tmp_path / "w", "model 1").get(1), pixels)
    other = FinishedWindows(tmp_path / "w", "model 2")
    assert other.get(1) is None
    assert len(other) == 0
    assert FinishedWindows(tmp_path / "w", "model 1").get(1) is None


def test_a_damaged_window_is_made_again(tmp_path: Path) -> None:
    windows = FinishedWindows(tmp_path / "w", "job")
    windows.put(1, np.zeros((2, 4, 4), dtype=np.uint8))
    (file,) = (tmp_path / "w").rglob("*.window")
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:40] + b"\x00\xff" + whole[42:]):
        file.write_bytes(damaged)
        assert windows.get(1) is None
    assert (tmp_path / "w").stat().st_mode & 0o777 == 0o700


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"cannot be kept in .*file/w"):
        FinishedWindows(tmp_path / "file" / "w", "job")


def test_a_full_disk_keeps_what_was_finished_and_leaves_no_map(
    make_scenes: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = read_scenes(make_scenes(rows=128, cols=128))
    model, keep, out = trained(stack), tmp_path / "windows", tmp_path / "maps"
    out.mkdir()
    written = 0

    def fsync(number: int) -> None:
        nonlocal written
        written += 1
        if written > 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    def write_maps() -> None:
        mapping.map_scenes(
            stack, model, SPEC, class_map=out / "class_map.tif", probability=out / "p.tif",
            crops=["poppy"], block_size=64, keep=keep,
        )  # fmt: skip

    with monkeypatch.context() as patch:
        patch.setattr(windows.os, "fsync", fsync)
        with pytest.raises(WriteError, match=r"No space left on device.*disk is not full"):
            write_maps()
    assert not list(out.iterdir())
    assert len(list(keep.rglob("*.window"))) == 2
    write_maps()
    assert sorted(path.name for path in out.iterdir()) == ["class_map.tif", "p.tif"]
