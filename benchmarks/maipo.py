"""Maipo Valley: a map trained on some fields, hectares of the others by sample and by count.

Landsat 8 over fruit orchards whose crops are known field by field. Per split of the fields:
train on 40%, map the rest, draw many stratified samples of the mapped fields and compare the
map-assisted estimate with the raw pixel count, per crop and per district (block of fields).
The classifier is compared with a random forest of 300 trees on the same pixels.

    python benchmarks/maipo.py --splits 8 --draws 250 --json out.json

No poppy or cannabis grows here: nothing below is an accuracy of those.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import rasterio
from sklearn.ensemble import RandomForestClassifier

from imagery.catalog import SceneStack, read_scenes
from imagery.classify import CANDIDATES, TreeSettings, fit_crop_model
from imagery.mapping import FeatureSpec, map_scenes
from imagery.zonal import class_hectares, training_pixels
from survey.areas import geodesic_area_ha
from survey.estimation import Frame, Sample, regression_total

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "maipo-landsat8"
CROPS = ("crop1", "crop2", "crop3", "crop4")
SPEC = FeatureSpec(indices=("ndvi", "ndmi", "gndvi", "nbr", "ndti", "evi2", "mndwi"), min_clear=8)
TRAIN_SHARE = 0.4
N_DISTRICTS = 4

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Fields that did not train the map, with what the map says of them.

    Attributes
    ----------
    field : str array (N,)
    district : int array (N,)
    area_ha : float array (N,)
    true_ha, mapped_ha : float array (N, crops)
    accuracy : mapping of classifier to (share of pixels right, share of fields right)
    settings : mapping
        Tree settings that cross-validation inside the training fields chose.
    """

    field: npt.NDArray[np.object_]
    district: npt.NDArray[np.int64]
    area_ha: Floats
    true_ha: Floats
    mapped_ha: Floats
    accuracy: Mapping[str, tuple[float, float]]
    settings: Mapping[str, Any]

    @property
    def members(self) -> npt.NDArray[np.bool_]:
        """Domain masks (1 + districts, N): the whole area first."""
        return np.vstack(
            [np.ones(len(self.field), dtype=bool)]
            + [self.district == number for number in range(N_DISTRICTS)]
        )

    @property
    def truth_ha(self) -> Floats:
        """True hectares (1 + districts, crops)."""
        return self.members.astype(float) @ self.true_ha

    @property
    def count_ha(self) -> Floats:
        """Hectares by counting pixels (1 + districts, crops)."""
        return self.members.astype(float) @ self.mapped_ha


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """Estimates from repeated samples of one population.

    Attributes
    ----------
    estimate_ha : float array (draws, 1 + districts, crops)
    is_covered : bool array (draws, 1 + districts, crops)
        Whether the 95% interval holds the truth.
    """

    estimate_ha: Floats
    is_covered: npt.NDArray[np.bool_]


def scenes_of(folder: Path) -> SceneStack:
    """Sidecars beside links to the images: the images themselves are not touched.

    The table behind the images gives no calendar dates. Sixteen days apart, Landsat's
    repeat, stand in for them; no date is masked, so nothing is interpolated between them.
    """
    for number in range(8):
        image = folder / f"maipo_t{number + 1}.tif"
        image.symlink_to(DATA / f"maipo_A_t{number + 1}.tif")
        with rasterio.open(image) as dataset:
            bands = dataset.descriptions
        sidecar = {
            "date": (date(2013, 10, 1) + timedelta(days=16 * number)).isoformat(),
            "bands": bands,
            "scale": 0.0001,
            "mask": None,
        }
        image.with_suffix(".json").write_text(json.dumps(sidecar))
    return read_scenes(folder)


