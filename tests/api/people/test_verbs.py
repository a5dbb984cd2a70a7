"""Users by command."""

from __future__ import annotations

import io
import json

import pytest
from people import NOW

from api.collect import devices_of
from api.settings import Settings
from survey.rounds import read_round

pytestmark = [pytest.mark.postgis, pytest.mark.xdist_group("pipeline")]


def test_the_command_manages_users(
    here, people: Settings, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    made = here("users", "add", "Cli.User", "--role", "analyst", "--areas", "MR0102,MR01")
    assert made.returncode == 0
    assert "cli.user, analyst, areas MR01,MR0102" in made.stdout
    password = made.stdout.partition("shown once: ")[2].strip()
    assert len(password) == 16
    for words, said in (
        (("add", "cli.user", "--role", "field", "--areas", "all"), "is there already"),
        (("add", "x", "--role", "field", "--areas", "all"), "is no sign-in name"),
        (("add", "new", "--role", "police", "--areas", "all"), "choose from field, analyst"),
        (("add", "new", "--role", "field", "--areas", ""), "name the areas"),
        (("disable", "nobody"), "there is no user 'nobody'"),
        (("token", "add", "nobody", "--label", "x"), "no active user"),
    ):
        refused = here("users", *words)
        assert refused.returncode == 2, words
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
    monkeypatch.setattr("sys.stdin", io.StringIO("from a pipe, not an argument\n"))
    changed = here("users", "password", "cli.user", "--password-stdin")
    assert "pipe" not in changed.stdout + changed.stderr
    token = here("users", "token", "add", "cli.user", "--label", "script")
    assert len(token.stdout.strip()) == 43
    token_id = here("users", "token", "list", "cli.user").stdout.split()[0]
    assert here("users", "token", "revoke", "cli.user", token_id).returncode == 0
    moved = here("users", "change", "cli.user", "--role", "field")
    assert "cli.user, field, areas MR01,MR0102" in moved.stdout
    moved = here("users", "change", "Cli.User", "--areas", "all")
    assert "cli.user, field, areas all" in moved.stdout
    refused = here("users", "change", "nobody", "--areas", "all")
    assert (refused.returncode, "no user 'nobody'" in refused.stderr) == (2, True)
    phones = devices_of(read_round(people.survey).submissions_folder)
    own, _ = phones.add("cli.user", now=NOW, owner="cli.user")
    other, _ = phones.add("user cli.user", now=NOW)
    assert "may still send" in here("users", "disable", "cli.user").stdout
    assert phones.sending(own.device_id)
    gone = here("users", "disable", "Cli.User", "--survey", people.survey)
    assert "1 phones may send no more" in gone.stdout
    assert phones.sending(own.device_id) is None
    assert phones.sending(other.device_id), "a label says nothing about who holds it"
    listed = {row["name"]: row for row in json.loads(here("users", "list", "--json").stdout)}
    assert listed["cli.user"]["role"] == "field"
    assert listed["cli.user"]["is_active"] is False
    assert "password_hash" not in listed["cli.user"]
    told = here("users", "audit", "--limit", "20").stdout
    for action in ("user_added", "password_changed", "token_made", "token_revoked",
                   "user_changed", "user_disabled"):  # fmt: skip
        assert action in told
    assert password not in told
    assert "law enforcement" in here("users", "roles").stdout
