"""What is left of a submission that was withdrawn or has expired: that it is not to be kept.

```
withdrawn/<key>.json      why and when; no answer, no identifier, no code
withdrawn/<key>.pending   identifiers that the removal needs; deleted with its last step
```

`key` is a digest of the instanceID, which is random, so it tells nothing. The store asks here
before it keeps anything, so that a phone or an old spreadsheet cannot bring the answers back.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from survey.forms.durable import flush_folder, instance_key, to_json, write_once

__all__ = ["WITHDRAWAL_CODE", "Pending", "Tombstone", "Tombstones", "code_digest"]

#: Question whose answer, a short random code, the respondent keeps.
WITHDRAWAL_CODE = "withdrawal_code"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """A submission that must not be kept.

    Attributes
    ----------
    key : str
        Digest of its instanceID.
    form_id : str
        Empty where it was refused before its form was known.
    reason : str
        ``withdrawn`` or ``expired``.
    code_sha256 : str
        Digest of the code by which it was withdrawn, so that the same code is known again;
        empty for what has expired.
    was_used : bool
        It was accepted: estimates made before are to be made again.
    at, by : str
        When (ISO 8601) and by which member of staff.
    """

    key: str
    form_id: str
    reason: str
    code_sha256: str
    was_used: bool
    at: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """What an unfinished removal still has to look for, and the stone that is to stand."""

    instance_id: str
    code: str
    stone: Tombstone


def code_digest(code: str) -> str:
    """Digest of a code as people copy it: blanks, hyphens and case do not matter."""
    return hashlib.sha256(re.sub(r"[\s-]", "", code).casefold().encode()).hexdigest()


class Tombstones:
    """Tombstones of one submission store.

    Parameters
    ----------
    store_folder : Path
    """

    def __init__(self, store_folder: Path) -> None:
        self._root = store_folder
        self._folder = store_folder / "withdrawn"

    def stands_for(self, instance_id: str) -> bool:
        """Whether a submission must not be kept."""
        return (self._folder / f"{instance_key(instance_id)}.json").exists()

    def all(self) -> list[Tombstone]:
        """Every tombstone, in order of keys."""
        return [
            Tombstone(**json.loads(path.read_text("utf-8")))
            for path in sorted(self._folder.glob("*.json"))
        ]

    def of_code(self, code: str) -> list[Tombstone]:
        """Tombstones that a code or an instanceID left."""
        digest, key = code_digest(code), instance_key(code.strip())
        return [t for t in self.all() if t.code_sha256 == digest or t.key == key]

    def lay(
        self,
        instance_id: str,
        *,
        form_id: str,
        reason: str,
        code: str,
        was_used: bool,
        now: datetime,
        by: str,
    ) -> Tombstone:
        """Lay a tombstone, on disk before it returns; the removal is pending from then on."""
        stone = Tombstone(
            key=instance_key(instance_id),
            form_id=form_id,
            reason=reason,
            code_sha256=code_digest(code) if code else "",
            was_used=was_used,
            at=now.isoformat(timespec="seconds"),
            by=by,
        )
        todo = Pending(instance_id=instance_id, code=code, stone=stone)
        # Before the stone: once that stands, what is to be removed must be known.
        path = self._folder / f"{stone.key}.pending"
        write_once(path, to_json(asdict(todo)), root=self._root)
        self._stand(stone)
        return stone

    def pending(self) -> Iterator[Pending]:
        """Removals that were begun and not finished; their tombstones stand from now on."""
        for path in sorted(self._folder.glob("*.pending")):
            content = json.loads(path.read_text("utf-8"))
            todo = Pending(**{**content, "stone": Tombstone(**content["stone"])})
            self._stand(todo.stone)
            yield todo

    def _stand(self, stone: Tombstone) -> None:
        path = self._folder / f"{stone.key}.json"
        write_once(path, to_json(asdict(stone)), root=self._root)

    def finish(self, instance_id: str) -> None:
        """Forget the identifiers of a removal that is complete."""
        path = self._folder / f"{instance_key(instance_id)}.pending"
        if path.exists():
            path.unlink()
            flush_folder(self._folder)
