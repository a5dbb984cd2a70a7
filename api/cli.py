"""The `adsurvey` command: one verb per step of the main job.

Heavy libraries are imported inside the verb that needs them, so that help answers at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from rich.console import Console

    from api.pipeline import Progress
    from api.settings import Settings

__all__ = ["app", "main"]

EXIT_FAILURE = 1
EXIT_MISUSE = 2

app = typer.Typer(
    name="adsurvey",
    help="Field forms and image tiles to defensible hectares of poppy and cannabis per district.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
forms = typer.Typer(help="Forms and submissions of field teams.", no_args_is_help=True)
database = typer.Typer(help="The private database cluster.", no_args_is_help=True)
app.add_typer(forms, name="forms")
app.add_typer(database, name="database")

SurveyPath = Annotated[
    Path, typer.Option("--survey", help="The round's survey.toml, or its folder.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def _show_version(value: bool) -> None:  # typer calls it with the flag's value
    if value:
        from importlib.metadata import version

        typer.echo(f"adsurvey {version('ad-survey')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


@app.command()
def run(
    survey: Annotated[Path, typer.Argument(help="The round's survey.toml, or its folder.")],
    as_json: AsJson = False,
) -> None:
    """Run the whole chain of a round, files to files: no database is needed."""
    from datetime import UTC, datetime

    from api.pipeline import run_round
    from survey.rounds import read_round

    declared = read_round(survey)
    with _progress_bars() as progress:
        result = run_round(declared, today=datetime.now(UTC).date(), progress=progress)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "run_id": result.run_id,
                    "folder": str(result.folder),
                    "notes": [str(note) for note in result.notes],
                    "estimates": json.loads(result.published.to_json(orient="records")),
                },
                indent=2,
            )
        )
        return
    _print_estimates(result.published, declared.survey.title)
    for note in result.notes:
        typer.echo(f"Note: {note}")
    typer.echo(f"\nRun {result.run_id}")
    for name, what in (
        ("publish/map.html", "map, opens without a network"),
        ("publish/districts.gpkg", "districts and projects for QGIS"),
        ("publish/districts.csv", "the table"),
        ("publish/run.json", "the record that reproduces the figures"),
        ("restricted", "class map, segments, comparison of methods: for analysts only"),
    ):
        typer.echo(f"  {result.folder / name}  ({what})")


@forms.command("import")
def forms_import(
    files: Annotated[
        list[Path], typer.Argument(help="XForm XML, CSV, XLSX or JSON files, or folders.")
    ],
    survey: SurveyPath = Path("survey.toml"),
    mapping: Annotated[
        Path | None,
        typer.Option(help="TOML that names the columns of a plain table (docs/forms.md)."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write the problems found as a sheet to correct by.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take submissions into the round's store; repeating it changes nothing."""
    from datetime import UTC, datetime

    from survey.errors import ConfigError, SurveyError
    from survey.forms import SubmissionStore, report_json, report_workbook
    from survey.rounds import read_round

    if report is not None and report.suffix.lower() != ".xlsx":
        raise ConfigError(f"--report {report} is no .xlsx; give the sheet a name such as r.xlsx")
    how = None if mapping is None else _read_text(mapping)
    store = SubmissionStore(read_round(survey).submissions_folder)
    reports = [
        store.import_file(path.name, _read_bytes(path), received_at=datetime.now(UTC), mapping=how)
        for path in _each_file(files)
    ]
    if report is not None:
        try:
            report.write_bytes(report_workbook(reports))
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
        raise typer.Exit(EXIT_FAILURE)


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


@app.command()
def load(
    folder: Annotated[Path, typer.Argument(help="Output folder of a run.")],
    as_json: AsJson = False,
) -> None:
    """Put the results of a run into the database; loading the same run again changes nothing."""
    from dataclasses import asdict

    from api.db.store import connect, load_run

    engine = connect(_settings())
    try:
        report = load_run(engine, folder)
    finally:
        engine.dispose()
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=2, default=str))
    else:
        typer.echo(str(report))


