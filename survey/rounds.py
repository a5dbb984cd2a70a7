"""The declared survey round: `survey.toml` read, checked and turned into values.

A round is one file that says what is surveyed, where its inputs lie and which estimator was
decided on before the season's data were seen. Everything a figure depends on is in it.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from survey.errors import ConfigError
from survey.types import DISTRICTS, Crop

__all__ = ["Round", "read_round"]

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Estimator = Literal["expansion", "ratio", "regression", "difference"]
SmallArea = Literal["none", "two_part", "bhf"]
ForcedMethod = Literal[
    "expansion", "ratio", "regression", "difference", "synthetic", "two_part", "bhf", "status_only"
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SurveySection(_Section):
    """What is surveyed, for which season.

    `training` marks a round with invented data: its store, forms, phones and results are apart.
    """

    country: str = Field(min_length=1)
    title: str = Field(min_length=1)
    harvest_year: int = Field(ge=1900, le=2200)
    reference_date: date
    release_date: date
    crops: tuple[Crop, ...] = Field(min_length=1)
    admin_level: int = Field(ge=1, le=4)
    seed: int = Field(ge=0)
    training: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> SurveySection:
        if len(set(self.crops)) != len(self.crops):
            raise ValueError("a crop is named twice; name each once")
        if self.release_date < self.reference_date:
            raise ValueError(
                f"release_date {self.release_date} lies before reference_date "
                f"{self.reference_date}; districts must not be released before the harvest"
            )
        return self


class InputsSection(_Section):
    """Where the inputs lie, relative to `survey.toml`.

    `reference` is a layer of reference samples besides the sampled segments, such as points of an
    accuracy assessment: no training plot may share land with one.
    """

    districts: Path
    frame: Path
    scenes: Path
    training: Path
    submissions: Path
    reference: Path | None = None
    projects: Path | None = None
    baselines: Path | None = None
    elevation: Path | None = None
    calendar_zones: Path | None = None


class ColumnsSection(_Section):
    """What a layer calls the columns that are needed: ours = "theirs"."""

    districts: dict[str, str] = {}

    @model_validator(mode="after")
    def _known(self) -> ColumnsSection:
        unknown = [name for name in self.districts if name not in DISTRICTS.columns]
        if unknown:
            raise ValueError(
                f'{", ".join(unknown)} is not a column of districts; write ours = "theirs" for '
                f"{', '.join(DISTRICTS.columns)}"
            )
        return self


class SeasonSection(_Section):
    """First and last day of a stratum's season, both included."""

    start: date
    end: date


class CalendarSection(_Section):
    """Periods whose clear dates become one picture each.

    `strata` names strata with a season of their own; where they lie is in the frame, or in
    `inputs.calendar_zones` (a layer with `stratum_id`). All other land has `start` to `end`.
    """

    start: date
    end: date
    step: Literal["month", "half_month"] = "half_month"
    composite: Literal["median", "nearest", "least_cloud"] = "median"
    strata: dict[str, SeasonSection] = {}


class TextureSection(_Section):
    """Texture of some bands or indices in a window of pixels."""

    bands: tuple[str, ...] = Field(min_length=1)
    measures: tuple[str, ...] = Field(default=("std", "contrast", "entropy"), min_length=1)
    window: int = Field(default=7, ge=3)
    levels: int = Field(default=32, ge=2)
    low: float = 0.0
    high: float = 1.0


class GridSection(_Section):
    """Pixels of the round: those of the raster `like`, or a reference system and a resolution.

    `resolution` is in the units of `crs`, with the edges of pixels at its multiples. `extent`
    (west, south, east, north in `crs`) bounds the round; without it the scenes do.
    """

    like: Path | None = None
    crs: str | None = None
    resolution: float | None = Field(default=None, gt=0.0)
    extent: tuple[float, float, float, float] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> GridSection:
        if self.like is not None:
            if (self.crs, self.resolution, self.extent) != (None, None, None):
                raise ValueError("write like alone, or crs and resolution (and extent)")
        elif self.crs is None or self.resolution is None:
            raise ValueError("write crs and resolution, or like")
        if self.extent is not None:
            west, south, east, north = self.extent
            if not (west < east and south < north):
                raise ValueError(f"extent {list(self.extent)} must be west, south, east, north")
        return self


