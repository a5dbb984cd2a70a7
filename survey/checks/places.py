"""Checks of places on true coordinates: positions, districts, segments. They print none."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from survey.areas import AreaUnit, geodesic_area_ha, to_hectares
from survey.checks.flags import Check, Flag
from survey.checks.memo import Memo
from survey.forms import Submission
from survey.forms.questionnaires import QUESTIONS
from survey.forms.questions import parse_number
from survey.types import Crop

__all__ = ["Places", "check_location", "check_places"]

#: Rounding of the areas that a team writes down.
_SLACK = 1.01


class Places:
    """Where the answers of a round can lie.

    Parameters
    ----------
    districts : GeoDataFrame from `survey.readers.read_districts`
    frame : GeoDataFrame from `survey.readers.read_frame`
    projects : DataFrame from `survey.readers.read_projects`, optional
    """

    def __init__(
        self,
        districts: gpd.GeoDataFrame,
        frame: gpd.GeoDataFrame,
        projects: pd.DataFrame | None = None,
    ) -> None:
        self._districts = districts
        self._frame = frame
        self.projects = frozenset(projects["project_id"]) if projects is not None else None

    @cached_property
    def districts(self) -> Mapping[str, BaseGeometry]:
        """Shape of each district, longitude first, prepared for many questions."""
        shapes = self._districts.to_crs("EPSG:4326")
        found = dict(zip(shapes["district_pcode"], shapes.geometry, strict=True))
        shapely.prepare(np.array(list(found.values()), dtype=object))
        return found

    @cached_property
    def province_of(self) -> Mapping[str, str]:
        """Province of each district."""
        rows = self._districts
        return dict(zip(rows["district_pcode"], rows["province_pcode"], strict=True))

    @cached_property
    def name_of(self) -> Mapping[str, str]:
        """Name of each district."""
        rows = self._districts
        return dict(zip(rows["district_pcode"], rows["district_name"], strict=True))

    @property
    def frame(self) -> pd.DataFrame:
        """Segments with `segment_id`, `district_pcode` and `is_sampled`."""
        frame: pd.DataFrame = self._frame
        return frame

    @cached_property
    def segment_district(self) -> Mapping[str, str]:
        """District of each segment of the frame."""
        return dict(zip(self._frame["segment_id"], self._frame["district_pcode"], strict=True))

    @cached_property
    def drawn(self) -> frozenset[str]:
        """Segments of the sample."""
        return frozenset(self._frame.loc[self._frame["is_sampled"], "segment_id"])

    @cached_property
    def segment_ha(self) -> Mapping[str, float]:
        """Hectares of each drawn segment."""
        rows = self._frame.loc[self._frame["is_sampled"]]
        hectares = geodesic_area_ha(rows.geometry.to_numpy(), rows.crs)
        return dict(zip(rows["segment_id"], hectares.tolist(), strict=True))


def check_places(
    submissions: Sequence[Submission], places: Places, *, memo: Memo | None = None
) -> list[Flag]:
    """Flags of the places that submissions name and of the positions that phones read.

    Parameters
    ----------
    memo : Memo, optional
        Of the last time with the same `places`.

    Returns
    -------
    list of Flag
        In order of instanceID, check and field; without coordinates.
    """
    memo = memo or Memo()
    flags = [
        flag
        for each in submissions
        for flag in memo.get("places", (each,), lambda of: tuple(_check(of[0], places)))
    ]
    return sorted(flags, key=lambda flag: (flag.instance_id, flag.check, flag.field))


def _check(submission: Submission, places: Places) -> Iterator[Flag]:
    answers = submission.answers

    def flag(check: Check, field: str, what: str, remedy: str) -> Flag:
        return Flag(
            instance_id=submission.instance_id, check=check, field=field, what=what, remedy=remedy
        )

    segment = answers.get("segment_id", "")
    if segment and segment not in places.segment_district:
        yield flag(
            Check.PLACE, "segment_id", "is no segment of the frame", "correct the segment's code"
        )
    elif segment and submission.form_id == "segment_visit" and segment not in places.drawn:
        yield flag(
            Check.PLACE,
            "segment_id",
            "was not drawn for the sample",
            "correct the code; a visit elsewhere cannot count",
        )
    district = answers.get("district_pcode") or places.segment_district.get(segment, "")
    if district and district not in places.districts:
        yield flag(
            Check.PLACE,
            "district_pcode",
            "is no district of the round",
            "correct the district's code",
        )
    project = answers.get("project_id", "")
    if project and places.projects is not None and project not in places.projects:
        yield flag(
            Check.PLACE, "project_id", "is no project of the round", "correct the project's code"
        )
    if segment in places.segment_ha:
        yield from _too_large(submission, places.segment_ha[segment])
    if district not in places.districts:
        return
    for question in QUESTIONS.get(submission.form_id, ()):
        point = answers.get(question.name, "")
        if question.kind == "geopoint" and point and not question.repeat:
            yield from check_location(
                submission.instance_id, point, places.districts[district], field=question.name
            )


def _too_large(submission: Submission, segment_ha: float) -> Iterator[Flag]:
    """More hectares of crops than the segment has."""
    answers = submission.answers
    written = [answers[f"{crop}_area"] for crop in Crop if answers.get(f"{crop}_area")]
    if not written or not answers.get("area_unit"):
        return
    unit = AreaUnit(answers["area_unit"])
    found = sum(to_hectares(parse_number(area), unit) for area in written)
    if found > _SLACK * segment_ha:
        yield Flag(
            instance_id=submission.instance_id,
            check=Check.SUM,
            field="area_unit",
            what="gives the crops more land than the segment has",
            remedy="check the unit and the digits with the team",
        )


def check_location(
    instance_id: str,
    geopoint: str,
    district: BaseGeometry,
    *,
    field: str = "geopoint",
    max_accuracy_m: float = 30.0,
) -> list[Flag]:
    """Flags of one position against the district that was declared.

    Parameters
    ----------
    instance_id : str
    geopoint : str
        As ODK writes it: latitude, longitude, altitude (m), accuracy (m), with spaces.
    district : shapely geometry
        The declared district in EPSG:4326, longitude first.
    field : str
        The question.
    max_accuracy_m : float
        Radius in metres above which a reading is flagged; the default cannot tell
        neighbouring fields of 0.1 ha apart.

    Returns
    -------
    list of Flag
        Without coordinates, so that they can be shown to whoever may see the submission.
    """

    def flag(check: Check, what: str, remedy: str) -> Flag:
        return Flag(instance_id=instance_id, check=check, field=field, what=what, remedy=remedy)

    try:
        latitude, longitude, _, accuracy = (float(part) for part in geopoint.split())
    except ValueError:
        return [flag(Check.GPS, "is no position", "record it again, with altitude and accuracy")]
    if not all(map(math.isfinite, (latitude, longitude, accuracy))):
        return [flag(Check.GPS, "is no position", "record it again")]
    flags = []
    if accuracy <= 0.0 or accuracy > max_accuracy_m:
        flags.append(
            flag(
                Check.GPS,
                f"has an accuracy of {accuracy:.0f} m",
                f"wait in the open until it is below {max_accuracy_m:.0f} m; 0 means typed in",
            )
        )
    if abs(latitude) <= 90.0 and shapely.intersects_xy(district, longitude, latitude):
        return flags
    if shapely.intersects_xy(district, latitude, longitude):
        what, remedy = "fits only with latitude and longitude exchanged", "exchange them"
        return [*flags, flag(Check.SWAPPED, what, remedy)]
    what, remedy = "lies outside the declared district", "correct the district code or position"
    return [*flags, flag(Check.OUTSIDE, what, remedy)]
