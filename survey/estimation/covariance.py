"""Totals of many domains at once, with their full covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError
from survey.estimation.assisted import fit_regression, regression_columns
from survey.estimation.design import linearised_covariance
from survey.estimation.direct import size_of
from survey.estimation.strata import stratified_design
from survey.estimation.units import Floats, Frame, Ints, Labels, Sample

__all__ = ["DomainTotals", "domain_totals"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DomainTotals:
    """Design-based or assisted totals of all domains; raw, so a regression may be negative.

    Linearised: without the pooled error that a single assisted district carries at least.

    Attributes
    ----------
    domain_id : str array (d,)
    value_ha : float array (d,)
        NaN where a domain has no sampled segment.
    covariance_ha2 : float array (d, d)
        NaN in the rows and columns of such domains.
    n_segments, n_positive : int array (d,)
        Sampled segments, and those of them with the crop. Where none has it the variance is 0
        and means nothing: only an upper limit is known (`intervals.finish`).
    df : float
        Sampled segments less strata.
    method : str
    """

    domain_id: Labels
    value_ha: Floats
    covariance_ha2: Floats
    n_segments: Ints
    n_positive: Ints
    df: float
    method: str

    def contrast(self, coefficients: npt.ArrayLike) -> tuple[float, float]:
        """Value and standard error of a weighted sum of the domains, hectares."""
        c = np.asarray(coefficients, dtype=np.float64)
        if c.shape != self.value_ha.shape:
            raise EstimationError(
                f"{c.size} coefficients for {self.value_ha.size} domains; give one for each"
            )
        used = c != 0.0
        value = float(c[used] @ self.value_ha[used])
        variance = float(c[used] @ self.covariance_ha2[np.ix_(used, used)] @ c[used])
        return value, float(np.sqrt(max(variance, 0.0)))


def domain_totals(
    frame: Frame,
    sample: Sample,
    *,
    domain: npt.ArrayLike | None = None,
    estimator: str = "expansion",
    size: str = "risk_ha",
    leverage: bool = True,
) -> DomainTotals:
    """Totals of every domain of a partition, with covariances, e.g. for impact analysis.

    Parameters
    ----------
    frame, sample
        As in `expansion_total`.
    domain : str array (N,), optional
        Domain of each segment; districts where None.
    estimator : {"expansion", "ratio", "regression", "difference"}
        One for all domains; the regression has a common slope and intercepts by stratum.
    size : {"risk_ha", "covariate_ha"}
        Denominator of the ratio.
    leverage : bool
        HC3 residuals of the regression.

    References
    ----------
    Cochran (1977), eqs. 5.13, 5A.68 (zeros outside the domain), 6.48; Sarndal, Swensson and
    Wretman (1992), eqs. 6.3.4, 10.5.3.
    """
    codes = frame.domain if domain is None else np.asarray(domain).astype(np.str_)
    if codes.shape != (frame.size,):
        raise EstimationError(
            f"domain has shape {codes.shape}; give one code for each of {frame.size} segments"
        )
    labels, code = np.unique(codes, return_inverse=True)
    strata = stratified_design(frame, sample)
    w, y = strata.design.weight, sample.y_ha
    row = code[sample.index]
    n = np.bincount(row, minlength=labels.size)
    value: Floats
    z: Floats
    inside = row[:, None] == np.arange(labels.size)[None, :]
    if estimator == "expansion":
        value = np.asarray(np.bincount(row, w * y, labels.size), dtype=np.float64)
        z = np.where(inside, (w * y)[:, None], 0.0)
    elif estimator == "ratio":
        x = size_of(frame, size)
        total = np.bincount(code, weights=x, minlength=labels.size)
        below = np.bincount(row, weights=w * x[sample.index], minlength=labels.size)
        above = np.bincount(row, weights=w * y, minlength=labels.size)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio, g = above / below, total / below
        value = ratio * total
        residual = w * (y - ratio[row] * x[sample.index]) * g[row]
        z = np.where(inside, residual[:, None], 0.0)
    elif estimator == "regression":
        columns = regression_columns(frame, strata)
        fit = fit_regression(y, columns[sample.index], w)
        totals = np.asarray(
            [np.bincount(code, weights=c, minlength=labels.size) for c in columns.T]
        ).T
        forms = [fit.greg(totals[d], inside[:, d], leverage=leverage) for d in range(labels.size)]
        value = np.asarray([form.value_ha for form in forms])
        z = np.column_stack([form.z for form in forms])
    elif estimator == "difference":
        x = size_of(frame, "covariate_ha")
        error = w * (y - x[sample.index])
        mapped = np.bincount(code, weights=x, minlength=labels.size)
        value = np.asarray(mapped + np.bincount(row, error, labels.size), dtype=np.float64)
        z = np.where(inside, error[:, None], 0.0)
    else:
        raise EstimationError(
            f"estimator {estimator!r} is unknown; say expansion, ratio, regression or difference"
        )
    unknown = (n == 0) | ~np.isfinite(value)
    covariance = linearised_covariance(strata.design, np.where(unknown[None, :], 0.0, z))
    covariance[unknown, :] = np.nan
    covariance[:, unknown] = np.nan
    return DomainTotals(
        domain_id=labels,
        value_ha=np.where(unknown, np.nan, value),
        covariance_ha2=covariance,
        n_segments=n.astype(np.int64),
        n_positive=np.bincount(row[y > 0.0], minlength=labels.size).astype(np.int64),
        df=strata.design.df,
        method=f"{estimator}_total",
    )
