"""The command as a whole: its verbs, and how a failure is answered."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from api.cli.adapted import export, take_over
from api.cli.aggregate import aggregate
from api.cli.database import database
from api.cli.devices import collect, devices
from api.cli.encryption import register as register_encryption
from api.cli.estimate import estimate
from api.cli.forms import forms
from api.cli.imagery import classify, features, scenes, train
from api.cli.privacy import photos, purge, withdraw
from api.cli.progress import status
from api.cli.review import review
from api.cli.rounds import load, run
from api.cli.service import serve
from api.cli.users import users
from api.cli.zones import change, risk, zonal

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
app.command()(run)
forms.add_typer(review, name="review")
forms.command()(status)
forms.command("map")(take_over)
forms.command()(export)
forms.command()(withdraw)
forms.command()(aggregate)
forms.command()(photos)
register_encryption(forms)
app.add_typer(forms, name="forms")
app.add_typer(devices, name="devices")
app.command()(collect)
app.add_typer(scenes, name="scenes")
app.command()(features)
app.command()(train)
app.command()(classify)
app.command()(zonal)
app.command()(change)
app.command()(risk)
app.add_typer(estimate, name="estimate")
app.command()(load)
app.command()(purge)
app.command()(serve)
app.add_typer(users, name="users")
app.add_typer(database, name="database")


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
        from api.errors import AccountError, ApiError, BindRefusedError

        if isinstance(error, (AccountError, BindRefusedError)):
            return EXIT_MISUSE
        families.append(ApiError)
    return EXIT_FAILURE if isinstance(error, tuple(families)) else None
