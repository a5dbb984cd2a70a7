"""Forms and submissions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.options import AsJson, SurveyPath, each_file, read_bytes, read_text

if TYPE_CHECKING:
    from survey.forms import ParsedFile, Problem

__all__ = ["forms"]

forms = typer.Typer(help="Forms and submissions of field teams.", no_args_is_help=True)


@forms.command("import")
def forms_import(
    files: Annotated[
        list[Path], typer.Argument(help="XForm XML, CSV, XLSX, ZIP or JSON files, or folders.")
    ],
    survey: SurveyPath = Path("survey.toml"),
    mapping: Annotated[
        Path | None,
        typer.Option(help="TOML that says which column is which question (docs/forms.md)."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write an .xlsx: the problems, and refused rows to correct and import."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take submissions into the round's store; repeating it changes nothing."""
    from datetime import UTC, datetime

    from survey.errors import ConfigError, SurveyError
    from survey.forms import (
        SubmissionStore,
        parse_submissions,
        read_mapping,
        report_json,
        report_workbook,
    )
    from survey.rounds import read_round

    if report is not None and report.suffix.lower() != ".xlsx":
        raise ConfigError(f"--report {report} is no .xlsx; give the sheet a name such as r.xlsx")
    how = None if mapping is None else read_text(mapping)
    store = SubmissionStore(read_round(survey).submissions_folder)
    reports = []
    sheets: list[tuple[Sequence[Problem], ParsedFile | None]] = []
    for path in each_file(files):
        data = read_bytes(path)
        now = datetime.now(UTC)
        done = store.import_file(path.name, data, received_at=now, mapping=how)
        reports.append(done)
        held = None
        if report is not None and not done.accepted:
            rule = None if how is None else read_mapping(how)
            held = parse_submissions(path.name, data, mapping=rule)
        sheets.append((done.problems, held))
    if report is not None:
        try:
            report.write_bytes(report_workbook(sheets))
        except OSError as error:
            raise SurveyError(f"{report} cannot be written: {error.strerror}") from error
    if as_json:
        typer.echo(json.dumps([report_json(each) for each in reports], indent=2))
    else:
        for each in reports:
            if not each.accepted or each.problems or each.n_conflict:
                typer.echo(f"{each.file}: {'accepted' if each.accepted else 'REFUSED'}")
            for problem in each.problems:
                typer.echo(f"  {problem}")
        typer.echo(
            f"{len(reports)} files: {sum(r.n_new for r in reports)} new submissions, "
            f"{sum(r.n_known for r in reports)} known already, "
            f"{sum(r.n_conflict for r in reports)} in conflict, "
            f"{sum(not r.accepted for r in reports)} files refused"
        )
    if any(not each.accepted for each in reports):
        raise typer.Exit(1)


