"""`adsurvey estimate`: the documented examples, published figures, and faults named by cell."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli.command import app
from api.cli.estimate import estimate
from survey.errors import DuplicateIdError, EstimationError, SurveyError, TableError
from survey.types import Reliability

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "estimate.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"`([\w.]+)`\n\n```csv\n(.*?)```", GUIDE, flags=re.DOTALL))
COMMANDS = re.findall(r"```console\n\$ adsurvey (.*?)\n(.*?)```", GUIDE, flags=re.DOTALL)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def run(line: str) -> str:
    result = CliRunner().invoke(app, line.split(), catch_exceptions=False)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def test_every_verb_has_an_example() -> None:
    verbs = {command.split()[1] for command, _ in COMMANDS}
    registered = estimate.registered_commands
    assert verbs == {command.name or command.callback.__name__ for command in registered}


@pytest.mark.parametrize(("command", "printed"), COMMANDS)
def test_documented_examples_print_what_the_guide_shows(
    here: Path, command: str, printed: str
) -> None:
    got = [line.rstrip() for line in run(command).splitlines() if line.strip()]
    assert got == [line for line in printed.splitlines() if line.strip()]
    rows = json.loads(run(f"{command} --json --reference-date 2026-02-28"))
    assert rows
    for row in rows:
        assert row["method"]
        assert row["method_version"]
        assert row["why"]
        assert row["reference_date"] == "2026-02-28"
        assert "reliability" in row
    labels = {row["reliability"] for row in rows} - {None}
    assert labels
    assert labels <= set(Reliability)


@pytest.mark.parametrize("command", [command for command, _ in COMMANDS])
def test_no_number_is_broken_in_a_narrow_terminal(
    here: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def numbers(columns: str) -> list[str]:
        monkeypatch.setenv("COLUMNS", columns)
        return [
            word
            for line in run(command).splitlines()
            for word in line.split()
            if re.fullmatch(r"-?[\d,.]+", word)
        ]

    assert numbers("80") == numbers("100")


def test_a_label_joins_the_method_in_method_version(here: Path) -> None:
    (row, *_) = json.loads(run("estimate design units.csv --method-version key3 --json"))
    assert row["method_version"] == "key3/total_linearised"
    with pytest.raises(EstimationError, match="holds '/'"):
        run("estimate design units.csv --method-version a/b")


def test_what_is_done_to_a_figure_joins_its_method_version(here: Path) -> None:
    text = FILES["figures_2026.csv"].replace("estimate_type", "n_positive,estimate_type", 1)
    text = text.replace(",assisted", ",20,assisted")
    (here / "given.csv").write_text(text, encoding="utf-8")
    version = "key3/ladder 4/regression/small area two_part"
    (row, *_) = json.loads(run("estimate reliability given.csv --json"))
    assert row["method_version"] == version
    (row, *_) = json.loads(run("estimate benchmark given.csv --total 181 --total-se 8 --json"))
    assert row["method_version"] == f"{version}/benchmark_mse"
    (here / "none.csv").write_text("event_id,domain_id,eradicated,date\n", encoding="utf-8")
    command = "estimate net given.csv none.csv --image-date 2026-02-01 --json"
    (row, *_) = json.loads(run(command))
    assert row["method_version"] == f"{version}/net of eradication"


def test_limits_of_skewed_areas_come_from_draws(here: Path) -> None:
    plain = json.loads(run("estimate production areas.csv fields.csv --json"))
    skewed = json.loads(run("estimate production areas_skewed.csv fields.csv --json"))
    for one, other in zip(plain, skewed, strict=True):
        assert other["production_t"] == pytest.approx(one["production_t"])
    # A long upper arm of the area is a long upper arm of the production.
    arms = [
        (row["ci_high_t"] - row["production_t"]) / (row["production_t"] - row["ci_low_t"])
        for row in skewed
    ]
    assert all(arm > 1.2 for arm in arms)
    assert run("estimate production areas_skewed.csv fields.csv --seed 1") != run(
        "estimate production areas_skewed.csv fields.csv --seed 2"
    )


def test_draws_keep_what_the_errors_of_domains_have_in_common(here: Path) -> None:
    (here / "bare.csv").write_text("domain_id,value_ha\nA,100\nB,50\n", encoding="utf-8")
    with pytest.raises(TableError, match=r"row 1: se_ha is empty; give it, both limits"):
        run("estimate production bare.csv fields.csv")

    def draws(sign: int) -> str:
        lines = [f"{k},{100 + k % 21 - 10},{50 + sign * (k % 21 - 10)}" for k in range(420)]
        return "\n".join(["draw,A,B", *lines]) + "\n"

    errors = []
    for sign in (1, -1):
        (here / "draws.csv").write_text(draws(sign), encoding="utf-8")
        *_, total = json.loads(
            run("estimate production bare.csv fields.csv --draws draws.csv --json")
        )
        errors.append(total["se_t"])
    assert errors[0] > errors[1]
    (here / "draws.csv").write_text(draws(1).replace("draw,A,B", "draw,A,C"), encoding="utf-8")
    with pytest.raises(TableError, match=r"draws.csv: no column 'B'"):
        run("estimate production bare.csv fields.csv --draws draws.csv")
    (here / "draws.csv").write_text("draw,A,B\n1,100,50\n", encoding="utf-8")
    with pytest.raises(TableError, match=r"draws.csv has 1 draws; limits need at least 200"):
        run("estimate production bare.csv fields.csv --draws draws.csv")


def test_no_total_is_made_of_unknown_parts(here: Path) -> None:
    rows = {
        row["domain_id"]: row for row in json.loads(run("estimate disclosure cells.csv --json"))
    }
    assert rows["total MR01"]["value_ha"] == 186
    assert rows["total MR02"]["value_ha"] is None
    assert rows["total country"]["value_ha"] is None
    assert "have no value" in rows["total country"]["why"]


def test_an_all_zero_domain_of_a_covariance_has_no_error(here: Path) -> None:
    command = "estimate covariance frame.csv sample_none.csv --json"
    for row in json.loads(run(command)):
        assert row["value_ha"] == 0.0
        assert row["se_ha"] is None
        assert row["reliability"] == "not_detected"


def test_olofsson_2014_table_8(here: Path) -> None:
    rows = {row["class"]: row for row in json.loads(run("estimate matrix matrix.csv --json"))}
    golden = json.loads((ROOT / "tests/golden/olofsson2014.json").read_text())["values"]
    assert golden
    # 235,086 pixels of 0.09 ha with a 95% margin of 68,418 pixels, user's 0.88, producer's 0.75.
    deforestation = rows["deforestation"]
    assert deforestation["area_ha"] == pytest.approx(235_086 * 0.09, abs=0.1)
    margin = (deforestation["ci_high_ha"] - deforestation["ci_low_ha"]) / 2
    assert margin == pytest.approx(68_418 * 0.09, abs=0.5)
    assert deforestation["users"] == pytest.approx(0.88)
    assert round(deforestation["producers"], 2) == 0.75
    assert round(deforestation["overall"], 2) == 0.95


@pytest.mark.parametrize(
    "method",
    ["expansion", "ratio", "separate_ratio", "regression", "difference", "two_part", "bhf"],
)
def test_each_method_gives_both_districts(here: Path, method: str) -> None:
    rows = json.loads(run(f"estimate totals frame.csv sample.csv --method {method} --json"))
    by_id = {row["domain_id"]: row for row in rows}
    assert by_id["MR0101"]["value_ha"] > 0.0
    assert all(row["method"] and row["why"] and row["reliability"] for row in rows)
    if method not in ("two_part", "bhf", "ratio", "separate_ratio"):
        parts = by_id["MR0101"]["value_ha"] + by_id["MR0102"]["value_ha"]
        assert by_id["country"]["value_ha"] == pytest.approx(parts)


def test_the_sum_of_domains_with_one_yield_errs_more(here: Path) -> None:
    rows = json.loads(run("estimate production areas.csv fields.csv --json"))
    apart = sum(row["se_t"] ** 2 for row in rows[:2]) ** 0.5
    assert rows[2]["se_t"] > apart


def test_the_sum_has_a_value_whose_error_carries_yield_and_price(here: Path) -> None:
    command = "estimate production areas.csv fields.csv --price 400 --price-se 30 --json"
    *parts, total = json.loads(run(command))
    assert total["value"] == pytest.approx(sum(row["value"] for row in parts))
    # Goodman (1960) for the sum: production in kg and price are independent.
    kg, kg_se = 1000.0 * total["production_t"], 1000.0 * total["se_t"]
    variance = (kg * 30.0) ** 2 + (400.0 * kg_se) ** 2 + (30.0 * kg_se) ** 2
    assert total["value_se"] == pytest.approx(variance**0.5)
    assert total["df"] == 2
    # t(2) is 4.303.
    assert total["ci_high_t"] == pytest.approx(
        total["production_t"] + 4.302653 * total["se_t"], rel=1e-6
    )


def test_covariances_of_districts_make_the_error_of_their_sum(here: Path) -> None:
    for estimator in ("expansion", "difference"):
        rows = json.loads(
            run(f"estimate covariance frame.csv sample.csv --estimator {estimator} --json")
        )
        names = [row["domain_id"] for row in rows]
        variance = sum(row[f"cov {name}"] for row in rows for name in names)
        command = f"estimate totals frame.csv sample.csv --method {estimator} --json"
        country = next(row for row in json.loads(run(command)) if row["domain_id"] == "country")
        assert sum(row["value_ha"] for row in rows) == pytest.approx(country["value_ha"])
        assert variance**0.5 == pytest.approx(country["se_ha"])


def test_a_class_found_at_no_point_has_an_upper_limit_and_no_error(here: Path) -> None:
    text = (
        FILES["points.csv"].replace("poppy,poppy", "poppy,other").replace(",poppy\n", ",other\n")
    )
    (here / "points.csv").write_text(text, encoding="utf-8")
    rows = {
        row["class"]: row
        for row in json.loads(run("estimate points points.csv strata.csv --total-ha 500 --json"))
    }
    poppy = rows["poppy"]
    assert (poppy["area_ha"], poppy["area_se_ha"], poppy["n_positive"]) == (0.0, None, 0)
    # 1 - 0.05^(1/4) in each stratum of four points, with shares 0.04 and 0.96.
    bound = (1.0 - 0.05**0.25) * (0.04**2 + 0.96**2) ** 0.5
    assert poppy["ci_high_ha"] == pytest.approx(500.0 * bound)


def test_a_domain_without_sample_is_named_and_a_bare_frame_will_do(here: Path) -> None:
    bare = "\n".join(line.rsplit(",", 1)[0] for line in FILES["frame.csv"].splitlines())
    (here / "frame.csv").write_text(bare, encoding="utf-8")
    kept = [
        line
        for line in FILES["sample.csv"].splitlines()
        if line[2:3] not in "02468" or "segment" in line
    ]
    (here / "sample.csv").write_text("\n".join(kept), encoding="utf-8")
    result = CliRunner().invoke(
        app, ["estimate", "totals", "frame.csv", "sample.csv", "--method", "expansion", "--json"]
    )
    assert "district MR0102: no figure" in result.stderr
    assert {row["domain_id"] for row in json.loads(result.stdout)} == {"MR0101", "MR01", "country"}


def test_a_comparison_across_methods_needs_a_signature(here: Path) -> None:
    command = (
        "estimate change frame.csv sample.csv frame.csv sample_2027.csv --years 2026 2027 "
        "--method-versions 1 2"
    )
    with pytest.raises(SurveyError, match="not comparable"):
        run(command)
    assert json.loads(run(f"{command} --signed-by Analyst --json"))[0]["signed_by"] == "Analyst"
    for estimator in ("ratio", "regression"):
        assert run(
            command.replace(
                "--method-versions 1 2", f"--method-versions 2 2 --estimator {estimator}"
            )
        )
    by_district = json.loads(run(command.replace("1 2", "2 2") + " --domain MR0101 --json"))
    assert by_district[0]["n_overlap"] == 12
    with pytest.raises(SurveyError, match="'MR0999' is no district"):
        run(command.replace("1 2", "2 2") + " --domain MR0999")


@pytest.mark.parametrize(
    ("name", "old", "new", "command", "error", "message"),
    [
        (
            "sample.csv", "S02,0.0", "S02,some", "totals frame.csv sample.csv",
            TableError, r"sample\.csv, row 2: reference_ha is 'some', not float",
        ),
        (
            "sample.csv", "S03,2.4", 'S03,"2,4"', "totals frame.csv sample.csv",
            TableError, r"row 3: reference_ha is '2,4', not float; write it with a decimal point",
        ),
        (
            "units.csv", "stratum_id", "Stratum ID", "design units.csv",
            TableError, r"column 'Stratum ID' is probably meant as 'stratum_id'",
        ),
        (
            "strata.csv", "rest,9600", "rest,9600\nmore,5", "points points.csv strata.csv",
            SurveyError, r"more",
        ),
        (
            "sample.csv", "S02", "S99", "totals frame.csv sample.csv",
            TableError, r"sample\.csv, row 2: segment_id 'S99' is not in the frame",
        ),
        (
            "sample.csv", "S03,2.4", "S03,240", "totals frame.csv sample.csv",
            TableError, r"sample\.csv: .*S03",
        ),
        (
            "frame.csv", "S02,", "S01,", "totals frame.csv sample.csv",
            DuplicateIdError, r"frame\.csv, row 2: segment_id 'S01'",
        ),
        (
            "frame.csv", "risk_ha", "risk", "totals frame.csv sample.csv",
            TableError, r"frame\.csv: column risk_ha is missing",
        ),
        (
            "matrix.csv", "66", "6.5", "matrix matrix.csv",
            TableError, r"matrix\.csv, row 1: deforestation is '6\.5', not int",
        ),
        (
            "strata.csv", "rest,9600", "west,9600", "points points.csv strata.csv",
            SurveyError, r"rest.*west",
        ),
        (
            "fields.csv", "F1,V1,420,,1.2", "F1,V1,,,1.2", "production areas.csv fields.csv",
            TableError, r"fields\.csv, row 1: give either",
        ),
        (
            "figures.csv", "direct", "guess", "reliability figures.csv",
            TableError, r"figures\.csv, row 1: estimate_type 'guess'",
        ),
        (
            "figures.csv", "89,151", "151,89", "reliability figures.csv",
            TableError, r"figures\.csv, row 1: interval 151",
        ),
        (
            "figures.csv", "\n", "\n\x00", "reliability no.csv",
            SurveyError, r"no\.csv does not exist",
        ),
    ],
)  # fmt: skip
def test_faults_name_file_row_and_column(
    here: Path, name: str, old: str, new: str, command: str, error: type[Exception], message: str
) -> None:
    (here / name).write_text(FILES[name].replace(old, new, 1), encoding="utf-8")
    with pytest.raises(error, match=message):
        run(f"estimate {command}")


@pytest.mark.parametrize(
    ("name", "old", "new", "command", "message"),
    [
        ("units.csv", "3,A,A2,p,6", "3,A,A2,p,7", "design units.csv",
         r"units\.csv, row 1: n_frame 6 differs .*'A'"),
        ("units.csv", "2,A,A1,q,6,4,6,0.0", "2,A,A1,q,6,4,6,", "design units.csv",
         r"units\.csv, row 2: y is empty"),
        ("units.csv", "2,A,A1,q,6", "2,A,A1,q,", "design units.csv",
         r"units\.csv, row 2: n_frame is empty here"),
        ("units.csv", "1,A,A1,p,6,4,6", "1,A,A1,p,6,4,0", "design units.csv",
         r"units\.csv: weights must be finite and positive"),
        ("known.csv", "side=u", "edge=u", "design units.csv --calibrate known.csv",
         r"units\.csv has no column 'edge'"),
        ("known.csv", "side=u", "side", "design units.csv --calibrate known.csv",
         r"units\.csv, row 1: side 'u' is not a number; .*side=u"),
        ("replicates.csv", "10,9,9,9,9", "11,9,9,9,9",
         "design units.csv --variance given --weights replicates.csv",
         r"different units \(without weights: \['10'\]"),
        ("areas_model.csv", "MR0103,0,0,9,1500", "MR0103,0,0,9,0",
         "area-level areas_model.csv", r"areas_model\.csv, row 3: risk_ha must be above zero"),
        ("areas_model.csv", "MR0103,0,0,9", "MR0103,0,0,9",
         "area-level areas_model.csv --no-smooth",
         r"areas_model\.csv: sampling_variance, row 3: 0 would give"),
        ("domains_model.csv", "MR0101,84", "MR0101,2",
         "unit-level units_model.csv domains_model.csv",
         r"'MR0101': population 2 is smaller than its sample 3"),
        ("districts.csv", "118,16", "118,", "benchmark districts.csv --total 195 --total-se 14",
         r"districts\.csv, row 1: value_ha and se_ha are needed"),
        ("districts.csv", "118,16", "118,16", "benchmark districts.csv --total 195 --total-se 40",
         r"is not below that of the districts' sum"),
        ("events.csv", "E2,MR0101,30,rai", "E2,MR0101,30,wah",
         "net figures.csv events.csv --image-date 2026-02-01",
         r"events\.csv, row 2: unit 'wah' is unknown"),
        ("events.csv", "12.5", "812.5", "net figures.csv events.csv --image-date 2026-02-01",
         r"more than the 151 ha that can have stood there"),
        ("events.csv", "E1,MR0101", "E1,MR0999",
         "net figures.csv events.csv --image-date 2026-02-01", r"'MR0999' has no figure"),
        ("ranges.csv", "10000,24000", "24000,10000", "range ranges.csv", r"reversed"),
        ("detections.csv", "1200,m2", "1200,ft2", "minimum detections.csv",
         r"detections\.csv, row 2: unit 'ft2'"),
        ("field_checks.csv", "46,9", "0,0", "field-check field_checks.csv",
         r"field_checks\.csv, row 1"),
        ("readings.csv", "MR0101,two", "MR0102,two", "interpreters figures.csv readings.csv",
         r"figures\.csv, row 2: give the finite total of each of at least two"),
        ("frame.csv", "map_ha\n", "map_ha,mapped_share\n", "totals frame.csv sample.csv",
         r"frame\.csv, row 1: mapped_share is empty"),
        ("figures_2027.csv", "key3", "key4",
         "compare figures_2026.csv figures_2027.csv --years 2026 2027", r"not comparable"),
        ("figures_2026.csv", "key3/ladder 4/regression/small area two_part", "",
         "compare figures_2026.csv figures_2027.csv --years 2026 2027", r"not comparable"),
        ("areas_rai.csv", "rai", "wah", "production areas_rai.csv fields.csv",
         r"areas_rai\.csv, row 1: unit 'wah'"),
    ],
)  # fmt: skip
def test_faults_of_the_other_tables(
    here: Path, name: str, old: str, new: str, command: str, message: str
) -> None:
    (here / name).write_text(FILES[name].replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SurveyError, match=message):
        run(f"estimate {command}")


def test_models_and_withheld_figures_are_left_out_of_a_comparison(here: Path) -> None:
    changed = FILES["figures_2026.csv"].replace("assisted", "small_area", 1)
    (here / "figures_2026.csv").write_text(changed, encoding="utf-8")
    command = "estimate compare figures_2026.csv figures_2027.csv --years 2026 2027 --json"
    result = CliRunner().invoke(app, command.split())
    assert "MR0101: no change (the figure of 2026 is small_area" in result.stderr
    assert [row["domain_id"] for row in json.loads(result.stdout)] == ["MR0102"]


def test_what_imagery_did_not_show_is_filled_and_above_a_share_nothing_is_said(here: Path) -> None:
    lines = FILES["frame.csv"].splitlines()
    shares = ["mapped_share"] + [
        "0.1" if "MR0102" in line else "0.5" if "S01" in line else "1" for line in lines[1:]
    ]
    text = "\n".join(f"{line},{share}" for line, share in zip(lines, shares, strict=True))
    (here / "frame.csv").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["estimate", "totals", "frame.csv", "sample.csv", "--json"])
    rows = {row["domain_id"]: row for row in json.loads(result.stdout)}
    assert rows["MR0102"]["estimate_type"] == "status_only"
    assert rows["MR0102"]["unobserved_share"] == pytest.approx(0.9)
    assert rows["MR0101"]["value_ha"] > 0.0
    assert "9 segments: map hectares filled" in result.stderr
    assert rows["MR0101"]["method_version"].startswith("1/ladder")


def test_a_matrix_without_reference_classes(here: Path) -> None:
    (here / "matrix.csv").write_text("map_class,map_ha\na,5\n", encoding="utf-8")
    with pytest.raises(TableError, match="no reference class"):
        run("estimate matrix matrix.csv")


@pytest.mark.parametrize("command", [command for command, _ in COMMANDS])
def test_a_table_without_rows_gives_no_figures(here: Path, command: str) -> None:
    first = next(word for word in command.split() if word.endswith(".csv"))
    (here / first).write_text(FILES[first].splitlines()[0] + "\n", encoding="utf-8")
    with pytest.raises(TableError, match=f"{first} has no row"):
        run(command)


HOSTILE = [
    (
        "totals bad.csv sample.csv",
        "frame.csv",
        ("MR0101,MR01", "MR0101,MR02"),
        "lies in provinces",
    ),
    ("totals bad.csv sample.csv", "frame.csv", ("MR0101,", "country,"), "name of the sum"),
    ("totals bad.csv sample.csv", "frame.csv", ("21,1.2", "21,30"), "row 1: map_ha 30 is more"),
    ("disclosure bad.csv", "cells.csv", ("suppressed", "Suppressed"), "row 5: reliability 'Supp"),
    ("disclosure bad.csv", "cells.csv", ("MR01,6,45", "MR01,60,45"), "row 3: value_ha 60 is more"),
    (
        "totals frame.csv bad.csv",
        "sample.csv",
        ("S03,2.4", "S03,NaN"),
        "row 3: reference_ha is 'NaN'",
    ),
    ("totals frame.csv bad.csv", "sample.csv", ("S03,2.4", 'S03,"2,4"'), "with a decimal point"),
    ("totals frame.csv bad.csv", "sample.csv", ("S03,2.4", "S03,၂.၄"), "the digits 0 to 9"),
    ("totals frame.csv bad.csv", "sample.csv", ("S03,2.4", "S03,-1"), "below zero"),
    ("totals frame.csv bad.csv", "sample.csv", ("S03,2.4", "S03,25"), "25.0 ha found in 23 ha"),
    (
        "totals frame.csv bad.csv",
        "sample.csv",
        ("S03", "S02"),
        "row 3: segment_id 'S02' occurs more",
    ),
    ("totals frame.csv bad.csv", "sample.csv", ("S03", "S99"), "'S99' is not in the frame"),
    ("totals bad.csv sample.csv", "frame.csv", ("S03,high", "S03,"), "row 3: stratum_id is empty"),
    ("totals bad.csv sample.csv", "frame.csv", ("S03,high", "S03,High"), "differ only in case"),
    ("totals bad.csv sample.csv", "frame.csv", ("S03", "S02"), "occurs more than once"),
    ("design bad.csv", "units.csv", ("weight,", "w,"), "there is no weight"),
    ("design bad.csv", "units.csv", ("1,A,A1", "1,C,C1"), "stratum 'C' has 1 sampled unit"),
    ("design units.csv --calibrate bad.csv", "known.csv", ("side=v", "side=w"), "has 'side=w'"),
    (
        "design units.csv --calibrate bad.csv",
        "known.csv",
        ("side=v,34", "side=v,-34"),
        "above zero",
    ),
    (
        "points bad.csv strata.csv",
        "points.csv",
        ("core,poppy,poppy", "core,Poppy,poppy"),
        "'Poppy'",
    ),
    (
        "matrix bad.csv",
        "matrix.csv",
        ("\ndeforestation", "\nDeforestation"),
        "differ only in case",
    ),
    (
        "area-level bad.csv",
        "areas_model.csv",
        ("MR0101,120", "MR0101,5000"),
        "more than the risk area",
    ),
    (
        "unit-level units_model.csv bad.csv",
        "domains_model.csv",
        ("72,0.033", "72,33"),
        "same unit",
    ),
    (
        "interpreters figure_read.csv bad.csv",
        "readings.csv",
        ("MR0101,one", "MR9,one"),
        "no figure",
    ),
    (
        "net figures.csv bad.csv --image-date 2026-02-01",
        "events.csv",
        ("12.5", "500"),
        "more than the 151",
    ),
    (
        "change frame.csv sample.csv frame.csv bad.csv --years 2026 2027 --method-versions k k",
        "sample_none.csv",
        ("x", "x"),
        "found in no sampled segment of 2027",
    ),
]


@pytest.mark.parametrize(("command", "name", "change", "message"), HOSTILE)
def test_a_plausible_mistake_is_named_and_no_figure_printed(
    here: Path, command: str, name: str, change: tuple[str, str], message: str
) -> None:
    bad = FILES[name].replace(*change, 1)
    (here / "bad.csv").write_text(bad, encoding="utf-8")
    result = CliRunner().invoke(app, ["estimate", *command.split()])
    assert isinstance(result.exception, SurveyError)
    assert message in str(result.exception)
    assert result.stdout == ""


def test_a_sample_that_gives_no_figure_is_an_error(here: Path) -> None:
    (here / "one.csv").write_text("segment_id,reference_ha\nS01,1.5\n", encoding="utf-8")
    with pytest.raises(EstimationError, match=r"one.csv can give no domain a figure"):
        run("estimate totals frame.csv one.csv --method expansion")


def test_a_byte_order_mark_and_spaces_change_nothing(here: Path) -> None:
    plain = run("estimate totals frame.csv sample.csv --method expansion --json")
    text = FILES["frame.csv"].replace("S03,high", "S03,  high ")
    (here / "frame.csv").write_text("\ufeff" + text, encoding="utf-8")
    assert run("estimate totals frame.csv sample.csv --method expansion --json") == plain


@pytest.mark.parametrize("of", ["total", "mean", "ratio"])
@pytest.mark.parametrize("variance", ["linearised", "jackknife", "bootstrap"])
def test_a_domain_of_zeros_has_an_upper_limit_and_no_error(
    here: Path, of: str, variance: str
) -> None:
    lines = [line.split(",") for line in FILES["units.csv"].splitlines()]
    text = "\n".join(
        ",".join([*cells[:7], "0" if cells[3] == "p" else cells[7], *cells[8:]]) for cells in lines
    )
    (here / "units.csv").write_text(text + "\n", encoding="utf-8")
    command = f"estimate design units.csv --of {of} --variance {variance} --json"
    row = next(row for row in json.loads(run(command)) if row["domain_id"] == "p")
    assert row["value"] == 0.0
    assert row["se"] is None
    assert row["ci_low"] == 0.0
    assert row["ci_high"] > 0.0
    assert row["reliability"] == "not_detected"


def test_points_that_all_agree_give_no_error_of_zero(here: Path) -> None:
    (here / "m.csv").write_text(
        "map_class,map_ha,poppy,other\npoppy,100,5,0\nother,900,0,50\n", encoding="utf-8"
    )
    for row in json.loads(run("estimate matrix m.csv --json")):
        assert row["area_se_ha"] is None
        assert row["users_se"] is None
        assert row["ci_low_ha"] < row["area_ha"] < row["ci_high_ha"]
    poppy, other = json.loads(run("estimate matrix m.csv --json"))
    # 900 ha without a find at 50 points: 1 - 0.05^(1/50) = 5.8%.
    assert poppy["ci_high_ha"] == pytest.approx(100 + 900 * (1 - 0.05 ** (1 / 50)))
    assert other["ci_low_ha"] == pytest.approx(900 - 900 * (1 - 0.05 ** (1 / 50)))


def test_no_find_in_land_not_called_is_not_known_to_be_none(here: Path) -> None:
    text = FILES["field_checks.csv"].replace(",2,88", ",0,90")
    (here / "field_checks.csv").write_text(text, encoding="utf-8")
    (row,) = json.loads(run("estimate field-check field_checks.csv --json"))
    assert row["ci_high_ha"] - row["value_ha"] > 5200 * (1 - 0.05 ** (1 / 90))
    assert "its upper limit is in the interval" in row["why"]
