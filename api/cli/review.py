"""Review of submissions: what is flagged, what is decided, by whom and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.options import AsJson, SurveyPath

if TYPE_CHECKING:
    from api.reviewing import RoundReviews
    from survey.review import Review

__all__ = ["review"]

review = typer.Typer(
    help="Review of submissions: only accepted ones enter estimates.", no_args_is_help=True
)

Instance = Annotated[str, typer.Argument(help="instanceID, or its beginning.")]
Instances = Annotated[list[str], typer.Argument(help="instanceIDs, or their beginnings.")]
By = Annotated[str | None, typer.Option("--by", help="Who decides; else the name of the account.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the decision: no names.")]


@review.command("list")
def review_list(
    survey: SurveyPath = Path("survey.toml"),
    state: Annotated[str, typer.Option(help="received, flagged, accepted or rejected.")] = "",
    form: Annotated[str, typer.Option(help="A form of `adsurvey forms list`.")] = "",
    flag: Annotated[str, typer.Option(help="A flag of docs/review.md, such as gps.")] = "",
    district: Annotated[str, typer.Option(help="District code.")] = "",
    team: Annotated[str, typer.Option(help="Observer code.")] = "",
    as_json: AsJson = False,
) -> None:
    """List submissions with their state and flags; no answers are shown."""
    from api.reviewing import review_row
    from survey.review import count_states

    reviewed = _reviews(survey, form)
    chosen = {"state": state, "district": district, "team": team}
    wanted, rows = [], []
    for each in reviewed.reviews:
        row = review_row(each, reviewed.places)
        checks = {found["check"] for found in row["flags"]}
        if all(not value or row[name] == value for name, value in chosen.items()) and (
            not flag or flag in checks
        ):
            wanted.append(each)
            rows.append(row)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        flagged = ", ".join(sorted({found["check"] for found in row["flags"]}))
        typer.echo(f"{row['state']:<9} {row['form_id']:<18} {row['instance_id']}  {flagged}")
    counted = ", ".join(f"{n} {name}" for name, n in count_states(wanted).items())
    typer.echo(f"{len(wanted)} submissions" + (f": {counted}" if counted else ""))


@review.command("show")
def review_show(
    instance: Instance, survey: SurveyPath = Path("survey.toml"), as_json: AsJson = False
) -> None:
    """Show one submission: flags, decisions, answers. They are of a person: keep them here."""
    from api.reviewing import answers_by_place, other_answers, review_detail

    reviewed = _reviews(survey)
    each = _one(reviewed.reviews, instance)
    if as_json:
        detail = review_detail(each, reviewed.places, reviewed.store)
        typer.echo(json.dumps(detail, indent=2, ensure_ascii=False))
        return
    typer.echo(f"{each.instance_id}  {each.original.form_id}  {each.state}")
    for found in each.flags:
        field = f" {found.field}" if found.field else ""
        typer.echo(f"  flag {found.check}:{field} {found.what}; {found.remedy}")
    for decision in each.decisions:
        typer.echo(f"  {decision.at}  {decision.action} by {decision.by}  {decision.reason}")
        for change in decision.changes:
            typer.echo(f"    {change.place}: {change.before!r} -> {change.after!r}")
    for place, answer in answers_by_place(each.submission).items():
        typer.echo(f"  {place:<24} {answer}")
    for number, others in enumerate(other_answers(reviewed.store, each), start=1):
        typer.echo(f"  it came again ({number}) with")
        for place, answer in others.items():
            typer.echo(f"    {place:<22} {answer or '(empty)'}")


@review.command("accept")
def review_accept(
    instances: Annotated[
        list[str] | None, typer.Argument(help="instanceIDs, or their beginnings.")
    ] = None,
    survey: SurveyPath = Path("survey.toml"),
    unflagged: Annotated[
        bool, typer.Option("--unflagged", help="Accept all received ones without a flag.")
    ] = False,
    form: Annotated[str, typer.Option(help="Of this form only.")] = "",
    by: By = None,
    reason: Reason = "",
) -> None:
    """Accept submissions, so that they enter estimates; a flagged one needs a reason."""
    from survey.errors import ConfigError

    if bool(instances) == unflagged:
        raise ConfigError("name instanceIDs, or give --unflagged")
    if unflagged:
        _accept_unflagged(survey, form, by)
    else:
        _decide("accept", survey, instances or (), by, reason, form=form)
        typer.echo(f"{len(instances or ())} accepted")


@review.command("reject")
def review_reject(
    instances: Instances,
    reason: Reason,
    survey: SurveyPath = Path("survey.toml"),
    by: By = None,
) -> None:
    """Keep submissions out of estimates; they stay in the store."""
    done = _decide("reject", survey, instances, by, reason)
    typer.echo(f"{len(done)} rejected")


@review.command("reopen")
def review_reopen(
    instances: Instances,
    reason: Reason,
    survey: SurveyPath = Path("survey.toml"),
    by: By = None,
) -> None:
    """Take decisions back; earlier ones stay on record."""
    done = _decide("reopen", survey, instances, by, reason)
    typer.echo(f"{len(done)} open again")


@review.command("edit")
def review_edit(
    instance: Instance,
    answers: Annotated[
        list[str],
        typer.Argument(help="Corrections: question=answer, or capsule[2]/height_mm=31."),
    ],
    reason: Reason,
    survey: SurveyPath = Path("survey.toml"),
    by: By = None,
) -> None:
    """Correct answers as a new version; the questionnaire checks them, the original stays."""
    from survey.errors import ConfigError

    wrong = [text for text in answers if "=" not in text]
    if wrong:
        raise ConfigError(f"{wrong[0]!r} is no correction; write question=answer")
    changes = dict(text.split("=", 1) for text in answers)
    (each,) = _decide("edit", survey, [instance], by, reason, changes=changes)
    again = _one(_reviews(survey, each.original.form_id).reviews, each.instance_id)
    typer.echo(f"{len(changes)} answers corrected; {again.state}")
    for found in again.flags:
        typer.echo(f"  flag {found.check}: {found.field} {found.what}; {found.remedy}")


def _reviews(survey: Path, form: str = "") -> RoundReviews:
    from api.reviewing import round_reviews
    from survey.rounds import read_round

    return round_reviews(read_round(survey), form, today=datetime.now(UTC).date())


def _one(reviews: Sequence[Review], instance: str) -> Review:
    from survey.errors import FormError

    found = [each for each in reviews if each.instance_id == instance] or [
        each
        for each in reviews
        if each.instance_id.removeprefix("uuid:").startswith(instance.removeprefix("uuid:"))
    ]
    if len(found) != 1:
        raise FormError(
            f"{len(found)} submissions begin with {instance!r}; `adsurvey forms review list` "
            "names them"
        )
    return found[0]


def _accept_unflagged(survey: Path, form: str, by: str | None) -> None:
    from survey.review import ReviewLog, ReviewState

    reviewed = _reviews(survey, form)
    chosen = [each for each in reviewed.reviews if each.state is ReviewState.RECEIVED]
    n = ReviewLog(reviewed.store).accept_all(chosen, by=_name(by), now=datetime.now(UTC))
    waiting = sum(each.state is ReviewState.FLAGGED for each in reviewed.reviews)
    more = f"; {waiting} flagged ones wait: adsurvey forms review list --state flagged"
    typer.echo(f"{n} accepted" + (more if waiting else ""))


def _decide(
    action: str,
    survey: Path,
    instances: Sequence[str],
    by: str | None,
    reason: str,
    *,
    form: str = "",
    changes: dict[str, str] | None = None,
) -> list[Review]:
    """Take one decision on each of the submissions that are named; all are found first."""
    from survey.review import Action, ReviewLog

    reviewed = _reviews(survey, form)
    chosen = [_one(reviewed.reviews, instance) for instance in instances]
    log = ReviewLog(reviewed.store)
    return [
        log.decide(
            each,
            Action(action),
            by=_name(by),
            reason=reason,
            now=datetime.now(UTC),
            changes=changes,
        )
        for each in chosen
    ]


def _name(by: str | None) -> str:
    import getpass

    return by or getpass.getuser()
