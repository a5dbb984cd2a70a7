"""docs/imagery.md runs as written and names every index."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command

from api.cli.imagery import scenes
from imagery.indices import INDICES
from imagery.raster import is_valid_cog
from imagery.sidecars import describe
from survey.rounds import read_round

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "imagery.md").read_text(encoding="utf-8")


def test_every_index_is_in_the_table_with_its_bands() -> None:
    section = TEXT.split("## Indices")[1].split("## ")[0]
    rows = dict(re.findall(r"^\| (\w+) \| ([\w, ]+) \| .*\d{4} \|$", section, re.MULTILINE))
    assert {name: tuple(bands.split(", ")) for name, bands in rows.items()} == {
        name: bands for name, (bands, _) in INDICES.items()
    }


def test_the_examples_of_features_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    (tmp_path / "sample_tiles").symlink_to(ROOT / "sample_tiles")
    monkeypatch.chdir(tmp_path)
    composites, drone, hectares = re.findall(r"```python\n(.*?)```", text, re.S)
    names: dict[str, object] = {}
    exec(compile(composites, "docs/features.md", "exec"), names)  # noqa: S102
    assert names["model"].card["producers_accuracy"]["poppy"] > 0.5
    assert "ndvi_senescence" in capsys.readouterr().out
    exec(compile(drone, "docs/features.md", "exec"), names)  # noqa: S102
    assert names["rows"] > 5 * names["grass"]
    exec(compile(hectares, "docs/features.md", "exec"), names)  # noqa: S102
    # 10 x 10 m, one of them beyond the flight, and half of the rest each.
    m2 = names["square_metres"].set_index("class_code")["m2"]
    assert list(m2.index) == [0, 1, 2]
    np.testing.assert_allclose(m2, [10.0, 45.0, 45.0], atol=3.0)


def test_the_declaration_in_the_docs_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    (declared,) = re.findall(r"```toml\n(.*?)```", text, re.S)
    round_ = (ROOT / "sample_tiles" / "miniature" / "survey.toml").read_text()
    head, _, rest = round_.partition("[imagery]")
    file = tmp_path / "survey.toml"
    file.write_text(head + declared + rest[rest.index("[estimation]") :])
    settings = read_round(file).imagery
    assert settings.calendar is not None
    assert settings.texture is not None
    keys = re.findall(r"^(\w+) =", declared, re.MULTILINE)
    # Every key there is, apart from those that imagery.md explains.
    assert set(keys) >= {
        *type(settings).model_fields, *type(settings.calendar).model_fields,
        *type(settings.texture).model_fields,
    } - {"calendar", "texture", *re.findall(r"`(\w+)`", TEXT)}  # fmt: skip


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


SCENES = (ROOT / "docs" / "scenes.md").read_text(encoding="utf-8")


def test_options_of_scenes_in_the_docs_exist() -> None:
    command: Any = get_command(scenes)
    known = {name for verb in command.commands.values() for p in verb.params for name in p.opts}
    named = set(re.findall(r"(--[a-z][a-z-]+)", SCENES))
    assert named
    assert named <= known
    assert set(re.findall(r"adsurvey scenes (\w+)", SCENES)) <= set(command.commands)


def test_sidecars_in_the_docs_are_valid() -> None:
    found = re.findall(r"```json\n(.*?)```", TEXT + SCENES, re.S)
    sidecars = [meta for meta in map(json.loads, found) if "bands" in meta]
    assert len(sidecars) >= 2
    for meta in sidecars:
        said = describe(meta, Path(), name="docs")
        assert said.masks
        assert len(meta.get("indexes", said.bands)) == len(said.bands)
