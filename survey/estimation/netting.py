"""Net cultivation: what stood at the image date less what was verifiably destroyed after it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import date

from survey.errors import EstimationError
from survey.types import Estimate

__all__ = ["Eradication", "net_of_eradication"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Eradication:
    """Crop destroyed in one place.

    Attributes
    ----------
    eradicated_ha : float
    on : date
    is_verified : bool
        Seen by someone other than who did it (field or satellite).
    """

    eradicated_ha: float
    on: date
    is_verified: bool

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eradicated_ha) and self.eradicated_ha >= 0.0):
            raise EstimationError(
                f"{self.eradicated_ha} ha eradicated on {self.on} must be finite and not negative"
            )


def net_of_eradication(
    gross: Estimate, events: list[Eradication], *, image_date: date, se_ha: float = 0.0
) -> Estimate:
    """Hectares left after verified eradication that happened after the image date.

    What was destroyed before or on the image date is absent from the image already; what nobody
    verified is named and not subtracted.

    Parameters
    ----------
    gross : Estimate
    events : list of Eradication
        All in the estimate's domain.
    image_date : date
        When the segments were seen; the last date where they differ.
    se_ha : float
        Standard error of the verified hectares, 0 where each field was measured; independent
        of the estimate's.

    Raises
    ------
    EstimationError
        More was destroyed than the upper limit of what stood: a date, unit or domain is wrong.
    """
    if not (math.isfinite(se_ha) and se_ha >= 0.0):
        raise EstimationError(f"standard error {se_ha} must be finite and not negative")
    later = [event for event in events if event.on > image_date]
    gone = math.fsum(event.eradicated_ha for event in later if event.is_verified)
    claimed = math.fsum(event.eradicated_ha for event in later if not event.is_verified)
    if gone > gross.ci_high_ha:
        raise EstimationError(
            f"{gone:.4g} ha were destroyed after {image_date}, more than the "
            f"{gross.ci_high_ha:.4g} ha that can have stood there; check the dates, the unit and "
            "the domain of the reports"
        )
    # Independent errors: the arms of the interval grow as the standard error does.
    se = math.hypot(gross.se_ha, se_ha)
    factor = se / gross.se_ha if gross.se_ha > 0.0 else 1.0
    value = gross.value_ha - gone
    low = value - factor * (gross.value_ha - gross.ci_low_ha)
    high = value + factor * (gross.ci_high_ha - gross.value_ha)
    if math.isnan(gross.value_ha):
        # A range or a lower limit keeps its kind.
        low, high = gross.ci_low_ha - gone, gross.ci_high_ha - gone
    why = (
        f"{gross.why} Net of {gone:.4g} ha destroyed after {image_date} and verified."
        + (
            f" {claimed:.4g} ha claimed without verification are not subtracted."
            if claimed
            else ""
        )
        + (" More was destroyed than estimated: shown as 0." if value < 0.0 else "")
    )
    return replace(
        gross,
        value_ha=max(value, 0.0) if math.isfinite(value) else value,
        se_ha=se,
        ci_low_ha=max(low, 0.0) if math.isfinite(low) else low,
        ci_high_ha=max(high, 0.0) if math.isfinite(high) else high,
        method=f"{gross.method}_net",
        why=why.strip(),
    )