@forms.command("status")
def forms_status(
    survey: SurveyPath = Path("survey.toml"),
    missing: Annotated[
        bool, typer.Option("--missing", help="Name the drawn segments without a visit.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what came in, and what is missing against the sample.

    Segment ids are names of places: do not pass the list of `--missing` on.
    """
    from datetime import UTC, datetime

    from api.reviewing import round_reviews
    from survey.errors import SurveyError
    from survey.forms.questionnaires import QUESTIONS
    from survey.progress import district_progress, team_progress
    from survey.review import ReviewState, count_states
    from survey.rounds import read_round

    declared = read_round(survey)
    reviewed = round_reviews(declared, today=datetime.now(UTC).date())
    if reviewed.places is None:
        raise SurveyError("the districts or the frame of the round are missing; see [inputs]")
    by_form = {
        form_id: count_states([r for r in reviewed.reviews if r.original.form_id == form_id])
        for form_id in reviewed.store.form_ids()
    }
    others = [form_id for form_id in by_form if form_id not in QUESTIONS and by_form[form_id]]
    counts = {form_id: sum(states.values()) for form_id, states in by_form.items()}
    n_conflicts, n_refused = reviewed.store.kept_for_review()
    n_waiting = reviewed.store.n_waiting()
    n_sealed = sum(1 for _ in reviewed.store.iter_sealed())
    all_visits = [r for r in reviewed.reviews if r.original.form_id == "segment_visit"]
    standing = [r for r in all_visits if r.state is not ReviewState.REJECTED]
    by_district = district_progress(
        [r.submission for r in standing],
        reviewed.places.frame,
        accepted={r.instance_id for r in standing if r.state is ReviewState.ACCEPTED},
    )
    by_team = team_progress([r.submission for r in all_visits])
    if not missing:
        by_district = by_district.drop(columns="missing")
    if as_json:
        content = {
            "submissions": counts,
            "states": by_form,
            "conflicts": n_conflicts,
            "waiting_for_files": n_waiting,
            "encrypted": n_sealed,
            "refused_files": n_refused,
            "other_forms": others,
            "districts": json.loads(by_district.to_json(orient="records")),
            "teams": json.loads(by_team.to_json(orient="records")),
        }
        typer.echo(json.dumps(content, indent=2))
        return
    for form_id, count in counts.items():
        if count:
            states = ", ".join(f"{n} {state}" for state, n in by_form[form_id].items())
            typer.echo(f"{form_id:<20} {count:>6}  {states}")
    typer.echo(f"{'kept for review':<20} {n_conflicts:>6} conflicts, {n_refused} refused files")
    if n_waiting:
        typer.echo(f"{'files are missing':<20} {n_waiting:>6}")
    if n_sealed:
        typer.echo(f"{'encrypted':<20} {n_sealed:>6}")
    if others:
        typer.echo(
            f"{', '.join(others)}: of no form of this program and in no table; take them over "
            "with adsurvey forms map, or see them with adsurvey forms export"
        )
    typer.echo("\ndistrict          drawn  visited  accepted  missing")
    names = reviewed.places.name_of
    for row in by_district.to_dict("records"):
        name = f"{row['district_pcode']} {names[row['district_pcode']]}"
        typer.echo(
            f"{name:<17} {row['drawn']:>5} {row['visited']:>8} {row['accepted']:>9} "
            f"{row['drawn'] - row['visited']:>8}"
            + ("  " + " ".join(row["missing"]) if missing else "")
        )
    typer.echo("\nobserver     visits  days  first       last")
    for row in by_team.to_dict("records"):
        typer.echo(
            f"{row['observer_code']:<12} {row['visits']:>6} {row['days']:>5}  "
            f"{row['first_day']}  {row['last_day']}"
        )


@forms.command("rebuild")
def forms_rebuild(
    survey: SurveyPath = Path("survey.toml"),
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to replace (restricted/rows of the round if not given)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the tables of villages, households, plots, prices ... from what arrived.

    They hold positions and single households: restricted, folder of mode 0700. The same
    submissions give the same bytes.
    """
    from datetime import UTC, datetime

    from survey.flattening import flatten_store
    from survey.forms import SubmissionStore
    from survey.forms.located import Locator
    from survey.privacy import ExportLog
    from survey.readers import read_districts, read_frame
    from survey.rounds import read_round

    declared = read_round(survey)
    where = declared.locate
    districts = read_districts(where(declared.inputs.districts), declared.columns.districts)
    frame = read_frame(where(declared.inputs.frame), districts)
    folder = out or declared.output_folder / "restricted" / "rows"
    store = SubmissionStore(declared.submissions_folder)
    tables = flatten_store(
        store,
        folder,
        districts=Locator(districts, "district_pcode"),
        segments=Locator(frame, "segment_id"),
    )
    if out is not None:
        # A withdrawal has to find them there.
        files = [folder / f"{table.name}.csv" for table in tables]
        ExportLog(store.folder).record("rows", files, now=datetime.now(UTC))
    if as_json:
        told = [{"table": t.name, "rows": t.n_rows, "sha256": t.sha256} for t in tables]
        typer.echo(json.dumps({"folder": str(folder), "tables": told}, indent=2))
        return
    for table in tables:
        typer.echo(f"{table.name:<14} {table.n_rows:>8}")
    typer.echo(f"written to {folder}")


@forms.command("train")
def forms_train(
    folder: Annotated[Path, typer.Argument(help="New folder for the training.")],
    survey: SurveyPath = Path("survey.toml"),
    submissions: Annotated[
        int, typer.Option(min=0, max=500, help="Invented submissions of each form to begin with.")
    ] = 5,
) -> None:
    """Make a training round beside a round: own store, own phones, invented data.

    Use its survey.toml with every other command. Its forms and pages say TRAINING, the survey
    refuses what was filled in them, and its results cannot be loaded.
    """
    from datetime import UTC, datetime

    from api.pipeline.trainings import make_training
    from survey.rounds import read_round

    declared = read_round(survey)
    made = make_training(declared, folder, n_submissions=submissions, now=datetime.now(UTC))
    typer.echo(f"{made.path}: {made.title}")
    typer.echo(f"{submissions} invented submissions of each form are in {made.submissions_folder}")
    typer.echo(
        "Next: adsurvey devices add, adsurvey collect, adsurvey serve with this survey.toml"
    )


@forms.command("list")
def forms_list() -> None:
    """List the forms that field teams can fill."""
    from survey.forms import form_ids, form_path

    for form_id in form_ids():
        typer.echo(f"{form_id}  {form_path(form_id)}")


@forms.command("xform")
def forms_xform(
    form_id: Annotated[str, typer.Argument(help="A form of `adsurvey forms list`.")],
) -> None:
    """Print a form as the XForm XML that ODK Collect reads."""
    from survey.forms import xform_xml

    typer.echo(xform_xml(form_id))
