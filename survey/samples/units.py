"""Samples of any design, their replicate weights and calibration totals, from CSV files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from survey.errors import EstimationError, TableError
from survey.estimation import SurveyDesign
from survey.samples.columns import read_rows, refuse_lookalikes, with_columns
from survey.types import TableContract

__all__ = ["Units", "read_known_totals", "read_replicate_weights", "read_units"]

Floats = npt.NDArray[np.float64]

UNITS = TableContract(
    name="units",
    columns={
        "unit_id": "str",
        "stratum_id": "str",
        "cluster_id": "str",
        "domain_id": "str",
        "weight": "float",
        "n_frame": "float",
        "n_units": "float",
        "y": "float",
        "x": "float",
    },
    key=("unit_id",),
    nullable=frozenset({"n_frame", "n_units", "x"}),
    non_negative=frozenset({"weight", "n_frame", "n_units"}),
)
KNOWN_TOTALS = TableContract(
    name="known totals",
    columns={"variable": "str", "total": "float"},
    key=("variable",),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Units:
    """A sample of any design.

    Attributes
    ----------
    unit_id, domain : object array (n,)
    is_weighted : bool
        The file has weights; else each unit stands for itself alone.
    y, x : float array (n,)
        `x` is None where the file has none.
    design : SurveyDesign
    table : DataFrame
        All columns as text, for calibration variables.
    source : str
    """

    unit_id: npt.NDArray[np.object_]
    domain: npt.NDArray[np.object_]
    is_weighted: bool
    y: Floats
    x: Floats | None
    design: SurveyDesign
    table: pd.DataFrame
    source: str

    def variable(self, name: str) -> Floats:
        """Calibration variable (n,): ``1``, a column of numbers, or ``column=level`` as 0/1."""
        if name == "1":
            return np.ones(len(self.table))
        column, equals, level = name.partition("=")
        if column not in self.table.columns:
            raise TableError(
                f"{self.source} has no column {column!r} to calibrate {name!r} with; it has "
                f"{', '.join(self.table.columns)}"
            )
        text = self.table[column].astype(str).str.strip()
        if equals:
            return np.asarray((text == level).to_numpy(), dtype=np.float64)
        numbers = pd.to_numeric(text, errors="coerce")
        if numbers.isna().any():
            row = int(np.flatnonzero(numbers.isna())[0])
            raise TableError(
                f"{self.source}, row {row + 1}: {column} {text.iloc[row]!r} is not a number; "
                f"for a category name the level in the totals: {column}={text.iloc[row]}"
            )
        return numbers.to_numpy(dtype=float)


def read_units(path: Path) -> Units:
    """Units with design columns; what is left out has its plainest meaning.

    Without `stratum_id` there is one stratum, without `cluster_id` each unit is its own, without
    `n_frame` the first stage has no fpc, without `n_units` clusters were taken whole (or the
    ultimate-cluster variance is wanted), without `weight` it is 1.
    """
    raw = read_rows(path)
    has_frame, has_weight = "n_frame" in raw.columns, "weight" in raw.columns
    raw = with_columns(raw, stratum_id="all", domain_id="all", weight="1", n_frame="", n_units="")
    if has_frame and not has_weight:
        raise TableError(
            f"{path.name}: n_frame says that the units stand for others, but there is no weight; "
            "add the column, 1 over the inclusion probability"
        )
    has_cluster = "cluster_id" in raw.columns
    raw = with_columns(raw, cluster_id=raw.get("unit_id", ""), x="")
    table = UNITS.check(raw, source=path.name)
    for column in ("stratum_id", "domain_id"):
        refuse_lookalikes(path.name, column, table[column])
    x = table["x"].to_numpy(dtype=float)
    for column in ("n_frame", "n_units", "x"):
        missing = table[column].isna().to_numpy()
        if missing.any() and not missing.all():
            raise TableError(
                f"{path.name}, row {int(np.flatnonzero(missing)[0]) + 1}: {column} is empty here "
                "and given elsewhere; fill it in or leave the column out"
            )
    n_frame = _constant(table, "n_frame", ["stratum_id"], path.name)
    n_units = _constant(table, "n_units", ["stratum_id", "cluster_id"], path.name)
    try:
        design = SurveyDesign(
            weight=table["weight"].to_numpy(dtype=float),
            stratum=table["stratum_id"].to_numpy(dtype=str),
            n_frame=n_frame,
            cluster=table["cluster_id"].to_numpy(dtype=str) if has_cluster else None,
            n_units=n_units,
        )
    except EstimationError as problem:
        raise TableError(f"{path.name}: {problem}") from problem
    return Units(
        unit_id=table["unit_id"].to_numpy(dtype=object),
        domain=table["domain_id"].to_numpy(dtype=object),
        is_weighted=has_weight,
        y=table["y"].to_numpy(dtype=float),
        x=None if np.isnan(x).all() else x,
        design=design,
        table=raw,
        source=path.name,
    )


def _constant(table: pd.DataFrame, column: str, within: list[str], source: str) -> Floats | None:
    """A frame count, which must be the same for all rows of its stratum or cluster."""
    if table[column].isna().all():
        return None
    varies = table.groupby(within)[column].transform("nunique") > 1
    if varies.any():
        row = int(np.flatnonzero(varies.to_numpy())[0])
        where = ", ".join(f"{name} {table[name].iloc[row]!r}" for name in within)
        raise TableError(
            f"{source}, row {row + 1}: {column} {table[column].iloc[row]:g} differs from other "
            f"rows of {where}; give one count for it"
        )
    return table[column].to_numpy(dtype=float)


def read_replicate_weights(path: Path, units: Units) -> Floats:
    """Analysis weights (R, n) in the order of the units; one column for each replicate."""
    raw = read_rows(path)
    names = [column for column in raw.columns if column != "unit_id"]
    contract = TableContract(
        name="replicate weights",
        columns={"unit_id": "str", **dict.fromkeys(names, "float")},
        key=("unit_id",),
    )
    table = contract.check(raw, source=path.name).set_index("unit_id")
    if len(names) < 2:
        raise TableError(f"{path.name} has {len(names)} replicates; a variance needs 2 or more")
    missing = [unit for unit in units.unit_id if unit not in table.index]
    unknown = sorted(set(table.index) - set(units.unit_id))
    if missing or unknown:
        raise TableError(
            f"{path.name} and {units.source} hold different units (without weights: "
            f"{missing[:3]}; not in the sample: {unknown[:3]}); give one row for each unit"
        )
    values: Floats = table.loc[units.unit_id.tolist()][names].to_numpy(dtype=float)
    return values.T


def read_known_totals(path: Path, units: Units) -> tuple[Floats, Floats]:
    """Calibration variables (n, p) of the units and their known totals (p,)."""
    table = KNOWN_TOTALS.check(read_rows(path), source=path.name)
    is_count = (table["variable"] == "1") | table["variable"].str.contains("=")
    wrong = np.flatnonzero(is_count & ~(table["total"] > 0.0))
    if wrong.size:
        raise TableError(
            f"{path.name}, row {wrong[0] + 1}: {table['variable'].iloc[wrong[0]]!r} counts units; "
            f"its total {table['total'].iloc[wrong[0]]:g} must be above zero"
        )
    columns = np.column_stack([units.variable(name) for name in table["variable"]])
    for at in np.flatnonzero(~columns.any(axis=0)):
        raise TableError(
            f"{path.name}, row {at + 1}: no unit of {units.source} has "
            f"{table['variable'].iloc[at]!r}; correct the name, or leave it out"
        )
    return columns, table["total"].to_numpy(dtype=float)
