"""Error matrices and point samples of a map, from CSV files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from survey.errors import TableError
from survey.samples.columns import read_rows, refuse_lookalikes
from survey.types import TableContract

__all__ = ["CountMatrix", "Points", "read_count_matrix", "read_points"]

Floats = npt.NDArray[np.float64]

POINTS = TableContract(
    name="points",
    columns={
        "point_id": "str",
        "stratum_id": "str",
        "map_class": "str",
        "reference_class": "str",
    },
    key=("point_id",),
)
STRATA = TableContract(
    name="strata sizes",
    columns={"stratum_id": "str", "size": "float"},
    key=("stratum_id",),
    non_negative=frozenset({"size"}),
)
PLAN = TableContract(
    name="planned strata",
    columns={"stratum_id": "str", "size": "float", "expected_share": "float", "n_points": "int"},
    key=("stratum_id",),
    non_negative=frozenset({"size", "expected_share", "n_points"}),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CountMatrix:
    """Error matrix: rows are map classes, columns reference classes.

    Attributes
    ----------
    map_class, reference_class : tuple of str
    counts : float array (n_map, n_reference)
    map_ha : float array (n_map,)
        Mapped hectares of each map class.
    """

    map_class: tuple[str, ...]
    reference_class: tuple[str, ...]
    counts: Floats
    map_ha: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Points:
    """Point sample whose strata may differ from the map's classes.

    Attributes
    ----------
    stratum, map_class, reference_class : object array (n,)
    strata_size : dict of stratum to points or hectares in the frame
    """

    stratum: npt.NDArray[np.object_]
    map_class: npt.NDArray[np.object_]
    reference_class: npt.NDArray[np.object_]
    strata_size: dict[str, float]


def read_count_matrix(path: Path) -> CountMatrix:
    """Error matrix, a row for each map class: map_class, map_ha, then the reference classes."""
    raw = read_rows(path)
    classes = [column for column in raw.columns if column not in ("map_class", "map_ha")]
    contract = TableContract(
        name="error matrix",
        columns={"map_class": "str", "map_ha": "float", **dict.fromkeys(classes, "int")},
        key=("map_class",),
        non_negative=frozenset({"map_ha", *classes}),
    )
    table = contract.check(raw, source=path.name)
    if not classes:
        raise TableError(f"{path.name}: no reference class; add a column of counts for each")
    refuse_lookalikes(path.name, "class", [*table["map_class"], *classes])
    return CountMatrix(
        map_class=tuple(table["map_class"]),
        reference_class=tuple(classes),
        counts=table[classes].to_numpy(dtype=float),
        map_ha=table["map_ha"].to_numpy(dtype=float),
    )


def read_points(path: Path, strata: Path) -> Points:
    """Point sample and the sizes of its strata."""
    table = POINTS.check(read_rows(path), source=path.name)
    sizes = STRATA.check(read_rows(strata), source=strata.name)
    refuse_lookalikes(path.name, "class", [*table["map_class"], *table["reference_class"]])
    ids = [*table["stratum_id"], *sizes["stratum_id"]]
    refuse_lookalikes(f"{path.name} and {strata.name}", "stratum_id", ids)
    return Points(
        stratum=table["stratum_id"].to_numpy(dtype=object),
        map_class=table["map_class"].to_numpy(dtype=object),
        reference_class=table["reference_class"].to_numpy(dtype=object),
        strata_size=dict(zip(sizes["stratum_id"], sizes["size"].astype(float), strict=True)),
    )
