"""Figures of every wanted domain from a small-area model, with their intervals and warnings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey.errors import EstimationError, TooFewUnitsError
from survey.estimation.intervals import t_quantile
from survey.estimation.smallarea.area_level import eblup_area_level, fit_area_level
from survey.estimation.smallarea.bootstrap import bootstrap_area_level, bootstrap_unit_level
from survey.estimation.smallarea.diagnostics import diagnose_unit_level
from survey.estimation.smallarea.inputs import Floats, checked_labels, checked_vector
from survey.estimation.smallarea.unit_level import fit_unit_level
from survey.estimation.smallarea.unit_means import eblup_finite_pop, eblup_model_mean
from survey.estimation.smallarea.variances import smooth_sampling_variances
from survey.types import EstimateType

__all__ = ["Prediction", "Predictions", "area_level_predictions", "unit_level_predictions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One domain's figure, in the unit of the response.

    Attributes
    ----------
    domain_id : str
    value, rmse : float
    ci_low, ci_high : float
        t interval with areas (or sampled domains) less coefficients as df.
    level, df : float
    direct, synthetic, gamma : float
        The domain's own figure (its mean), the regression's, and the weight of the former.
    n : float
        Sampled units; NaN where not given.
    estimate_type : str
        small_area, or synthetic where the domain has no figure of its own or the variance
        between domains was estimated as zero.
    method, mse_method, why : str
    """

    domain_id: str
    value: float
    rmse: float
    ci_low: float
    ci_high: float
    level: float
    df: float
    direct: float
    synthetic: float
    gamma: float
    n: float
    estimate_type: str
    method: str
    mse_method: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """All wanted domains, and what the analyst should know of the fit."""

    rows: tuple[Prediction, ...]
    notes: tuple[str, ...]


def area_level_predictions(
    domain: npt.ArrayLike,
    direct: npt.ArrayLike,
    variance: npt.ArrayLike,
    covariate: npt.ArrayLike,
    *,
    n_segments: npt.ArrayLike | None,
    risk_ha: npt.ArrayLike | None,
    rng: np.random.Generator,
    method: str = "reml",
    smooth: bool = True,
    n_bootstrap: int = 0,
    level: float = 0.95,
) -> Predictions:
    """Fay-Herriot figures of all areas, those without a direct estimate by the regression.

    With `risk_ha` the figures are hectares: the model is fitted per hectare of risk area and
    turned back, limits end at 0 and at the risk area, and a negative value is shown as 0.

    Parameters
    ----------
    domain : str array (m,)
    direct, variance : float array (m,)
        NaN where an area has no direct estimate; a variance may be missing or zero only where
        variances are smoothed.
    covariate : float array (m, p)
        Without the intercept.
    n_segments : float array (m,) or None
        Needed to smooth.
    risk_ha : float array (m,), optional

    Raises
    ------
    EstimationError
        Smoothing without `n_segments`, and what `fit_area_level` refuses.
    """
    labels = checked_labels("domain", domain, None, unique=True)
    risk: Floats = np.ones(labels.size)
    if risk_ha is not None:
        risk = checked_vector("risk_ha", risk_ha, labels.size, positive=True)
    y = np.asarray(direct, dtype=np.float64) / risk
    v = np.asarray(variance, dtype=np.float64) / risk**2
    X = np.column_stack([np.ones(labels.size), np.asarray(covariate, dtype=np.float64)])
    has = ~np.isnan(y)
    if not has.any():
        raise TooFewUnitsError("no area has a direct estimate; nothing can be fitted")
    notes = []
    if smooth:
        if n_segments is None:
            raise EstimationError(
                "variances are smoothed over the areas' n_segments, which the table does not "
                "give; add the column or do not smooth"
            )
        n = np.asarray(n_segments, dtype=np.float64)
        smoothed = smooth_sampling_variances(v[has], n[has])
        v[has] = smoothed.variance
        notes.append(
            f"Sampling variances smoothed over {int(smoothed.is_used.sum())} of {int(has.sum())} "
            "areas."
        )
    fit = fit_area_level(y[has], v[has], X[has], method=method)
    mse = fit.mse
    mse_method = f"datta_{method}" if method != "reml" else "prasad_rao_reml"
    if n_bootstrap:
        mse = bootstrap_area_level(fit, rng=rng, n_bootstrap=n_bootstrap).mse
        mse_method = "parametric_bootstrap"
    if fit.is_truncated:
        notes.append(
            "The variance between areas was estimated as zero: every figure is the regression's."
        )
    far = np.flatnonzero(np.abs(fit.residual) > 3.0)
    notes += [
        f"{labels[has][at]}: standardised residual {fit.residual[at]:.1f}; look at its figure."
        for at in far
    ]
    df = float(max(int(has.sum()) - X.shape[1], 1))
    count = np.full(labels.size, np.nan) if n_segments is None else np.asarray(n_segments, float)
    value, error = np.full(labels.size, np.nan), np.full(labels.size, np.nan)
    gamma, synthetic = np.zeros(labels.size), X @ fit.beta
    value[has], error[has], gamma[has] = fit.value, mse, fit.gamma
    if not has.all():
        rest = eblup_area_level(fit, X[~has])
        value[~has], error[~has] = rest.value, rest.mse
    return Predictions(
        rows=tuple(
            _prediction(
                str(labels[at]),
                value=float(value[at] * risk[at]),
                mse=float(error[at] * risk[at] ** 2),
                direct=float(y[at] * risk[at]),
                synthetic=float(synthetic[at] * risk[at]),
                gamma=float(gamma[at]),
                n=float(count[at]),
                is_synthetic=not has[at] or fit.is_truncated,
                level=level,
                df=df,
                method=f"fay_herriot_{method}",
                mse_method=mse_method,
                why=f"Fay-Herriot on {int(has.sum())} areas.",
                most=float(risk[at]) if risk_ha is not None else None,
            )
            for at in range(labels.size)
        ),
        notes=tuple(notes),
    )


