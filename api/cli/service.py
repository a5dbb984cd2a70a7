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
    host: Annotated[str, typer.Option(help="Loopback address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
) -> None:
    """Serve the map, OGC API and tiles on this machine until Ctrl-C."""
    import uvicorn

    from api.app import create_app, refuse_public_bind

    refuse_public_bind(host)
    settings = settings_of(host=host, port=port, **({"survey": survey} if survey else {}))
    typer.echo(f"Map on http://{host}:{port}/  (Ctrl-C ends)", err=True)
    uvicorn.run(create_app(settings), host=host, port=port, log_level="warning")
