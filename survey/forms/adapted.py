"""Submissions of forms that a team made itself: kept as they came, shown, taken over by a mapping.

A form that is adapted under its own identifier asks what this program does not know. What phones
fill in it lies in the store like any other submission, under its own form; it enters no table
until a mapping says which question of ours each answer is.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from survey.errors import ConfigError, FormError
from survey.forms.decoders import answers_as_met, names_met
from survey.forms.deliveries import Delivery
from survey.forms.mapping import TableMapping, read_mapping
from survey.forms.questionnaires import QUESTIONS
from survey.forms.records import OUTER, Problem, Submission, entry_places
from survey.forms.store import SubmissionStore
from survey.forms.stored import Stored
from survey.forms.submissions import parse_submissions
from survey.spreadsheets import spreadsheet_text

__all__ = ["TakenOver", "answers_table", "is_taken_over", "take_over", "waiting_submissions"]

_TOGETHER = 200
_ABOUT = ("instanceID", "form_version", "received_at", "sender", "review_state")
_NUMBER = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOver:
    """What became of the submissions of a form that were not taken over before.

    Attributes
    ----------
    n_taken : int
        Submissions that stand under our form now; in a trial, that would.
    n_left_out : int
        Submissions left out by the caller, such as rejected ones.
    problems : tuple of Problem
        Answers that our form refuses, `file` being the instanceID: these submissions stay as they
        are. Remarks as well.
    """

    n_taken: int
    n_left_out: int
    problems: tuple[Problem, ...]


def waiting_submissions(store: SubmissionStore, form_id: str) -> Iterator[Stored]:
    """Submissions of a form of somebody else that were not taken over, one by one.

    Raises
    ------
    FormError
        A file of the store is damaged.
    """
    for key in store.stored_keys(form_id):
        if not is_taken_over(store, key):
            yield store.stored_at(form_id, key)


def is_taken_over(store: SubmissionStore, key: str) -> bool:
    """Whether a submission stands under a form of ours, by the key of its instanceID."""
    folder = store.folder / "submissions"
    return any((folder / form_id / f"{key}.json").exists() for form_id in QUESTIONS)


def take_over(
    store: SubmissionStore,
    form_id: str,
    mapping: str,
    *,
    without: Collection[str] = (),
    is_trial: bool = False,
) -> TakenOver:
    """Read the submissions of a form of somebody else as those of one of ours.

    Each keeps its identifier, sender and time of arrival, and passes the checks of any other; what
    came stays beside it. Those taken over before are left as they are.

    Parameters
    ----------
    mapping : str
        TOML of `read_mapping`; its headings are names of questions of the form, with their groups
        (``group/question``) or without.
    without : collection of str
        instanceIDs to leave out.
    is_trial : bool
        Write nothing.

    Raises
    ------
    ConfigError
        The mapping is malformed, or names a question or repeat that no submission has.
    FormError
        The form is one of ours, or nothing of it is stored.
    """
    how = read_mapping(mapping)
    _refuse_unknown(store, form_id)
    _refuse_misnamed(store, form_id, how)
    problems: list[Problem] = []
    deliveries: list[Delivery] = []
    n_taken = n_left_out = 0
    for stored in waiting_submissions(store, form_id):
        instance_id = stored.submission.instance_id
        if instance_id in without:
            n_left_out += 1
            continue
        data = store.raw(stored.raw_sha256)
        parsed = parse_submissions(instance_id, data, mapping=how)
        problems += parsed.problems
        if any(problem.is_refused for problem in parsed.problems):
            continue
        n_taken += 1
        if not is_trial:
            deliveries.append(
                Delivery(
                    name=instance_id,
                    data=data,
                    received_at=datetime.fromisoformat(stored.received_at),
                    sender=stored.sender,
                    mapping=mapping,
                    parsed=parsed,
                )
            )
        if len(deliveries) == _TOGETHER:
            store.import_all(deliveries)
            deliveries = []
    if deliveries:
        store.import_all(deliveries)
    return TakenOver(n_taken=n_taken, n_left_out=n_left_out, problems=tuple(problems))


def answers_table(store: SubmissionStore, form_id: str, *, states: Mapping[str, str]) -> str:
    """All answers of a form as they came, as CSV: a row for each submission.

    Also what an adapted form asks beyond ours. Questions of groups stand as ``group/question``,
    entries of repeats as ``plot[1]/crop``; the table can be imported again with a mapping. A text
    that a spreadsheet program would run as a formula gets an apostrophe.

    Parameters
    ----------
    states : mapping of instanceID to review state

    Raises
    ------
    FormError
        Nothing of such a form is stored.
    """
    if form_id not in store.form_ids():
        raise FormError(f"nothing of form {form_id!r} is stored; see adsurvey forms status")
    rows, columns = [], dict[str, None]()
    for stored in store.iter_stored(form_id):
        answers = _answers(store, stored)
        columns |= dict.fromkeys(answers)
        about = (
            stored.submission.instance_id,
            stored.submission.form_version,
            stored.received_at,
            stored.sender,
        )
        rows.append((about, states.get(stored.submission.instance_id, ""), answers))
    repeated = {plain for name in columns for plain in _repeats_in(name)}
    names = {name: _numbered(name, repeated) for name in columns}
    header = sorted(set(names.values()), key=list(names.values()).index)
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_ABOUT, *header])
    for about, state, answers in sorted(rows, key=lambda row: row[0][0]):
        given = {names[name]: answer for name, answer in answers.items()}
        writer.writerow([*about, state, *(_safe(given.get(name, "")) for name in header)])
    return out.getvalue()


def _answers(store: SubmissionStore, stored: Stored) -> dict[str, str]:
    """What was written: of a phone's file everything, of a table what was taken from the row."""
    data = store.raw(stored.raw_sha256)
    if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        return answers_as_met(data)
    submission: Submission = stored.submission
    answers = dict(submission.answers)
    for place, entry in entry_places(submission):
        answers |= {f"{place}{name}": text for name, text in entry.items() if name != OUTER}
    return {name: answer for name, answer in answers.items() if answer}