def unit_level_predictions(
    unit_id: npt.ArrayLike,
    domain: npt.ArrayLike,
    y: npt.ArrayLike,
    covariate: npt.ArrayLike,
    *,
    wanted: npt.ArrayLike,
    mean_x: npt.ArrayLike,
    population: npt.ArrayLike,
    rng: np.random.Generator,
    size: npt.ArrayLike | None = None,
    method: str = "reml",
    is_finite: bool = True,
    n_bootstrap: int = 0,
    level: float = 0.95,
) -> Predictions:
    """Battese-Harter-Fuller means of all wanted domains.

    Parameters
    ----------
    unit_id, domain : str array (n,)
    y : float array (n,)
        Response per unit (or per hectare, where `size` gives hectares).
    covariate : float array (n, p)
        Without the intercept.
    wanted : str array (k,)
    mean_x : float array (k, p)
        Population means, weighted by size where units differ.
    population : float array (k,)
        Units, or hectares, of each domain.
    size : float array (n,), optional
        Hectares; the residual variance is then inverse to them.
    is_finite : bool
        Sampled units as seen and the rest predicted; else the model's mean.
    """
    response = checked_vector("y", y)
    X = np.column_stack([np.ones(response.size), np.asarray(covariate, dtype=np.float64)])
    labels = checked_labels("wanted", wanted, None, unique=True)
    means = np.column_stack([np.ones(labels.size), np.asarray(mean_x, dtype=np.float64)])
    scale, area = None, None
    if size is not None:
        area = checked_vector("size", size, response.size, positive=True)
        scale = np.sqrt(area.mean() / area)
    fit = fit_unit_level(response, X, domain, method=method, scale=scale, size=area)
    far = _extrapolated(labels, means, X)
    total = checked_vector("population", population, labels.size, positive=True)
    if is_finite:
        got = eblup_finite_pop(fit, means, labels, total)
    else:
        got = eblup_model_mean(fit, means, labels)
    mse, mse_method = got.mse, "prasad_rao"
    if n_bootstrap:
        mse = bootstrap_unit_level(
            fit,
            means,
            labels,
            rng=rng,
            n_bootstrap=n_bootstrap,
            population=total if is_finite else None,
        ).mse
        mse_method = "parametric_bootstrap"
    notes = [
        f"{labels[at]}: its mean covariates lie outside those of the sampled units; the model is "
        "extended beyond what it was fitted to."
        for at in np.flatnonzero(far)
    ]
    if fit.is_truncated:
        notes.append(
            "The variance between domains was estimated as zero: every figure is the "
            "regression's, and the formula's error too small; use --bootstrap."
        )
    names = np.asarray(unit_id).astype(np.str_)
    found = diagnose_unit_level(fit, n_refit=1)
    notes += [
        f"{names[at]}: outlier (residual {found.residual[at]:.1f}). Without the worst unit the "
        f"variances are {found.refit_sigma2_v[0]:.4g} between and {found.refit_sigma2_e[0]:.4g} "
        f"within domains; with it {fit.sigma2_v:.4g} and {fit.sigma2_e:.4g}."
        for at in np.flatnonzero(found.is_outlier)
    ]
    df = float(max(fit.domain.size - X.shape[1], 1))
    own = {str(name): float(mean) for name, mean in zip(fit.domain, fit.mean_y, strict=True)}
    return Predictions(
        rows=tuple(
            _prediction(
                str(labels[at]),
                value=float(got.value[at]),
                mse=float(mse[at]),
                direct=own.get(str(labels[at]), math.nan),
                synthetic=float(got.synthetic[at]),
                gamma=float(got.gamma[at]),
                n=float(got.n[at]),
                is_synthetic=bool(got.is_synthetic[at]),
                level=level,
                df=df,
                method=f"bhf_{method}" + ("" if is_finite else "_model_mean"),
                mse_method=mse_method,
                why=f"Battese-Harter-Fuller, {response.size} units in {fit.domain.size} domains."
                + (" Covariates outside those of the sample." if far[at] else ""),
            )
            for at in range(labels.size)
        ),
        notes=tuple(notes),
    )


