"""What may leave at all: the columns of published layers, and a last look at their rows.

The algorithm that hides cells lives in `survey.disclosure`; here stands what may be shown at
all, and a guard that refuses rows which should have been emptied and were not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from api.errors import RunFolderError
from survey.baselines import PROJECT_COLUMNS

__all__ = ["DISTRICT_COLUMNS", "PROJECT_COLUMNS", "TOTAL_COLUMNS", "require_emptied"]

_FIGURE: tuple[str, ...] = (
    "reference_date",
    "value_ha",
    "se_ha",
    "ci_low_ha",
    "ci_high_ha",
    "level",
    "cv",
    "df",
    "n_segments",
    "estimate_type",
    "method",
    "method_version",
    "why",
    "reliability",
    "status",
    "unobserved_share",
    "disclosure",
)
#: Columns of published layers, in order. What is not named here does not leave.
DISTRICT_COLUMNS: tuple[str, ...] = (
    "crop",
    "harvest_year",
    "district_pcode",
    "district_name",
    "province_pcode",
    "province_name",
    *_FIGURE,
)
TOTAL_COLUMNS: tuple[str, ...] = (
    "crop",
    "harvest_year",
    "admin_level",
    "domain_id",
    "domain_name",
    *_FIGURE,
)
_TELLING_FIGURE = ("value_ha", "se_ha", "ci_low_ha", "ci_high_ha", "cv")
_TELLING: Mapping[str, Sequence[str]] = {
    "district_estimates": _TELLING_FIGURE,
    "total_estimates": _TELLING_FIGURE,
    "projects": ("latest_value", "latest_ci_low", "latest_ci_high", "n_respondents"),
}


def require_emptied(table: pd.DataFrame, layer: str) -> None:
    """Refuse rows whose values should be hidden.

    Raises
    ------
    RunFolderError
        A row carries a disclosure reason, or a reliability that forbids a figure, and a value
        all the same.
    """
    hidden = table["disclosure"].fillna("") != ""
    if "reliability" in table.columns:
        hidden |= table["reliability"].isin(["suppressed", "status_only"])
    for column in _TELLING[layer]:
        exposed = hidden & table[column].notna()
        if exposed.any():
            raise RunFolderError(
                f"layer {layer}: {int(exposed.sum())} rows are to be hidden but hold {column}; "
                "the file was changed after the run: run it again"
            )
