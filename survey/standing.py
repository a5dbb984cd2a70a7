"""What one sender delivered and where it stands: counts, what was sent back, what was refused.

Records of the store and decisions are written once, so each is read once: a page that is opened
often does not read the whole store each time.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from survey.forms import SubmissionStore
from survey.forms.questionnaires import QUESTIONS
from survey.review import TRANSITIONS, Action, ReviewState

__all__ = ["Delivered", "RefusedFile", "Standing", "Standings"]

#: Submissions and files that are named one by one.
_MOST = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """One submission of a sender.

    Attributes
    ----------
    state : ReviewState
        By the decisions alone: whether a check flags it is for the review.
    reason : str
        What the reviewer wrote with the latest decision.
    """

    instance_id: str
    form_id: str
    received_at: str
    state: ReviewState
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedFile:
    """A file of a sender of which nothing was taken."""

    file: str
    received_at: str
    n_problems: int
    first_problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where the deliveries of one sender stand.

    Attributes
    ----------
    counts : mapping of (form_id, state) to number
    sent_back : tuple of Delivered
        Rejected ones, the latest first, at most 50.
    refused : tuple of RefusedFile
        The latest first, at most 50.
    """

    counts: Counter[tuple[str, ReviewState]]
    sent_back: tuple[Delivered, ...]
    refused: tuple[RefusedFile, ...]


class Standings:
    """The deliveries of all senders in one store, read as they come.

    Parameters
    ----------
    store : SubmissionStore
    """

    def __init__(self, store: SubmissionStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._records: dict[str, dict[str, tuple[str, str, str]]] = {}
        self._decisions: dict[str, tuple[Action, str]] = {}
        self._refused: dict[str, tuple[str, RefusedFile]] = {}

    def of(self, senders: Collection[str]) -> Standing:
        """What these senders delivered, as the store names them (``user ...``, ``phone ...``)."""
        with self._lock:
            self._read_new()
            counts: Counter[tuple[str, ReviewState]] = Counter()
            sent_back = []
            ours = {key for form_id in QUESTIONS for key in self._records[form_id]}
            for form_id, records in self._records.items():
                for key, (sender, instance_id, received_at) in records.items():
                    if sender not in senders or (form_id not in QUESTIONS and key in ours):
                        continue  # what was taken over counts once
                    state, reason = self._state(form_id, key)
                    counts[form_id, state] += 1
                    if state is ReviewState.REJECTED:
                        sent_back.append(
                            Delivered(
                                instance_id=instance_id,
                                form_id=form_id,
                                received_at=received_at,
                                state=state,
                                reason=reason,
                            )
                        )
            refused = [each for sender, each in self._refused.values() if sender in senders]
        sent_back.sort(key=lambda each: each.received_at, reverse=True)
        refused.sort(key=lambda each: each.received_at, reverse=True)
        return Standing(
            counts=counts, sent_back=tuple(sent_back[:_MOST]), refused=tuple(refused[:_MOST])
        )

    def _state(self, form_id: str, key: str) -> tuple[ReviewState, str]:
        state, reason, number = ReviewState.RECEIVED, "", 1
        while found := self._decisions.get(f"{form_id}/{key}-{number:04d}"):
            action, reason = found
            state = TRANSITIONS[state][action]
            number += 1
        return state, reason

    def _read_new(self) -> None:
        folder = self._store.folder
        for form_id in self._store.form_ids():
            known = self._records.setdefault(form_id, {})
            there = _files(folder / "submissions" / form_id)
            for key in set(known) - set(there):
                del known[key]  # withdrawn or expired
            for key in set(there) - set(known):
                content = _content(there[key])
                if content:
                    instance = content["submission"]["instance_id"]
                    known[key] = (content["sender"], instance, content["received_at"])
            for name, path in _files(folder / "review" / form_id).items():
                if f"{form_id}/{name}" not in self._decisions and (content := _content(path)):
                    told = (Action(content["action"]), content["reason"])
                    self._decisions[f"{form_id}/{name}"] = told
        there = _files(folder / "refused")
        for key in set(self._refused) - set(there):
            del self._refused[key]
        for key in set(there) - set(self._refused):
            if content := _content(there[key]):
                problems = content["problems"]
                first = problems[0] if problems else {"field": "", "problem": "", "remedy": ""}
                self._refused[key] = (
                    content["sender"],
                    RefusedFile(
                        file=content["file"],
                        received_at=content["received_at"],
                        n_problems=len(problems),
                        first_problem=f"{first['field']} {first['problem']}; {first['remedy']}",
                    ),
                )


def _files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in folder.glob("*.json") if not path.name.startswith(".")}


def _content(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None  # removed while we read, or damaged: the review says so
    return content if isinstance(content, dict) else None
