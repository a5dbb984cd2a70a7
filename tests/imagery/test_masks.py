"""What a mask can say, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imagery.masks import MaskRule


@pytest.mark.parametrize(
    ("keys", "values", "expected"),
    [
        ({"clear": [4, 5]}, [0, 4, 5, 9], [False, True, True, False]),
        ({"hidden": [1]}, [0, 1, 2], [True, False, True]),
        # QA_PIXEL of clear land (21824), cloud (22280: bits 3, 8, 9 ...), shadow (bit 4), fill.
        (
            {"hidden_bits": [0, 1, 2, 3, 4]},
            [21824, 22280, 23888, 1],
            [True, False, False, False],
        ),
        ({"max": 40}, [0, 40, 41, 255], [True, True, False, False]),
        ({"min": 0.5, "max": 1}, [0.4, 0.5, np.nan, 1.0], [False, True, False, True]),
        ({"hidden_bits": [0]}, [np.nan, 2.0, 3.0], [False, True, False]),
        ({"cloud_probability": True}, [0, 100, 101, 255], [True, True, False, False]),
        ({"max": 0, "cloud_probability": True}, [0, 1], [True, False]),
    ],
)
def test_each_kind_of_rule(
    keys: dict[str, Any], values: list[float], expected: list[bool]
) -> None:
    rule = MaskRule.from_keys(keys)
    assert rule.shows(np.array(values)).tolist() == expected
    assert MaskRule.from_keys(rule.to_keys()) == rule


@pytest.mark.parametrize(
    "keys",
    [{}, {"cloud_probability": False}, {"hidden_bits": [40]}, {"clear": ["cloud"]}, {"bits": [1]}],
)
def test_rules_that_say_nothing_or_nonsense(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs one of|between 0 and 31|invalid literal|unknown"):
        MaskRule.from_keys(keys)


def test_a_flag_is_true_or_false() -> None:
    with pytest.raises(TypeError, match="cloud_probability 'yes' must be true or false"):
        MaskRule.from_keys({"cloud_probability": "yes"})
