"""Counts tiles, so that the audit trail tells how much was read without a row for each."""

from __future__ import annotations

import threading
from datetime import datetime

__all__ = ["TileTrail"]


class TileTrail:
    """Tiles by session, layer and hour, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hour = ""
        self._counts: dict[tuple[str, str], int] = {}

    def count(self, session_id: str, layer_id: str, *, now: datetime) -> int:
        """Count one tile; the number when it is to be written down (1, 10, 100 ...), else 0."""
        hour = now.strftime("%Y-%m-%dT%H")
        with self._lock:
            if hour != self._hour:
                self._hour, self._counts = hour, {}
            n = self._counts.get((session_id, layer_id), 0) + 1
            self._counts[session_id, layer_id] = n
        return n if str(n).strip("0") == "1" else 0
