"""The district table: estimates with their labels, and what of them may be published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import geopandas as gpd
import numpy as np
import pandas as pd

from survey.disclosure import REASON_SECONDARY, secondary_suppression, small_area_cells
from survey.errors import TableError
from survey.estimation import DomainEstimate, Thresholds, reliability_of
from survey.types import ESTIMATES, Crop, EstimateType, Reliability

__all__ = ["VALUE_COLUMNS", "estimates_table", "published_estimates", "unobserved_shares"]

# Columns that would tell a hidden figure.
VALUE_COLUMNS = ("value_ha", "se_ha", "ci_low_ha", "ci_high_ha", "cv", "df", "deff")

# What the words of a row become where disclosure hides it.
_WITHHELD = {
    "status": "withheld",
    "estimate_type": EstimateType.STATUS_ONLY.value,
    "method": "none",
    "why": "Withheld; see disclosure.",
    "reliability": Reliability.SUPPRESSED.value,
}
_UNQUALIFIED = {Reliability.STATUS_ONLY, Reliability.SUPPRESSED}


def unobserved_shares(frame: pd.DataFrame, segment_map: pd.DataFrame) -> dict[str, float]:
    """Share of each domain's frame land that no clear image showed.

    Parameters
    ----------
    frame : DataFrame meeting `survey.types.FRAME`
    segment_map : DataFrame meeting `survey.types.SEGMENT_MAP`

    Returns
    -------
    dict of domain id (district, province, and ``""`` for the country) to a fraction 0-1
    """
    land = segment_map.drop_duplicates("segment_id").merge(
        frame[["segment_id", "district_pcode", "province_pcode"]], on="segment_id"
    )
    land["all_ha"] = land["observed_ha"] + land["unobserved_ha"]
    shares: dict[str, float] = {}
    for column in ("district_pcode", "province_pcode"):
        sums = land.groupby(column)[["unobserved_ha", "all_ha"]].sum()
        # Where all land lies outside the risk area there was nothing to observe.
        share = (sums["unobserved_ha"] / sums["all_ha"]).where(sums["all_ha"] > 0.0, 0.0)
        shares.update({str(code): float(value) for code, value in share.items()})
    shares[""] = float(land["unobserved_ha"].sum() / land["all_ha"].sum())
    return shares


def estimates_table(
    estimates: Mapping[Crop, Sequence[DomainEstimate]],
    *,
    harvest_year: int,
    thresholds: Thresholds,
    method_version: Mapping[Crop, str],
) -> pd.DataFrame:
    """Estimates as rows with the columns of `survey.types.ESTIMATES` and their reliability.

    `method_version` of each crop is `survey.estimation.comparability_label`.
    """
    rows = []
    for crop, domains in estimates.items():
        for domain in domains:
            estimate = domain.estimate
            rows.append(
                {
                    "crop": crop.value,
                    "harvest_year": harvest_year,
                    "admin_level": domain.admin_level,
                    "domain_id": domain.domain_id,
                    "value_ha": estimate.value_ha,
                    "se_ha": estimate.se_ha,
                    "ci_low_ha": estimate.ci_low_ha,
                    "ci_high_ha": estimate.ci_high_ha,
                    "level": estimate.level,
                    "cv": estimate.cv,
                    "df": estimate.df,
                    "deff": estimate.deff,
                    "n_segments": estimate.n_segments,
                    "n_positive": estimate.n_positive,
                    "estimate_type": estimate.estimate_type.value,
                    "method": estimate.method,
                    "method_version": method_version[crop],
                    "why": estimate.why,
                    "reliability": reliability_of(estimate, thresholds).value,
                }
            )
    table = pd.DataFrame(rows)
    # df is infinite where a source says so; a table cell is empty then.
    table["df"] = table["df"].where(np.isfinite(table["df"]))
    return table[list(ESTIMATES.columns)]


def published_estimates(
    estimates: pd.DataFrame,
    districts: gpd.GeoDataFrame,
    frame: pd.DataFrame,
    *,
    unobserved: Mapping[str, float],
    min_risk_ha: float,
    min_frame_segments: int,
    release_date: date,
    today: date,
) -> pd.DataFrame:
    """Rows that may leave the analyst's room: values hidden where quality or disclosure says so.

    Three separate reasons empty the value columns: `reliability` (quality), `disclosure` (a
    cell too small, or hidden to protect another), and the release date, before which nothing
    below the province leaves. The last two empty everything else that tells of the figure too:
    counts, method, reason, label and unobserved share.

    Parameters
    ----------
    estimates : DataFrame from `estimates_table`
    districts : GeoDataFrame from `survey.frame.check_districts`
    frame : DataFrame meeting `survey.types.FRAME`
    unobserved : mapping from `unobserved_shares`

    Returns
    -------
    DataFrame
        The columns of `estimates` plus unobserved_share, status (detected, not_detected,
        not_sampled or withheld) and disclosure.
    """
    table = estimates.copy()
    names = _domain_names(districts)
    table["domain_name"] = [
        names.get((level, domain), "")
        for level, domain in zip(table["admin_level"], table["domain_id"], strict=True)
    ]
    parent = districts.set_index("district_pcode")["province_pcode"].to_dict()
    table["province_pcode"] = [
        parent.get(domain, domain if level == "province" else "")
        for level, domain in zip(table["admin_level"], table["domain_id"], strict=True)
    ]
    table["unobserved_share"] = [
        unobserved.get("" if level == "country" else domain, np.nan)
        for level, domain in zip(table["admin_level"], table["domain_id"], strict=True)
    ]
    table["status"] = np.select(
        [table["n_segments"] == 0, table["n_positive"] == 0],
        ["not_sampled", "not_detected"],
        "detected",
    )
    table["disclosure"] = ""
    _hide_small(table, frame, min_risk_ha, min_frame_segments)
    if today < release_date:
        below = table["admin_level"] == "district"
        table.loc[below, "disclosure"] = f"not released before {release_date.isoformat()}"
    exposed = table["disclosure"] != ""
    unqualified = table["reliability"].isin([label.value for label in _UNQUALIFIED])
    table.loc[exposed | unqualified, list(VALUE_COLUMNS)] = np.nan
    # "Not detected", a count of positives or a reason in words tell as much as a value.
    for column in ("n_segments", "n_positive"):
        table[column] = table[column].astype("Int64").mask(exposed)
    table["unobserved_share"] = table["unobserved_share"].mask(exposed)
    for column, word in _WITHHELD.items():
        table.loc[exposed, column] = word
    return table


def _hide_small(
    table: pd.DataFrame, frame: pd.DataFrame, min_risk_ha: float, min_frame_segments: int
) -> None:
    below = table["admin_level"] == "district"
    sizes = frame.groupby("district_pcode")["risk_ha"].agg(["sum", "size"])
    cells = table.loc[below]
    unknown = ~cells["domain_id"].isin(sizes.index)
    if unknown.any():
        raise TableError(
            f"district {cells.loc[unknown, 'domain_id'].iloc[0]} has an estimate but no frame "
            "segments; estimate only domains of the frame"
        )
    size = sizes.loc[cells["domain_id"]]
    small = small_area_cells(
        size["sum"].to_numpy(),
        size["size"].to_numpy(),
        min_risk_ha=min_risk_ha,
        min_frame_segments=min_frame_segments,
    )
    is_empty = cells["reliability"].isin([label.value for label in _UNQUALIFIED]).to_numpy()
    rows = cells.index.to_numpy()
    for crop in dict.fromkeys(cells["crop"]):
        inside = (cells["crop"] == crop).to_numpy()
        further = secondary_suppression(
            small[inside],
            is_empty[inside],
            cells["value_ha"].to_numpy(dtype=float)[inside],
            size["sum"].to_numpy()[inside],
            cells["province_pcode"].to_numpy(dtype=object)[inside],
        )
        table.loc[rows[inside][further.cells], "disclosure"] = REASON_SECONDARY
        of_crop = table["crop"] == crop
        totals = (table["admin_level"] == "province") & table["domain_id"].isin(further.totals)
        if further.grand_total:
            totals |= table["admin_level"] == "country"
        table.loc[of_crop & totals, "disclosure"] = REASON_SECONDARY
    table.loc[rows[small], "disclosure"] = (
        f"cell below {min_risk_ha:g} ha of risk area or {min_frame_segments} frame segments"
    )


def _domain_names(districts: gpd.GeoDataFrame) -> dict[tuple[str, str], str]:
    names = {
        ("district", code): name
        for code, name in zip(districts["district_pcode"], districts["district_name"], strict=True)
    }
    names.update(
        (("province", code), name)
        for code, name in zip(districts["province_pcode"], districts["province_name"], strict=True)
    )
    return names
