"""Which submissions lie in a raw file, so that a removal need not read every file.

```
contents/<raw sha256>-<digest>.json    keys of the submissions that were read from it
```

Derived from the raw file and never needed: where it is missing the file itself is read. One file
that was read by two mappings has two. A raw file of XML holds one submission, which its record
names; it has none of these.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from survey.forms.durable import to_json

__all__ = ["ContentsIndex", "contents_file", "raw_of_records"]

_FOLDER = "contents"
_SHA256 = 64


def contents_file(root: Path, raw_sha256: str, keys: Iterable[str]) -> tuple[Path, bytes]:
    """Path and content of the note which submissions a raw file holds."""
    content = to_json(sorted(keys))
    digest = hashlib.sha256(content).hexdigest()[:16]
    return root / _FOLDER / f"{raw_sha256}-{digest}.json", content


class ContentsIndex:
    """Notes of one submission store, as they stood when this was made."""

    def __init__(self, root: Path) -> None:
        self._found: dict[str, list[Path]] = defaultdict(list)
        with suppress(FileNotFoundError), os.scandir(root / _FOLDER) as entries:
            for entry in entries:
                self._found[entry.name[:_SHA256]].append(Path(entry.path))

    def files(self, raw_sha256: str) -> list[Path]:
        """Notes of a raw file."""
        return self._found.get(raw_sha256, [])

    def keys(self, raw_sha256: str) -> frozenset[str] | None:
        """Submissions in a raw file; None where that is not on record."""
        if not (files := self.files(raw_sha256)):
            return None
        try:
            return frozenset().union(*(json.loads(path.read_bytes()) for path in files))
        except (ValueError, TypeError):
            return None  # damaged: the raw file tells


def raw_of_records(root: Path) -> dict[str, set[str]]:
    """Keys of the records that came in each raw file, by its digest."""
    found: dict[str, set[str]] = defaultdict(set)
    for pattern in ("submissions/*/*.json", "sealed/*/*.json", "conflicts/*.json"):
        for path in root.glob(pattern):
            with suppress(ValueError, KeyError, TypeError):  # damaged: the raw file is read
                raw = json.loads(path.read_bytes())["raw_sha256"]
                found[raw].add(path.stem.partition("-")[0])
    return found
