"""Alternative-development projects: farmer-survey indicators joined to their baselines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from survey.disclosure import small_respondent_cells
from survey.estimation import MeanEstimate, mean_by_cluster, share_by_cluster

__all__ = [
    "INDICATORS",
    "PROJECT_COLUMNS",
    "Indicator",
    "farmer_indicators",
    "project_indicators",
]

_NO_INTERVAL = "mean of a convenience sample: no design-based interval"


@dataclass(frozen=True, slots=True, kw_only=True)
class Indicator:
    """What a household answer measures.

    Attributes
    ----------
    code, unit : str
        Code used in `baselines.csv`, and its unit.
    column : str
        Column of `survey.types.FARMERS` that is averaged over households.
    """

    code: str
    unit: str
    column: str


#: Columns of a table of projects, in order. They are published: nothing finer belongs here.
PROJECT_COLUMNS = (
    "project_id",
    "project_name",
    "district_pcodes",
    "start_year",
    "indicator_code",
    "unit",
    "direction",
    "baseline_value",
    "baseline_year",
    "target_value",
    "latest_value",
    "latest_ci_low",
    "latest_ci_high",
    "latest_year",
    "n_respondents",
    "n_villages",
    "method",
    "disclosure",
)
INDICATORS = (
    Indicator(code="poppy_household_share", unit="share", column="grows_poppy"),
    Indicator(code="annual_income_usd", unit="USD/year", column="annual_income_usd"),
    Indicator(code="food_short_months", unit="months", column="food_short_months"),
    Indicator(code="ad_satisfaction", unit="score 1-5", column="ad_satisfaction"),
)


def farmer_indicators(
    farmers: pd.DataFrame,
    by: str,
    *,
    level: float,
    min_respondents: int,
    min_villages: int,
) -> pd.DataFrame:
    """Household means of each indicator per domain, with the villages as clusters.

    Probability interviews alone carry a design-based interval. Where a domain has none of
    them, convenience interviews give a mean without interval, and `method` says so.

    Parameters
    ----------
    farmers : DataFrame meeting `survey.types.FARMERS`
    by : str
        Column that names the domain: ``district_pcode`` or ``project_id``.

    Returns
    -------
    DataFrame
        One row per domain and indicator: `by`, indicator_code, unit, value, se, ci_low,
        ci_high, n_respondents, n_villages, method, disclosure (a reason where the cell is too
        small to be published; the value stays for the analyst).
    """
    rows = []
    for domain, answers in farmers.dropna(subset=[by]).groupby(by, sort=True):
        for indicator in INDICATORS:
            known = answers.dropna(subset=[indicator.column])
            drawn = known.loc[known["sample_type"] == "probability"]
            used = drawn if len(drawn) else known
            if used.empty:
                continue
            of = share_by_cluster if indicator.unit == "share" else mean_by_cluster
            mean = of(
                used[indicator.column].to_numpy(dtype=float),
                used["village_id"].to_numpy(dtype=object),
                level=level,
            )
            rows.append(_row(by, str(domain), indicator, mean, is_drawn=len(drawn) > 0))
    table = pd.DataFrame(
        rows,
        columns=[
            by,
            "indicator_code",
            "unit",
            "value",
            "se",
            "ci_low",
            "ci_high",
            "n_respondents",
            "n_villages",
            "method",
        ],
    )
    small = small_respondent_cells(
        table["n_respondents"].to_numpy(dtype=np.int64),
        table["n_villages"].to_numpy(dtype=np.int64),
        min_respondents=min_respondents,
        min_villages=min_villages,
    )
    reason = f"fewer than {min_respondents} respondents or {min_villages} villages"
    table["disclosure"] = np.where(small, reason, "")
    return table


def _row(
    by: str, domain: str, indicator: Indicator, mean: MeanEstimate, *, is_drawn: bool
) -> dict[str, object]:
    return {
        by: domain,
        "indicator_code": indicator.code,
        "unit": indicator.unit,
        "value": mean.value,
        "se": mean.se if is_drawn else np.nan,
        # No answer is negative, so no mean is; a t interval does not know.
        "ci_low": max(mean.ci_low, 0.0) if is_drawn else np.nan,
        "ci_high": mean.ci_high if is_drawn else np.nan,
        "n_respondents": mean.n,
        "n_villages": mean.n_clusters,
        "method": mean.method if is_drawn else _NO_INTERVAL,
    }


def project_indicators(
    projects: pd.DataFrame,
    baselines: pd.DataFrame,
    latest: pd.DataFrame,
    *,
    harvest_year: int,
) -> pd.DataFrame:
    """Baseline beside the latest value of every project and indicator.

    Parameters
    ----------
    projects : DataFrame from `survey.readers.read_projects`
    baselines : DataFrame from `survey.readers.read_baselines`
    latest : DataFrame from `farmer_indicators(..., by="project_id")`

    Returns
    -------
    DataFrame
        One row per baseline. Where no interview measured the indicator this year the latest
        value is missing, not zero, and `disclosure` is empty.
    """
    renamed = latest.rename(
        columns={"value": "latest_value", "ci_low": "latest_ci_low", "ci_high": "latest_ci_high"}
    ).drop(columns=["unit", "se"])
    table = baselines.merge(
        projects[["project_id", "project_name", "district_pcodes", "start_year"]],
        on="project_id",
        validate="many_to_one",
    ).merge(renamed, on=["project_id", "indicator_code"], how="left", validate="one_to_one")
    table["latest_year"] = np.where(table["latest_value"].notna(), harvest_year, np.nan)
    for column in ("n_respondents", "n_villages"):
        table[column] = table[column].fillna(0).astype("int64")
    table["method"] = table["method"].fillna("not measured this year")
    table["disclosure"] = table["disclosure"].fillna("")
    table["district_pcodes"] = [_joined(codes) for codes in table["district_pcodes"]]
    return table[list(PROJECT_COLUMNS)].sort_values(
        ["project_id", "indicator_code"], ignore_index=True
    )


def _joined(codes: Iterable[str]) -> str:
    return ";".join(codes)
