"""What each phone has sent, counted together by all processes that receive."""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Mapping

__all__ = ["Shares"]

_PIECE = 4096


class Shares:
    """Bytes of each sender: a file in memory to which every process adds lines.

    Made before the processes are forked. Nothing of it outlives them: it is counted again from
    the store at the next start. It grows by some 25 bytes for each submission.
    """

    def __init__(self) -> None:
        self._file = os.memfd_create("shares")
        # Each line is added whole, whoever else adds at the same time.
        fcntl.fcntl(self._file, fcntl.F_SETFL, os.O_APPEND)
        self._n_read = 0
        self._sent: Counter[str] = Counter()
        self._total = 0

    def __del__(self) -> None:
        os.close(self._file)

    def add(self, sent: Mapping[str, int]) -> None:
        """Count what came."""
        lines = "".join(f"{n_bytes} {sender}\n" for sender, n_bytes in sent.items())
        os.write(self._file, lines.encode())

    def sent(self, sender: str) -> tuple[int, int]:
        """Bytes that a sender, and all together, have in the store."""
        self._read()
        return self._sent[sender], self._total

    def _read(self) -> None:
        while piece := os.pread(self._file, _PIECE, self._n_read):
            whole = piece[: piece.rfind(b"\n") + 1]
            if not whole:
                return
            self._n_read += len(whole)
            for line in whole.decode().splitlines():
                n_bytes, _, sender = line.partition(" ")
                self._sent[sender] += int(n_bytes)
                self._total += int(n_bytes)