class ImagerySection(_Section):
    """How pixels become features and features a map.

    `min_clear` counts dates or, with a calendar, periods. `phenology` names the indices or
    bands whose course is described. `block_km` is the side of the pieces of land that
    cross-validation leaves out. Without `grid` the pixels are those of the scenes.
    """

    grid: GridSection | None = None
    min_clear: int = Field(default=3, ge=1)
    max_gap_days: int | None = Field(default=None, ge=1)
    cloud_buffer_m: float = Field(default=0.0, ge=0.0, le=5000.0)
    block_km: float = Field(default=2.0, gt=0.0)
    indices: tuple[str, ...] = ("ndvi", "ndre", "ndmi")
    phenology: tuple[str, ...] = ()
    calendar: CalendarSection | None = None
    texture: TextureSection | None = None


class RiskRuleSection(_Section):
    """One condition of the risk area; see `imagery.riskarea.RiskRule`."""

    measure: Literal["altitude_m", "slope_deg", "land_cover", "distance_km"]
    file: Path
    min: float | None = Field(default=None, allow_inf_nan=False)
    max: float | None = Field(default=None, allow_inf_nan=False)
    classes: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> RiskRuleSection:
        if (self.measure == "land_cover") != bool(self.classes):
            raise ValueError("write classes for land_cover, and min or max for other measures")
        if self.measure == "land_cover" and (self.min, self.max) != (None, None):
            raise ValueError("land_cover has no min or max, it has classes")
        if self.measure != "land_cover" and self.min is None and self.max is None:
            raise ValueError("a rule needs min, max or both")
        return self


class RiskSection(_Section):
    """Land where the crop may grow: all rules hold. Land outside is not classified."""

    label: str = Field(pattern=r"^[\w.-]+$")
    rules: tuple[RiskRuleSection, ...] = Field(min_length=1)


class ForcedSection(_Section):
    """A method that the analyst orders for one crop in one district or province."""

    crop: Crop
    domain: str = Field(min_length=1)
    method: ForcedMethod
    reason: str = Field(min_length=1)


class EstimationSection(_Section):
    """The pre-declared estimator and its limits.

    `small_area` is the model of districts with fewer than `min_segments_district` segments,
    one for all crops or one for each. `method_version` is the analyst's label of definitions,
    frame rules and interpretation key: seasons with different labels are not compared.
    """

    estimator: dict[Crop, Estimator]
    small_area: SmallArea | dict[Crop, SmallArea] = "two_part"
    method_version: str = Field(default="1", pattern=r"^[^/\s][^/]*$")
    forced: tuple[ForcedSection, ...] = ()
    level: Fraction = 0.95
    min_segments_district: int = Field(default=10, ge=2)
    max_unobserved_share: Fraction = 0.5

    @model_validator(mode="after")
    def _forced_once(self) -> EstimationSection:
        keys = [(order.crop, order.domain) for order in self.forced]
        if len(set(keys)) != len(keys):
            raise ValueError("a crop and domain is forced twice; order one method for each")
        return self

    def small_area_of(self, crop: Crop) -> SmallArea:
        """Model of thin districts of a crop; "two_part" where a table leaves it out."""
        if isinstance(self.small_area, dict):
            return self.small_area.get(crop, "two_part")
        return self.small_area


class DisclosureSection(_Section):
    """Smallest cells that may be published."""

    min_risk_ha: float = Field(default=50.0, ge=0.0)
    min_frame_segments: int = Field(default=10, ge=1)
    min_respondents: int = Field(default=5, ge=3)
    min_villages: int = Field(default=2, ge=2)


class RetentionSection(_Section):
    """Days after which fine data go (`adsurvey purge`), from arrival or from the run."""

    submissions_days: int = Field(default=3650, ge=1)
    photos_days: int = Field(default=730, ge=1)
    refused_days: int = Field(default=365, ge=1)
    exports_days: int = Field(default=365, ge=1)
    restricted_days: int = Field(default=3650, ge=1)
    audit_days: int = Field(default=3650, ge=1)


