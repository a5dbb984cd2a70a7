"""docs/imagery.md runs as written and names every index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imagery.indices import INDICES
from imagery.raster import is_valid_cog

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "imagery.md").read_text(encoding="utf-8")


def test_every_index_is_in_the_table_with_its_bands() -> None:
    section = TEXT.split("## Indices")[1].split("## ")[0]
    rows = dict(re.findall(r"^\| (\w+) \| ([\w, ]+) \| .*\d{4} \|$", section, re.MULTILINE))
    assert {name: tuple(bands.split(", ")) for name, bands in rows.items()} == {
        name: bands for name, (bands, _) in INDICES.items()
    }


def test_the_worked_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = [
        block for block in re.findall(r"```python\n(.*?)```", TEXT, re.S) if "round_" in block
    ]
    (tmp_path / "sample_tiles").symlink_to(ROOT / "sample_tiles")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(code, "docs/imagery.md", "exec"), names)  # noqa: S102
    assert is_valid_cog(tmp_path / "class_map.tif")
    assert set(names["hectares"].columns) == {"district_pcode", "class_code", "ha"}
