"""Generalised regression: the map as a covariate, the sample as the judge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError
from survey.estimation.design import SurveyDesign
from survey.estimation.direct import merge_note, size_of
from survey.estimation.intervals import Linear, finish
from survey.estimation.strata import Stratified, stratified_design
from survey.estimation.units import Bools, Floats, Frame, Sample
from survey.types import Estimate, EstimateType

__all__ = [
    "Fit",
    "difference_linear",
    "difference_total",
    "fit_regression",
    "regression_columns",
    "regression_total",
]


# A segment that the fit follows entirely would divide by zero.
MIN_REMAINDER = 0.05


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """Design-weighted least-squares fit of hectares on covariates.

    Attributes
    ----------
    beta : float array (p,)
    residual : float array (n,)
        y minus fitted, hectares.
    leverage : float array (n,)
        Diagonal of the weighted hat matrix, 0-1.
    x : float array (n, p)
    weight : float array (n,)
    inverse : float array (p, p)
        Inverse of sum w x x'.
    """

    beta: Floats
    residual: Floats
    leverage: Floats
    x: Floats
    weight: Floats
    inverse: Floats

    def greg(
        self, totals: Floats, inside: Bools, *, g_weighted: bool = True, leverage: bool = True
    ) -> Linear:
        """Fitted total of a domain plus the expanded residuals found in it.

        Parameters
        ----------
        totals : float array (p,)
            Column totals over the domain's own frame.
        inside : bool array (n,)
            Sampled segments in the domain.
        g_weighted : bool
            Let the uncertainty of the coefficients enter the error. Without it the
            coefficients count as fixed.
        leverage : bool
            Divide residuals by 1 - leverage.
        """
        w = np.where(inside, self.weight, 0.0)
        # Sarndal et al. (1992) eqs. 10.5.3: sum of fitted over the domain + HT of residuals.
        value = float(totals @ self.beta) + float((w * self.residual).sum())
        residual = self._residual_corrected() if leverage else self.residual
        z = w * residual
        if g_weighted:
            # Sarndal et al. (1992) eq. 6.5.13: g = 1_d + (X_d - HT X_d)' (sum w x x')^-1 x.
            gap = totals - (w[:, None] * self.x).sum(axis=0)
            z = z + self.weight * residual * (self.x @ (self.inverse @ gap))
        return Linear(value_ha=value, z=z, residual_ha=residual)

    def _residual_corrected(self) -> Floats:
        # MacKinnon and White (1985), J. Econometrics 29, 305-325: HC3 residuals. Against
        # dividing by the square root it lifts coverage by 3 to 10 points (docs/methods.md).
        return self.residual / np.maximum(1.0 - self.leverage, MIN_REMAINDER)


def fit_regression(y: npt.ArrayLike, x: npt.ArrayLike, weight: npt.ArrayLike) -> Fit:
    """Fit hectares on covariates with the design weights.

    Parameters
    ----------
    y : float array (n,)
    x : float array (n, p)
        Columns, the intercepts included.
    weight : float array (n,)

    Raises
    ------
    EstimationError
        The columns are linearly dependent in the sample, e.g. a covariate that is constant.

    References
    ----------
    Sarndal, Swensson and Wretman (1992), eq. 6.4.5 with c_k = 1.
    """
    columns = np.asarray(x, dtype=np.float64)
    w = np.asarray(weight, dtype=np.float64)
    values = np.asarray(y, dtype=np.float64)
    if not np.isfinite(columns).all():
        raise EstimationError("the covariate is missing for a sampled segment; fill it first")
    scale = np.sqrt((w[:, None] * columns**2).sum(axis=0))
    if columns.shape[0] <= columns.shape[1] or (scale <= 0.0).any():
        raise EstimationError(
            f"{columns.shape[0]} segments cannot carry {columns.shape[1]} coefficients, or a "
            "covariate is zero in all of them; use the ratio or the expansion"
        )
    root = np.sqrt(w)[:, None] * (columns / scale)
    _, r = np.linalg.qr(root)
    diagonal = np.abs(np.diag(r))
    if diagonal.min() < 1e-9 * diagonal.max():
        raise EstimationError(
            "the covariate is constant or a mixture of other columns within the sampled "
            "strata; use the ratio or the expansion"
        )
    r_inverse = np.linalg.inv(r)
    inverse = (r_inverse @ r_inverse.T) / np.outer(scale, scale)
    beta = inverse @ (columns.T @ (w * values))
    leverage = w * np.einsum("ij,jk,ik->i", columns, inverse, columns)
    return Fit(
        beta=beta,
        residual=values - columns @ beta,
        leverage=np.clip(leverage, 0.0, 1.0),
        x=columns,
        weight=w,
        inverse=inverse,
    )


def regression_columns(frame: Frame, strata: Stratified, *, slope: str = "common") -> Floats:
    """Columns (N, p) of the assisting model: an intercept for each stratum, and slopes.

    Strata that were merged for want of segments share an intercept. The slope on the mapped
    hectares is common, or one for each group (province).
    """
    x = size_of(frame, "covariate_ha")
    home = strata.home
    intercept = (home[:, None] == np.unique(home)[None, :]).astype(np.float64)
    if slope == "common":
        return np.column_stack([intercept, x])
    if slope != "group":
        raise EstimationError(f'slope {slope!r} is unknown; say "common" or "group"')
    _, group = np.unique(frame.group, return_inverse=True)
    by_group = np.where(group[:, None] == np.arange(group.max() + 1)[None, :], x[:, None], 0.0)
    return np.column_stack([intercept, by_group])


def regression_total(
    frame: Frame,
    sample: Sample,
    *,
    member: npt.ArrayLike | None = None,
    level: float = 0.95,
    slope: str = "common",
    leverage: bool = True,
    g_weighted: bool = True,
    lonely: str = "collapse",
) -> Estimate:
    """Hectares by generalised regression on the mapped hectares (GREG).

    The fitted hectares of the domain's own frame plus the expanded residuals found in it.
    Approximately design-unbiased whatever the quality of the map, provided that no sampled
    segment trained it.

    Parameters
    ----------
    frame, sample, member, level, lonely
        As in `expansion_total`.
    slope : {"common", "group"}
        One slope, or one for each province; intercepts are by stratum.
    leverage, g_weighted : bool
        Small-sample corrections of the variance (`Fit.greg`); both on by default.

    Returns
    -------
    Estimate

    Raises
    ------
    EstimationError
        The frame has no complete covariate, or it is constant in the sample.

    References
    ----------
    Sarndal, Swensson and Wretman (1992), Model Assisted Survey Sampling, eqs. 6.4.1, 6.5.13
    and 10.5.3.
    """
    mask = frame.is_member(member)
    strata = stratified_design(frame, sample, lonely=lonely)
    design = strata.design
    columns = regression_columns(frame, strata, slope=slope)
    fit = fit_regression(sample.y_ha, columns[sample.index], design.weight)
    linear = fit.greg(
        columns[mask].sum(axis=0), mask[sample.index], g_weighted=g_weighted, leverage=leverage
    )
    return finish(
        linear,
        strata,
        frame,
        sample,
        mask,
        level=level,
        estimate_type=EstimateType.ASSISTED,
        method="regression_total",
        why="Regression on mapped hectares, corrected by the sampled segments."
        + merge_note(strata),
    )


def difference_linear(
    design: SurveyDesign, y: Floats, x: Floats, inside: Bools, total_x: float
) -> Linear:
    """Mapped total of a domain plus the expanded errors of the map found in it.

    Parameters
    ----------
    design : SurveyDesign
    y, x : float array (n,)
        Reference and mapped hectares of the sampled segments.
    inside : bool array (n,)
        Sampled segments in the domain.
    total_x : float
        Mapped hectares of the domain's own frame.

    Raises
    ------
    EstimationError
        The covariate is missing for part of the domain.
    """
    if not (np.isfinite(total_x) and np.isfinite(x).all()):
        raise EstimationError("the covariate is missing for part of the frame; fill it first")
    # Sarndal et al. (1992) eq. 6.3.4: sum of x over the domain + HT of y - x.
    z = np.where(inside, design.weight * (y - x), 0.0)
    return Linear(value_ha=total_x + float(z.sum()), z=z, residual_ha=y - x)


def difference_total(
    frame: Frame,
    sample: Sample,
    *,
    member: npt.ArrayLike | None = None,
    level: float = 0.95,
    lonely: str = "collapse",
) -> Estimate:
    """Hectares by the difference estimator: mapped hectares plus the expanded errors of the map.

    Exactly design-unbiased at any sample size, since nothing is fitted; the regression is so
    only approximately. As precise where a hectare mapped is about a hectare found, worse where
    the map errs in proportion.

    Parameters
    ----------
    frame, sample, member, level, lonely
        As in `expansion_total`.

    Returns
    -------
    Estimate

    Raises
    ------
    EstimationError
        The frame has no complete covariate.

    References
    ----------
    Sarndal, Swensson and Wretman (1992), Model Assisted Survey Sampling, eqs. 6.3.4 and 6.3.7.
    """
    mask = frame.is_member(member)
    strata = stratified_design(frame, sample, lonely=lonely)
    x = size_of(frame, "covariate_ha")
    return finish(
        difference_linear(
            strata.design, sample.y_ha, x[sample.index], mask[sample.index], float(x[mask].sum())
        ),
        strata,
        frame,
        sample,
        mask,
        level=level,
        estimate_type=EstimateType.ASSISTED,
        method="difference_total",
        why="Mapped hectares plus the expanded errors of the map in the sampled segments."
        + merge_note(strata),
    )
