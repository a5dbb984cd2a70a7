"""Estimators of hectares: numpy in, `survey.types.Estimate` out.

Where each lives: `units` frame and sample; `design` designs, variances, df; `strata` thin
strata; `intervals` from a total to an `Estimate`; `direct` expansion and ratio; `assisted`
regression; `calibration` GREG weights, post-strata, raking; `rules`, `ladder`, `synthetic`
and `domains` districts, with the models of `smallarea`; `covariance` many domains at once;
`accuracy` point samples; `replication` bootstrap and jackknife; `contrasts` and `means`
questionnaire figures; `change` two seasons;
`production` yield and value; `modes` figures that are not expansions; `netting` eradication;
`planning` sample sizes;
`statistics` any variable under any design; `pooled` what the strata know of the map's errors;
`reliability` labels.
"""

from survey.estimation.accuracy import (
    Accuracy,
    accuracy_of_matrix,
    accuracy_of_points,
    error_adjusted_area,
)
from survey.estimation.assisted import difference_total, regression_total
from survey.estimation.calibration import Calibrated, calibrate, post_stratify
from survey.estimation.change import (
    ChangeEstimate,
    change_between,
    change_of_figures,
    season_total,
)
from survey.estimation.contrasts import mean_contrast, ratio_statistic
from survey.estimation.covariance import DomainTotals, domain_totals
from survey.estimation.design import SurveyDesign, design_effect, linearised_covariance
from survey.estimation.direct import expansion_total, ratio_total
from survey.estimation.domains import (
    LADDER_VERSION,
    DomainEstimate,
    Forced,
    LadderRule,
    comparability_label,
    estimate_by_methods,
    estimate_ladder,
    version_of,
)
from survey.estimation.means import (
    MeanEstimate,
    mean_by_cluster,
    share_by_cluster,
    total_by_cluster,
)
from survey.estimation.modes import (
    census_with_omission,
    detected_minimum,
    field_checked_area,
    range_only,
    with_interpreter_variance,
)
from survey.estimation.netting import Eradication, net_of_eradication
from survey.estimation.planning import ExpectedError, expected_error, sample_size_for_overall
from survey.estimation.production import (
    Production,
    farm_gate_value,
    mean_yield,
    opium_yield,
    production,
    production_draws,
    shared_yield_covariance,
)
from survey.estimation.reliability import (
    Thresholds,
    reliability_of,
    reliability_of_change,
    reliability_of_figure,
)
from survey.estimation.replication import (
    Replicates,
    bootstrap_domain_totals,
    jackknife_weights,
    percentile_interval,
    rao_wu_weights,
    replicate_covariance,
)
from survey.estimation.statistics import Quantity, Statistic, domain_statistics
from survey.estimation.units import Frame, Sample, fill_covariate

__all__ = [
    "LADDER_VERSION",
    "Accuracy",
    "Calibrated",
    "ChangeEstimate",
    "DomainEstimate",
    "DomainTotals",
    "Eradication",
    "ExpectedError",
    "Forced",
    "Frame",
    "LadderRule",
    "MeanEstimate",
    "Production",
    "Quantity",
    "Replicates",
    "Sample",
    "Statistic",
    "SurveyDesign",
    "Thresholds",
    "accuracy_of_matrix",
    "accuracy_of_points",
    "bootstrap_domain_totals",
    "calibrate",
    "census_with_omission",
    "change_between",
    "change_of_figures",
    "comparability_label",
    "design_effect",
    "detected_minimum",
    "difference_total",
    "domain_statistics",
    "domain_totals",
    "error_adjusted_area",
    "estimate_by_methods",
    "estimate_ladder",
    "expansion_total",
    "expected_error",
    "farm_gate_value",
    "field_checked_area",
    "fill_covariate",
    "jackknife_weights",
    "linearised_covariance",
    "mean_by_cluster",
    "mean_contrast",
    "mean_yield",
    "net_of_eradication",
    "opium_yield",
    "percentile_interval",
    "post_stratify",
    "production",
    "production_draws",
    "range_only",
    "rao_wu_weights",
    "ratio_statistic",
    "ratio_total",
    "regression_total",
    "reliability_of",
    "reliability_of_change",
    "reliability_of_figure",
    "replicate_covariance",
    "sample_size_for_overall",
    "season_total",
    "share_by_cluster",
    "shared_yield_covariance",
    "total_by_cluster",
    "version_of",
    "with_interpreter_variance",
]
