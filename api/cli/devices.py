"""Phones: who may send, and how a phone is set up."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.options import AsJson, SurveyPath

if TYPE_CHECKING:
    from survey.forms import DeviceRegistry

__all__ = ["collect", "devices"]

devices = typer.Typer(help="Phones that may send submissions.", no_args_is_help=True)


@devices.command("add")
def devices_add(
    label: Annotated[str, typer.Argument(help="Who holds it: a team, no person's name.")],
    url: Annotated[str, typer.Option(help="Address that the phone reaches, https://...")],
    qr: Annotated[Path, typer.Option(help="PNG that receives the code to scan in ODK Collect.")],
    survey: SurveyPath = Path("survey.toml"),
    plain_lan: Annotated[
        bool,
        typer.Option(
            "--plain-lan", help="It sends by http:// on a closed network: encrypted forms only."
        ),
    ] = False,
) -> None:
    """Register a phone and write the code that sets it up.

    The code holds the phone's secret: show it to the phone, then delete it. The secret is stored
    nowhere; a lost phone is revoked and gets a new one.
    """
    import segno

    from survey.errors import ConfigError, SurveyError
    from survey.forms import collect_settings
    from survey.rounds import read_round

    is_plain = url.startswith("http://")
    here = url.startswith(("http://127.0.0.1", "http://localhost"))
    if plain_lan and not is_plain:
        raise ConfigError(f"--plain-lan is for an http:// address, and --url is {url}")
    if not plain_lan and not here and not url.startswith("https://"):
        raise ConfigError(
            f"--url {url} is no https address: phones send their secret with it; on a closed "
            "network without TLS give --plain-lan"
        )
    if qr.suffix.lower() != ".png":
        raise ConfigError(f"--qr {qr} is no .png; give the picture a name such as phone.png")
    declared = read_round(survey)
    device, secret = _registry(survey).add(label, now=datetime.now(UTC), plain_lan=plain_lan)
    admin_password = secrets.token_urlsafe(6)
    content = collect_settings(
        url=url,
        device_id=device.device_id,
        secret=secret,
        title=declared.title,
        admin_password=admin_password,
    )
    try:
        qr.touch(mode=0o600)
        segno.make(content, micro=False).save(str(qr), scale=5)
    except OSError as error:
        _registry(survey).revoke(device.device_id, now=datetime.now(UTC))
        raise SurveyError(f"{qr} cannot be written: {error.strerror}") from error
    typer.echo(f"Phone {device.device_id} ({device.label}): scan {qr}, then delete it")
    typer.echo(f"Password of its locked settings, for the coordinator: {admin_password}")


@devices.command("list")
def devices_list(survey: SurveyPath = Path("survey.toml"), as_json: AsJson = False) -> None:
    """List the phones; secrets are not known here."""
    found = _registry(survey).devices()
    if as_json:
        rows = [
            {
                "device_id": device.device_id,
                "label": device.label,
                "created_at": device.created_at,
                "revoked_at": device.revoked_at or None,
            }
            for device in found
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    for device in found:
        state = f"revoked {device.revoked_at}" if device.revoked_at else "may send"
        typer.echo(f"{device.device_id}  {device.label:<24}  {state}")
    if not found:
        typer.echo("No phone yet: adsurvey devices add")


@devices.command("revoke")
def devices_revoke(
    device_id: Annotated[str, typer.Argument(help="Id of `adsurvey devices list`.")],
    survey: SurveyPath = Path("survey.toml"),
) -> None:
    """Let a phone send no more; what it sent stays."""
    device = _registry(survey).revoke(device_id, now=datetime.now(UTC))
    typer.echo(f"{device.device_id}  {device.label}  revoked {device.revoked_at}")


def collect(
    survey: SurveyPath = Path("survey.toml"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8443,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="PEM chain that phones trust.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM key of the certificate.")] = None,
    plain_lan: Annotated[
        bool,
        typer.Option(
            "--plain-lan", help="Closed network without TLS: Digest, and encrypted forms only."
        ),
    ] = False,
    phone_gb: Annotated[
        float, typer.Option(min=0.0, help="What one phone may send in all, GB.")
    ] = 20.0,
    total_gb: Annotated[
        float, typer.Option(min=0.0, help="What all phones may send in all, GB.")
    ] = 1000.0,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            help="Processes that receive; else one for each core, at most 4, "
            "and one with --plain-lan.",
        ),
    ] = None,
) -> None:
    """Receive submissions of phones (OpenRosa) until Ctrl-C.

    Nothing but forms and submissions is served: no map, no figures.
    """
    import os

    from api.collect import bind_listener, refuse_plain_bind, run_collector
    from api.routes.receiving import Limits
    from survey.errors import ConfigError
    from survey.forms import PublishedForms
    from survey.rounds import read_round

    if (tls_certificate is None) != (tls_key is None):
        raise ConfigError("give --tls-certificate and --tls-key together")
    if plain_lan and tls_key is not None:
        raise ConfigError("--plain-lan is for a network without TLS; leave the certificate away")
    if plain_lan and workers is not None and workers > 1:
        raise ConfigError("--plain-lan receives with one process; leave --workers away")
    refuse_plain_bind(host, has_tls=tls_key is not None, plain_lan=plain_lan)
    for path in filter(None, (tls_certificate, tls_key)):
        if not path.is_file():
            raise ConfigError(f"{path} does not exist; give the PEM file of the certificate")
    folder = read_round(survey).submissions_folder
    if plain_lan and PublishedForms(folder).public_key() is None:
        raise ConfigError(
            "--plain-lan takes encrypted forms only, and the round has no key: see "
            "adsurvey forms keys and adsurvey forms publish --public-key"
        )
    limits = Limits(phone_bytes=int(phone_gb * 1e9), total_bytes=int(total_gb * 1e9))
    n_cores = len(os.sched_getaffinity(0))
    listener = bind_listener(host, port)
    scheme = "https" if tls_key else "http"
    typer.echo(f"Receiving on {scheme}://{host}:{port}  (Ctrl-C ends)", err=True)
    run_collector(
        folder,
        listener,
        workers=1 if plain_lan else workers or min(n_cores, 4),
        plain_lan=plain_lan,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        limits=limits,
    )


def _registry(survey: Path) -> DeviceRegistry:
    from api.collect import devices_of
    from survey.rounds import read_round

    return devices_of(read_round(survey).submissions_folder)
