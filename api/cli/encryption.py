"""Publishing forms, and keys with which phones encrypt what they fill in them."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from api.cli.options import SurveyPath, read_bytes

__all__ = ["register"]

Passphrase = Annotated[
    Path, typer.Option(help="File whose first line is the passphrase of the private key.")
]


def register(forms: typer.Typer) -> None:
    """Add the verbs to `adsurvey forms`."""
    forms.command("publish")(publish)
    forms.command("keys")(keys)
    forms.command("decrypt")(decrypt)


def publish(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="XLSForms (.xlsx) or XForms (.xml); without any, the forms of `list`."
        ),
    ] = None,
    survey: SurveyPath = Path("survey.toml"),
    media: Annotated[
        list[Path] | None, typer.Option(help="File that the form shows or reads; repeatable.")
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option(help="PEM of `adsurvey forms keys`: phones encrypt from now on."),
    ] = None,
) -> None:
    """Publish forms to phones; every version stays for the phones that hold it."""
    from survey.errors import ConfigError
    from survey.forms import PublishedForms, xform_of
    from survey.rounds import read_round

    if media and len(files or []) != 1:
        raise ConfigError("--media belongs to one form; give that form alone")
    published = PublishedForms(read_round(survey).submissions_folder)
    if public_key is not None:
        published.set_public_key(read_bytes(public_key))
    now = datetime.now(UTC)
    if not files:
        new = published.publish_own(now=now)
        typer.echo(f"{len(new)} forms are new: {', '.join(new) or 'none'}")
    for path in files or []:
        form = published.publish(
            xform_of(path), now=now, media={each.name: read_bytes(each) for each in media or []}
        )
        typer.echo(
            f"{form.form_id}  version {form.version}, number {form.number}, "
            f"{len(form.media)} media files"
        )
    kind = "encrypted" if published.public_key() else "not encrypted"
    typer.echo(f"What phones fill in forms published from now on is {kind}")


def keys(
    private_key: Annotated[Path, typer.Argument(help="PEM to write: stays in the office.")],
    public_key: Annotated[Path, typer.Argument(help="PEM to write: goes to the server.")],
    passphrase_file: Passphrase,
) -> None:
    """Make the keys of encrypted forms, on a machine of the office and not on the server.

    Whoever loses the private key or its passphrase loses what phones sent: keep copies of both.
    """
    from survey.errors import ConfigError, SurveyError
    from survey.forms import make_keys

    for path in (private_key, public_key):
        if path.exists():
            raise ConfigError(f"{path} exists; a key is never overwritten, give another name")
    private, public = make_keys(_passphrase(passphrase_file))
    try:
        for path, content, mode in ((private_key, private, 0o600), (public_key, public, 0o644)):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(handle, "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
    except OSError as error:
        raise SurveyError(f"{path} cannot be written: {error.strerror}") from error
    typer.echo(f"{private_key} stays in the office, with a copy; {public_key} goes to the server:")
    typer.echo(f"  adsurvey forms publish --public-key {public_key}")


def decrypt(
    key: Annotated[Path, typer.Option(help="Private key of `adsurvey forms keys`, PEM.")],
    passphrase_file: Passphrase,
    survey: SurveyPath = Path("survey.toml"),
) -> None:
    """Open encrypted submissions and import them; each keeps its sender and time of arrival.

    All that can be opened is imported; none if one is damaged or was made for another key. Run it
    where the private key may be: on a copy of the store in the office.
    """
    from survey.forms import SubmissionStore, decrypt_store, open_private_key
    from survey.rounds import read_round

    opened = open_private_key(read_bytes(key), _passphrase(passphrase_file))
    result = decrypt_store(SubmissionStore(read_round(survey).submissions_folder), opened)
    for report in result.reports:
        for problem in report.problems:
            typer.echo(f"  {problem}")
    n_refused = sum(not report.accepted for report in result.reports)
    typer.echo(
        f"{sum(report.n_new for report in result.reports)} submissions decrypted and imported, "
        f"{n_refused} refused, {result.n_waiting} wait for files that have not arrived"
    )
    if n_refused:
        raise typer.Exit(1)


def _passphrase(path: Path) -> bytes:
    return read_bytes(path).splitlines()[0] if read_bytes(path) else b""
