"""Yield fields, and areas in the unit they were reported in, from CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from survey.areas import AreaUnit, to_hectares
from survey.errors import TableError
from survey.estimation import opium_yield
from survey.estimation.production import MAX_CAPSULE_VOLUME, MIN_DRAWS
from survey.samples.columns import read_rows, with_columns
from survey.types import TableContract

__all__ = ["Fields", "read_area_draws", "read_fields", "read_local_areas"]

Floats = npt.NDArray[np.float64]

FIELDS = TableContract(
    name="yield fields",
    columns={
        "field_id": "str",
        "village_id": "str",
        "capsule_volume_cm3_m2": "float",
        "yield_kg_ha": "float",
        "weight": "float",
    },
    key=("field_id",),
    nullable=frozenset({"capsule_volume_cm3_m2", "yield_kg_ha"}),
    non_negative=frozenset({"capsule_volume_cm3_m2", "yield_kg_ha", "weight"}),
)


LOCAL_AREAS = TableContract(
    name="areas",
    columns={
        "domain_id": "str",
        "area": "float",
        "area_se": "float",
        "area_low": "float",
        "area_high": "float",
        "level": "float",
        "unit": "str",
    },
    key=("domain_id",),
    nullable=frozenset({"area_se", "area_low", "area_high"}),
    non_negative=frozenset({"area", "area_se", "area_low", "area_high"}),
    allowed={"unit": tuple(AreaUnit)},
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fields:
    """Yield fields: kg of dry gum per hectare, village and weight of each, shape (n,).

    `n_above` counts capsule volumes for which the formula is not known to hold.
    """

    yield_kg_ha: Floats
    n_above: int
    village: npt.NDArray[np.object_]
    weight: Floats


def read_fields(path: Path) -> Fields:
    """Yield of each field, measured or from its capsule volume; weight 1 where left out."""
    raw = with_columns(read_rows(path), capsule_volume_cm3_m2="", yield_kg_ha="", weight="1")
    table = FIELDS.check(with_columns(raw, village_id=raw.get("field_id", "")), source=path.name)
    volume = table["capsule_volume_cm3_m2"].to_numpy(dtype=float)
    measured = table["yield_kg_ha"].to_numpy(dtype=float)
    wrong = np.flatnonzero(np.isnan(volume) == np.isnan(measured))
    if wrong.size:
        raise TableError(
            f"{path.name}, row {wrong[0] + 1}: give either yield_kg_ha or capsule_volume_cm3_m2"
        )
    from_volume = opium_yield(np.where(np.isnan(volume), 0.0, volume))
    return Fields(
        yield_kg_ha=np.where(np.isnan(measured), from_volume, measured),
        n_above=int((volume > MAX_CAPSULE_VOLUME).sum()),
        village=table["village_id"].to_numpy(dtype=object),
        weight=table["weight"].to_numpy(dtype=float),
    )


def read_local_areas(path: Path) -> pd.DataFrame:
    """Areas as hectares (`value_ha`, `se_ha`) or as `area`, `area_se` and `unit`.

    Returns
    -------
    DataFrame
        domain_id, value_ha; se_ha and the limits low_ha and high_ha at `level`, NaN where left
        out; and `reported`, the area as it stands in the file.
    """
    raw = read_rows(path)
    if "area" not in raw.columns:
        names = {"value_ha": "area", "se_ha": "area_se"}
        names |= {"ci_low_ha": "area_low", "ci_high_ha": "area_high"}
        raw = raw.rename(columns=names).assign(unit="ha")
    raw = with_columns(raw, unit="ha", area_se="", area_low="", area_high="", level="0.95")
    table = LOCAL_AREAS.check(raw, source=path.name)
    factor = np.array([to_hectares(1.0, AreaUnit(unit)) for unit in table["unit"]])
    return table.assign(
        value_ha=table["area"] * factor,
        se_ha=table["area_se"] * factor,
        low_ha=table["area_low"] * factor,
        high_ha=table["area_high"] * factor,
        reported=[
            f"{area:g} {unit}" for area, unit in zip(table["area"], table["unit"], strict=True)
        ],
    )


def read_area_draws(path: Path, domains: Sequence[str]) -> Floats:
    """Draws (B, d) of the areas, hectares: a row for each draw, a column for each domain."""
    raw = read_rows(path)
    if len(raw) < MIN_DRAWS:
        raise TableError(
            f"{path.name} has {len(raw)} draws; limits need at least {MIN_DRAWS}, draw more"
        )
    missing = [name for name in domains if name not in raw.columns]
    if missing:
        raise TableError(
            f"{path.name}: no column {missing[0]!r}; give the draws of every domain of the areas "
            "under its domain_id"
        )
    raw = with_columns(raw, draw=pd.Series([str(at + 1) for at in range(len(raw))]))
    table = TableContract(
        name="draws",
        columns={"draw": "str", **dict.fromkeys(domains, "float")},
        key=("draw",),
        non_negative=frozenset(domains),
    ).check(raw, source=path.name)
    return table[list(domains)].to_numpy(dtype=float)
