"""What survey.toml declares of pixels reaches the features, and faults name their key."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio

from api.pipeline.features import round_features
from imagery.calendars import Step
from imagery.composites import Composite
from imagery.errors import SceneError
from imagery.features import block_features, feature_names
from imagery.grid import Block
from survey.errors import ConfigError
from survey.rounds import Round, read_round

MINIATURE = Path(__file__).resolve().parents[2] / "sample_tiles" / "miniature"
DECLARED = """
min_clear = 2
max_gap_days = 70
cloud_buffer_m = 15.0
indices = ["ndvi"]
phenology = ["ndvi"]

[imagery.calendar]
start = 2025-11-01
end = 2026-02-28
step = "month"
composite = "nearest"
strata = {{ {stratum} = {{ start = 2025-12-01, end = 2026-03-31 }} }}

[imagery.texture]
bands = ["nir"]
measures = ["std"]
window = 3
high = 0.6
"""


def declared(folder: Path, imagery: str, inputs: str = "") -> Round:
    """The miniature's round with another [imagery], its inputs by absolute path."""
    text = (MINIATURE / "survey.toml").read_text()
    head, _, rest = text.partition("[imagery]")
    rest = rest[rest.index("[estimation]") :]
    for name in ("districts", "frame", "training"):
        head = head.replace(f'"{name}.gpkg"', f'"{MINIATURE / name}.gpkg"')
    head = head.replace('"scenes"', f'"{MINIATURE / "scenes"}"')
    path = folder / "survey.toml"
    path.write_text(f"{head}{inputs}\n[imagery]{imagery}\n{rest}")
    return read_round(path)


def test_everything_declared_is_computed(tmp_path: Path) -> None:
    frame = gpd.read_file(MINIATURE / "frame.gpkg")
    stratum = str(sorted(frame["stratum_id"].unique())[0])
    west, south, east, north = frame.to_crs(4326).total_bounds
    with rasterio.open(
        tmp_path / "dem.tif", "w", driver="GTiff", width=20, height=20, count=1, dtype="float32",
        crs="EPSG:4326",
        transform=rasterio.transform.from_bounds(west, south, east, north, 20, 20),
    ) as out:  # fmt: skip
        out.write(np.linspace(800, 1600, 400, dtype=np.float32).reshape(1, 20, 20))
    stack, spec = round_features(
        declared(tmp_path, DECLARED.format(stratum=stratum), 'elevation = "dem.tif"')
    )
    assert spec.calendar is not None
    assert spec.calendar.composite is Composite.NEAREST
    assert spec.calendar.season.step is Step.MONTH
    assert dict(spec.calendar.strata)[stratum].start == date(2025, 12, 1)
    assert (spec.min_clear, spec.max_gap_days, spec.cloud_buffer_m) == (2, 70, 15.0)
    names = feature_names(stack, spec)
    n_layers = len(stack.bands) + 1
    assert len(names) == 4 * n_layers + 4 + 4 + 4
    assert {"p04 ndvi", "ndvi_peak_day", "p01 nir_std", "altitude_m"} <= set(names)
    segment = frame[frame["stratum_id"] == stratum].to_crs(stack.grid.crs).geometry.iloc[0]
    block = stack.grid.window_of(segment.bounds)
    assert block is not None
    part = Block(row=block.row, col=block.col, rows=min(40, block.rows), cols=min(40, block.cols))
    found = block_features(stack, spec, part)
    assert np.isfinite(found.values[names.index("altitude_m")]).all()
    assert found.is_observed.any()


def test_the_declared_grid_is_that_of_features_and_maps(tmp_path: Path) -> None:
    own, _ = round_features(declared(tmp_path, "\nmin_clear = 3"))
    west, south, east, north = own.grid.bounds
    pixel = own.grid.transform.a
    grid = (
        f'\n[imagery.grid]\ncrs = "{own.grid.crs.to_string()}"\nresolution = {pixel}\n'
        f"extent = [{west + 10 * pixel}, {south}, {east}, {north - 3 * pixel}]\n"
    )
    stack, spec = round_features(declared(tmp_path, grid))
    assert stack.grid.shape == (own.grid.shape[0] - 3, own.grid.shape[1] - 10)
    found = block_features(stack, spec, Block(row=0, col=0, rows=5, cols=5))
    whole = block_features(own, spec, Block(row=3, col=10, rows=5, cols=5))
    np.testing.assert_array_equal(found.values, whole.values)
    first = own.scenes[0].path
    like, _ = round_features(declared(tmp_path, f'\n[imagery.grid]\nlike = "{first}"\n'))
    assert like.grid == own.grid
    other = f'\n[imagery.grid]\ncrs = "{own.grid.crs.to_string()}"\nresolution = 7\n'
    with pytest.raises(SceneError, match=r"scenes import FILE --survey survey.toml"):
        round_features(declared(tmp_path, other))


def test_scenes_without_a_probability_cannot_be_chosen_by_it(tmp_path: Path) -> None:
    calendar = (
        '\n[imagery.calendar]\nstart = 2025-11-01\nend = 2026-03-31\nstep = "month"\n'
        'composite = "least_cloud"'
    )
    stack, spec = round_features(declared(tmp_path, calendar))
    assert spec.calendar is not None
    assert spec.calendar.composite is Composite.LEAST_CLOUD
    with pytest.raises(SceneError, match='"least_cloud" needs a cloud probability of every'):
        block_features(stack, spec, Block(row=0, col=0, rows=2, cols=2))


@pytest.mark.parametrize(
    ("imagery", "message"),
    [
        ('[imagery.calendar]\nstart = 2025-11-02\nend = 2026-02-28', "must start on the 1st or"),
        ('[imagery.texture]\nbands = ["nir"]\nwindow = 8', "window 8 must be an odd number"),
        (('[imagery.calendar]\nstart = 2025-11-01\nend = 2026-02-28\n'
         'strata = { nowhere = { start = 2025-11-01, end = 2026-02-28 } }'), "'nowhere'"),
    ],
)  # fmt: skip
def test_a_declaration_that_does_not_fit_says_why(
    tmp_path: Path, imagery: str, message: str
) -> None:
    with pytest.raises(SceneError, match=message):
        round_features(declared(tmp_path, f"\n{imagery}"))


def test_a_misspelt_key_is_named_with_its_place(tmp_path: Path) -> None:
    calendar = "\n[imagery.calendar]\nstart = 2025-11-01\nends = 2026-02-28"
    with pytest.raises(ConfigError, match=r"imagery.calendar.ends is not a key .* mean end"):
        declared(tmp_path, calendar)
