"""Expiry: fine data go when their time is over, with a record of what went.

```
purges/<time>-<id>.json    what was to go, written before the first file went
purges/<time>-<id>.done    it went
```
"""

from __future__ import annotations

import json
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from survey.forms import SubmissionStore
from survey.forms.durable import remove_file, remove_tree, store_lock, to_json, write_once
from survey.forms.stored import SEALED_SUFFIX, safe_name
from survey.privacy.exports import ExportLog
from survey.privacy.rawfiles import raw_in_use
from survey.privacy.withdrawal import finish_removals
from survey.review import Action, ReviewLog
from survey.rounds import Round

__all__ = ["Purge", "purge_round"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """What has expired, and was removed unless it was only asked for.

    Attributes
    ----------
    counts : mapping of class to number
        Submissions, refused files, photos and other files, exported files, files of runs.
    record : Path or None
        Where it is on record; None where nothing had expired, or nothing was removed.
    folders : tuple of Path
        Restricted results of runs that went: layers of the database that show them go too.
    """

    counts: Counter[str]
    record: Path | None
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expired:
    submissions: tuple[tuple[str, str, str], ...]  # instanceID, form, digest of the raw file
    refused: tuple[str, ...]
    attachments: tuple[Path, ...]
    exports: tuple[Path, ...]
    results: tuple[Path, ...]

    def counts(self) -> Counter[str]:
        return Counter(
            {
                # One that was taken over from a form of a team stands under two forms.
                "submissions": len({instance_id for instance_id, _, _ in self.submissions}),
                "refused files": len(self.refused),
                "photos and other files": sum(p.suffix != SEALED_SUFFIX for p in self.attachments),
                "encrypted files": sum(p.suffix == SEALED_SUFFIX for p in self.attachments),
                "exported files": len(self.exports),
                "files of runs": len(self.results),
            }
        )


def purge_round(declared: Round, *, now: datetime, by: str, dry_run: bool = False) -> Purge:
    """Remove what has expired by `[retention]`; nothing else changes.

    What is to go is on record before it goes. After a crash the same call goes on: removals that
    were begun are finished first.

    Parameters
    ----------
    dry_run : bool
        Only count.
    """
    store = SubmissionStore(declared.submissions_folder)
    restricted = (declared.output_folder / "restricted",)
    if dry_run:
        return Purge(counts=+_expired(declared, store, now).counts(), record=None)
    if not store.folder.is_dir():
        return Purge(counts=Counter(), record=None)
    with store_lock(store.folder, exclusive=True):
        finish_removals(store, declared.output_folder, now=now)
        expired = _expired(declared, store, now)
        counts = +expired.counts()
        for plan in _unfinished(store.folder):
            _finish(plan)  # whatever it named is gone, or named again now
        if not counts:
            return Purge(counts=counts, record=None)
        plan = _write_plan(store.folder, expired, now=now, by=by)
        _remove(declared, store, expired, now=now, by=by)
        _finish(plan)
    return Purge(counts=counts, record=plan, folders=restricted if expired.results else ())


def _expired(declared: Round, store: SubmissionStore, now: datetime) -> _Expired:
    limits = declared.retention
    root = store.folder

    def is_over(at: str, days: int) -> bool:
        return datetime.fromisoformat(at) < now - timedelta(days=days)

    submissions = tuple(
        (stored.submission.instance_id, form_id, stored.raw_sha256)
        for form_id in store.form_ids()
        for stored in store.iter_stored(form_id)
        if is_over(stored.received_at, limits.submissions_days)
    ) + tuple(
        (sealed.instance_id, "", sealed.raw_sha256)
        for sealed in store.iter_sealed()
        if sealed.received_at < now - timedelta(days=limits.submissions_days)
    )
    shut = _encrypted_answers(root)
    refused = tuple(
        record.stem
        for record in sorted(root.glob("refused/*.json"))
        if is_over(json.loads(record.read_bytes())["received_at"], limits.refused_days)
    )
    return _Expired(
        submissions=submissions,
        refused=refused,
        attachments=tuple(
            path
            for folder in sorted(root.glob("attachments/*"))
            for path in _old_attachments(folder, now - timedelta(days=limits.photos_days))
            if not _is_answers(path, shut)
        ),
        exports=tuple(
            path
            for path, at, _ in ExportLog(root).files()
            if at < now - timedelta(days=limits.exports_days)
        ),
        results=tuple(_old_results(declared, now - timedelta(days=limits.restricted_days))),
    )


def _old_attachments(folder: Path, before: datetime) -> Iterator[Path]:
    """Files of a folder whose latest delivery is that old."""
    times = [
        datetime.fromisoformat(json.loads(path.read_bytes())["received_at"])
        for path in folder.glob("deliveries/*.json")
    ]
    if times and max(times) < before:
        yield from (path for path in sorted(folder.iterdir()) if path.is_file())


def _encrypted_answers(root: Path) -> dict[str, set[str]]:
    """Names of the files with answers that nobody has decrypted here, by key of the submission."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in (*root.glob("sealed/*/*.json"), *root.glob("conflicts/*.json")):
        about = json.loads(path.read_bytes()).get("sealed")
        if about and not (root / "submissions" / about["form_id"] / path.name).exists():
            found[path.stem.partition("-")[0]].add(safe_name(about["files"][-1]))
    return found


def _is_answers(path: Path, shut: Mapping[str, set[str]]) -> bool:
    """Whether a file holds the answers of a submission: they expire with it, not with photos."""
    key = path.parent.name.partition("-")[0]
    return path.name.partition("-")[2] in shut.get(key, ())


def _old_results(declared: Round, before: datetime) -> Iterator[Path]:
    """Restricted files of a run, and windows of its maps, where the run is that old."""
    out = declared.output_folder
    record = out / "publish" / "run.json"
    if not record.is_file():
        return
    made = json.loads(record.read_text("utf-8")).get("created_at")
    if made and datetime.fromisoformat(made) < before:
        for folder in (out / "restricted", out.with_name(f".{out.name}-windows")):
            yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def _write_plan(root: Path, expired: _Expired, *, now: datetime, by: str) -> Path:
    content = {
        "at": now.isoformat(timespec="seconds"),
        "by": by,
        "counts": +expired.counts(),
        "raw_sha256": sorted(
            {raw for _, _, raw in expired.submissions} | (set(expired.refused) - raw_in_use(root))
        ),
    }
    path = root / "purges" / f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}.json"
    write_once(path, to_json(content), root=root)
    return path


def _unfinished(root: Path) -> Iterator[Path]:
    for plan in sorted(root.glob("purges/*.json")):
        if not plan.with_suffix(".done").exists():
            yield plan


def _finish(plan: Path) -> None:
    write_once(plan.with_suffix(".done"), b"", root=plan.parent)


def _remove(
    declared: Round, store: SubmissionStore, expired: _Expired, *, now: datetime, by: str
) -> None:
    used = _used(store)
    for instance_id, form_id, _ in expired.submissions:
        # A tombstone too: a phone that sends again must not bring back what has expired.
        store.tombstones.lay(
            instance_id,
            form_id=form_id,
            reason="expired",
            code="",
            was_used=instance_id in used,
            now=now,
            by=by,
        )
    finish_removals(store, declared.output_folder, now=now)
    in_use = raw_in_use(store.folder) if expired.refused else ()
    for digest in expired.refused:
        # The same bytes may have been taken since, with the mapping that was missing.
        if digest not in in_use:
            remove_file(store.folder / "raw" / digest)
        # The reason goes last: as long as it stands, the next call finds the rest.
        for folder in store.folder.glob(f"attachments/{digest[:40]}*"):
            remove_tree(folder)
        remove_file(store.folder / "refused" / f"{digest}.json")
    for path in (*expired.attachments, *expired.exports, *expired.results):
        remove_file(path)


def _used(store: SubmissionStore) -> frozenset[str]:
    log = ReviewLog(store)
    return frozenset(
        review.instance_id
        for form_id in store.form_ids()
        for review in log.reviews(form_id)
        if any(decision.action is Action.ACCEPT for decision in review.decisions)
    )
