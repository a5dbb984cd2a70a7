"""What an estimator needs, from CSV files alone: no geometry, no database, no round.

`segments` frame and sample of segments; `points` error matrices and point samples; `units`
samples of any design; `areas` small-area models; `fields` yields; `figures` finished figures and
the records that correct them.
"""

from survey.samples.areas import Areas, ModelUnits, read_areas, read_model_units
from survey.samples.fields import Fields, read_area_draws, read_fields, read_local_areas
from survey.samples.figures import (
    SeasonFigure,
    figure_of,
    read_figures,
    read_records,
    read_season,
)
from survey.samples.points import CountMatrix, Points, read_count_matrix, read_points
from survey.samples.segments import SegmentTable, read_sample, read_segment_table, read_segments
from survey.samples.units import Units, read_known_totals, read_replicate_weights, read_units

__all__ = [
    "Areas",
    "CountMatrix",
    "Fields",
    "ModelUnits",
    "Points",
    "SeasonFigure",
    "SegmentTable",
    "Units",
    "figure_of",
    "read_area_draws",
    "read_areas",
    "read_count_matrix",
    "read_fields",
    "read_figures",
    "read_known_totals",
    "read_local_areas",
    "read_model_units",
    "read_points",
    "read_records",
    "read_replicate_weights",
    "read_sample",
    "read_season",
    "read_segment_table",
    "read_segments",
    "read_units",
]
