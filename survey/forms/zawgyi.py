"""Burmese text in the Zawgyi encoding, read as Unicode.

Zawgyi puts Burmese letters on code points of their own, also on those that Unicode gave to Shan
and Karen. Detection is the Markov model of myanmar-tools, conversion the table of python-myanmar.
"""

from __future__ import annotations

import re
import warnings
from functools import cache

from myanmar import converter
from myanmartools import ZawgyiDetector

__all__ = ["is_zawgyi", "to_unicode"]

_MYANMAR = re.compile("[\u1000-\u109f]")
#: The authors of the model name 0.95 as the probability above which a text is Zawgyi. Between
#: 0.05 and 0.95 lie short words that are the same in both: they are left as they came.
_MIN_PROBABILITY = 0.95
#: The table writes some vowels in the order of typing; Unicode has the upper one first (UTN 11).
_ORDER = re.compile("([\u102f\u1030])([\u102d\u102e\u1032])")


def is_zawgyi(text: str) -> bool:
    """Whether a text is Burmese in Zawgyi; False where it could be either."""
    if not _MYANMAR.search(text):
        return False
    return bool(_detector().get_zawgyi_probability(text) >= _MIN_PROBABILITY)


def to_unicode(text: str) -> str:
    """The text in Unicode; the same text where it is not Zawgyi."""
    if not is_zawgyi(text):
        return text
    return _ORDER.sub(r"\2\1", converter.convert(text, "zawgyi", "unicode"))


@cache
def _detector() -> ZawgyiDetector:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the way it opens its own table
        return ZawgyiDetector()
