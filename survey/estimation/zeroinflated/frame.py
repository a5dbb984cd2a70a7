"""The frame as the two-part model sees it: covariates of presence and of amount."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError
from survey.estimation.smallarea.amount import AMOUNTS
from survey.estimation.smallarea.inputs import (
    Floats,
    Labels,
    checked_labels,
    checked_matrix,
    checked_vector,
    independent,
)

__all__ = ["TwoPartFrame", "two_part_frame"]

# Mapped share at which log(1 + share/unit) turns from linear to logarithmic.
MAP_UNIT = 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TwoPartFrame:
    """All segments of the frame, as the model sees them.

    Attributes
    ----------
    domain : str or int array (N,)
        District of each segment.
    size_ha : float array (N,)
        Risk area, hectares, > 0; the most crop that a segment can hold.
    presence : float array (N, p)
        Covariates of presence; first column ones, the design's strata among the others.
    amount : float array (N, q)
        Covariates of the crop share where there is crop; first column ones.
    """

    domain: Labels
    size_ha: Floats
    presence: Floats
    amount: Floats

    def __post_init__(self) -> None:
        labels = checked_labels("domain", self.domain, None, unique=False)
        object.__setattr__(self, "domain", labels)
        size = checked_vector("size_ha", self.size_ha, labels.size, positive=True)
        object.__setattr__(self, "size_ha", size)
        for name in ("presence", "amount"):
            matrix = checked_matrix(name, getattr(self, name), labels.size, None)
            if not bool((matrix[:, 0] == 1.0).all()):
                raise EstimationError(f"{name}: the first column must be the intercept, all ones")
            object.__setattr__(self, name, matrix)


def two_part_frame(
    domain: npt.ArrayLike,
    stratum: npt.ArrayLike,
    size_ha: npt.ArrayLike,
    map_ha: npt.ArrayLike | None = None,
    *,
    amount: str = "linear",
) -> TwoPartFrame:
    """Covariates of the model from what every frame has.

    Presence: strata, log size, whether the map shows crop at all, and log(1 + share/1%) of the
    map. Both map terms are needed: a straight line in the mapped share lets false detections
    put crop into districts that have none. Amount: the mapped share ("linear") or its
    logarithm ("lognormal"). A covariate that does not vary over the frame is left out.

    Parameters
    ----------
    domain, stratum : str array (N,)
        District and sampling stratum of each segment.
    size_ha : float array (N,)
        Risk area of the segment, hectares, > 0.
    map_ha : float array (N,), optional
        Mapped hectares of the crop, gap-filled; without it strata and size alone.
    amount : {"linear", "lognormal"}
    """
    if amount not in AMOUNTS:
        raise EstimationError(f"amount {amount!r} is unknown; use 'linear' or 'lognormal'")
    size = checked_vector("size_ha", size_ha, None, positive=True)
    strata = checked_labels("stratum", stratum, size.size, unique=False)
    columns = [(strata == name).astype(np.float64) for name in np.unique(strata)[1:]]
    columns.append(np.log(size / size.mean()))
    amounts: list[Floats] = []
    if map_ha is not None:
        mapped = checked_vector("map_ha", map_ha, size.size, non_negative=True)
        share = np.minimum(mapped / size, 1.0)
        columns += [(share > 0.0).astype(np.float64), np.log1p(share / MAP_UNIT)]
        amounts.append(share if amount == "linear" else np.log(share + 0.5 * MAP_UNIT))
    return TwoPartFrame(
        domain=np.asarray(domain),
        size_ha=size,
        presence=_with_ones(columns, size.size),
        amount=_with_ones(amounts, size.size),
    )


def _with_ones(columns: list[Floats], n: int) -> Floats:
    """The intercept and every column that is not a combination of those before it."""
    matrix = np.column_stack([np.ones(n), *columns])
    return matrix[:, independent(matrix)]
