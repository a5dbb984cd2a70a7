"""District estimates of a small-area model, from the frame and sample of a survey round."""

from __future__ import annotations

import math

import numpy as np

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation.intervals import t_quantile
from survey.estimation.smallarea.inputs import Floats, independent
from survey.estimation.smallarea.unit_level import fit_unit_level
from survey.estimation.smallarea.unit_means import eblup_finite_pop
from survey.estimation.units import Frame, Sample
from survey.estimation.zeroinflated import (
    TwoPartRule,
    fit_two_part,
    two_part_frame,
    two_part_totals,
)
from survey.types import Estimate, EstimateType

__all__ = ["small_area_estimates"]

MODELS = ("two_part", "unit_level")


def small_area_estimates(
    frame: Frame,
    sample: Sample,
    *,
    rng: np.random.Generator,
    model: str = "two_part",
    amount: str = "linear",
    level: float = 0.95,
    n_draws: int = 1000,
    n_bootstrap: int = 0,
    rule: TwoPartRule | None = None,
) -> dict[str, Estimate]:
    """Estimate of every district of the frame from one model of all segments.

    Covariates are the strata, the segment's size and, where the frame has one, the map; the
    sampling weights do not enter. The sample is taken as it is: a stratum that was sampled
    more densely is told apart by its own column.

    Parameters
    ----------
    frame : Frame
    sample : Sample
    rng : numpy Generator
    model : {"two_part", "unit_level"}
        Decided before the data are seen. "unit_level" is Battese-Harter-Fuller on crop shares
        with residual variance inverse to the segment's size.
    amount : {"linear", "lognormal"}
        Amount part of the two-part model.
    level : float
    n_draws, n_bootstrap : int
        As in `two_part_totals`; not used by "unit_level".
    rule : TwoPartRule, optional

    Returns
    -------
    dict of district to Estimate
        `se_ha` is the root mean squared error; type small_area, or synthetic where no segment
        of the district was sampled.

    Raises
    ------
    TooFewUnitsError
        Too few segments with crop for the model: the caller's next rung is a synthetic rate
        or the zero rule.
    """
    if model not in MODELS:
        raise EstimationError(f"model {model!r} is unknown; use 'two_part' or 'unit_level'")
    sample.check_in(frame)
    # In the order of the ids, so that the draws do not depend on that of the rows. A segment
    # without risk area holds nothing and says nothing.
    kept = np.argsort(frame.segment_id)
    kept = kept[frame.risk_ha[kept] > 0.0]
    row = np.full(frame.size, -1)
    row[kept] = np.arange(kept.size)
    inside = np.argsort(row[sample.index])
    inside = inside[row[sample.index[inside]] >= 0]
    if not inside.size:
        raise TooFewUnitsError("no sampled segment has risk area; no district model is possible")
    rows = row[sample.index[inside]].astype(np.int64)
    y = np.minimum(sample.y_ha[inside], frame.risk_ha[sample.index[inside]])
    domain, stratum, size = frame.domain[kept], frame.stratum[kept], frame.risk_ha[kept]
    mapped = None
    if frame.covariate_ha is not None and frame.has_covariate:
        mapped = np.minimum(frame.covariate_ha[kept], size)
    if model == "two_part":
        view = two_part_frame(domain, stratum, size, mapped, amount=amount)
        fit = fit_two_part(view, rows, y, amount=amount, rule=rule)
        got = two_part_totals(
            fit, view, rng=rng, level=level, n_draws=n_draws, n_bootstrap=n_bootstrap
        )
        return {
            str(name): _estimate(
                value=float(got.value_ha[at]),
                rmse=math.sqrt(float(got.mse[at])),
                low=float(got.ci_low_ha[at]),
                high=float(got.ci_high_ha[at]),
                n=int(got.n[at]),
                n_positive=int(got.n_positive[at]),
                df=math.inf,
                level=level,
                method=f"two_part_{amount}",
                why=fit.why,
            )
            for at, name in enumerate(got.domain)
        }
    return _unit_level(domain, stratum, size, mapped, rows, y, level)


def _unit_level(
    domain: np.ndarray[tuple[int], np.dtype[np.str_]],
    stratum: np.ndarray[tuple[int], np.dtype[np.str_]],
    size: Floats,
    mapped: Floats | None,
    rows: np.ndarray[tuple[int], np.dtype[np.int64]],
    y: Floats,
    level: float,
) -> dict[str, Estimate]:
    columns = [np.ones(size.size)]
    columns += [(stratum == name).astype(np.float64) for name in np.unique(stratum)[1:]]
    if mapped is not None:
        columns.append(mapped / size)
    X = np.column_stack(columns)
    # Columns that the sample cannot tell apart are dropped: their units take the base.
    X = X[:, independent(X[rows])]
    scale = np.sqrt(size[rows].mean() / size[rows])
    fit = fit_unit_level(y / size[rows], X[rows], domain[rows], scale=scale, size=size[rows])
    names, code = np.unique(domain, return_inverse=True)
    total = np.bincount(code, weights=size)
    mean_x = np.column_stack([np.bincount(code, weights=size * x) / total for x in X.T])
    got = eblup_finite_pop(fit, mean_x, names, total)
    found = np.bincount(code[rows], weights=y, minlength=names.size)
    positive = np.bincount(code[rows], weights=(y > 0.0).astype(float), minlength=names.size)
    df = float(max(fit.domain.size - X.shape[1], 1))
    result = {}
    for at, name in enumerate(names):
        raw = float(got.value[at] * total[at])
        rmse = math.sqrt(float(got.mse[at])) * float(total[at])
        value = min(max(raw, float(found[at])), float(total[at]))
        half = t_quantile(level, df) * rmse
        why = f"Battese-Harter-Fuller on {y.size} segments in {fit.domain.size} districts."
        if fit.is_truncated:
            why += " The variance between districts was estimated as zero: regression only."
        if raw < found[at]:
            # In words only: where the value is withheld the sentence is not.
            why += " The model gave less than was found and was raised to it."
        result[str(name)] = _estimate(
            value=value,
            rmse=rmse,
            low=min(max(raw - half, float(found[at])), value),
            high=max(min(raw + half, float(total[at])), value),
            n=int(got.n[at]),
            n_positive=int(positive[at]),
            df=df,
            level=level,
            method="bhf_eblup",
            why=why,
        )
    return result


def _estimate(
    *,
    value: float,
    rmse: float,
    low: float,
    high: float,
    n: int,
    n_positive: int,
    df: float,
    level: float,
    method: str,
    why: str,
) -> Estimate:
    return Estimate(
        value_ha=value,
        se_ha=rmse,
        ci_low_ha=max(low, 0.0),
        ci_high_ha=high,
        df=df,
        n_segments=n,
        n_positive=n_positive,
        estimate_type=EstimateType.SMALL_AREA if n else EstimateType.SYNTHETIC,
        method=method,
        # Measured: 88 to 97% instead of 95% (docs/methods-small-area.md, section 5).
        why=why
        + ("" if n else " No segment of this district was sampled.")
        + " Such intervals can cover less than they state.",
        level=level,
    )
