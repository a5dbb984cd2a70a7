"""What an estimator needs, from CSV files alone: no geometry, no database, no round."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from survey.errors import EstimationError, TableError
from survey.estimation import Frame, Sample, opium_yield
from survey.readers import read_csv
from survey.types import EstimateType, TableContract

__all__ = [
    "CountMatrix",
    "Fields",
    "Points",
    "read_count_matrix",
    "read_fields",
    "read_figures",
    "read_points",
    "read_sample",
    "read_segments",
]

Floats = npt.NDArray[np.float64]

SEGMENTS = TableContract(
    name="segments",
    columns={
        "segment_id": "str",
        "stratum_id": "str",
        "district_pcode": "str",
        "province_pcode": "str",
        "risk_ha": "float",
        "map_ha": "float",
    },
    key=("segment_id",),
    nullable=frozenset({"map_ha"}),
    non_negative=frozenset({"risk_ha", "map_ha"}),
)
SAMPLE = TableContract(
    name="sample",
    columns={"segment_id": "str", "reference_ha": "float", "observed_share": "float"},
    key=("segment_id",),
    non_negative=frozenset({"reference_ha", "observed_share"}),
)
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
FIGURES = TableContract(
    name="figures",
    columns={
        "domain_id": "str",
        "value_ha": "float",
        "se_ha": "float",
        "ci_low_ha": "float",
        "ci_high_ha": "float",
        "level": "float",
        "df": "float",
        "n_segments": "int",
        "n_positive": "int",
        "estimate_type": "str",
    },
    key=("domain_id",),
    nullable=frozenset({"value_ha", "se_ha", "ci_low_ha", "ci_high_ha", "df"}),
    non_negative=frozenset({"value_ha", "se_ha", "ci_low_ha", "ci_high_ha"}),
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fields:
    """Yield fields: kg of dry gum per hectare, village and weight of each, shape (n,)."""

    yield_kg_ha: Floats
    village: npt.NDArray[np.object_]
    weight: Floats


def read_segments(path: Path) -> Frame:
    """Frame of all segments; `map_ha` may be left out, and is then unknown."""
    table = SEGMENTS.check(_with(read_csv(path), map_ha=""), source=path.name)
    mapped = table["map_ha"].to_numpy(dtype=float)
    return Frame(
        segment_id=table["segment_id"].to_numpy(dtype=object),
        stratum=table["stratum_id"].to_numpy(dtype=object),
        domain=table["district_pcode"].to_numpy(dtype=object),
        group=table["province_pcode"].to_numpy(dtype=object),
        risk_ha=table["risk_ha"].to_numpy(dtype=float),
        covariate_ha=None if np.isnan(mapped).all() else mapped,
    )


def read_sample(path: Path, frame: Frame) -> Sample:
    """Reference hectares of the sampled segments; `observed_share` is 1 where left out.

    Raises
    ------
    TableError
        A segment is not in the frame, or its hectares do not fit it; with file, row and column.
    """
    table = SAMPLE.check(_with(read_csv(path), observed_share="1"), source=path.name)
    position = {segment: row for row, segment in enumerate(frame.segment_id.tolist())}
    unknown = [row for row, code in enumerate(table["segment_id"]) if code not in position]
    if unknown:
        raise TableError(
            f"{path.name}, row {unknown[0] + 1}: segment_id "
            f"{table['segment_id'].iloc[unknown[0]]!r} is not in the frame; correct it or add "
            "the segment there"
        )
    try:
        return Sample.from_observed(
            frame,
            np.array([position[code] for code in table["segment_id"]], dtype=np.int64),
            table["reference_ha"].to_numpy(dtype=float),
            table["observed_share"].to_numpy(dtype=float),
        )
    except EstimationError as problem:
        raise TableError(f"{path.name}: {problem}") from problem


def read_count_matrix(path: Path) -> CountMatrix:
    """Error matrix, a row for each map class: map_class, map_ha, then the reference classes."""
    raw = read_csv(path)
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
    return CountMatrix(
        map_class=tuple(table["map_class"]),
        reference_class=tuple(classes),
        counts=table[classes].to_numpy(dtype=float),
        map_ha=table["map_ha"].to_numpy(dtype=float),
    )


def read_points(path: Path, strata: Path) -> Points:
    """Point sample and the sizes of its strata."""
    table = POINTS.check(read_csv(path), source=path.name)
    sizes = STRATA.check(read_csv(strata), source=strata.name)
    return Points(
        stratum=table["stratum_id"].to_numpy(dtype=object),
        map_class=table["map_class"].to_numpy(dtype=object),
        reference_class=table["reference_class"].to_numpy(dtype=object),
        strata_size=dict(zip(sizes["stratum_id"], sizes["size"].astype(float), strict=True)),
    )


def read_fields(path: Path) -> Fields:
    """Yield of each field, measured or from its capsule volume; weight 1 where left out."""
    raw = _with(read_csv(path), capsule_volume_cm3_m2="", yield_kg_ha="", weight="1")
    table = FIELDS.check(_with(raw, village_id=raw.get("field_id", "")), source=path.name)
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
        village=table["village_id"].to_numpy(dtype=object),
        weight=table["weight"].to_numpy(dtype=float),
    )


def read_figures(path: Path) -> pd.DataFrame:
    """Finished figures of domains; what is left out is unknown, `level` 0.95.

    Raises
    ------
    TableError
        `estimate_type` is not one of the known kinds.
    """
    raw = _with(read_csv(path), se_ha="", ci_low_ha="", ci_high_ha="", df="", level="0.95")
    raw = _with(raw, n_segments="0", n_positive="0", estimate_type="direct")
    table = FIGURES.check(raw, source=path.name)
    known = [kind.value for kind in EstimateType]
    wrong = np.flatnonzero(~table["estimate_type"].isin(known))
    if wrong.size:
        raise TableError(
            f"{path.name}, row {wrong[0] + 1}: estimate_type "
            f"{table['estimate_type'].iloc[wrong[0]]!r}; write {', '.join(known)}"
        )
    return table


def _with(table: pd.DataFrame, **columns: str | pd.Series[str]) -> pd.DataFrame:
    """Add columns that were left out."""
    return table.assign(**{k: v for k, v in columns.items() if k not in table.columns})