def _extrapolated(labels: npt.NDArray[np.str_], means: Floats, X: Floats) -> npt.NDArray[np.bool_]:
    """Whether a domain's mean covariates lie outside the sampled units' (k,).

    Raises
    ------
    EstimationError
        By more than ten times their range: another unit (percent for a share), not another place.
    """
    low, high = X.min(axis=0), X.max(axis=0)
    beyond = np.maximum(means - high, low - means)
    wild = np.argwhere(beyond[:, 1:] > 10.0 * (high - low)[1:])
    if wild.size:
        at, column = int(wild[0][0]), int(wild[0][1]) + 1
        raise EstimationError(
            f"covariate column {column + 1}: domain {str(labels[at])!r} has mean "
            f"{means[at, column]:g}, the sampled units {low[column]:g} to {high[column]:g}; give "
            "both in the same unit"
        )
    return np.asarray((beyond > 0.0).any(axis=1))


def _prediction(
    domain_id: str,
    *,
    value: float,
    mse: float,
    direct: float,
    synthetic: float,
    gamma: float,
    n: float,
    is_synthetic: bool,
    level: float,
    df: float,
    method: str,
    mse_method: str,
    why: str,
    most: float | None = None,
) -> Prediction:
    if not 0.0 < level < 1.0:
        raise EstimationError(f"level {level} is not between 0 and 1")
    rmse = math.sqrt(max(mse, 0.0))
    half = t_quantile(level, df) * rmse
    low, high = value - half, value + half
    if most is not None:
        # Hectares: cut as `intervals.finish` does, the upper arm kept.
        high = min(max(value, 0.0) + half, most)
        low = max(low, 0.0)
        why += " The model's value was negative and is shown as 0." if value < 0.0 else ""
        value = min(max(value, 0.0), most)
    kind = EstimateType.SYNTHETIC if is_synthetic else EstimateType.SMALL_AREA
    return Prediction(
        domain_id=domain_id,
        value=value,
        rmse=rmse,
        ci_low=min(low, value),
        ci_high=max(high, value),
        level=level,
        df=df,
        direct=direct,
        synthetic=synthetic,
        gamma=gamma,
        n=n,
        estimate_type=kind.value,
        method=method,
        mse_method=mse_method,
        why=why
        + (" Regression only." if is_synthetic else "")
        + " Such intervals can cover less than they state.",
    )
