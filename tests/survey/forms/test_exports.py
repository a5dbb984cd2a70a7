"""Exports as KoboToolbox and ODK Central write them, with repeats apart from the interviews."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import openpyxl
import pytest

from survey.forms import Submission, parse_submissions, read_mapping
from survey.forms.redaction import redact

MAPPING = Path(__file__).resolve().parents[3] / "docs" / "safi-mapping.toml"
SAFI = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "safi-household-survey"
INTERVIEW = {
    "consent": "yes",
    "consent_version": "2026-11",
    "consent_language": "my",
    "visit_date": "2026-02-03",
    "district_pcode": "MR0101",
    "village_id": "V01",
    "sample_type": "probability",
    "household_size": "5",
    "area_unit": "rai",
    "grows_poppy": "no",
}
PLOTS = [
    ({"plot_area": "2"}, [{"crop_name": "maize", "harvest_amount": "300"}, {"crop_name": "tea"}]),
    ({"plot_area": "0.5"}, []),
    ({"plot_area": "4"}, [{"crop_name": "coffee"}]),
]


def entries(submission: Submission) -> dict[str, list[dict[str, str]]]:
    """Entries without the empty cells of a table."""
    return {
        repeat: [{name: answer for name, answer in entry.items() if answer} for entry in found]
        for repeat, found in submission.repeats.items()
    }


EXPECTED = {
    "plot": [{"plot_area": "2"}, {"plot_area": "0.5"}, {"plot_area": "4"}],
    "plot_crop": [
        {"_of": "1", "crop_name": "maize", "harvest_amount": "300"},
        {"_of": "1", "crop_name": "tea"},
        {"_of": "3", "crop_name": "coffee"},
    ],
}


def xml() -> bytes:
    def leaves(answers: dict[str, str]) -> str:
        return "".join(f"<{name}>{answer}</{name}>" for name, answer in answers.items())

    plots = "".join(
        f"<plot>{leaves(plot)}"
        + "".join(f"<plot_crop>{leaves(crop)}</plot_crop>" for crop in crops)
        + "</plot>"
        for plot, crops in PLOTS
    )
    return (
        f'<data id="farmer_survey" version="2026112601">{leaves(INTERVIEW)}{plots}'
        "<meta><instanceID>uuid:one</instanceID></meta></data>"
    ).encode()


def kobo_workbook(*, shuffled: bool = False, without: str = "") -> bytes:
    """One sheet for the interviews, one for each repeat, as Kobo's XLSX has it."""
    title = "Farmer survey of the northern hills, 2026"
    book = openpyxl.Workbook()
    main, plots, crops = book.active, book.create_sheet("plot"), book.create_sheet("plot_crop")
    assert main is not None
    main.title = title[:31]
    main.append([*(f"group/{name}" for name in INTERVIEW), "_id", "_uuid", "_index"])
    main.append([*INTERVIEW.values(), 17, "other", 1])
    main.append([*INTERVIEW.values(), 18, "one", 2])
    plots.append(["plot/plot_area", "_index", "_parent_table_name", "_parent_index"])
    columns = "plot/plot_crop/crop_name harvest_amount _index _parent_table_name _parent_index"
    crops.append([*columns.split(), "_submission__uuid"])
    rows, number, crop_number = [], 0, 0
    plots.append([9, 1, title, 1])
    for number, (plot, its) in enumerate(PLOTS, start=2):
        plots.append([float(plot["plot_area"]), number, title, 2])
        for crop in its:
            crop_number += 1
            rows.append(
                [crop["crop_name"], crop.get("harvest_amount"), crop_number, "plot", number, "one"]
            )
    for row in rows:
        crops.append(row)
    if without:
        del book[without]
    if shuffled:
        book.move_sheet("plot_crop", -2)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def central_zip() -> bytes:
    """One CSV for the interviews, one for each repeat, as ODK Central exports them."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        crops = ["crop_name,harvest_amount,PARENT_KEY,KEY"]
        plots = ["plot_area,PARENT_KEY,KEY"]
        for number, (plot, its) in enumerate(PLOTS, start=1):
            key = f"uuid:one/plot[{number}]"
            plots.append(f"{plot['plot_area']},uuid:one,{key}")
            crops += [
                f"{c['crop_name']},{c.get('harvest_amount', '')},{key},{key}/plot_crop[{n}]"
                for n, c in enumerate(its, start=1)
            ]
        packed.writestr("farmer_survey-plot-plot_crop.csv", "\n".join(crops))
        packed.writestr("farmer_survey-plot.csv", "\n".join(plots))
        header = ",".join(f"group-{name}" for name in INTERVIEW)
        packed.writestr(
            "farmer_survey.csv",
            f"SubmissionDate,{header},meta-instanceID,KEY,FormVersion\n"
            f"2026-02-03T10:00:00Z,{','.join(INTERVIEW.values())},uuid:one,uuid:one,2026112601\n",
        )
    return out.getvalue()


def central_json() -> bytes:
    plots = [{**plot, "plot_crop": crops, "__id": "x"} for plot, crops in PLOTS]
    record = {"__id": "uuid:one", "group": INTERVIEW, "plot": plots, "__system": {"x": 1}}
    return json.dumps({"value": [record]}).encode()


def plain_csv() -> bytes:
    """What the sheet of problems gives back: repeats in columns."""
    row = dict(INTERVIEW, instanceID="uuid:one")
    for number, (plot, crops) in enumerate(PLOTS, start=1):
        row |= {f"plot[{number}]/{name}": answer for name, answer in plot.items()}
        for inner, crop in enumerate(crops, start=1):
            path = f"plot[{number}]/plot_crop[{inner}]"
            row |= {f"{path}/{name}": answer for name, answer in crop.items()}
    return f"{','.join(row)}\n{','.join(row.values())}\n".encode()


@pytest.mark.parametrize(
    "data",
    [
        xml(),
        kobo_workbook(),
        kobo_workbook(shuffled=True),
        central_zip(),
        central_json(),
        plain_csv(),
    ],
    ids=["xml", "kobo", "kobo-shuffled", "central-zip", "central-json", "csv"],
)
def test_repeats_within_repeats_are_the_same_however_they_come(data: bytes) -> None:
    parsed = parse_submissions("export", data)
    assert [str(problem) for problem in parsed.problems] == []
    submission = parsed.submissions[-1]
    assert submission.instance_id == "uuid:one"
    assert entries(submission) == EXPECTED
    phone = parse_submissions("phone", xml()).submissions[0]
    assert submission.sha256 == phone.sha256


def test_other_interviews_keep_their_own_entries() -> None:
    first, _ = parse_submissions("export", kobo_workbook()).submissions
    assert entries(first) == {"plot": [{"plot_area": "9"}]}


def test_entries_whose_interview_is_missing_are_not_lost_silently() -> None:
    (problem,) = parse_submissions("export", kobo_workbook(without="plot")).problems
    assert problem.is_refused
    assert "sheet plot_crop, row 1 belongs to '2'" in str(problem)


def test_a_wrong_answer_in_an_entry_names_the_entry() -> None:
    wrong = plain_csv().replace(b"maize", b"mais")
    (problem,) = parse_submissions("f.csv", wrong).problems
    assert (problem.row, problem.field) == (1, "plot[1]/plot_crop[1]/crop_name")


def test_positions_come_in_one_column_four_columns_or_as_geojson() -> None:
    visit = {
        "segment_id": "S-1",
        "visit_date": "2026-02-03",
        "observer_code": "T1",
        "observed_percent": "80",
        "area_unit": "rai",
        "poppy_area": "1.3",
        "cannabis_area": "0",
    }
    four = {"Latitude": "20.5", "Longitude": "97.5", "Altitude": "", "Accuracy": "8"}
    header = [*visit, *(f"segment_point-{part}" for part in four), "KEY"]
    central = f"{','.join(header)}\n{','.join([*visit.values(), *four.values(), 'uuid:1'])}"
    geojson = {
        "type": "Point",
        "coordinates": [97.5, 20.5, None],
        "properties": {"accuracy": 8},
    }
    one = ",".join([*visit, "segment_point", "KEY"])
    plain = f"{one}\n{','.join([*visit.values(), '20.5 97.5 0 8', 'uuid:1'])}"
    files = [central, json.dumps([{**visit, "segment_point": geojson, "__id": "uuid:1"}]), plain]
    found = [parse_submissions("f", text.encode()) for text in files]
    assert [parsed.problems for parsed in found] == [(), (), ()]
    assert len({parsed.submissions[0].sha256 for parsed in found}) == 1


def test_a_question_that_was_renamed_is_read_under_its_name_of_today() -> None:
    plot = {
        "plot_id": "P-1",
        "segment_id": "S-1",
        "visit_date": "2026-02-03",
        "observer_code": "T1",
        "sample_type": "probability",
        "plot_area_m2": "1",
        **dict.fromkeys(["n_flower", "n_bud", "n_immature", "n_mature", "n_lanced"], "3"),
    }
    leaves = "".join(f"<{name}>{answer}</{name}>" for name, answer in plot.items())
    old = (
        f'<data id="yield_plot" version="2026011501">{leaves}'
        "<meta><instanceID>uuid:1</instanceID></meta></data>"
    )
    (from_phone,) = parse_submissions("old.xml", old.encode()).submissions
    table = f"{','.join(plot)},instanceID\n{','.join(plot.values())},uuid:1\n"
    parsed = parse_submissions("old.csv", table.encode())
    assert parsed.problems == ()
    assert from_phone.answers["square_area_m2"] == "1"
    assert "plot_area_m2" not in from_phone.answers
    assert from_phone.form_version == "2026011501"
    assert parsed.submissions[0].sha256 == from_phone.sha256


@pytest.mark.shared_data
@pytest.mark.skipif(not SAFI.is_dir(), reason="../shared/data/safi-household-survey is not here")
def test_real_interviews_of_another_form_come_in_by_a_mapping() -> None:
    data = (SAFI / "SAFI.json").read_bytes()
    parsed = parse_submissions(
        "SAFI.json", data, mapping=read_mapping(MAPPING.read_text(encoding="utf-8"))
    )
    assert [str(problem) for problem in parsed.problems] == []
    assert len(parsed.submissions) == 131
    assert sum(len(s.repeats.get("plot", ())) for s in parsed.submissions) == 292
    crops = [crop for s in parsed.submissions for crop in s.repeats.get("plot_crop", ())]
    assert len(crops) == 373
    assert sum(crop["crop_name"] == "maize" for crop in crops) == 157
    areas = [float(p["plot_area"]) for s in parsed.submissions for p in s.repeats.get("plot", ())]
    raw = [p["D02_total_plot"] for record in json.loads(data) for p in record["D_plots"]]
    assert areas == raw


@pytest.mark.parametrize("gone", ["one", "other"])
def test_a_withdrawal_takes_the_entries_with_it(gone: str) -> None:
    kept = {"one": "other", "other": "one"}[gone]
    data = kobo_workbook()
    left, taken = redact(data, lambda instance: instance == f"uuid:{gone}")
    assert taken == 1
    assert left is not None
    before = {s.instance_id: s.sha256 for s in parse_submissions("f", data).submissions}
    parsed = parse_submissions("f", left)
    assert parsed.problems == ()
    assert [(s.instance_id, s.sha256) for s in parsed.submissions] == [
        (f"uuid:{kept}", before[f"uuid:{kept}"])
    ]
    areas = {row[0] for row in list(openpyxl.load_workbook(io.BytesIO(left))["plot"].values)[1:]}
    assert areas == ({9} if gone == "one" else {2, 0.5, 4})


def test_a_withdrawal_from_an_archive_leaves_the_others() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(central_zip())) as packed, zipfile.ZipFile(out, "w") as both:
        for name in packed.namelist():
            text = packed.read(name).decode().rstrip("\n")
            first, *rows = text.split("\n")
            again = [row.replace("uuid:one", "uuid:two") for row in rows]
            both.writestr(name, "\n".join([first, *rows, *again]))
    left, taken = redact(out.getvalue(), lambda instance: instance == "uuid:one")
    assert taken == 1
    assert left is not None
    (submission,) = parse_submissions("f", left).submissions
    assert entries(submission) == EXPECTED
    with zipfile.ZipFile(io.BytesIO(left)) as packed:
        assert all(b"uuid:one" not in packed.read(name) for name in packed.namelist())
