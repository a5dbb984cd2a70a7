"""Results of checks that need not be worked out again: nothing they speak of changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar, cast

from survey.forms import Submission

__all__ = ["Memo"]

_T = TypeVar("_T")


class Memo:
    """Results of checks by the very submissions they were made from.

    A check gives the same with and without. Submissions are known by being the same objects, which
    never change; what a round of checks did not ask for is forgotten.
    """

    def __init__(self) -> None:
        self._before: dict[Hashable, tuple[Sequence[Submission], object]] = {}
        self._now: dict[Hashable, tuple[Sequence[Submission], object]] = {}

    def begin(self) -> None:
        """Begin a round; the results of the last one are at hand."""
        self._before, self._now = self._now, {}

    def get(
        self,
        check: str,
        of: Sequence[Submission],
        make: Callable[[Sequence[Submission]], _T],
        *more: Hashable,
    ) -> _T:
        """What `make` gives, or gave the last time.

        Parameters
        ----------
        check : str
            What is made.
        of : sequence of Submission
            What it is made from, in this order.
        more : hashable
            What else it depends on.
        """
        key = (check, more, *map(id, of))
        # The submissions are kept with the result: no other object can get the id of one of them.
        found = self._now.get(key) or self._before.get(key) or (tuple(of), make(of))
        self._now[key] = found
        return cast("_T", found[1])
