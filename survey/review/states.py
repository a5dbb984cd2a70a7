"""Where a submission stands, and the decisions that brought it there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from survey.checks import Flag
from survey.forms import Submission
from survey.forms.questionnaires import QUESTIONS

__all__ = ["TRANSITIONS", "Action", "Change", "Decision", "Review", "ReviewState"]


class ReviewState(StrEnum):
    """Where a submission stands."""

    RECEIVED = "received"
    FLAGGED = "flagged"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


class Action(StrEnum):
    """What a reviewer does."""

    ACCEPT = "accept"
    REJECT = "reject"
    EDIT = "edit"
    REOPEN = "reopen"


_OPEN = MappingProxyType(
    {
        Action.ACCEPT: ReviewState.ACCEPTED,
        Action.REJECT: ReviewState.REJECTED,
        Action.EDIT: ReviewState.RECEIVED,
    }
)
_DECIDED = MappingProxyType({Action.REOPEN: ReviewState.RECEIVED})
#: What may be done in each state, and the state it leads to. A received submission on which a
#: check has something to say is shown as flagged. Withdrawal (`survey.privacy`) is possible from
#: every state and ends all others.
TRANSITIONS: Mapping[ReviewState, Mapping[Action, ReviewState]] = MappingProxyType(
    {
        ReviewState.RECEIVED: _OPEN,
        ReviewState.FLAGGED: _OPEN,
        ReviewState.ACCEPTED: _DECIDED,
        ReviewState.REJECTED: _DECIDED,
        ReviewState.WITHDRAWN: MappingProxyType({}),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One corrected answer; `place` is the question, or ``plot[1]/plot_crop[2]/crop_name``."""

    place: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One step of the review of one submission.

    Attributes
    ----------
    number : int
        From 1, without gaps.
    by : str
        The reviewer's user name.
    at : str
        ISO 8601.
    reason : str
    checks : tuple of str
        What was flagged when it was decided.
    changes : tuple of Change
        Of an edit; empty otherwise.
    sha256 : str
        Digest of the answers that were decided on.
    """

    number: int
    action: Action
    by: str
    at: str
    reason: str
    checks: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A submission and where it stands.

    Attributes
    ----------
    original : Submission
        As it arrived.
    submission : Submission
        With every correction.
    received_at : str
        ISO 8601.
    flags : tuple of Flag
        What the checks say now; empty where they were not asked.
    """

    original: Submission
    submission: Submission
    received_at: str
    decisions: tuple[Decision, ...] = ()
    flags: tuple[Flag, ...] = field(default=())

    @property
    def instance_id(self) -> str:
        """The submission's identifier."""
        return self.original.instance_id

    @property
    def state(self) -> ReviewState:
        """Where it stands."""
        state = ReviewState.RECEIVED
        for decision in self.decisions:
            state = TRANSITIONS[state][decision.action]
        if state is ReviewState.RECEIVED and self.flags:
            return ReviewState.FLAGGED
        return state

    @property
    def allowed(self) -> Mapping[Action, ReviewState]:
        """What may be done, and the state it leads to.

        What was filled in a form that this program does not know enters nothing: it can be
        rejected, or taken over into a form of ours.
        """
        allowed = TRANSITIONS[self.state]
        if self.original.form_id in QUESTIONS:
            return allowed
        useless = (Action.ACCEPT, Action.EDIT)
        return {action: state for action, state in allowed.items() if action not in useless}

    @property
    def seen(self) -> int:
        """Number of the latest decision; 0 before the first."""
        return len(self.decisions)

    @property
    def new_checks(self) -> tuple[str, ...]:
        """What is flagged now and was not when it was decided."""
        known = set(self.decisions[-1].checks) if self.decisions else set()
        return tuple(sorted({flag.check.value for flag in self.flags} - known))
