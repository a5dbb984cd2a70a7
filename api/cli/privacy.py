"""Data of people taken out again: withdrawal, expiry, pictures without metadata."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from api.cli.options import AsJson, SurveyPath, settings_of

__all__ = ["photos", "purge", "withdraw"]

By = Annotated[str | None, typer.Option("--by", help="Who does it; else the name of the account.")]


def withdraw(
    code: Annotated[str, typer.Argument(help="Code that the respondent kept, or the instanceID.")],
    survey: SurveyPath = Path("survey.toml"),
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Remove a respondent's interview everywhere; a tombstone without data stays.

    What is removed cannot be restored but from a backup, and must not be.
    """
    import getpass

    from survey.forms import SubmissionStore
    from survey.privacy import withdraw as remove
    from survey.rounds import read_round

    declared = read_round(survey)
    done = remove(
        SubmissionStore(declared.submissions_folder),
        code,
        output_folder=declared.output_folder,
        now=datetime.now(UTC),
        by=by or getpass.getuser(),
    )
    if as_json:
        content = {
            "withdrawn": done.n_new,
            "removed": done.erased.counts,
            "unread_raw_files": done.erased.unread,
            "to_be_recomputed": done.is_recompute_needed,
        }
        typer.echo(json.dumps(content, indent=2))
        return
    typer.echo(f"{done.n_new} withdrawn" if done.n_new else "withdrawn before")
    for what, count in done.erased.counts.items():
        if count:
            typer.echo(f"  {count} {what}")
    for name in done.erased.unread:
        typer.echo(f"  raw/{name} cannot be read: look whether it holds the interview")
    if done.is_recompute_needed:
        typer.echo(f"Figures rest on it. Recompute them: adsurvey run {survey}, then load")
    typer.echo("Copies outside this round (backups, mailed sheets) have to be found by hand.")


def photos(
    to: Annotated[Path, typer.Option("--to", help="New folder that receives the pictures.")],
    survey: SurveyPath = Path("survey.toml"),
    form: Annotated[list[str] | None, typer.Option(help="Of this form only.")] = None,
) -> None:
    """Write pictures of accepted submissions without position, time and camera (EXIF)."""
    from survey.forms import SubmissionStore
    from survey.privacy import release_photos
    from survey.rounds import read_round

    store = SubmissionStore(read_round(survey).submissions_folder)
    done = release_photos(store, to, now=datetime.now(UTC), forms=form or ())
    typer.echo(f"{done.n_written} pictures without metadata in {to}")
    for each in done.refused:
        typer.echo(f"  left out, {each}")
    if done.refused:
        raise typer.Exit(1)


def purge(
    survey: Annotated[Path, typer.Argument(help="The round's survey.toml, or its folder.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what has expired; remove nothing.")
    ] = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Remove what has expired by [retention] of survey.toml, with a record of it."""
    import getpass

    from survey.privacy import purge_round
    from survey.rounds import read_round

    declared, now, actor = read_round(survey), datetime.now(UTC), by or getpass.getuser()
    done = purge_round(declared, now=now, by=actor, dry_run=dry_run)
    before = now - timedelta(days=declared.retention.audit_days)
    counts = {**done.counts, **_purge_database(before, now=now, actor=actor, dry_run=dry_run)}
    if as_json:
        record = str(done.record) if done.record else None
        typer.echo(json.dumps({"expired": counts, "record": record}, indent=2))
        return
    for what, count in counts.items():
        typer.echo(f"{count} {what} {'have expired' if dry_run else 'removed'}")
    if not counts:
        typer.echo("Nothing has expired")
    if done.record:
        typer.echo(f"On record: {done.record}")


def _purge_database(
    before: datetime, *, now: datetime, actor: str, dry_run: bool
) -> dict[str, int]:
    """Expired rows of the database, where there is one: a round needs none."""
    from api.db.cluster import PrivateCluster

    settings = settings_of()
    if settings.database_url is None and not PrivateCluster(settings.state_dir).is_made:
        return {}
    from api.db.expiry import purge_database
    from api.db.store import connect

    engine = connect(settings)
    try:
        return purge_database(engine, audit_before=before, actor=actor, now=now, dry_run=dry_run)
    finally:
        engine.dispose()
