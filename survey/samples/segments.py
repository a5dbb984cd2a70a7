"""Frame and sample of segments, from two CSV files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from survey.errors import EstimationError, TableError
from survey.estimation import Frame, Sample, fill_covariate
from survey.estimation.rules import COUNTRY
from survey.estimation.units import AREA_TOLERANCE
from survey.samples.columns import read_rows, refuse_lookalikes, with_columns
from survey.types import TableContract

__all__ = ["SegmentTable", "read_sample", "read_segment_table", "read_segments"]

SEGMENTS = TableContract(
    name="segments",
    columns={
        "segment_id": "str",
        "stratum_id": "str",
        "district_pcode": "str",
        "province_pcode": "str",
        "risk_ha": "float",
        "map_ha": "float",
        "mapped_share": "float",
    },
    key=("segment_id",),
    nullable=frozenset({"map_ha"}),
    non_negative=frozenset({"risk_ha", "map_ha", "mapped_share"}),
)
SAMPLE = TableContract(
    name="sample",
    columns={"segment_id": "str", "reference_ha": "float", "observed_share": "float"},
    key=("segment_id",),
    non_negative=frozenset({"reference_ha", "observed_share"}),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SegmentTable:
    """The frame and how much of it no image showed.

    Attributes
    ----------
    frame : Frame
        With the covariate filled where part of a segment was not seen.
    unobserved_share : dict of district, province and "country" to a share 0-1
        Of the risk area.
    n_filled : int
    """

    frame: Frame
    unobserved_share: dict[str, float]
    n_filled: int


def read_segments(path: Path) -> Frame:
    """Frame of all segments; `map_ha` may be left out, and is then unknown."""
    return read_segment_table(path).frame


def read_segment_table(path: Path) -> SegmentTable:
    """Frame and its unobserved shares; `mapped_share`, seen by imagery, is 1 where left out."""
    table = SEGMENTS.check(
        with_columns(read_rows(path), map_ha="", mapped_share="1"), source=path.name
    )
    for column in ("stratum_id", "district_pcode", "province_pcode"):
        refuse_lookalikes(path.name, column, table[column])
    _refuse_wrong_domains(table, path.name)
    mapped = table["map_ha"].to_numpy(dtype=float)
    risk = table["risk_ha"].to_numpy(dtype=float)
    beyond = np.flatnonzero(mapped > risk * (1.0 + AREA_TOLERANCE))
    if beyond.size:
        at = int(beyond[0])
        raise TableError(
            f"{path.name}, row {at + 1}: map_ha {mapped[at]:g} is more than the risk_ha "
            f"{risk[at]:g} of the segment; check the unit"
        )
    share = table["mapped_share"].to_numpy(dtype=float)
    above = np.flatnonzero(share > 1.0)
    if above.size:
        raise TableError(
            f"{path.name}, row {above[0] + 1}: mapped_share {share[above[0]]:g} is above 1; "
            "divide percent by 100"
        )
    stratum = table["stratum_id"].to_numpy(dtype=object)
    covariate, n_filled = None if np.isnan(mapped).all() else mapped, 0
    if covariate is not None and (share < 1.0).any():
        # Hectares of a segment of which nothing was seen are unknown, not zero.
        seen = np.where(share > 0.0, mapped, 0.0)
        if not np.isnan(seen).any():
            covariate, filled = fill_covariate(seen, risk * share, risk * (1.0 - share), stratum)
            n_filled = int(filled.sum())
    frame = Frame(
        segment_id=table["segment_id"].to_numpy(dtype=object),
        stratum=stratum,
        domain=table["district_pcode"].to_numpy(dtype=object),
        group=table["province_pcode"].to_numpy(dtype=object),
        risk_ha=risk,
        covariate_ha=covariate,
    )
    unobserved = {}
    for codes in (frame.domain, frame.group, np.full(frame.size, "country")):
        for code in np.unique(codes):
            inside = codes == code
            land = float(risk[inside].sum())
            unseen = float((risk * (1.0 - share))[inside].sum())
            unobserved[str(code)] = unseen / land if land > 0.0 else 0.0
    return SegmentTable(frame=frame, unobserved_share=unobserved, n_filled=n_filled)


def _refuse_wrong_domains(table: pd.DataFrame, source: str) -> None:
    """Stop at a code that stands for two domains."""
    for column in ("district_pcode", "province_pcode"):
        named = np.flatnonzero(table[column] == COUNTRY)
        if named.size:
            raise TableError(
                f"{source}, row {named[0] + 1}: {column} {COUNTRY!r} is the name of the sum of "
                "all provinces; give another code"
            )
    provinces = table.groupby("district_pcode")["province_pcode"].transform("nunique")
    split = np.flatnonzero(provinces > 1)
    if split.size:
        code = table["district_pcode"].iloc[split[0]]
        found = sorted(set(table.loc[table["district_pcode"] == code, "province_pcode"]))
        raise TableError(
            f"{source}, row {split[0] + 1}: district {code!r} lies in provinces "
            f"{', '.join(found)}; give each district one province"
        )


def read_sample(path: Path, frame: Frame) -> Sample:
    """Reference hectares of the sampled segments; `observed_share` is 1 where left out.

    Raises
    ------
    TableError
        A segment is not in the frame, or its hectares do not fit it; with file, row and column.
    """
    table = SAMPLE.check(with_columns(read_rows(path), observed_share="1"), source=path.name)
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
