"""Maipo Valley: a map trained on some fields, hectares of the others by sample and by count.

Landsat 8 over fruit orchards whose crops are known field by field. Per split of the fields:
train on 40%, map the rest, draw many stratified samples of the mapped fields and compare the
map-assisted estimate, the expansion and the raw pixel count, per crop and per district (block
of fields). The classifier is compared with a random forest of 300 trees on the same pixels.

    python -m benchmarks.maipo --splits 5 --draws 500 --json out.json

Fields, never pixels, are split. No poppy or cannabis grows here: nothing below is an accuracy
of those. What came out is in docs/real-input-maipo.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio
from sklearn.ensemble import RandomForestClassifier

from imagery.catalog import SceneStack, read_scenes
from imagery.classify import CropModel
from imagery.features import FeatureSpec
from imagery.mapping import map_scenes
from imagery.plots import TrainingTable, training_pixels
from imagery.training import CANDIDATES, TreeSettings, fit_crop_model
from imagery.zonal import class_hectares
from survey.areas import geodesic_area_ha
from survey.errors import EstimationError
from survey.estimation import Frame, Sample, difference_total, expansion_total, regression_total
from survey.types import Estimate

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "maipo-landsat8"
CROPS = ("crop1", "crop2", "crop3", "crop4")
# No red edge on Landsat 8.
SPEC = FeatureSpec(indices=("ndvi", "ndmi"), min_clear=8)
TRAIN_SHARE = 0.4
N_DISTRICTS = 4
PIXEL_HA = 0.09

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def regression_or_expansion(frame: Frame, sample: Sample, *, member: Bools) -> Estimate:
    """Regression; the expansion for the rare draw in whose fields nothing is mapped.

    No draw is left out: those without the crop are the ones that would be missed.
    """
    try:
        return regression_total(frame, sample, member=member)
    except EstimationError:
        return expansion_total(frame, sample, member=member)


# With 40 fields the regression, tried first, showed a bias (docs/real-input-maipo.md), so the
# assisted estimate is the one in which nothing is fitted.
ESTIMATORS = {
    "assisted": difference_total,
    "regression": regression_or_expansion,
    "expansion": expansion_total,
}


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
    trained_on : frozenset of str
        Fields that trained the map; none of them is in `field`.
    """

    field: npt.NDArray[np.object_]
    district: npt.NDArray[np.int64]
    area_ha: Floats
    true_ha: Floats
    mapped_ha: Floats
    accuracy: Mapping[str, tuple[float, float]]
    trained_on: frozenset[str]

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
    estimate_ha : float array (draws, domains, crops)
        Domains are the whole area and then, unless left out, the districts.
    is_below, is_above : bool array (draws, domains, crops)
        Whether the 95% interval lies wholly below, or wholly above, the truth.
    is_unfound : bool array (draws, domains, crops)
        Whether the sample of the domain holds no field of the crop.
    """

    estimate_ha: Floats
    is_below: npt.NDArray[np.bool_]
    is_above: npt.NDArray[np.bool_]
    is_unfound: npt.NDArray[np.bool_]

    @property
    def is_covered(self) -> npt.NDArray[np.bool_]:
        """Whether the 95% interval holds the truth."""
        return ~(self.is_below | self.is_above)


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


def pixel_hectares(table: TrainingTable) -> pd.Series:
    """Hectares of every class, as so many pixels of 0.09 ha (the README's measure)."""
    return pd.Series(table.class_name).value_counts().sort_index() * PIXEL_HA


def map_split(
    seed: int, *, folder: Path, candidates: Sequence[TreeSettings] = (TreeSettings(),)
) -> Population:
    """Train on a share of the fields and map the others, by the functions of the pipeline."""
    folder.mkdir(parents=True)
    stack = scenes_of(folder)
    fields = fields_with_districts()
    training = is_training(fields, np.random.default_rng(seed))
    trained_on, others = fields[training], fields[~training].reset_index(drop=True)
    table = training_pixels(stack, SPEC, trained_on)
    model = _fit(table, seed, candidates)
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
    test = training_pixels(stack, SPEC, others)
    return Population(
        field=others["plot_id"].to_numpy(dtype=object),
        district=others["district"].to_numpy(),
        area_ha=others["true_ha"].to_numpy(),
        true_ha=true,
        mapped_ha=mapped[:, 1:],
        accuracy={
            "lightgbm": _shares_right(_by_trees(model, test), test),
            "random_forest": _shares_right(_by_forest(table, test, seed), test),
        },
        trained_on=frozenset(trained_on["plot_id"]),
    )


def compare_classifiers(seeds: Sequence[int]) -> dict[str, Floats]:
    """Shares of held-out pixels and fields that are right, per split and classifier.

    Returns
    -------
    dict of str to float array (splits, 2)
        `default` has fixed settings; `chosen`, as the pipeline does, those that cross-validation
        by field inside the training fields takes; `random_forest` has 300 trees.
    """
    fields = fields_with_districts()
    with tempfile.TemporaryDirectory() as folder:
        table = training_pixels(scenes_of(Path(folder)), SPEC, fields)
    shares: dict[str, list[tuple[float, float]]] = {
        "default": [],
        "chosen": [],
        "random_forest": [],
    }
    for seed in seeds:
        training = is_training(fields, np.random.default_rng(seed))
        inside = np.isin(table.plot_id.astype(str), fields["plot_id"][training].to_list())
        given, test = _rows(table, inside), _rows(table, ~inside)
        default = _fit(given, seed, (TreeSettings(),))
        chosen = _fit(given, seed, CANDIDATES)
        shares["default"].append(_shares_right(_by_trees(default, test), test))
        shares["chosen"].append(_shares_right(_by_trees(chosen, test), test))
        shares["random_forest"].append(_shares_right(_by_forest(given, test, seed), test))
    return {name: np.array(rows) for name, rows in shares.items()}


def difference(own: Floats, other: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean difference over splits, its plain and its corrected standard error.

    The splits share fields, so the plain error is too small. The correction is that of Nadeau
    and Bengio (2003), Machine Learning 52, 239-281: variance times 1/J + test/train.
    """
    gap = own - other
    variance = gap.var(axis=0, ddof=1)
    overlap = (1.0 - TRAIN_SHARE) / TRAIN_SHARE
    return (
        gap.mean(axis=0),
        np.sqrt(variance / len(gap)),
        np.sqrt(variance * (1.0 / len(gap) + overlap)),
    )


def draw_samples(
    population: Population,
    n_draws: int,
    n_fields: int,
    rng: np.random.Generator,
    *,
    estimator: Callable[..., Estimate] = difference_total,
    is_by_district: bool = True,
) -> Draws:
    """Estimates from many samples of `n_fields` fields in every district, without replacement."""
    strata = population.members[1:]
    members = population.members if is_by_district else population.members[:1]
    truth = population.truth_ha[: len(members)]
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
    estimate = np.empty((n_draws, *truth.shape))
    below, above, unfound = (np.empty(estimate.shape, dtype=bool) for _ in range(3))
    for draw in range(n_draws):
        drawn = np.concatenate(
            [rng.choice(np.flatnonzero(m), n_fields, replace=False) for m in strata]
        )
        for column, frame in enumerate(frames):
            sample = Sample(index=drawn, y_ha=population.true_ha[drawn, column])
            for number, member in enumerate(members):
                found = estimator(frame, sample, member=member)
                at = draw, number, column
                estimate[at] = found.value_ha
                below[at] = found.ci_high_ha < truth[number, column]
                above[at] = found.ci_low_ha > truth[number, column]
                unfound[at] = found.n_positive == 0
    return Draws(estimate_ha=estimate, is_below=below, is_above=above, is_unfound=unfound)


def summary(
    populations: Sequence[Population], draws: Mapping[str, Sequence[Draws]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Figures by part (whole area, districts) and crop, over splits and draws.

    Bias and RMSE in hectares, Monte Carlo standard error of the bias given the splits, and
    shares of intervals that hold the truth or lie below or above it.
    """
    parts = {"whole area": [0], "districts": list(range(1, 1 + N_DISTRICTS))}
    count = np.stack([p.count_ha - p.truth_ha for p in populations])  # split, domain, crop
    truth = np.stack([p.truth_ha for p in populations])
    result: dict[str, dict[str, dict[str, float]]] = {}
    for part, rows in parts.items():
        result[part] = {}
        for column, crop in enumerate(CROPS):
            figures = {
                "truth_ha": float(truth[:, rows, column].mean()),
                "count_bias_ha": float(count[:, rows, column].mean()),
                "count_rmse_ha": _rms(count[:, rows, column]),
            }
            for name, per_split in draws.items():
                error = np.stack(
                    [
                        d.estimate_ha[:, rows, column] - p.truth_ha[rows, column]
                        for p, d in zip(populations, per_split, strict=True)
                    ]
                )  # split, draw, domain
                figures[f"{name}_bias_ha"] = float(error.mean())
                figures[f"{name}_bias_mc_se_ha"] = _mc_se(error.mean(axis=2))
                figures[f"{name}_rmse_ha"] = _rms(error)
                for word in ("covered", "below", "above", "unfound"):
                    held = [getattr(d, f"is_{word}")[:, rows, column] for d in per_split]
                    figures[f"{name}_{word}"] = float(np.mean(held))
                figures[f"{name}_splits_count_nearer"] = float(
                    np.sum(
                        [
                            _rms(c) < _rms(e)
                            for c, e in zip(count[:, rows, column], error, strict=True)
                        ]
                    )
                )
            result[part][crop] = figures
    return result


def per_split(populations: Sequence[Population], draws: Sequence[Draws]) -> list[dict[str, Any]]:
    """Bias of the assisted total and error of the count, whole area, split by split."""
    rows = []
    for number, (population, drawn) in enumerate(zip(populations, draws, strict=True), start=1):
        error = drawn.estimate_ha[:, 0] - population.truth_ha[0]
        for column, crop in enumerate(CROPS):
            rows.append(
                {
                    "split": number,
                    "crop": crop,
                    "truth_ha": float(population.truth_ha[0, column]),
                    "bias_ha": float(error[:, column].mean()),
                    "bias_mc_se_ha": _mc_se(error[None, :, column]),
                    "rmse_ha": _rms(error[:, column]),
                    "count_error_ha": float(
                        population.count_ha[0, column] - population.truth_ha[0, column]
                    ),
                }
            )
    return rows


def _fit(table: TrainingTable, seed: int, candidates: Sequence[TreeSettings]) -> CropModel:
    return fit_crop_model(
        table.features,
        table.class_name,
        table.plot_id,
        table.weight,
        seed=seed,
        candidates=candidates,
    )


def _rows(table: TrainingTable, inside: npt.NDArray[np.bool_]) -> TrainingTable:
    return TrainingTable(
        features=table.features[inside],
        class_name=table.class_name[inside],
        plot_id=table.plot_id[inside],
        weight=table.weight[inside],
        spatial_block=table.spatial_block[inside],
    )


def _by_trees(model: CropModel, test: TrainingTable) -> npt.NDArray[np.object_]:
    names = np.array(model.class_names, dtype=object)
    return names[model.predict_proba(test.features).argmax(axis=1)]


def _by_forest(table: TrainingTable, test: TrainingTable, seed: int) -> npt.NDArray[np.object_]:
    forest = RandomForestClassifier(n_estimators=300, random_state=seed, n_jobs=1)
    forest.fit(table.features, table.class_name.astype(str))
    return forest.predict(test.features).astype(object)


def _shares_right(label: npt.NDArray[np.object_], test: TrainingTable) -> tuple[float, float]:
    """Shares of pixels, and of fields by the vote of their pixels, that are right."""
    plots, plot = np.unique(test.plot_id.astype(str), return_inverse=True)
    own = np.empty(len(plots), dtype=object)
    own[plot] = test.class_name
    votes = np.zeros((len(plots), len(CROPS)))
    np.add.at(votes, (plot, np.searchsorted(np.array(CROPS, dtype=object), label)), 1.0)
    vote = np.array(CROPS, dtype=object)[votes.argmax(axis=1)]
    return float((label == test.class_name).mean()), float((vote == own).mean())


def _rms(error: Floats) -> float:
    return float(np.sqrt(np.mean(error**2)))


def _mc_se(error: Floats) -> float:
    """Standard error of a mean over (splits, draws); draws are independent given the split."""
    n_splits, n_draws = error.shape
    return float(np.sqrt((error.var(axis=1, ddof=1) / n_draws).sum()) / n_splits)


def _markdown(result: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    lines = []
    for part, crops in result.items():
        lines += [
            f"{part}:",
            "",
            "| crop | truth | method | bias | MC SE | RMSE | covered | below | above | unfound |",
            "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for crop, f in crops.items():
            truth = f"{f['truth_ha']:.2f}"
            for name in ESTIMATORS:
                shares = " | ".join(
                    f"{100.0 * f[f'{name}_{word}']:.1f}%"
                    for word in ("covered", "below", "above", "unfound")
                )
                lines.append(
                    f"| {crop} | {truth} | {name} | {f[f'{name}_bias_ha']:+.3f} "
                    f"| {f[f'{name}_bias_mc_se_ha']:.3f} | {f[f'{name}_rmse_ha']:.2f} "
                    f"| {shares} |"
                )
            lines.append(
                f"| {crop} | {truth} | pixel count | {f['count_bias_ha']:+.3f} | - "
                f"| {f['count_rmse_ha']:.2f} | - | - | - | - |"
            )
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Run the comparison and print it as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--fields", type=int, default=10, help="drawn in every district")
    parser.add_argument("--classifier-splits", type=int, default=20)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    populations = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.splits):
            seed = options.seed + number
            populations.append(map_split(seed, folder=Path(folder) / str(number)))
    draws = {
        name: [
            draw_samples(
                population,
                options.draws,
                options.fields,
                np.random.default_rng([options.seed, number]),
                estimator=estimator,
            )
            for number, population in enumerate(populations)
        ]
        for name, estimator in ESTIMATORS.items()
    }
    result = summary(populations, draws)
    print(_markdown(result))
    splits = per_split(populations, draws["assisted"])
    print("| split | crop | truth ha | assisted bias ha | MC SE | RMSE ha | count error ha |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for row in splits:
        print(
            f"| {row['split']} | {row['crop']} | {row['truth_ha']:.2f} | {row['bias_ha']:+.3f} "
            f"| {row['bias_mc_se_ha']:.3f} | {row['rmse_ha']:.2f} "
            f"| {row['count_error_ha']:+.2f} |"
        )
    shares = compare_classifiers(range(options.seed, options.seed + options.classifier_splits))
    print("\n| classifier | pixels right | fields right |")
    print("| --- | ---: | ---: |")
    for name, rows in shares.items():
        pixels, plots = rows.mean(axis=0)
        print(f"| {name} | {pixels:.4f} | {plots:.4f} |")
    for name in ("default", "chosen"):
        for unit, mean, plain, corrected in zip(
            ("pixels", "fields"), *difference(shares[name], shares["random_forest"]), strict=True
        ):
            print(
                f"{name} - random_forest, {unit}: {mean:+.4f}, SE {plain:.4f}, corrected for "
                f"shared fields {corrected:.4f}"
            )
    if options.json:
        everything = {
            "figures": result,
            "splits": splits,
            "classifiers": {name: rows.tolist() for name, rows in shares.items()},
        }
        options.json.write_text(json.dumps(everything, indent=2) + "\n")


if __name__ == "__main__":
    main()
