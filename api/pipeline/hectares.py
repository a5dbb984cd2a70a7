"""From scenes and training plots to mapped hectares: a covariate, never a result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import pandas as pd

from api.pipeline.features import round_features
from api.pipeline.inputs import Inputs
from api.pipeline.risk import round_risk_area
from imagery.classify import OUTSIDE_RISK, UNOBSERVED, CropModel
from imagery.mapping import map_scenes
from imagery.plots import training_pixels
from imagery.raster import class_names
from imagery.training import CANDIDATES, fit_crop_model
from imagery.workers import cores
from imagery.zonal import class_hectares
from survey.rounds import Round
from survey.spreadsheets import spreadsheet_table
from survey.types import SEGMENT_MAP, Crop

__all__ = ["Progress", "classify", "map_hectares", "segment_map_table", "train"]

#: Called with the name of a step, how much of it is done, and its total.
Progress = Callable[[str, int, int], None]


def map_hectares(
    declared: Round, inputs: Inputs, restricted: Path, progress: Progress, *, keep: Path
) -> tuple[pd.DataFrame, CropModel]:
    """Train, map and measure; finished windows of the map are kept in `keep` until it is whole.

    Returns
    -------
    DataFrame
        `segment_id`, `class_code` (0 is unobserved) and `ha` for every segment of the frame.
    CropModel
        Also saved in `restricted`, beside class map, probability map and district totals.
    """
    progress("Training", 0, 1)
    model = train(declared, inputs.training)
    model.save(restricted)
    progress("Training", 1, 1)
    class_map = classify(declared, model, restricted, progress, keep=keep)
    progress("Measuring", 0, 2)
    per_segment = class_hectares(class_map, inputs.frame, "segment_id")
    progress("Measuring", 1, 2)
    per_district = class_hectares(class_map, inputs.districts, "district_pcode", method="centre")
    names = {UNOBSERVED: "unobserved", **class_names(class_map)}
    per_district = per_district.assign(class_name=per_district["class_code"].map(names))
    spreadsheet_table(per_district).to_csv(restricted / "district_map.csv", index=False)
    progress("Measuring", 2, 2)
    return per_segment, model


def train(declared: Round, plots: gpd.GeoDataFrame) -> CropModel:
    """The crop classifier of a round.

    Parameters
    ----------
    plots : GeoDataFrame from `survey.readers.read_training`
        None of them in a sampled segment.
    """
    scenes, spec = round_features(declared)
    pixels = training_pixels(scenes, spec, plots, block_km=declared.imagery.block_km)
    return fit_crop_model(
        pixels.features,
        pixels.class_name,
        pixels.plot_id,
        pixels.weight,
        seed=declared.survey.seed,
        candidates=CANDIDATES,
        # Whole pieces of land are the harder judge; where plots are too few for it, whole plots.
        spatial_block=pixels.spatial_block if pixels.has_land_to_leave_out else None,
        crops=[crop.value for crop in declared.survey.crops],
        feature_names=pixels.feature_names,
    )


def classify(
    declared: Round,
    model: CropModel,
    folder: Path,
    progress: Progress,
    *,
    keep: Path,
    workers: int | None = None,
    scheduler: str | None = None,
) -> Path:
    """Write `class_map.tif`, `probability.tif`, `observations.tif`; the class map's path.

    Where the round declares a risk area, `risk_area.tif` is written too and bounds the maps.

    Parameters
    ----------
    workers : int, optional
        Processes that classify; one for each processor by default.
    scheduler : str, optional
        Address of a dask.distributed scheduler, whose workers classify instead.
    """
    scenes, spec = round_features(declared)
    risk_area = None
    if declared.risk is not None:
        risk_area, _ = round_risk_area(
            declared,
            scenes.grid,
            folder,
            progress=lambda done, total: progress("Risk area", done, total),
        )
    class_map = folder / "class_map.tif"
    map_scenes(
        scenes,
        model,
        spec,
        class_map=class_map,
        probability=folder / "probability.tif",
        crops=[crop.value for crop in declared.survey.crops],
        progress=lambda done, total: progress("Mapping", done, total),
        keep=keep,
        observations=folder / "observations.tif",
        risk_area=risk_area,
        workers=workers or cores(),
        scheduler=scheduler,
    )
    return class_map


def segment_map_table(
    hectares: pd.DataFrame, model: CropModel, crops: tuple[Crop, ...]
) -> pd.DataFrame:
    """Class hectares per segment as rows of segment and crop, of the land in the risk area."""
    wide = hectares.pivot_table(
        index="segment_id", columns="class_code", values="ha", aggfunc="sum", fill_value=0.0
    )
    unobserved = wide.get(UNOBSERVED, pd.Series(0.0, index=wide.index))
    # Outside the risk area nothing was looked for: neither observed nor unobserved.
    observed = wide.drop(columns=[UNOBSERVED, OUTSIDE_RISK], errors="ignore").sum(axis=1)
    codes = {name: code + 1 for code, name in enumerate(model.class_names)}
    parts = [
        pd.DataFrame(
            {
                "segment_id": wide.index,
                "crop": crop.value,
                "map_ha": (
                    wide[codes[crop]].to_numpy() if codes.get(crop) in wide.columns else 0.0
                ),
                "observed_ha": observed.to_numpy(),
                "unobserved_ha": unobserved.to_numpy(),
            }
        )
        for crop in crops
    ]
    return SEGMENT_MAP.check(pd.concat(parts, ignore_index=True))
