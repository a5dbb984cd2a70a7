"""The main job, files to files: scenes, submissions and baselines to hectares and `publish/`.

`run_round` glues the steps of `survey` and `imagery` together and holds no statistics itself.
Nothing appears under the output folder until everything succeeded.
"""

from api.pipeline.estimates import reference_sample, segment_frame
from api.pipeline.features import write_features
from api.pipeline.hectares import Progress, classify, segment_map_table, train
from api.pipeline.inputs import Inputs, read_inputs, training_of
from api.pipeline.risk import round_risk_area
from api.pipeline.run import RunResult, run_round

__all__ = [
    "Inputs",
    "Progress",
    "RunResult",
    "classify",
    "read_inputs",
    "reference_sample",
    "round_risk_area",
    "run_round",
    "segment_frame",
    "segment_map_table",
    "train",
    "training_of",
    "write_features",
]
