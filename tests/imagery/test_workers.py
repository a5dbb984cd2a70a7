"""Processes and clusters give the same maps, and when they are lost nothing finished is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest_maps import SPEC, pixels_of, square, trained

from imagery import mapping
from imagery.catalog import SceneStack, read_scenes
from imagery.classify import CropModel
from imagery.errors import WorkerError
from imagery.workers import on_cluster, on_processes

ROOT = Path(__file__).resolve().parents[2]
SCHEDULER = """
import asyncio
from distributed import Scheduler, Worker

async def main():
    async with Scheduler(host="127.0.0.1", port=0, dashboard_address=None) as scheduler:
        async with Worker(scheduler.address, nthreads=1, dashboard_address=None):
            print(scheduler.address, flush=True)
            await scheduler.finished()

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A real scheduler with one worker, in a process that a test may kill."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    with subprocess.Popen(
        [sys.executable, "-c", SCHEDULER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
        process.kill()


@pytest.fixture
def scenes(make_scenes: Callable[..., Path]) -> tuple[SceneStack, CropModel]:
    stack = read_scenes(make_scenes(rows=128, cols=192))
    return stack, trained(stack)


def write_maps(
    scenes: tuple[SceneStack, CropModel], out: Path, **options: object
) -> list[np.ndarray]:
    out.mkdir(exist_ok=True)
    mapping.map_scenes(
        *scenes, SPEC, class_map=out / "class_map.tif", probability=out / "p.tif",
        crops=["poppy"], block_size=64, **options,  # type: ignore[arg-type]
    )  # fmt: skip
    return pixels_of(out)


def test_processes_give_the_same_maps(
    scenes: tuple[SceneStack, CropModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = write_maps(scenes, tmp_path / "here")
    monkeypatch.setattr(mapping, "_WORTH_WORKERS", 0)
    there = write_maps(scenes, tmp_path / "there", workers=2)
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_killed_worker_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(WorkerError, match=r"run out of memory.*finished windows are kept"):
        dict(on_processes(square, 3, range(8), workers=2))


def test_a_cluster_gives_the_same_maps(
    scenes: tuple[SceneStack, CropModel],
    tmp_path: Path,
    cluster: tuple[str, subprocess.Popen[str]],
) -> None:
    address, _ = cluster
    here = write_maps(scenes, tmp_path / "here")
    there = write_maps(scenes, tmp_path / "there", scheduler=address)
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_lost_scheduler_is_an_error_and_finished_windows_are_kept(
    scenes: tuple[SceneStack, CropModel],
    tmp_path: Path,
    cluster: tuple[str, subprocess.Popen[str]],
) -> None:
    address, process = cluster
    keep = tmp_path / "windows"

    def kill_after_two(done: int, total: int) -> None:
        assert total == 6
        if done == 2:
            process.kill()
            process.wait()

    with pytest.raises(WorkerError, match=r"scheduler at tcp://\S+ was lost; finished windows"):
        write_maps(
            scenes, tmp_path / "maps", scheduler=address, keep=keep, progress=kill_after_two
        )
    assert not list((tmp_path / "maps").iterdir())
    kept = list(keep.rglob("*.window"))
    assert len(kept) >= 2
    made = []
    plain = mapping.block_features
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapping, "block_features", lambda *a: made.append(1) or plain(*a))
        resumed = write_maps(scenes, tmp_path / "maps", keep=keep)
    assert len(made) == 6 - len(kept)
    for one, other in zip(write_maps(scenes, tmp_path / "here"), resumed, strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_scheduler_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagery.workers._CONNECT_SECONDS", 0.3)
    with pytest.raises(WorkerError, match=r"no dask scheduler answers at tcp://127\.0\.0\.1:1;"):
        dict(on_cluster(square, 0, range(3), scheduler="tcp://127.0.0.1:1"))


def test_land_outside_the_risk_area_has_its_own_code_and_is_not_read(
    scenes: tuple[SceneStack, CropModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, _ = scenes
    risk = np.full(stack.grid.shape, 2, dtype=np.uint8)
    risk[:64, :64] = 1
    risk[64:, 10:20] = 0  # unknown: looked at
    with rasterio.open(
        tmp_path / "risk.tif", "w", driver="GTiff", width=192, height=128, count=1, dtype="uint8",
        crs=stack.grid.crs.to_wkt(), transform=stack.grid.transform, nodata=0,
    ) as out:  # fmt: skip
        out.write(risk, 1)
    whole = write_maps(scenes, tmp_path / "whole")
    read = []
    plain = mapping.block_features
    monkeypatch.setattr(mapping, "block_features", lambda *a: read.append(a[2]) or plain(*a))
    classes, chances = write_maps(scenes, tmp_path / "part", risk_area=tmp_path / "risk.tif")
    assert len(read) == 2
    outside = risk == 2
    assert (classes[0][outside] == 255).all()
    assert (chances[0][outside] == 255).all()
    np.testing.assert_array_equal(classes[0][~outside], whole[0][0][~outside])
    np.testing.assert_array_equal(chances[0][~outside], whole[1][0][~outside])
    with rasterio.open(tmp_path / "part" / "class_map.tif") as dataset:
        assert dataset.tags()["CLASS_255"] == "outside risk area"
