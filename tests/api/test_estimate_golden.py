"""Published values and those of other programs come out of CSV files alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published import GOLDEN, api_table, apistrat, golden
from typer.testing import CliRunner

from api.cli.command import app

API = golden("api")["values"]


def run(*words: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(app, ["estimate", *words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return list(json.loads(result.stdout))


def write(path: Path, columns: dict[str, Any]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return str(path)


@pytest.fixture
def schools(tmp_path: Path) -> dict[str, str]:
    table, number, design = apistrat()
    units = {
        "unit_id": table["snum"],
        "stratum_id": table["stype"],
        "domain_id": table["sch.wide"],
        "weight": table["pw"],
        "n_frame": table["fpc"],
        "y": table["api00"],
        "x": table["api99"],
        "api99": table["api99"],
        "stype": table["stype"],
        "wide": table["sch.wide"],
    }
    known = API["population_totals"]
    regression = {
        "variable": ["1", "stype=H", "stype=M", "api99"],
        "total": [known["N"], known["stype"]["H"], known["stype"]["M"], known["api99_total"]],
    }
    post = {"variable": ["wide=No", "wide=Yes"], "total": list(known["schwide"].values())}
    draws = (GOLDEN / "apistrat_boot50_draws.csv").read_text().splitlines()[1:]
    _, code, count = np.unique(design.stratum, return_inverse=True, return_counts=True)
    factor = number("pw") * count[code] / (count[code] - 1)
    weights = np.array([[int(d) for d in line.split(",")[1]] for line in draws]) * factor[:, None]
    replicates = {"unit_id": table["snum"]} | {f"r{k}": weights[:, k] for k in range(50)}
    return {
        "units": write(tmp_path / "units.csv", units),
        "regression": write(tmp_path / "regression.csv", regression),
        "post": write(tmp_path / "post.csv", post),
        "replicates": write(tmp_path / "replicates.csv", replicates),
    }


def check(row: dict[str, Any], est: float, se: float, rel: float = 1e-7) -> None:
    assert [row["value"], row["se"]] == pytest.approx([est, se], rel=rel)


def test_strata_domains_jackknife_calibration_and_given_weights(schools: dict[str, str]) -> None:
    expected = API["apistrat"]
    units = schools["units"]
    no, yes, everyone = run("design", units, "--of", "mean")
    by_domain = expected["mean_api00_by_schwide"]
    check(no, by_domain["est"][0], by_domain["se"][0])
    check(yes, by_domain["est"][1], by_domain["se"][1])
    check(everyone, expected["mean_api00"]["est"], expected["mean_api00"]["se"])
    assert everyone["df"] == expected["mean_api00"]["df"]
    assert [everyone["ci_low"], everyone["ci_high"]] == pytest.approx(
        list(expected["mean_api00"]["ci95_t"].values()), rel=1e-7
    )
    *_, everyone = run("design", units, "--of", "mean", "--variance", "jackknife")
    assert everyone["se"] == pytest.approx(expected["jkn_fpc_mean_api00"]["se"], rel=1e-7)
    *_, everyone = run(
        "design", units, "--of", "mean", "--variance", "given", "--weights", schools["replicates"]
    )
    assert everyone["se"] == pytest.approx(
        expected["bootstrap_given50_mean_api00"]["se"], rel=1e-7
    )
    for distance, key in (("linear", "greg"), ("raking", "raking")):
        *_, everyone = run(
            "design", units, "--calibrate", schools["regression"], "--distance", distance
        )
        reference = expected[f"{key}_stype_api99_total_api00"]
        check(everyone, reference["est"], reference["se"])
    *_, everyone = run("design", units, "--of", "mean", "--calibrate", schools["post"])
    reference = expected["poststrat_schwide_mean_api00"]
    check(everyone, reference["est"], reference["se"])


def test_two_stage_clusters(tmp_path: Path) -> None:
    table, _ = api_table("apiclus2")
    units = write(
        tmp_path / "units.csv",
        {
            "unit_id": table["snum"],
            "cluster_id": table["dnum"],
            "weight": table["pw"],
            "n_frame": table["fpc1"],
            "n_units": table["fpc2"],
            "y": table["api00"],
            "x": table["api99"],
        },
    )
    expected = API["apiclus2"]
    for of, key in (("mean", "mean_api00"), ("ratio", "ratio_api00_api99")):
        *_, row = run("design", units, "--of", of)
        check(row, expected[key]["est"], expected[key]["se"], 1e-8)


def test_a_calibrated_bootstrap_agrees_with_the_residuals(schools: dict[str, str]) -> None:
    units, known = schools["units"], schools["regression"]
    rows = list(csv.DictReader(Path(units).read_text(encoding="utf-8").splitlines()))
    # Without fpc, as the bootstrap is.
    bare = {key: [row[key] for row in rows] for key in rows[0] if key != "n_frame"}
    path = write(Path(units).with_name("bare.csv"), bare)
    *_, linearised = run("design", path, "--calibrate", known)
    *_, drawn = run(
        "design", path, "--calibrate", known, "--variance", "bootstrap", "--replicates", "400"
    )
    # 400 replicates: 3 / sqrt(800) = 0.11.
    assert drawn["se"] == pytest.approx(linearised["se"], rel=0.11)
    assert drawn["percentile_low"] < drawn["value"] < drawn["percentile_high"]


def test_corn_and_milk(tmp_path: Path) -> None:
    corn = golden("bhf_corn")["values"]
    fit = corn["fits"]["REML_36"]
    kept = [row for row in corn["segments"] if row["row"] != 33]
    units = write(
        tmp_path / "units.csv",
        {
            "unit_id": range(len(kept)),
            "domain_id": [int(row["county_index"]) for row in kept],
            "y": [row["corn_ha"] for row in kept],
            "corn": [row["corn_pixels"] for row in kept],
            "soy": [row["soy_pixels"] for row in kept],
        },
    )
    counties = corn["counties"]
    domains = write(
        tmp_path / "domains.csv",
        {
            "domain_id": [int(row["county_index"]) for row in counties],
            "population": [row["population_segments"] for row in counties],
            "corn": [row["mean_corn_pixels"] for row in counties],
            "soy": [row["mean_soy_pixels"] for row in counties],
        },
    )
    rows = run("unit-level", units, domains, "--mean", "model")
    for row, area in zip(rows, fit["areas"], strict=True):
        assert row["value"] == pytest.approx(area["eblup_model_mean"], rel=1e-8)
        assert row["rmse"] ** 2 == pytest.approx(area["mse_pr"], rel=1e-8)
    drawn = run("unit-level", units, domains, "--bootstrap", "100")
    assert {row["mse_method"] for row in drawn} == {"parametric_bootstrap"}
    milk = golden("fh_milk")["values"]
    major = sorted({int(area["major_area"]) for area in milk["areas"]})
    areas = write(
        tmp_path / "areas.csv",
        {
            "domain_id": [int(area["area"]) for area in milk["areas"]],
            "direct": [area["direct"] for area in milk["areas"]],
            "variance": [area["sd"] ** 2 for area in milk["areas"]],
            **{
                f"m{k}": [int(area["major_area"] == k) for area in milk["areas"]]
                for k in major[1:]
            },
        },
    )
    for name, key in (("reml", "REML"), ("moment", "FH")):
        rows = run("area-level", areas, "--no-smooth", "--fit", name)
        expected = milk["fits"][key]
        assert [row["value"] for row in rows] == pytest.approx(expected["eblup"], rel=1e-8)
        assert [row["rmse"] ** 2 for row in rows] == pytest.approx(expected["mse"], rel=1e-8)


@pytest.mark.parametrize("fpc", [True, False])
def test_points_in_hectares(tmp_path: Path, fpc: bool) -> None:
    case = golden("strata_differ_from_map")
    points = case["data"]["points"]
    sizes = case["values"]["strata_sizes"]
    rows = run(
        "points",
        write(
            tmp_path / "points.csv",
            {
                "point_id": range(len(points["stratum"])),
                "stratum_id": points["stratum"],
                "map_class": points["map"],
                "reference_class": points["reference"],
            },
        ),
        write(tmp_path / "sizes.csv", {"stratum_id": list(sizes), "size": list(sizes.values())}),
        "--fpc" if fpc else "--no-fpc",
        "--total-ha",
        "5000",
    )
    expected = case["values"]["fpc" if fpc else "nofpc"]
    for row in rows:
        for ours, theirs in (
            ("area_share", "area_proportion"),
            ("users", "users"),
            ("producers", "producers"),
        ):
            value = expected[theirs][row["class"]]
            got = [row[ours], row[f"{ours}_se"]]
            assert got == pytest.approx([value["est"], value["se"]], rel=1e-8)
        assert row["area_ha"] == pytest.approx(5000.0 * row["area_share"])
        assert 0.0 <= row["ci_low_ha"] <= row["area_ha"] <= row["ci_high_ha"] <= 5000.0
    overall = expected["overall_accuracy"]
    assert rows[0]["overall"] == pytest.approx(overall["est"], rel=1e-8)
    assert rows[0]["overall_se"] == pytest.approx(overall["se"], rel=1e-8)