@app.command()
def serve(
    survey: Annotated[
        Path | None, typer.Option("--survey", help="Round that receives uploaded submissions.")
    ] = None,
    host: Annotated[str, typer.Option(help="Loopback address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
) -> None:
    """Serve the map, OGC API and tiles on this machine until Ctrl-C."""
    import uvicorn

    from api.app import create_app, refuse_public_bind

    refuse_public_bind(host)
    settings = _settings(host=host, port=port, **({"survey": survey} if survey else {}))
    typer.echo(f"Map on http://{host}:{port}/  (Ctrl-C ends)", err=True)
    uvicorn.run(create_app(settings), host=host, port=port, log_level="warning")


@database.command("start")
def database_start() -> None:
    """Start the private cluster, making it first if needed."""
    typer.echo(_cluster().ensure_running())


@database.command("stop")
def database_stop() -> None:
    """Stop the private cluster; the data stay."""
    _cluster().stop()


@database.command("remove")
def database_remove() -> None:
    """Stop the private cluster and delete its data."""
    _cluster().remove()


def main() -> None:
    """Entry point: one message per failure, exit 1 for failures and 2 for misuse."""
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(code)


def _exit_code(error: Exception) -> int | None:
    """Exit code of an error that a message explains; None for a defect of this program."""
    from survey.errors import ConfigError, SurveyError

    if isinstance(error, ConfigError):
        return EXIT_MISUSE
    families: list[type[Exception]] = [SurveyError]
    if "imagery.errors" in sys.modules:
        families.append(sys.modules["imagery.errors"].ImageryError)
    if "api.errors" in sys.modules:
        from api.errors import ApiError, BindRefusedError

        if isinstance(error, BindRefusedError):
            return EXIT_MISUSE
        families.append(ApiError)
    return EXIT_FAILURE if isinstance(error, tuple(families)) else None


def _settings(**overrides: Any) -> Settings:
    from api.settings import Settings

    return Settings(**overrides)


def _cluster() -> Any:
    from api.db.cluster import PrivateCluster

    return PrivateCluster(_settings().state_dir)


def _each_file(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(child for child in path.rglob("*") if child.is_file())
        else:
            yield path


def _read_bytes(path: Path) -> bytes:
    from survey.errors import SurveyError

    try:
        return path.read_bytes()
    except OSError as error:
        raise SurveyError(f"{path} cannot be read: {error.strerror}") from error


def _read_text(path: Path) -> str:
    from survey.errors import SurveyError

    try:
        return _read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SurveyError(f"{path} is not UTF-8 text; save it as UTF-8") from error


class _progress_bars:  # noqa: N801  # reads as a verb where it is used
    """Bars on stderr, one per step; silent lines where stderr is no terminal."""

    def __enter__(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bars = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, Any] = {}
        self._bars.start()
        return self._update

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def _update(self, step: str, done: int, total: int) -> None:
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step, total=total)
        self._bars.update(self._tasks[step], completed=done, total=total)


def _print_estimates(published: pd.DataFrame, title: str) -> None:
    """One table per crop that fits a terminal of 80 columns."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console: Console = Console()
    for crop in published["crop"].unique():
        rows = published.loc[published["crop"] == crop]
        level = rows["level"].dropna()
        percent = f"{100 * level.iloc[0]:g}% interval" if len(level) else "Interval"
        table = Table(
            title=f"{title}: {crop}, hectares",
            title_justify="left",
            box=box.SIMPLE,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        for column, justify in (
            ("Domain", "left"),
            ("Value", "right"),
            (percent, "right"),
            ("n", "right"),
            ("Kind", "left"),
            ("Reliability", "left"),
            ("Unseen", "right"),
        ):
            table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        for row in rows.to_dict("records"):
            table.add_row(*_cells(row))
        console.print(table)
        for reason in sorted(set(rows["disclosure"]) - {""}):
            console.print(f"withheld: {reason}", style="dim")


def _cells(row: dict[Any, Any]) -> tuple[str, ...]:
    name = row["domain_name"] or row["domain_id"]
    if row["admin_level"] == "country":
        name = "Country"
    elif row["admin_level"] == "district":
        name = f"  {name}"
    value, interval = "-", "-"
    if row["reliability"] == "not_detected" and not row["disclosure"]:
        interval = f"below {_hectares(row['ci_high_ha'])}"
    elif row["value_ha"] == row["value_ha"]:  # not NaN
        value = _hectares(row["value_ha"])
        interval = f"{_hectares(row['ci_low_ha'])} to {_hectares(row['ci_high_ha'])}"
    return (
        str(name),
        value,
        interval,
        str(row["n_segments"]),
        str(row["estimate_type"]),
        "withheld" if row["disclosure"] else str(row["reliability"]).replace("_", " "),
        f"{100 * row['unobserved_share']:.0f}%",
    )


def _hectares(value: float) -> str:
    return f"{value:,.1f}" if value < 1000.0 else f"{value:,.0f}"


if __name__ == "__main__":
    main()
