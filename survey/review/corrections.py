"""Answers that a reviewer corrected: beside the original, checked by the questionnaire."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from survey.errors import FormError
from survey.forms import Problem, Submission
from survey.forms.questionnaires import QUESTIONS
from survey.forms.records import entry_places, repeat_of
from survey.forms.submissions import submission_problems
from survey.forms.tombstones import WITHDRAWAL_CODE
from survey.review.states import Change, Decision

__all__ = ["UNTOUCHABLE", "apply_changes", "changes_of", "corrected"]

#: Answers that are the respondent's or the phone's own: no reviewer may write them.
UNTOUCHABLE = frozenset(
    {"consent", "consent_version", "consent_language", WITHDRAWAL_CODE, "start", "end"}
)


def corrected(original: Submission, decisions: Sequence[Decision]) -> Submission:
    """A submission with every correction of its decisions."""
    submission = original
    for decision in decisions:
        submission = apply_changes(submission, decision.changes)
    return submission


def apply_changes(submission: Submission, changes: Sequence[Change]) -> Submission:
    """A submission with some corrections; itself where there are none."""
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


def changes_of(submission: Submission, wanted: Mapping[str, str]) -> tuple[Change, ...]:
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
    found = list(_refusals(submission, apply_changes(submission, made)))
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
