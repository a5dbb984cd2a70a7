"""Withdrawal: a respondent names the code of the interview, and nothing of it stays."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from survey.errors import FormError
from survey.forms import Submission, SubmissionStore
from survey.forms.durable import store_lock, to_json, write_once
from survey.forms.tombstones import WITHDRAWAL_CODE, code_digest
from survey.privacy.erasure import Erased, erase
from survey.privacy.exports import ExportLog
from survey.privacy.rawfiles import raw_submissions
from survey.review import ReviewLog

__all__ = [
    "RECOMPUTE",
    "Withdrawal",
    "derived_files",
    "finish_removals",
    "mark_recompute",
    "withdraw",
]

#: File in the output folder of a run whose figures rest on what was withdrawn since.
RECOMPUTE = "recompute.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """What a withdrawal did.

    Attributes
    ----------
    n_new : int
        Submissions withdrawn now; 0 where the code was used before.
    is_recompute_needed : bool
        Figures of the round rest on it and were not made again since: run it again.
    """

    n_new: int
    erased: Erased
    is_recompute_needed: bool


def withdraw(
    store: SubmissionStore, code: str, *, output_folder: Path, now: datetime, by: str
) -> Withdrawal:
    """Remove a person's submission everywhere and leave a tombstone.

    The tombstone is on disk before anything is removed; after a crash the same call, or any
    other withdrawal or purge, finishes the removal.

    Parameters
    ----------
    code : str
        Code that the respondent kept (blanks, hyphens and case do not matter), or instanceID.
    output_folder : Path
        Results of the round's runs.
    by : str
        Member of staff.

    Raises
    ------
    FormError
        No submission has the code, or several have.
    """
    with store_lock(store.folder, exclusive=True):
        targets = _targets(store, code)
        known = store.tombstones.of_code(code)
        if not targets and not known:
            n_sealed = sum(1 for _ in store.iter_sealed())
            closed = f"; {n_sealed} are encrypted: decrypt them first" if n_sealed else ""
            raise FormError(
                "no submission has this code; compare it with the respondent's note, or give the "
                f"instanceID{closed}"
            )
        if len(targets) > 1:
            raise FormError(
                f"{len(targets)} submissions have this code; give the instanceID of the one that "
                "is meant"
            )
        for instance_id, found in targets.items():
            store.tombstones.lay(
                instance_id,
                form_id=found.form_id,
                reason="withdrawn",
                code=found.answers.get(WITHDRAWAL_CODE, ""),
                was_used=ReviewLog(store).was_accepted(found.instance_id),
                now=now,
                by=by,
            )
        erased = finish_removals(store, output_folder, now=now)
        used = any(stone.was_used for stone in store.tombstones.of_code(code))
    return Withdrawal(
        n_new=len(targets),
        erased=erased,
        is_recompute_needed=used and (output_folder / RECOMPUTE).is_file(),
    )


def finish_removals(store: SubmissionStore, output_folder: Path, *, now: datetime) -> Erased:
    """Remove whatever has a tombstone and is pending; the caller holds the lock alone.

    Figures that rest on a withdrawn submission are marked first: whoever withdrew it may have
    been killed before.
    """
    pending = list(store.tombstones.pending())
    if not pending:
        return Erased()
    if any(each.stone.was_used and each.stone.reason == "withdrawn" for each in pending):
        mark_recompute(output_folder, now=now)
    erased = erase(store, pending, derived_files(store, output_folder))
    for each in pending:
        store.tombstones.finish(each.instance_id)
    return erased


def derived_files(store: SubmissionStore, output_folder: Path) -> Iterator[Path]:
    """Everything made from submissions that is known: results of runs, and recorded exports."""
    yield from _below(output_folder)
    # What a run that was killed left behind.
    for folder in output_folder.parent.glob(f".{output_folder.name}-*"):
        yield from _below(folder)
    for path, _, _ in ExportLog(store.folder).files():
        yield path


def mark_recompute(output_folder: Path, *, now: datetime) -> None:
    """Say beside the results of a run that its figures rest on what was withdrawn since."""
    record = output_folder / "publish" / "run.json"
    if not record.is_file():
        return
    content = {
        "run_id": json.loads(record.read_text("utf-8")).get("run_id", ""),
        "since": now.isoformat(timespec="seconds"),
        "why": "submissions that the figures rest on were withdrawn",
    }
    write_once(output_folder / RECOMPUTE, to_json(content), root=output_folder)


def _below(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def _targets(store: SubmissionStore, code: str) -> dict[str, Submission]:
    """Submissions with a code or an instanceID, stored, kept aside or refused."""
    digest, instance = code_digest(code), code.strip()

    def everything() -> Iterable[Submission]:
        for form_id in store.form_ids():
            yield from store.iter_submissions(form_id)
        yield from (stored.submission for stored in store.iter_conflicts())
        yield from raw_submissions(store)
        for sealed in store.iter_sealed():  # only its identifier can be read
            yield Submission(
                instance_id=sealed.instance_id, form_id="", form_version="", answers={}, source=""
            )

    found: dict[str, Submission] = {}
    for submission in everything():
        own = submission.answers.get(WITHDRAWAL_CODE, "")
        if submission.instance_id == instance or (own and code_digest(own) == digest):
            found.setdefault(submission.instance_id, submission)
    return found
