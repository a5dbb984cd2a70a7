"""Frame and sample: the numbers an estimator starts from, checked once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from survey.errors import DuplicateIdError, EstimationError, TooFewUnitsError

__all__ = ["Frame", "Sample", "fill_covariate"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.str_]

# Reference hectares may exceed the segment by digitising and rounding noise, not by more.
AREA_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """All segments that could have been drawn.

    Attributes
    ----------
    segment_id, stratum, domain, group : str array (N,)
        Identifier (unique), sampling stratum, district and province of each segment.
    risk_ha : float array (N,)
        Risk area of the segment, hectares, not negative.
    covariate_ha : float array (N,) or None
        Mapped hectares of the crop, gap-filled by `fill_covariate`; NaN where nothing is
        known, which keeps map-assisted estimators away.
    """

    segment_id: Labels
    stratum: Labels
    domain: Labels
    group: Labels
    risk_ha: Floats
    covariate_ha: Floats | None = None
    _group_code: Ints = field(init=False, repr=False)

    def __post_init__(self) -> None:
        size = np.shape(self.segment_id)
        if len(size) != 1 or size[0] == 0:
            raise EstimationError(f"the frame has shape {size}; give one row for each segment")
        for name in ("segment_id", "stratum", "domain", "group"):
            column = np.asarray(getattr(self, name))
            if column.shape != size:
                raise EstimationError(
                    f"frame column {name} has shape {column.shape}, segment_id {size}; "
                    "give every column one value for each segment"
                )
            object.__setattr__(self, name, column.astype(np.str_))
        ids, count = np.unique(self.segment_id, return_counts=True)
        if count.max() > 1:
            raise DuplicateIdError(
                f"segment {str(ids[count > 1][0])!r} occurs {count.max()} times in the frame; "
                "keep one row for each segment"
            )
        object.__setattr__(self, "risk_ha", self._hectares("risk_ha", size))
        _, code = np.unique(self.group, return_inverse=True)
        object.__setattr__(self, "_group_code", code.astype(np.int64))
        if self.covariate_ha is not None:
            object.__setattr__(
                self, "covariate_ha", self._hectares("covariate_ha", size, nan_allowed=True)
            )

    def _hectares(self, name: str, size: tuple[int, ...], *, nan_allowed: bool = False) -> Floats:
        values = np.asarray(getattr(self, name), dtype=np.float64)
        if values.shape != size:
            raise EstimationError(
                f"frame column {name} has shape {values.shape}, segment_id {size}; "
                "give every column one value for each segment"
            )
        bad = np.isinf(values) | (values < 0.0)
        if not nan_allowed:
            bad |= np.isnan(values)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise EstimationError(
                f"segment {str(self.segment_id[row])!r}: {name} is {values[row]}; hectares must "
                "be finite and not negative: correct or remove the segment"
            )
        return values

    @property
    def group_code(self) -> Ints:
        """Number of the group (province) of each segment (N,), in order of the names."""
        return self._group_code

    @property
    def size(self) -> int:
        """Number of segments N."""
        return int(self.segment_id.shape[0])

    @property
    def has_covariate(self) -> bool:
        """True where every segment has a covariate."""
        return self.covariate_ha is not None and bool(np.isfinite(self.covariate_ha).all())

    def is_member(self, member: npt.ArrayLike | None) -> Bools:
        """Domain mask (N,): everything where `member` is None."""
        if member is None:
            return np.ones(self.size, dtype=np.bool_)
        mask = np.asarray(member)
        if mask.dtype != np.bool_ or mask.shape != (self.size,):
            raise EstimationError(
                f"member has type {mask.dtype} and shape {mask.shape}; give one bool for each "
                f"of the {self.size} segments of the frame"
            )
        if not mask.any():
            raise EstimationError("the domain holds no segment of the frame; check its code")
        return mask


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """Segments that were drawn and seen, with their reference hectares.

    Attributes
    ----------
    index : int array (n,)
        Row of the frame of each segment.
    y_ha : float array (n,)
        Reference hectares of the crop in the segment; 0 is "looked, none found".
    n_nonresponse : int
        Segments drawn of which nothing could be seen; they are not in `index`.
    """

    index: Ints
    y_ha: Floats
    n_nonresponse: int = 0

    def __post_init__(self) -> None:
        index = np.asarray(self.index)
        values = np.asarray(self.y_ha, dtype=np.float64)
        if index.ndim != 1 or values.shape != index.shape:
            raise EstimationError(
                f"sample index has shape {index.shape} and y_ha {values.shape}; give one "
                "value for each sampled segment"
            )
        if index.size and not np.issubdtype(index.dtype, np.integer):
            raise EstimationError(f"sample index has type {index.dtype}; give rows of the frame")
        index = index.astype(np.int64)
        rows, count = np.unique(index, return_counts=True)
        if count.size and count.max() > 1:
            raise DuplicateIdError(
                f"frame row {rows[count > 1][0]} is in the sample {count.max()} times; keep one "
                "accepted visit for each segment"
            )
        bad = ~np.isfinite(values) | (values < 0.0)
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            raise EstimationError(
                f"sampled segment {at} (frame row {index[at]}): y_ha is {values[at]}; reference "
                "hectares must be finite and not negative; leave an unseen segment out"
            )
        object.__setattr__(self, "index", index)
        object.__setattr__(self, "y_ha", values)

    @property
    def size(self) -> int:
        """Number of segments n."""
        return int(self.index.shape[0])

    @classmethod
    def from_observed(
        cls,
        frame: Frame,
        index: npt.ArrayLike,
        found_ha: npt.ArrayLike,
        observed_share: npt.ArrayLike,
    ) -> Self:
        """Expand found hectares over the unseen part of each segment.

        Assumes that the unseen part is like the seen part of the same segment, and that a
        segment of which nothing was seen is like the others of its stratum (missing at
        random): it leaves the sample as non-response. Unseen is never counted as zero.

        Parameters
        ----------
        frame : Frame
        index : int array (n,)
            Frame row of each visited segment.
        found_ha : float array (n,)
            Hectares found in the seen part; ignored where the share is 0.
        observed_share : float array (n,)
            Share of the segment that was seen, 0-1.

        Raises
        ------
        EstimationError
            A row is outside the frame, a value is NaN or negative, a share is outside 0-1,
            or more hectares were found than the segment has (5% allowed for digitising).
        DuplicateIdError
            A segment occurs twice.
        """
        rows = np.asarray(index, dtype=np.int64)
        found = np.asarray(found_ha, dtype=np.float64)
        share = np.asarray(observed_share, dtype=np.float64)
        if not rows.shape == found.shape == share.shape or rows.ndim != 1:
            raise EstimationError(
                f"index {rows.shape}, found_ha {found.shape} and observed_share {share.shape} "
                "differ in shape; give one of each for every visited segment"
            )
        _inside(frame, rows)
        if not ((share >= 0.0) & (share <= 1.0)).all():
            at = int(np.flatnonzero(~((share >= 0.0) & (share <= 1.0)))[0])
            raise EstimationError(
                f"segment {str(frame.segment_id[rows[at]])!r}: observed share {share[at]} is not "
                "between 0 and 1; divide percent by 100"
            )
        seen = share > 0.0
        rows_seen, found, share = rows[seen], found[seen], share[seen]
        risk = frame.risk_ha[rows_seen]
        above = found > risk * (1.0 + AREA_TOLERANCE)
        if above.any():
            at = int(np.flatnonzero(above)[0])
            raise EstimationError(
                f"segment {str(frame.segment_id[rows_seen[at]])!r}: {found[at]} ha found in "
                f"{risk[at]:.4g} ha of risk area; check the unit and the segment of the visit"
            )
        full = np.minimum(found / share, np.maximum(risk, found))
        # Duplicates must be found before non-response is dropped, or a second visit hides.
        if np.unique(rows).size != rows.size:
            cls(index=rows, y_ha=np.zeros(rows.size))
        return cls(index=rows_seen, y_ha=full, n_nonresponse=int((~seen).sum()))

    def check_in(self, frame: Frame) -> None:
        """Raise where a sampled segment is not in the frame or larger than itself."""
        if self.size == 0:
            raise TooFewUnitsError("the sample is empty; no estimate is possible")
        _inside(frame, self.index)
        risk = frame.risk_ha[self.index]
        above = self.y_ha > risk * (1.0 + AREA_TOLERANCE)
        if above.any():
            at = int(np.flatnonzero(above)[0])
            raise EstimationError(
                f"segment {str(frame.segment_id[self.index[at]])!r}: {self.y_ha[at]} ha of crop "
                f"in {risk[at]:.4g} ha of risk area; check the unit and the segment"
            )


def _inside(frame: Frame, rows: Ints) -> None:
    outside = (rows < 0) | (rows >= frame.size)
    if outside.any():
        at = int(np.flatnonzero(outside)[0])
        raise EstimationError(
            f"sampled unit {at} points to frame row {rows[at]}, but the frame has {frame.size} "
            "rows; the sample must come from this version of the frame"
        )


def fill_covariate(
    map_ha: npt.ArrayLike,
    observed_ha: npt.ArrayLike,
    unobserved_ha: npt.ArrayLike,
    stratum: npt.ArrayLike,
) -> tuple[Floats, Bools]:
    """Covariate of every segment, with unobserved land filled at its stratum's map density.

    Parameters
    ----------
    map_ha, observed_ha, unobserved_ha : float array (N,)
        Mapped hectares of the crop, land with and land without usable imagery, hectares.
    stratum : str array (N,)

    Returns
    -------
    covariate_ha : float array (N,)
        NaN everywhere where no land at all was observed.
    is_filled : bool array (N,)
        True where part of the segment was filled.

    Notes
    -----
    x = map + unobserved * (sum of map / sum of observed over the stratum). A stratum without
    observed land takes the density of all strata. The fill uses no reference hectares, so an
    assisted estimator stays approximately design-unbiased; it only loses precision.
    """
    mapped = np.asarray(map_ha, dtype=np.float64)
    seen = np.asarray(observed_ha, dtype=np.float64)
    unseen = np.asarray(unobserved_ha, dtype=np.float64)
    labels = np.asarray(stratum)
    if not mapped.shape == seen.shape == unseen.shape == labels.shape or mapped.ndim != 1:
        raise EstimationError(
            f"map_ha {mapped.shape}, observed_ha {seen.shape}, unobserved_ha {unseen.shape} and "
            f"stratum {labels.shape} differ in shape; give one of each for every segment"
        )
    for name, values in (
        ("map_ha", mapped),
        ("observed_ha", seen),
        ("unobserved_ha", unseen),
    ):
        if not (np.isfinite(values) & (values >= 0.0)).all():
            at = int(np.flatnonzero(~(np.isfinite(values) & (values >= 0.0)))[0])
            raise EstimationError(
                f"row {at}: {name} is {values[at]}; write 0 mapped and 0 observed hectares "
                "where there was no image, and the land as unobserved"
            )
    filled = unseen > 0.0
    if seen.sum() <= 0.0:
        return np.full(mapped.shape, np.nan), filled
    _, code = np.unique(labels, return_inverse=True)
    seen_h = np.bincount(code, weights=seen)
    map_h = np.bincount(code, weights=mapped)
    overall = mapped.sum() / seen.sum()
    density = np.where(seen_h > 0.0, map_h / np.where(seen_h > 0.0, seen_h, 1.0), overall)
    return mapped + unseen * density[code], filled
