"""Where fine data were written outside the store, so that a withdrawal finds them there.

```
exports/<id>.json    kind, folder, names of the files, when
```
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from survey.forms.durable import to_json, write_once

__all__ = ["ExportLog"]


class ExportLog:
    """Exports from one submission store.

    Parameters
    ----------
    store_folder : Path
    """

    def __init__(self, store_folder: Path) -> None:
        self._root = store_folder
        self._folder = store_folder / "exports"

    def record(self, kind: str, files: Sequence[Path], *, now: datetime, of: str = "") -> None:
        """Note files with data of single people, before they are written.

        Parameters
        ----------
        of : str
            Key of the one submission that the files are of, where they do not name it; ``*``
            where any may be in them and they are to be made again after every withdrawal.
        """
        content = {
            "kind": kind,
            "at": now.isoformat(timespec="seconds"),
            "of": of,
            "files": [str(path.resolve()) for path in files],
        }
        path = self._folder / f"{secrets.token_hex(8)}.json"
        write_once(path, to_json(content), root=self._root)

    def files(self) -> Iterator[tuple[Path, datetime, str]]:
        """Each exported file that still exists, when it was written, and whose alone it is."""
        for record in sorted(self._folder.glob("*.json")):
            content = json.loads(record.read_text("utf-8"))
            for name in content["files"]:
                if Path(name).is_file():
                    yield Path(name), datetime.fromisoformat(content["at"]), content["of"]
