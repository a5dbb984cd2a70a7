"""Decisions in a submission store.

```
review/<form>/<key>-<number>.json    one decision on one submission, written once
```

Decisions are numbered for each submission. Whoever decides has seen all up to a number and writes
the next one; if somebody else wrote it meanwhile, nothing is overwritten and a conflict is told.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

from survey.errors import ConflictError, FormError
from survey.forms import Stored, SubmissionStore
from survey.forms.durable import instance_key, store_lock, to_json, write_all, write_once
from survey.forms.questionnaires import QUESTIONS
from survey.review.corrections import apply_changes, changes_of, corrected
from survey.review.states import Action, Change, Decision, Review

__all__ = ["ReviewLog", "decision_name", "review_of"]


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
        # Names alone are held: a decision is read with its submission.
        names: dict[str, list[str]] = defaultdict(list)
        for name in self.names(form_id):
            names[name.partition("-")[0]].append(name)
        for stored in self._store.iter_stored(form_id):
            own = []
            for name in names.pop(instance_key(stored.submission.instance_id), ()):
                with suppress(FileNotFoundError):  # withdrawn while we read
                    own.append(self.read(form_id, name))
            yield review_of(stored, own)

    def names(self, form_id: str) -> list[str]:
        """Files of all decisions on a form, sorted: key of the submission, a hyphen, number."""
        try:
            with os.scandir(self._folder / form_id) as found:
                return sorted(each.name for each in found if each.name.endswith(".json"))
        except FileNotFoundError:
            return []

    def read(self, form_id: str, name: str) -> Decision:
        """The decision of a file.

        Raises
        ------
        FormError
            It is damaged.
        FileNotFoundError
            It was removed meanwhile.
        """
        return _read(self._folder / form_id / name)

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
        name = decision_name(instance_key(review.instance_id), decision.number)
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
        allowed = review.allowed
        if action not in allowed:
            can = ", ".join(allowed) or "nothing"
            other = review.original.form_id not in QUESTIONS
            how = f" and of another form, {review.original.form_id}" if other else ""
            raise FormError(
                f"{review.instance_id} is {review.state}{how}; {action} is not possible, {can} is"
            )
        if not by.strip():
            raise FormError("a decision needs the name of who decides")
        if not reason.strip() and (action is not Action.ACCEPT or review.flags):
            raise FormError(
                f"{action} of a {review.state} submission needs a reason; say why, without names"
            )
        made = changes_of(review.submission, changes) if action is Action.EDIT else ()
        submission = apply_changes(review.submission, made)
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

    def was_accepted(self, instance_id: str) -> bool:
        """Whether it was ever accepted, under whatever form, so that figures may rest on it."""
        found = self._folder.glob(f"*/{instance_key(instance_id)}-*.json")
        return any(_read(path).action is Action.ACCEPT for path in found)


def decision_name(key: str, number: int) -> str:
    """Name of the file of a decision on the submission with a key."""
    return f"{key}-{number:04d}.json"


def review_of(stored: Stored, decisions: Sequence[Decision]) -> Review:
    """A submission and where it stands, without flags."""
    return Review(
        original=stored.submission,
        submission=corrected(stored.submission, decisions),
        received_at=stored.received_at,
        decisions=tuple(decisions),
    )


def _read(path: Path) -> Decision:
    try:
        content = json.loads(path.read_text("utf-8"))
        return Decision(
            **{
                **content,
                "action": Action(content["action"]),
                "checks": tuple(content["checks"]),
                "changes": tuple(Change(**change) for change in content["changes"]),
            }
        )
    except (ValueError, KeyError, TypeError) as error:
        raise FormError(f"{path} is no decision ({error}); restore it from a backup") from error
