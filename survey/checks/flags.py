"""What a check says about one submission."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Check", "Flag"]


class Check(StrEnum):
    """What was checked."""

    CONFLICT = "conflict"
    CONSENT = "consent"
    DATE = "date"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    SUM = "sum"
    OUTLIER = "outlier"
    DURATION = "duration"
    PLACE = "place"
    GPS = "gps"
    SWAPPED = "swapped_coordinates"
    OUTSIDE = "outside_district"
    VERSION = "version"
    FORM = "form"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """Something to look at in one submission.

    Attributes
    ----------
    field : str
        The question, empty where the whole submission is meant.
    what, remedy : str
        Neither holds coordinates, free text or a household's values.
    """

    instance_id: str
    check: Check
    field: str
    what: str
    remedy: str

    def __str__(self) -> str:
        name = f" {self.field}" if self.field else ""
        return f"{self.instance_id}:{name} {self.what}; {self.remedy}"
