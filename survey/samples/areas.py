"""What the small-area models need, from CSV files: areas, units, and means of covariates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from survey.errors import TableError
from survey.samples.columns import read_rows, with_columns
from survey.types import TableContract

__all__ = ["Areas", "ModelUnits", "read_areas", "read_model_units"]

Floats = npt.NDArray[np.float64]

AREAS = {
    "domain_id": "str",
    "direct": "float",
    "variance": "float",
    "n_segments": "float",
    "risk_ha": "float",
}
MODEL_UNITS = {"unit_id": "str", "domain_id": "str", "y": "float", "size": "float"}
MEANS = {"domain_id": "str", "population": "float"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Areas:
    """Direct estimates of domains with covariates.

    Attributes
    ----------
    domain : object array (m,)
    direct, variance : float array (m,)
        NaN where there is no direct estimate; variances as given.
    n_segments : float array (m,) or None
    risk_ha : float array (m,)
        1 where the file has none.
    is_hectares : bool
        The file gives risk areas, so the figures are hectares.
    covariate : float array (m, p)
        Without the intercept.
    names : tuple of str
    """

    domain: npt.NDArray[np.object_]
    is_hectares: bool
    direct: Floats
    variance: Floats
    n_segments: Floats | None
    risk_ha: Floats
    covariate: Floats
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelUnits:
    """Sampled units with covariates, and the domains' sizes and covariate means.

    Attributes
    ----------
    unit_id, domain : object array (n,)
    y, size : float array (n,)
        `size` is None where the file has none: equal units.
    covariate : float array (n, p)
    wanted : object array (k,)
    population : float array (k,)
        Sum of unit sizes (or number of units) of each wanted domain.
    mean : float array (k, p)
    names : tuple of str
    """

    unit_id: npt.NDArray[np.object_]
    domain: npt.NDArray[np.object_]
    y: Floats
    size: Floats | None
    covariate: Floats
    wanted: npt.NDArray[np.object_]
    population: Floats
    mean: Floats
    names: tuple[str, ...]


def read_areas(path: Path) -> Areas:
    """Areas; every column that is not named in the guide is a covariate."""
    given = read_rows(path)
    raw = with_columns(given, direct="", variance="", n_segments="", risk_ha="1")
    names = tuple(column for column in raw.columns if column not in AREAS)
    contract = TableContract(
        name="areas",
        columns={**AREAS, **dict.fromkeys(names, "float")},
        key=("domain_id",),
        nullable=frozenset({"direct", "variance", "n_segments"}),
        non_negative=frozenset({"variance", "n_segments", "risk_ha"}),
    )
    table = contract.check(raw, source=path.name)
    no_land = np.flatnonzero(table["risk_ha"] <= 0.0)
    if no_land.size:
        raise TableError(f"{path.name}, row {no_land[0] + 1}: risk_ha must be above zero")
    beyond = np.flatnonzero(table["direct"].gt(table["risk_ha"]) & ("risk_ha" in given.columns))
    if beyond.size:
        at = int(beyond[0])
        raise TableError(
            f"{path.name}, row {at + 1}: direct {table['direct'].iloc[at]:g} ha is more than the "
            f"risk area of {table['risk_ha'].iloc[at]:g} ha; check the unit"
        )
    counts = table["n_segments"].to_numpy(dtype=float)
    return Areas(
        domain=table["domain_id"].to_numpy(dtype=object),
        is_hectares="risk_ha" in given.columns,
        direct=table["direct"].to_numpy(dtype=float),
        variance=table["variance"].to_numpy(dtype=float),
        n_segments=None if np.isnan(counts).all() else counts,
        risk_ha=table["risk_ha"].to_numpy(dtype=float),
        covariate=_numbers(table, names),
        names=names,
    )


def read_model_units(units: Path, domains: Path) -> ModelUnits:
    """Sampled units and their domains; the domains' columns are the model's covariates."""
    means_raw = read_rows(domains)
    names = tuple(column for column in means_raw.columns if column not in MEANS)
    of_domains = TableContract(
        name="domain means",
        columns={**MEANS, **dict.fromkeys(names, "float")},
        key=("domain_id",),
        non_negative=frozenset({"population"}),
    ).check(means_raw, source=domains.name)
    raw = with_columns(read_rows(units), size="")
    of_units = TableContract(
        name="units",
        columns={**MODEL_UNITS, **dict.fromkeys(names, "float")},
        key=("unit_id",),
        nullable=frozenset({"size"}),
        non_negative=frozenset({"size"}),
    ).check(raw, source=units.name)
    size = of_units["size"].to_numpy(dtype=float)
    if np.isnan(size).any() and not np.isnan(size).all():
        row = int(np.flatnonzero(np.isnan(size))[0])
        raise TableError(f"{units.name}, row {row + 1}: size is empty; give all sizes or none")
    return ModelUnits(
        unit_id=of_units["unit_id"].to_numpy(dtype=object),
        domain=of_units["domain_id"].to_numpy(dtype=object),
        y=of_units["y"].to_numpy(dtype=float),
        size=None if np.isnan(size).all() else size,
        covariate=_numbers(of_units, names),
        wanted=of_domains["domain_id"].to_numpy(dtype=object),
        population=of_domains["population"].to_numpy(dtype=float),
        mean=_numbers(of_domains, names),
        names=names,
    )


def _numbers(table: pd.DataFrame, names: tuple[str, ...]) -> Floats:
    return table[list(names)].to_numpy(dtype=float).reshape(len(table), len(names))
