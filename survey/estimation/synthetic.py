"""Synthetic estimates: a province's fit applied to a district with few or no segments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from survey.estimation.assisted import Fit
from survey.estimation.design import SurveyDesign, linearised_covariance
from survey.estimation.intervals import FEW_POSITIVE, Linear, t_quantile
from survey.estimation.strata import Stratified
from survey.estimation.units import Bools, Floats, Frame, Sample
from survey.types import Estimate, EstimateType

__all__ = ["BiasPool", "SyntheticFit", "synthetic_estimate"]

MIN_DISTRICTS_FOR_BIAS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SyntheticFit:
    """What is carried over to districts: predicted hectares of every segment.

    Attributes
    ----------
    kind : {"regression", "difference", "ratio", "expansion"}
    fitted_ha : float array (N,)
        Prediction of each segment of the frame.
    residual : float array (n,)
        Reference minus prediction of each sampled segment.
    effect : float array (N, p)
        Columns whose domain totals, times `influence`, give the error of a domain.
    influence : float array (n, p)
        Contribution of each sampled segment to each coefficient.
    """

    kind: str
    fitted_ha: Floats
    residual: Floats
    effect: Floats
    influence: Floats

    @classmethod
    def of(
        cls,
        frame: Frame,
        sample: Sample,
        strata: Stratified,
        kind: str,
        columns: Floats | None,
        fit: Fit | None,
    ) -> Self:
        """Fit of a kind; all but the regression carry a rate for each sampled stratum.

        For the difference it is the mean error of the map, added to the mapped hectares.
        """
        if kind == "regression" and fit is not None and columns is not None:
            fitted = columns @ fit.beta
            influence = (fit.weight * fit.residual)[:, None] * (fit.x @ fit.inverse)
            return cls(
                kind=kind,
                fitted_ha=fitted,
                residual=fit.residual,
                effect=columns,
                influence=influence,
            )
        size = frame.risk_ha if kind == "ratio" else np.ones(frame.size)
        base = np.zeros(frame.size)
        if kind == "difference" and frame.covariate_ha is not None:
            base = frame.covariate_ha
        weight = strata.design.weight
        _, home = np.unique(strata.home, return_inverse=True)
        x = size[sample.index]
        row = home[sample.index]
        n_rates = int(home.max()) + 1
        # One rate for each sampled stratum: R_h = sum w y / sum w x (Cochran 1977 eq. 6.44).
        total_x = np.bincount(row, weights=weight * x, minlength=n_rates)
        total_y = np.bincount(
            row, weights=weight * (sample.y_ha - base[sample.index]), minlength=n_rates
        )
        known = total_x > 0.0
        rate = np.where(known, total_y / np.where(known, total_x, 1.0), 0.0)
        fitted = base + rate[home] * size
        residual = sample.y_ha - fitted[sample.index]
        effect = np.where(home[:, None] == np.arange(n_rates)[None, :], size[:, None], 0.0)
        influence = np.zeros((sample.size, n_rates))
        influence[np.arange(sample.size), row] = np.where(
            known[row], weight * residual / np.where(known, total_x, 1.0)[row], 0.0
        )
        return cls(
            kind=kind, fitted_ha=fitted, residual=residual, effect=effect, influence=influence
        )

    def linear(self, mask: Bools) -> Linear:
        """Synthetic total of a domain and its error from the fit alone."""
        return Linear(
            value_ha=float(self.fitted_ha[mask].sum()),
            z=self.influence @ self.effect[mask].sum(axis=0),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BiasPool:
    """Average squared bias of synthetic district rates, from the sampled districts.

    Attributes
    ----------
    squared_rate : mapping of group to float
        Mean squared bias per squared hectare of risk area; at least 0.
    n_districts : mapping of group to int
        Districts behind it.
    """

    squared_rate: Mapping[str, float]
    n_districts: Mapping[str, int]

    @classmethod
    def of(
        cls,
        frame: Frame,
        sample: Sample,
        design: SurveyDesign,
        fits: Mapping[str, SyntheticFit],
    ) -> Self:
        """Compare synthetic and direct in districts with at least two segments.

        The province's own districts are used where there are three of them, else all.

        References
        ----------
        Gonzalez and Waksberg (1973); Rao and Molina (2015), Small Area Estimation, 2nd ed.,
        sec. 3.2.5: average MSE = mean (synthetic - direct)^2 - mean v(direct).
        """
        terms: dict[str, list[tuple[float, float]]] = {group: [] for group in fits}
        for domain in np.unique(frame.domain):
            mask = frame.domain == domain
            inside = mask[sample.index]
            n = int(inside.sum())
            risk = float(frame.risk_ha[mask].sum())
            if n < 2 or risk <= 0.0:
                continue
            group = str(frame.group[mask][0])
            # direct - synthetic is the Horvitz-Thompson total of the residuals, ratio-adjusted
            # to the district's known number of segments.
            scale = int(mask.sum()) / float(design.weight[inside].sum())
            weighted = np.where(inside, design.weight * scale, 0.0)
            residual = fits[group].residual
            mean = float((weighted * residual).sum()) / float(weighted.sum())
            difference = mean * int(mask.sum())
            z = weighted * (residual - mean)
            variance = float(linearised_covariance(design, z)[0, 0])
            # Rao and Molina (2015) eq. 3.2.16, per hectare of risk area, weighted by n.
            terms[group].append(((difference**2 - variance) / risk**2, float(n)))
        everything = [term for group in terms.values() for term in group]
        squared: dict[str, float] = {}
        count: dict[str, int] = {}
        for group, own in terms.items():
            used = own if len(own) >= MIN_DISTRICTS_FOR_BIAS else everything
            weight = math.fsum(n for _, n in used)
            mean_square = math.fsum(b * n for b, n in used) / weight if used else 0.0
            squared[group] = max(mean_square, 0.0)
            count[group] = len(used)
        return cls(squared_rate=squared, n_districts=count)


def synthetic_estimate(
    frame: Frame,
    sample: Sample,
    design: SurveyDesign,
    mask: Bools,
    *,
    fit: SyntheticFit,
    pool: BiasPool,
    level: float,
    min_rrmse: float,
    why: str,
) -> Estimate | None:
    """Synthetic total of a district with its root mean squared error.

    RMSE^2 = variance of the fit + average squared bias of the province's synthetic district
    figures, and never below `min_rrmse` times the value: an average bias of zero in the
    sampled districts is no proof of none here.

    Returns
    -------
    Estimate or None
        None where the fit is zero because the crop was found nowhere in the province.

    References
    ----------
    Rao and Molina (2015), Small Area Estimation, 2nd ed., sec. 3.2.
    """
    group = str(frame.group[mask][0])
    in_group = (frame.group == group)[sample.index]
    if not (sample.y_ha[in_group] > 0.0).any():
        return None
    inside = mask[sample.index]
    linear = fit.linear(mask)
    variance = float(linearised_covariance(design, linear.z)[0, 0])
    risk = float(frame.risk_ha[mask].sum())
    bias_squared = pool.squared_rate[group] * risk**2
    value = min(max(linear.value_ha, 0.0), risk)
    rmse = max(math.sqrt(max(variance, 0.0) + bias_squared), min_rrmse * value)
    if rmse == 0.0:
        return None
    # The squared bias rests on few districts: their number bounds the degrees of freedom.
    df = float(max(pool.n_districts[group], 1))
    quantile = t_quantile(level, df)
    low, high = max(value - quantile * rmse, 0.0), value + quantile * rmse
    if value > 0.0:
        # A bias that multiplies: lognormal upper limit, where it is the higher. Synthetic
        # figures miss on the upper side (docs/methods.md).
        spread = math.sqrt(math.log1p((rmse / value) ** 2))
        high = max(high, value * math.exp(min(quantile * spread, 700.0)))
    if int((sample.y_ha[in_group] > 0.0).sum()) < FEW_POSITIVE[EstimateType.ASSISTED]:
        low = min(low, float(sample.y_ha[inside].sum()))
    return Estimate(
        value_ha=value,
        se_ha=rmse,
        ci_low_ha=low,
        ci_high_ha=min(high, max(risk, value)),
        df=df,
        n_segments=int(inside.sum()),
        n_positive=int((sample.y_ha[inside] > 0.0).sum()),
        estimate_type=EstimateType.SYNTHETIC,
        method=f"synthetic_{fit.kind}",
        why=f"{why} Its bias is judged from {pool.n_districts[group]} sampled districts; such "
        "intervals can cover less than they state.",
        level=level,
    )