class OutputSection(_Section):
    """Where results go, relative to `survey.toml`."""

    folder: Path = Path("out")


class Round(_Section):
    """One survey round.

    Attributes
    ----------
    path : Path
        The `survey.toml` it was read from; relative inputs start at its folder.
    """

    path: Path
    survey: SurveySection
    inputs: InputsSection
    columns: ColumnsSection = ColumnsSection()
    imagery: ImagerySection = ImagerySection()
    risk: RiskSection | None = None
    estimation: EstimationSection
    disclosure: DisclosureSection = DisclosureSection()
    retention: RetentionSection = RetentionSection()
    output: OutputSection = OutputSection()

    @model_validator(mode="after")
    def _estimator_for_each_crop(self) -> Round:
        missing = [crop for crop in self.survey.crops if crop not in self.estimation.estimator]
        if missing:
            raise ValueError(
                f"estimation.estimator names none for {', '.join(missing)}; declare expansion, "
                "ratio or regression before the season's data are seen"
            )
        return self

    @property
    def title(self) -> str:
        """Title as people see it: a training says so."""
        return f"TRAINING: {self.survey.title}" if self.survey.training else self.survey.title

    def locate(self, relative: Path) -> Path:
        """Absolute path of an input or output."""
        return (self.path.parent / relative).resolve()

    @property
    def output_folder(self) -> Path:
        """Folder that receives `publish/` and `restricted/`."""
        return self.locate(self.output.folder)

    @property
    def submissions_folder(self) -> Path:
        """Folder of the submission store.

        Raises
        ------
        ConfigError
            A survey is pointed at a training store, or a training at any other.
        """
        folder = self.locate(self.inputs.submissions)
        if (folder / "TRAINING").exists() != self.survey.training:
            raise ConfigError(
                f"{folder} is no training store; make one: adsurvey forms train FOLDER"
                if self.survey.training
                else f"{folder} holds invented data of a training; a survey needs its own"
            )
        return folder

    def parameters(self) -> dict[str, Any]:
        """Everything declared that moves a figure, as JSON-ready values, for a run's record."""
        return self.model_dump(mode="json", exclude={"path", "retention"})

    def input_files(self) -> Iterator[tuple[str, Path]]:
        """Name and absolute path of each input that must exist before a run."""
        for name, relative in self.inputs:
            if relative is not None and name != "submissions":
                yield name, self.locate(relative)
        if self.imagery.grid is not None and self.imagery.grid.like is not None:
            yield "grid", self.locate(self.imagery.grid.like)
        for number, rule in enumerate(self.risk.rules if self.risk else (), start=1):
            yield f"risk rule {number}", self.locate(rule.file)


def read_round(path: Path) -> Round:
    """Read and check `survey.toml`.

    Raises
    ------
    ConfigError
        The file is missing, is not TOML, or a key is missing, unknown or has a wrong value;
        the message lists every fault with its key and value.
    """
    path = path.resolve()
    if path.is_dir():
        path = path / "survey.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} does not exist; give the path of the round's survey.toml"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as UTF-8 text: {error}") from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    try:
        return Round.model_validate({**content, "path": path})
    except ValidationError as error:
        faults = "\n".join(f"  {_fault(item)}" for item in error.errors())
        raise ConfigError(f"{path}:\n{faults}") from error


def _fault(item: Any) -> str:
    place = [str(part) for part in item["loc"]]
    key = ".".join(place) or "survey.toml"
    if item["type"] == "extra_forbidden":
        known = _known_keys(place[:-1])
        near = difflib.get_close_matches(place[-1], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
        return f"{key} is not a key of survey.toml; {hint}"
    if item["type"] == "missing":
        return f"{key} is missing"
    message = str(item["msg"]).removeprefix("Value error, ")
    value = item.get("input")
    shown = f" is {value!r}" if isinstance(value, str | int | float | bool) else ""
    return f"{key}{shown}: {message}"


def _known_keys(place: list[str]) -> list[str]:
    model: type[BaseModel] = Round
    for part in place:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        # A section that may be left out is a union with None.
        sections = [
            kind
            for kind in (annotation, *get_args(annotation))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        if not sections:
            return []
        model = sections[0]
    return [name for name in model.model_fields if name != "path"]
