"""Yield fields, and areas in the unit they were reported in, from CSV files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from survey.areas import AreaUnit, to_hectares
from survey.errors import TableError
from survey.estimation import opium_yield
from survey.estimation.production import MAX_CAPSULE_VOLUME
from survey.samples.columns import read_rows, with_columns
from survey.types import TableContract

__all__ = ["Fields", "read_fields", "read_local_areas"]

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
    columns={"domain_id": "str", "area": "float", "area_se": "float", "unit": "str"},
    key=("domain_id",),
    non_negative=frozenset({"area", "area_se"}),
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
        domain_id, value_ha, se_ha, and `reported`, the area as it stands in the file.
    """
    raw = read_rows(path)
    if "area" not in raw.columns:
        raw = raw.rename(columns={"value_ha": "area", "se_ha": "area_se"})
        raw = raw.assign(unit="ha")
    table = LOCAL_AREAS.check(with_columns(raw, unit="ha"), source=path.name)
    wrong = np.flatnonzero(~table["unit"].isin(list(AreaUnit)))
    if wrong.size:
        raise TableError(
            f"{path.name}, row {wrong[0] + 1}: unit {table['unit'].iloc[wrong[0]]!r} is unknown; "
            f"write {', '.join(AreaUnit)}"
        )
    factor = np.array([to_hectares(1.0, AreaUnit(unit)) for unit in table["unit"]])
    return table.assign(
        value_ha=table["area"] * factor,
        se_ha=table["area_se"] * factor,
        reported=[
            f"{area:g} {unit}" for area, unit in zip(table["area"], table["unit"], strict=True)
        ],
    )