def fields_with_districts() -> gpd.GeoDataFrame:
    """Fields with plot_id, class_name, true hectares and a district.

    Districts are blocks of fields: the median easting, then the median northing of each half.
    """
    fields = gpd.read_file(DATA / "maipo_A_fields.gpkg")
    centre = fields.geometry.centroid
    east = centre.x > centre.x.median()
    north = centre.y > centre.y.groupby(east).transform("median")
    return fields.assign(
        plot_id=fields["field"].astype(str),
        class_name=fields["croptype"].astype(str),
        district=(2 * east + north).astype(int),
        true_ha=geodesic_area_ha(fields.geometry, fields.crs),
    )


def is_training(fields: gpd.GeoDataFrame, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """A random share of the fields of every crop."""
    chosen = np.zeros(len(fields), dtype=bool)
    for crop in CROPS:
        rows = np.flatnonzero(fields["class_name"] == crop)
        chosen[rng.permutation(rows)[: round(TRAIN_SHARE * len(rows))]] = True
    return chosen


def map_split(
    seed: int, *, folder: Path, candidates: Sequence[TreeSettings] = CANDIDATES
) -> Population:
    """Train on a share of the fields and map the others."""
    folder.mkdir(parents=True)
    stack = scenes_of(folder)
    fields = fields_with_districts()
    training = is_training(fields, np.random.default_rng(seed))
    table = training_pixels(stack, SPEC, fields[training])
    model = fit_crop_model(
        table.features,
        table.class_name,
        table.plot_id,
        table.weight,
        seed=seed,
        candidates=candidates,
    )
    others = fields[~training].reset_index(drop=True)
    class_map = folder / "class_map.tif"
    map_scenes(
        stack,
        model,
        SPEC,
        class_map=class_map,
        probability=folder / "probability.tif",
        crops=CROPS,
    )
    hectares = class_hectares(class_map, others, "plot_id")
    mapped = np.zeros((len(others), 1 + len(CROPS)))
    row = {name: position for position, name in enumerate(others["plot_id"])}
    mapped[hectares["plot_id"].map(row), hectares["class_code"]] = hectares["ha"]
    if mapped[:, 0].sum() > 0.001 * mapped.sum():
        raise SystemExit(f"{mapped[:, 0].sum():.2f} ha of the fields are unobserved")
    true = np.zeros((len(others), len(CROPS)))
    true[np.arange(len(others)), others["class_name"].map(CROPS.index)] = others["true_ha"]
    return Population(
        field=others["plot_id"].to_numpy(dtype=object),
        district=others["district"].to_numpy(),
        area_ha=others["true_ha"].to_numpy(),
        true_ha=true,
        mapped_ha=mapped[:, 1:],
        accuracy=_compare(stack, table, model, others, seed),
        settings=model.card["settings"],
    )


def draw_samples(
    population: Population, n_draws: int, n_fields: int, rng: np.random.Generator
) -> Draws:
    """Estimate from many samples of `n_fields` fields in every district, without replacement."""
    members = population.members
    frames = [
        Frame(
            segment_id=population.field.astype(str),
            stratum=population.district.astype(str),
            domain=population.district.astype(str),
            group=np.full(len(population.field), "Maipo"),
            risk_ha=population.area_ha,
            covariate_ha=population.mapped_ha[:, column],
        )
        for column in range(len(CROPS))
    ]
    truth = population.truth_ha
    estimate = np.empty((n_draws, *truth.shape))
    covered = np.empty(estimate.shape, dtype=bool)
    for draw in range(n_draws):
        drawn = np.concatenate(
            [rng.choice(np.flatnonzero(m), n_fields, replace=False) for m in members[1:]]
        )
        for column, frame in enumerate(frames):
            sample = Sample(index=drawn, y_ha=population.true_ha[drawn, column])
            for number, member in enumerate(members):
                found = regression_total(frame, sample, member=member)
                estimate[draw, number, column] = found.value_ha
                covered[draw, number, column] = (
                    found.ci_low_ha <= truth[number, column] <= found.ci_high_ha
                )
    return Draws(estimate_ha=estimate, is_covered=covered)


def _compare(
    stack: SceneStack, table: Any, model: Any, others: gpd.GeoDataFrame, seed: int
) -> dict[str, tuple[float, float]]:
    """Pixels and fields that each classifier gets right on the fields it was not given."""
    test = training_pixels(stack, SPEC, others)
    names = np.array(model.class_names, dtype=object)
    forest = RandomForestClassifier(n_estimators=300, random_state=seed, n_jobs=1)
    forest.fit(table.features, table.class_name.astype(str))
    found = {
        "lightgbm": names[model.predict_proba(test.features).argmax(axis=1)],
        "random_forest": forest.predict(test.features).astype(object),
    }
    plots, plot = np.unique(test.plot_id.astype(str), return_inverse=True)
    own = np.empty(len(plots), dtype=object)
    own[plot] = test.class_name
    result = {}
    for classifier, label in found.items():
        votes = np.zeros((len(plots), len(names)))
        np.add.at(votes, (plot, np.searchsorted(names, label)), 1.0)
        result[classifier] = (
            float((label == test.class_name).mean()),
            float((names[votes.argmax(axis=1)] == own).mean()),
        )
    return result


def summary(populations: Sequence[Population], draws: Sequence[Draws]) -> dict[str, Any]:
    """Bias, RMSE and coverage per crop, whole area and districts, over splits and draws."""
    pairs = list(zip(populations, draws, strict=True))
    error = np.stack([d.estimate_ha - p.truth_ha for p, d in pairs])  # split, draw, domain, crop
    count = np.stack([p.count_ha - p.truth_ha for p in populations])
    covered = np.stack([d.is_covered for d in draws])
    figures = {}
    for column, crop in enumerate(CROPS):
        parts = {"whole area": [0], "districts": list(range(1, 1 + N_DISTRICTS))}
        figures[crop] = {
            part: {
                "truth_ha": float(np.mean([p.truth_ha[rows, column] for p in populations])),
                "assisted_bias_ha": float(error[:, :, rows, column].mean()),
                "assisted_bias_mc_se_ha": _mc_se(error[:, :, rows, column].mean(axis=2)),
                "assisted_rmse_ha": float(np.sqrt((error[:, :, rows, column] ** 2).mean())),
                "assisted_coverage": float(covered[:, :, rows, column].mean()),
                "count_bias_ha": float(count[:, rows, column].mean()),
                "count_rmse_ha": float(np.sqrt((count[:, rows, column] ** 2).mean())),
            }
            for part, rows in parts.items()
        }
    return {
        "figures": figures,
        "accuracy": {
            classifier: np.round([p.accuracy[classifier] for p in populations], 4).tolist()
            for classifier in populations[0].accuracy
        },
        "settings": [dict(p.settings) for p in populations],
    }


def _mc_se(error: Floats) -> float:
    """Standard error of a mean over (splits, draws); draws are independent given the split."""
    n_splits, n_draws = error.shape
    return float(np.sqrt((error.var(axis=1, ddof=1) / n_draws).sum()) / n_splits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=8)
    parser.add_argument("--draws", type=int, default=250)
    parser.add_argument("--fields", type=int, default=12, help="drawn in every district")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    populations = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.splits):
            seed = options.seed + number
            populations.append(map_split(seed, folder=Path(folder) / str(number)))
            print(f"split {number + 1}: {populations[-1].accuracy}", flush=True)
    draws = [
        draw_samples(population, options.draws, options.fields, np.random.default_rng([1, number]))
        for number, population in enumerate(populations)
    ]
    result = summary(populations, draws)
    for crop, parts in result["figures"].items():
        for part, figure in parts.items():
            words = "  ".join(f"{name} {value:.2f}" for name, value in figure.items())
            print(f"{crop} {part}: {words}")
            smaller = (
                "count" if figure["count_rmse_ha"] < figure["assisted_rmse_ha"] else "assisted"
            )
            print(f"    smaller RMSE: {smaller}")
    for classifier, shares in result["accuracy"].items():
        pixels, fields = np.mean(shares, axis=0)
        print(f"{classifier}: {pixels:.4f} of pixels, {fields:.4f} of fields right")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
