"""The private database cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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


@database.command("backup")
def database_backup(
    target: Annotated[Path, typer.Argument(help="File to write; it holds users and places.")],
) -> None:
    """Write results, users and the audit trail into one file; the service may go on."""
    _cluster().backup(target)
    typer.echo(f"{target} holds the database; submissions lie in the folders of the rounds")


@database.command("restore")
def database_restore(
    source: Annotated[Path, typer.Argument(help="File of `adsurvey database backup`.")],
) -> None:
    """Put a backup in the place of the database; stop the service first."""
    _cluster().restore(source)
    typer.echo(f"The database is as it was when {source} was written")


def _cluster() -> PrivateCluster:
    from api.db.cluster import PrivateCluster

    return PrivateCluster(settings_of().state_dir)
