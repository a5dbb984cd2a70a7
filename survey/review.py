"""Review of submissions: what was decided, by whom, why; corrections beside the original.

```
review/<form>/<key>-<number>.json    one decision on one submission, written once
```

Decisions are numbered for each submission. Whoever decides has seen all up to a number and writes
the next one; if somebody else wrote it meanwhile, nothing is overwritten and a conflict is told.
What arrived is never changed: a correction is a decision that names the new answers.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from survey.checks import Check, Flag, Places, check_places, check_submissions
from survey.errors import ConflictError, FormError
from survey.forms import Problem, Submission, SubmissionStore
from survey.forms.durable import instance_key, store_lock, to_json, write_all, write_once
from survey.forms.questionnaires import QUESTIONS
from survey.forms.records import entry_places, repeat_of
from survey.forms.submissions import submission_problems
from survey.forms.tombstones import WITHDRAWAL_CODE

__all__ = [
    "TRANSITIONS",
    "UNTOUCHABLE",
    "Action",
    "Change",
    "Decision",
    "Review",
    "ReviewLog",
    "ReviewState",
    "accepted_submissions",
    "count_states",
    "flagged_reviews",
]


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

#: Answers that are the respondent's or the phone's own: no reviewer may write them.
UNTOUCHABLE = frozenset(
    {"consent", "consent_version", "consent_language", WITHDRAWAL_CODE, "start", "end"}
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
    def seen(self) -> int:
        """Number of the latest decision; 0 before the first."""
        return len(self.decisions)

    @property
    def new_checks(self) -> tuple[str, ...]:
        """What is flagged now and was not when it was decided."""
        known = set(self.decisions[-1].checks) if self.decisions else set()
        return tuple(sorted({flag.check.value for flag in self.flags} - known))


class ReviewLog:
    """Decisions in one submission store.

    Parameters
    ----------
    store : SubmissionStore
    """

    def __init__(self, store: SubmissionStore) -> None:
        self._store = store
        self._folder = store.folder / "review"

    def reviews(self, form_id: str) -> list[Review]:
        """Every submission of a form and its decisions, in order of instanceID; without flags."""
        return sorted(self.iter_reviews(form_id), key=lambda review: review.instance_id)

    def iter_reviews(self, form_id: str) -> Iterator[Review]:
        """The same one after the other, in an order that only the instanceIDs decide."""
        decisions = self._decisions(form_id)
        for stored in self._store.iter_stored(form_id):
            original = stored.submission
            own = tuple(decisions.get(instance_key(original.instance_id), ()))
            yield Review(
                original=original,
                submission=_corrected(original, own),
                received_at=stored.received_at,
                decisions=own,
            )

    def decide(
        self,
        review: Review,
        action: Action,
        *,
        by: str,
        reason: str,
        now: datetime,
        changes: Mapping[str, str] | None = None,
    ) -> Review:
        """Write the next decision, on disk before it returns.

        Parameters
        ----------
        review : Review
            As the reviewer saw it, with the flags that were shown.
        by : str
            Who decides.
        reason : str
            Needed for everything but accepting what is not flagged. It is kept: no names.
        changes : mapping of place to new answer
            Of an edit.

        Returns
        -------
        Review
            As it stands now; after an edit without flags, for they have to be asked again.

        Raises
        ------
        ConflictError
            Somebody else decided since.
        FormError
            Not allowed in this state, no reason, or answers that the questionnaire refuses.
        """
        after, decision = self._decided(review, action, by, reason, now, changes or {})
        with store_lock(self._store.folder):
            self._refuse_withdrawn(review)
            written = write_once(
                self._path(review, decision),
                to_json(asdict(decision)),
                root=self._store.folder,
            )
        if not written:
            raise ConflictError(
                f"{review.instance_id} was decided by somebody else meanwhile; look at it again"
            )
        return after

    def accept_all(self, reviews: Sequence[Review], *, by: str, now: datetime) -> int:
        """Accept many that are not flagged, with one flush; the number that was.

        What somebody else decided on, or was withdrawn, meanwhile is left as it is.

        Raises
        ------
        FormError
            One of them is flagged or cannot be accepted; then none is.
        """
        made = [self._decided(each, Action.ACCEPT, by, "", now, {})[1] for each in reviews]
        with store_lock(self._store.folder):
            files = [
                (self._path(review, decision), to_json(asdict(decision)))
                for review, decision in zip(reviews, made, strict=True)
                if not self._store.tombstones.stands_for(review.instance_id)
            ]
            return sum(write_all(files, root=self._store.folder))

    def _path(self, review: Review, decision: Decision) -> Path:
        name = f"{instance_key(review.instance_id)}-{decision.number:04d}.json"
        return self._folder / review.original.form_id / name

    def _refuse_withdrawn(self, review: Review) -> None:
        if self._store.tombstones.stands_for(review.instance_id):
            raise ConflictError(
                f"{review.instance_id} was withdrawn meanwhile; nothing of it is left"
            )

    def _decided(
        self,
        review: Review,
        action: Action,
        by: str,
        reason: str,
        now: datetime,
        changes: Mapping[str, str],
    ) -> tuple[Review, Decision]:
        """The next decision and what follows from it; nothing is written."""
        allowed = TRANSITIONS[review.state]
        if action not in allowed:
            can = ", ".join(allowed) or "nothing"
            raise FormError(
                f"{review.instance_id} is {review.state}; {action} is not possible, {can} is"
            )
        if not by.strip():
            raise FormError("a decision needs the name of who decides")
        if not reason.strip() and (action is not Action.ACCEPT or review.flags):
            raise FormError(
                f"{action} of a {review.state} submission needs a reason; say why, without names"
            )
        made = _changes(review.submission, changes) if action is Action.EDIT else ()
        submission = _apply(review.submission, made)
        decision = Decision(
            number=review.seen + 1,
            action=action,
            by=by.strip(),
            at=now.isoformat(timespec="seconds"),
            reason=reason.strip(),
            checks=tuple(sorted({flag.check.value for flag in review.flags})),
            changes=made,
            sha256=submission.sha256,
        )
        after = replace(
            review,
            submission=submission,
            decisions=(*review.decisions, decision),
            flags=() if made else review.flags,
        )
        return after, decision

    def _decisions(self, form_id: str) -> dict[str, list[Decision]]:
        found: dict[str, list[Decision]] = defaultdict(list)
        for path in sorted((self._folder / form_id).glob("*.json")):
            key = path.name.partition("-")[0]
            try:
                content = json.loads(path.read_text("utf-8"))
                decision = Decision(
                    **{
                        **content,
                        "action": Action(content["action"]),
                        "checks": tuple(content["checks"]),
                        "changes": tuple(Change(**change) for change in content["changes"]),
                    }
                )
            except FileNotFoundError:
                continue  # withdrawn while we read
            except (ValueError, KeyError, TypeError) as error:
                raise FormError(
                    f"{path} is no decision ({error}); restore it from a backup"
                ) from error
            found[key].append(decision)
        return found


def flagged_reviews(
    store: SubmissionStore,
    form_id: str,
    *,
    places: Places | None,
    today: date,
    earliest: date = date.min,
) -> list[Review]:
    """Every submission of a form, with what the checks say about it as it was corrected.

    Rejected submissions are compared with nothing: once a double is rejected, the other stands
    alone.

    Parameters
    ----------
    places : Places or None
        Districts and segments of the round; None leaves places unchecked.
    today, earliest : date
        Between them a visit can lie.
    """
    reviews = ReviewLog(store).reviews(form_id)
    live = [r.submission for r in reviews if r.state is not ReviewState.REJECTED]
    found = check_submissions(live, today=today, earliest=earliest)
    if places is not None:
        found += check_places(live, places)
    by_instance: dict[str, list[Flag]] = defaultdict(list)
    for flag in found:
        by_instance[flag.instance_id].append(flag)
    doubtful = store.conflicting_keys()
    for submission in live:
        if instance_key(submission.instance_id) in doubtful:
            by_instance[submission.instance_id].insert(
                0,
                Flag(
                    instance_id=submission.instance_id,
                    check=Check.CONFLICT,
                    field="",
                    what="came again with other answers",
                    remedy="the first one stands: compare with the team, edit or reject",
                ),
            )
    return [replace(r, flags=tuple(by_instance.get(r.instance_id, ()))) for r in reviews]


def accepted_submissions(
    store: SubmissionStore, form_id: str
) -> tuple[list[Submission], dict[ReviewState, int]]:
    """What may enter an estimate: the accepted submissions of a form as they were corrected.

    Returns
    -------
    list of Submission
        In order of instanceID.
    dict of ReviewState to int
        How many were left out; received includes what is flagged.
    """
    reviews = ReviewLog(store).reviews(form_id)
    left_out = count_states(reviews)
    left_out.pop(ReviewState.ACCEPTED, None)
    withdrawn = sum(
        stone.form_id == form_id and stone.reason == "withdrawn"
        for stone in store.tombstones.all()
    )
    if withdrawn:
        left_out[ReviewState.WITHDRAWN] = withdrawn
    accepted = [review.submission for review in reviews if review.state is ReviewState.ACCEPTED]
    return accepted, left_out


def count_states(reviews: Sequence[Review]) -> dict[ReviewState, int]:
    """Number of submissions in each state that occurs, in the order of `ReviewState`."""
    states = [review.state for review in reviews]
    return {state: states.count(state) for state in ReviewState if state in states}


def _corrected(original: Submission, decisions: Sequence[Decision]) -> Submission:
    submission = original
    for decision in decisions:
        submission = _apply(submission, decision.changes)
    return submission


def _apply(submission: Submission, changes: Sequence[Change]) -> Submission:
    if not changes:
        return submission
    answers = dict(submission.answers)
    repeats = {name: [dict(e) for e in entries] for name, entries in submission.repeats.items()}
    for change in changes:
        into, name = _target(submission, change.place, answers, repeats)
        into[name] = change.after
    return replace(submission, answers=answers, repeats=repeats, sha256="")


def _target(
    submission: Submission,
    place: str,
    answers: dict[str, str],
    repeats: Mapping[str, Sequence[dict[str, str]]],
) -> tuple[dict[str, str], str]:
    """Where a place such as ``plot[1]/plot_crop[2]/crop_name`` is written, and its name there."""
    path, _, name = place.rpartition("/")
    if not path:
        return answers, place
    counts: Counter[str] = Counter()
    for known, _ in entry_places(submission):
        repeat = repeat_of(known)
        if known == f"{path}/":
            return repeats[repeat][counts[repeat]], name
        counts[repeat] += 1
    raise FormError(
        f"{place}: the submission has no entry {path}; "
        "adsurvey forms review show names those it has"
    )


def _changes(submission: Submission, wanted: Mapping[str, str]) -> tuple[Change, ...]:
    """The corrections that change something, checked by the questionnaire."""
    asked = {(q.repeat, q.name) for q in QUESTIONS.get(submission.form_id, ())}
    answers = dict(submission.answers)
    repeats = {name: [dict(e) for e in entries] for name, entries in submission.repeats.items()}
    made = []
    for place, after in wanted.items():
        path, _, question = place.rpartition("/")
        name = (repeat_of(path), question)
        if name not in asked:
            raise FormError(f"{place} is not a question of {submission.form_id}")
        if name[1] in UNTOUCHABLE:
            raise FormError(
                f"{place} cannot be edited: it is the respondent's or the phone's own; reject or "
                "withdraw the submission instead"
            )
        into, key = _target(submission, place, answers, repeats)
        before = into.get(key, "")
        if before != after.strip():
            made.append(Change(place=place, before=before, after=after.strip()))
    if not made:
        raise FormError("the edit changes nothing; name a question and its new answer")
    found = list(_refusals(submission, _apply(submission, made)))
    if found:
        raise FormError(
            "the edit is refused: "
            + "; ".join(f"{fault.field} {fault.problem}: {fault.remedy}" for fault in found)
        )
    return tuple(made)


def _refusals(before: Submission, after: Submission) -> Iterator[Problem]:
    """What the questionnaire refuses in the new answers."""
    yield from (fault for fault in submission_problems("", None, after) if fault.is_refused)
    agreed = before.answers.get("consent", "yes") == "yes"
    told = {name for name, answer in after.answers.items() if answer}
    if not agreed and told - {name for name, answer in before.answers.items() if answer}:
        yield Problem(
            file="",
            row=None,
            field="consent",
            value="",
            problem="was not given",
            remedy="no answer may be added",
        )
