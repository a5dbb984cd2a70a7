"""Submissions of forms that a team made itself: taken over into ours, or written as they came."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from api.cli.options import SurveyPath, read_text

__all__ = ["export", "take_over"]


def take_over(
    form_id: Annotated[str, typer.Argument(help="The team's form, as forms status names it.")],
    mapping: Annotated[
        Path,
        typer.Option(help="TOML: which question of ours is which of the form (docs/forms.md)."),
    ],
    survey: SurveyPath = Path("survey.toml"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen; write nothing.")
    ] = False,
) -> None:
    """Take submissions of an adapted form over into one of ours; what came stays beside them.

    May be run again when more came: those taken over before are left as they are. Rejected ones
    are left out, and so is what our form refuses: correct the mapping and run it again.
    """
    from survey.forms import SubmissionStore
    from survey.forms import take_over as read_as_ours
    from survey.review import ReviewLog, ReviewState
    from survey.rounds import read_round

    store = SubmissionStore(read_round(survey).submissions_folder)
    rejected = {
        review.instance_id
        for review in ReviewLog(store).iter_reviews(form_id)
        if review.state is ReviewState.REJECTED
    }
    done = read_as_ours(store, form_id, read_text(mapping), without=rejected, is_trial=dry_run)
    for problem in done.problems:
        typer.echo(f"  {problem}")
    n_refused = len({problem.file for problem in done.problems if problem.is_refused})
    typer.echo(
        f"{done.n_taken} {'would be ' if dry_run else ''}taken over, {n_refused} refused and kept "
        f"as they are, {done.n_left_out} rejected ones left out"
    )
    if n_refused:
        raise typer.Exit(1)


def export(
    form_id: Annotated[str, typer.Argument(help="Any form of which submissions are stored.")],
    to: Annotated[Path, typer.Option("--to", help="CSV to write, mode 0600.")],
    survey: SurveyPath = Path("survey.toml"),
) -> None:
    """Write all answers of a form as they came, also what an adapted form asks beyond ours.

    It holds positions, free text and single households: restricted. A withdrawal takes rows out
    of it as long as it stays where it is.
    """
    from survey.errors import ConfigError, SurveyError
    from survey.forms import SubmissionStore, answers_table
    from survey.forms.durable import store_lock
    from survey.privacy import ExportLog
    from survey.review import ReviewLog
    from survey.rounds import read_round

    if to.suffix.lower() != ".csv":
        raise ConfigError(f"--to {to} is no .csv; give the table a name such as {form_id}.csv")
    store = SubmissionStore(read_round(survey).submissions_folder)
    with store_lock(store.folder):  # nobody is withdrawn between the reading and the writing
        states = {
            review.instance_id: review.state.value
            for review in ReviewLog(store).iter_reviews(form_id)
        }
        text = answers_table(store, form_id, states=states)
        ExportLog(store.folder).record("answers", [to], now=datetime.now(UTC))
        try:
            to.unlink(missing_ok=True)
            handle = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
                out.write(text)
        except OSError as error:
            raise SurveyError(f"{to} cannot be written: {error.strerror}") from error
    typer.echo(f"{len(states)} submissions written to {to}: keep it as you keep the store")
