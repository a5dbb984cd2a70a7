"""Users: who may sign in, as what and where, and what they did."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.options import AsJson, settings_of

if TYPE_CHECKING:
    from api.db.reading import Database

__all__ = ["users"]

users = typer.Typer(help="Who may sign in, as what, and where.", no_args_is_help=True)
token = typer.Typer(help="Tokens for programs such as QGIS.", no_args_is_help=True)
users.add_typer(token, name="token")

Name = Annotated[str, typer.Argument(help="Sign-in name.")]
RoleOption = Annotated[str, typer.Option(help="field, analyst, manager or admin.")]
Areas = Annotated[
    list[str],
    typer.Option(help="P-codes of districts or provinces, with commas or repeated; or all."),
]
FromStdin = Annotated[
    bool, typer.Option(help="Read the password from the first line of standard input.")
]


@users.command("add")
def users_add(
    name: Name, role: RoleOption, areas: Areas, password_stdin: FromStdin = False
) -> None:
    """Add a user; the password is made and printed once, or read from standard input.

    The first user ends the time without sign-in: make an administrator.
    """
    from api.auth import Passwords
    from api.db.users import add_user, clean_areas, clean_name, clean_role

    name = clean_name(name)
    clean_role(role)
    codes = clean_areas(_codes(areas))
    password = _password(from_stdin=password_stdin)
    hashed = Passwords(settings_of()).hash(password, name=name)
    with _database() as engine:
        made = add_user(
            engine, name=name, role=role, areas=codes, password_hash=hashed,
            actor=_actor(), now=datetime.now(UTC),
        )  # fmt: skip
    typer.echo(f"User {made.name}, {made.role}, areas {_areas(made.areas)}")
    _show(password, from_stdin=password_stdin)


@users.command("list")
def users_list(as_json: AsJson = False) -> None:
    """List the users."""
    from api.db.users import list_users

    with _database() as engine:
        found = list_users(engine)
    if as_json:
        rows = [{**asdict(user), "is_active": user.is_active} for user in found]
        typer.echo(json.dumps(rows, indent=2, default=str))
        return
    for user in found:
        state = f"disabled {user.disabled_at:%Y-%m-%d}" if user.disabled_at else ""
        typer.echo(f"{user.name:<24} {user.role:<8} {_areas(user.areas):<24} {state}".rstrip())
    if not found:
        typer.echo("No user: the service asks nobody to sign in and listens on loopback only")


@users.command("change")
def users_change(
    name: Name,
    role: Annotated[
        str, typer.Option(help="field, analyst, manager or admin; left out, it stays.")
    ] = "",
    areas: Annotated[
        list[str] | None,
        typer.Option(help="P-codes of districts or provinces, or all; left out, they stay."),
    ] = None,
) -> None:
    """Give a user another role or other areas; it counts from the next request on."""
    from api.db.users import change_user, clean_name, list_users
    from api.errors import AccountError

    name = clean_name(name)
    with _database() as engine:
        known = next((user for user in list_users(engine) if user.name == name), None)
        if known is None:
            raise AccountError(f"there is no user {name!r}; see adsurvey users list")
        role, areas = role or known.role, areas or list(known.areas)
        made = change_user(
            engine, name, role=role, areas=_codes(areas), actor=_actor(),
            now=datetime.now(UTC),
        )  # fmt: skip
    typer.echo(f"User {made.name}, {made.role}, areas {_areas(made.areas)}")


@users.command("disable")
def users_disable(
    name: Name,
    survey: Annotated[
        Path | None, typer.Option(help="Round whose phones of this user are revoked as well.")
    ] = None,
) -> None:
    """Keep a user out; sessions and tokens end at once, with --survey the user's phones too."""
    from api.collect import devices_of
    from api.db.users import clean_name, set_disabled
    from survey.rounds import read_round

    store = None if survey is None else read_round(survey).submissions_folder
    name, now = clean_name(name), datetime.now(UTC)
    with _database() as engine:
        set_disabled(engine, name, disabled=True, actor=_actor(), now=now)
    typer.echo(f"User {name} is disabled; sessions and tokens have ended")
    if store is None:
        typer.echo("Phones that this user set up may still send: call it again with --survey")
    else:
        typer.echo(f"{devices_of(store).revoke_owned(name, now=now)} phones may send no more")


