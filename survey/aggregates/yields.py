"""Dry-opium yield of fields from their capsules, segments as clusters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from survey.aggregates.cells import Limits, aggregate, known_weight
from survey.aggregates.variables import Variable
from survey.errors import TableError
from survey.estimation import opium_yield
from survey.forms import Submission
from survey.forms.questions import parse_number

__all__ = ["capsule_volume", "yield_aggregates"]


def yield_aggregates(
    submissions: Sequence[Submission],
    by: str,
    *,
    limits: Limits,
    district_of: Mapping[str, str],
    weights: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Mean dry-opium yield of fields, kg/ha, with segments as clusters.

    The yield curve is concave: it is applied to the capsule volume of each field (the mean of its
    squares), then the fields are averaged.

    Parameters
    ----------
    submissions : sequence of Submission
        Accepted yield plots, one for each square.
    by : {"district"}
    district_of : mapping of segment_id to district_pcode
    weights : mapping of plot_id to weight, optional
        Hectares of the field over its inclusion probability.
    """
    fields: dict[str, list[Submission]] = {}
    for submission in submissions:
        fields.setdefault(submission.answers["plot_id"], []).append(submission)
    first = {plot: squares[0] for plot, squares in sorted(fields.items())}
    volume = {plot: float(np.mean([capsule_volume(s) for s in fields[plot]])) for plot in first}
    kilograms = dict(zip(volume, opium_yield(list(volume.values())).tolist(), strict=True))
    rows = pd.DataFrame(
        [
            {
                "domain": district_of.get(s.answers["segment_id"], ""),
                "cluster": s.answers["segment_id"],
                "village": s.answers["segment_id"],
                "sample_type": s.answers["sample_type"],
                "date": s.answers["visit_date"],
                "weight": 1.0 if weights is None else known_weight(weights, plot, "plot"),
            }
            for plot, s in first.items()
        ],
        columns=["domain", "cluster", "village", "sample_type", "date", "weight"],
    )
    variable = Variable(
        name="opium_yield",
        unit="kg/ha",
        is_share=False,
        read=lambda s: kilograms[s.answers["plot_id"]],
    )
    table = aggregate(
        rows,
        list(first.values()),
        [variable],
        form_id="yield_plot",
        by=by,
        limits=limits,
        has_total=False,
    )
    return table.assign(method=table["method"] + " of fields; capsules as ellipsoids")


def capsule_volume(square: Submission) -> float:
    """Mature-capsule volume of one square, cm3 per m2 of field.

    Capsules are taken as ellipsoids, pi/6 d^2 h, and the mean of the measured ones stands for all
    mature ones counted. Buds and immature capsules do not count.
    """
    entries = square.repeats.get("capsule", ())
    sizes = [
        (parse_number(e["height_mm"]), parse_number(e["diameter_mm"]))
        for e in entries
        if e.get("height_mm") and e.get("diameter_mm")
    ]
    n_mature = parse_number(square.answers["n_mature"])
    area_m2 = parse_number(square.answers["square_area_m2"])
    if n_mature == 0.0:
        return 0.0
    if not sizes or area_m2 <= 0.0:
        raise TableError(
            f"{square.instance_id}: {n_mature:.0f} capsules but none measured, or no area; edit "
            "or reject the plot"
        )
    mm3 = np.mean([math.pi / 6.0 * diameter**2 * height for height, diameter in sizes])
    return float(mm3) / 1000.0 * n_mature / area_m2