def _repeats_in(path: str) -> Iterator[str]:
    """Each repeat that a path names by number: ``a[1]/b[2]/c`` has ``a`` and ``a/b``."""
    for found in _NUMBER.finditer(path):
        yield _NUMBER.sub("", path[: found.end()])


def _numbered(path: str, repeated: Collection[str]) -> str:
    """A path with number 1 where others have several entries of a group."""
    steps: list[str] = []
    for step in path.split("/"):
        plain = _NUMBER.sub("", "/".join([*steps, step]))
        steps.append(f"{step}[1]" if plain in repeated and not step.endswith("]") else step)
    return "/".join(steps)


def _refuse_unknown(store: SubmissionStore, form_id: str) -> None:
    others: Sequence[str] = [each for each in store.form_ids() if each not in QUESTIONS]
    if form_id in QUESTIONS:
        raise FormError(f"{form_id} is a form of this program; it needs no mapping")
    if form_id not in others:
        known = ", ".join(others) or "none"
        raise FormError(f"nothing of form {form_id!r} is stored; other forms: {known}")


def _refuse_misnamed(store: SubmissionStore, form_id: str, how: TableMapping) -> None:
    """Refuse a mapping that would leave answers behind without a word."""
    missing = {*how.columns.values(), *how.repeats.values()}
    met: set[str] = set()
    for stored in waiting_submissions(store, form_id):
        names = names_met(store.raw(stored.raw_sha256))
        met |= names
        missing -= names
    if met and missing:
        there = ", ".join(sorted(name for name in met if "/" not in name))
        raise ConfigError(
            f"no submission of {form_id} has {', '.join(sorted(missing))}, which the mapping "
            f"names; they have {there[:300]}"
        )


def _safe(cell: str) -> object:
    """An answer as it may stand in a table; a number, though text here, stays one."""
    with suppress(ValueError):
        float(cell)
        return cell
    return spreadsheet_text(cell)
