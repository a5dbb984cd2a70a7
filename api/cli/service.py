"""The service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.cli.options import settings_of

__all__ = ["serve"]


def serve(
    survey: Annotated[
        Path | None, typer.Option("--survey", help="Round that receives uploaded submissions.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond loopback with users and TLS only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="PEM chain that browsers trust.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM key of the certificate.")] = None,
    behind_proxy: Annotated[
        bool, typer.Option(help="A proxy on this machine ends TLS (X-Forwarded-Proto).")
    ] = False,
    host_name: Annotated[
        list[str] | None,
        typer.Option(help="Name under which browsers reach the service; may be repeated."),
    ] = None,
) -> None:
    """Serve the map, OGC API and tiles until Ctrl-C.

    Without users: on this machine only, and whoever sits here counts as administrator. With
    users (`adsurvey users add`) everybody signs in.
    """
    import uvicorn

    from api.app import create_app, refuse_public_bind, refuse_without_users
    from survey.errors import ConfigError

    if (tls_certificate is None) != (tls_key is None):
        raise ConfigError("give --tls-certificate and --tls-key together")
    for path in filter(None, (tls_certificate, tls_key)):
        if not path.is_file():
            raise ConfigError(f"{path} does not exist; give the PEM file of the certificate")
    settings = settings_of(
        host=host,
        port=port,
        **({"behind_proxy": True} if behind_proxy else {}),
        **({"survey": survey} if survey else {}),
        **({"host_names": tuple(host_name)} if host_name else {}),
    )
    refuse_public_bind(settings, has_tls=tls_key is not None)
    refuse_without_users(settings)
    scheme = "https" if tls_key else "http"
    typer.echo(f"Map on {scheme}://{host}:{port}/  (Ctrl-C ends)", err=True)
    uvicorn.run(
        create_app(settings),
        host=host,
        port=port,
        log_level="warning",
        ssl_certfile=tls_certificate,
        ssl_keyfile=tls_key,
        # Only a proxy on this machine may say whose request it is and that it came by https.
        proxy_headers=settings.behind_proxy,
        forwarded_allow_ips="127.0.0.1,::1",
        server_header=False,
    )
