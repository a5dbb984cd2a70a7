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
