"""Rules that say which values of a mask show the ground."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["MaskRule"]

_KEYS = ("clear", "hidden", "hidden_bits", "min", "max", "cloud_probability")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRule:
    """When a mask value shows the ground; of several conditions all must hold.

    Attributes
    ----------
    clear : tuple of int
        Codes that show it, all others hide it (scene classes, udm2's "clear" band).
    hidden : tuple of int
        Codes that hide it, all others show it.
    hidden_bits : tuple of int
        Bits, 0 the lowest, any of which hides it (QA_PIXEL, QA_RADSAT).
    minimum, maximum : float or None
        Range that shows it, ends included (a cloud probability up to 40).
    is_cloud_probability : bool
        The values are percent: others than 0-100 hide it, and composites may take the date
        with the least.

    Raises
    ------
    ValueError
        No condition, or a bit below 0 or above 31.
    """

    clear: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()
    hidden_bits: tuple[int, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    is_cloud_probability: bool = False

    def __post_init__(self) -> None:
        if not (self.clear or self.hidden or self.hidden_bits) and (
            self.minimum is None and self.maximum is None and not self.is_cloud_probability
        ):
            raise ValueError(f"a mask needs one of {', '.join(_KEYS)}")
        if any(not 0 <= bit <= 31 for bit in self.hidden_bits):
            raise ValueError(f"hidden_bits {list(self.hidden_bits)} must lie between 0 and 31")

    @classmethod
    def from_keys(cls, keys: Mapping[str, Any]) -> MaskRule:
        """Rule from the keys of a sidecar's mask.

        They are clear, hidden, hidden_bits, min, max and cloud_probability.

        Raises
        ------
        ValueError, TypeError
            An unknown key, or a value that is no number.
        """
        unknown = [key for key in keys if key not in _KEYS]
        if unknown:
            raise ValueError(
                f"mask has the unknown key {', '.join(unknown)}; known are file, band, "
                f"{', '.join(_KEYS)}"
            )
        is_probability = keys.get("cloud_probability", False)
        if not isinstance(is_probability, bool):
            raise TypeError(f"mask: cloud_probability {is_probability!r} must be true or false")
        return cls(
            is_cloud_probability=is_probability,
            clear=tuple(int(value) for value in keys.get("clear", ())),
            hidden=tuple(int(value) for value in keys.get("hidden", ())),
            hidden_bits=tuple(int(value) for value in keys.get("hidden_bits", ())),
            minimum=None if keys.get("min") is None else float(keys["min"]),
            maximum=None if keys.get("max") is None else float(keys["max"]),
        )

    def to_keys(self) -> dict[str, Any]:
        """The keys of a sidecar that `from_keys` reads back."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in zip(
                _KEYS,
                (
                    self.clear,
                    self.hidden,
                    self.hidden_bits,
                    self.minimum,
                    self.maximum,
                    self.is_cloud_probability,
                ),
                strict=True,
            )
            if value != () and value is not None and value is not False
        }

    def shows(self, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Where mask values show the ground; NaN never does."""
        seen = np.ones(values.shape, dtype=bool)
        if values.dtype.kind == "f":
            seen = np.isfinite(values)
        if self.clear:
            seen &= np.isin(values, self.clear)
        if self.hidden:
            seen &= ~np.isin(values, self.hidden)
        if self.hidden_bits:
            bits = sum(1 << bit for bit in self.hidden_bits)
            stored = np.where(seen, values, 0).astype(np.int64)
            seen &= (stored & bits) == 0
        if self.is_cloud_probability:
            seen &= (values >= 0) & (values <= 100)
        if self.minimum is not None:
            seen &= values >= self.minimum
        if self.maximum is not None:
            seen &= values <= self.maximum
        return seen
