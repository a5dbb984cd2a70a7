"""The private database cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from api.cli.options import settings_of

if TYPE_CHECKING:
    from api.db.cluster import PrivateCluster

__all__ = ["database"]

database = typer.Typer(help="The private database cluster.", no_args_is_help=True)


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


def _cluster() -> PrivateCluster:
    from api.db.cluster import PrivateCluster

    return PrivateCluster(settings_of().state_dir)