@users.command("enable")
def users_enable(name: Name) -> None:
    """Let a disabled user sign in again."""
    from api.db.users import set_disabled

    with _database() as engine:
        set_disabled(engine, name, disabled=False, actor=_actor(), now=datetime.now(UTC))
    typer.echo(f"User {name} may sign in again")


@users.command("password")
def users_password(name: Name, password_stdin: FromStdin = False) -> None:
    """Set a new password; sessions and tokens end at once."""
    from api.auth import Passwords
    from api.db.users import clean_name, set_password

    name = clean_name(name)
    password = _password(from_stdin=password_stdin)
    hashed = Passwords(settings_of()).hash(password, name=name)
    with _database() as engine:
        set_password(engine, name, hashed, actor=_actor(), now=datetime.now(UTC))
    typer.echo(f"User {name} has a new password; sessions and tokens have ended")
    _show(password, from_stdin=password_stdin)


@users.command("roles")
def users_roles() -> None:
    """Say what each role sees."""
    from api.disclosure import describe_roles

    for role, seen in describe_roles():
        typer.echo(f"{role:<8} {seen}")
    typer.echo("\nAreas cut fine data (class maps, submissions); published figures are national.")
    typer.echo("There is no role for law enforcement.")


@users.command("audit")
def users_audit(
    since: Annotated[datetime | None, typer.Option(help="From this moment on, UTC.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Print the audit trail: sign-ins, changes of users, reads of fine data, decisions."""
    from api.db.audit import audit_events

    with _database() as engine:
        events = audit_events(
            engine, since=since.replace(tzinfo=UTC) if since else None, limit=limit
        )
    if as_json:
        typer.echo(json.dumps([asdict(event) for event in events], indent=2, default=str))
        return
    for event in events:
        who = f"{event.actor} ({event.role})" if event.role else event.actor
        line = f"{event.at:%Y-%m-%d %H:%M:%S}  {who:<28} {event.action:<18} {event.object}"
        typer.echo(f"{line}  {event.reason}".rstrip())


@token.command("add")
def token_add(
    name: Name,
    label: Annotated[str, typer.Option(help="The program that will use it.")],
    days: Annotated[int, typer.Option(min=1, max=366, help="Days until it ends.")] = 90,
) -> None:
    """Make a token for a user's program; it is printed once and stored nowhere."""
    from api.db.sessions import Kind, open_session

    with _database() as engine:
        session_id, secret = open_session(
            engine, name, kind=Kind.TOKEN, now=datetime.now(UTC), lasts=timedelta(days=days),
            actor=_actor(), label=label,
        )  # fmt: skip
    typer.echo(f"Token {session_id} of {name} for {days} days, printed once:", err=True)
    typer.echo(secret)


@token.command("list")
def token_list(name: Name) -> None:
    """List a user's tokens."""
    from api.db.sessions import list_tokens

    with _database() as engine:
        found = list_tokens(engine, name)
    for each in found:
        state = f"revoked {each.ended_at:%Y-%m-%d}" if each.ended_at else ""
        ends = f"ends {each.expires_at:%Y-%m-%d}"
        typer.echo(f"{each.session_id}  {each.label:<24} {ends} {state}".rstrip())
    if not found:
        typer.echo(f"{name} has no token")


@token.command("revoke")
def token_revoke(
    name: Name,
    token_id: Annotated[str, typer.Argument(help="Id of `adsurvey users token list`.")],
) -> None:
    """End a token at once."""
    from api.db.sessions import Kind, end_session

    with _database() as engine:
        end_session(
            engine, token_id, user_name=name, kind=Kind.TOKEN, actor=_actor(),
            now=datetime.now(UTC),
        )  # fmt: skip
    typer.echo(f"Token {token_id} of {name} has ended")


@contextmanager
def _database() -> Iterator[Database]:
    from api.db.store import connect

    engine = connect(settings_of())
    try:
        yield engine
    finally:
        engine.dispose()


def _codes(areas: list[str]) -> list[str]:
    return [code for part in areas for code in part.split(",")]


def _areas(areas: tuple[str, ...]) -> str:
    return "all" if areas == ("*",) else ",".join(areas)


def _actor() -> str:
    """Who typed the command, as the system knows them."""
    return f"{getpass.getuser()} on the command line"


def _password(*, from_stdin: bool) -> str:
    from api.auth import new_password

    return sys.stdin.readline().rstrip("\r\n") if from_stdin else new_password()


def _show(password: str, *, from_stdin: bool) -> None:
    if not from_stdin:
        typer.echo(f"Password, shown once: {password}")
