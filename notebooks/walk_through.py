# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From forms and tiles to hectares, step by step
#
# This notebook walks through the committed miniature of the invented land "Meru" with the public
# functions of the three packages. `adsurvey run` does the same in one go. Open it in Jupyter with
# Jupytext, or run it as a script.

# %%
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

import sample_tiles
from api.pipeline import read_inputs, reference_sample, segment_frame, segment_map_table
from api.reviewing import round_reviews
from imagery.catalog import read_scenes
from imagery.features import FeatureSpec
from imagery.mapping import map_scenes
from imagery.plots import training_pixels
from imagery.training import fit_crop_model
from imagery.zonal import class_hectares
from survey.estimation import (
    LadderRule,
    Thresholds,
    estimate_ladder,
    expansion_total,
    regression_total,
    reliability_of,
)
from survey.forms import SubmissionStore
from survey.review import ReviewLog, ReviewState, count_states
from survey.rounds import read_round
from survey.types import Crop

work = Path(tempfile.mkdtemp(prefix="meru-"))
shutil.copytree(Path(sample_tiles.__file__).parent / "miniature", work / "meru")
declared = read_round(work / "meru" / "survey.toml")
declared.survey.title, declared.estimation.estimator

# %% [markdown]
# ## 1. Submissions go into the store
#
# What field teams sent lies in `submissions/`. The store keeps the raw bytes and takes every
# instance once, however often a file comes.

# %%
store = SubmissionStore(declared.submissions_folder)
files = sorted(path for path in (work / "meru" / "submissions").rglob("*") if path.is_file())
reports = [
    store.import_file(path.name, path.read_bytes(), received_at=datetime.now(UTC))
    for path in files
]
again = store.import_file(files[0].name, files[0].read_bytes(), received_at=datetime.now(UTC))
sum(report.n_new for report in reports), again.n_new

# %% [markdown]
# Only what a reviewer accepted enters an estimate. Checks run first; what they flag has to be
# looked at one by one, the rest can be accepted together.

# %%
reviewed = round_reviews(declared, today=datetime.now(UTC).date())
waiting = [each for each in reviewed.reviews if each.state is ReviewState.RECEIVED]
ReviewLog(reviewed.store).accept_all(waiting, by="analyst", now=datetime.now(UTC))
count_states(reviewed.reviews)

# %% [markdown]
# ## 2. Inputs are read and checked
#
# Frame, districts, training plots and submissions must fit together; a training plot inside a
# sampled segment would stop the run here.

# %%
inputs = read_inputs(declared)
inputs.frame.groupby("stratum_id")["is_sampled"].agg(["size", "sum"])

# %% [markdown]
# ## 3. Scenes to a class map

# %%
scenes = read_scenes(declared.locate(declared.inputs.scenes))
spec = FeatureSpec(indices=declared.imagery.indices, min_clear=declared.imagery.min_clear)
pixels = training_pixels(scenes, spec, inputs.training)
model = fit_crop_model(
    pixels.features, pixels.class_name, pixels.plot_id, pixels.weight, seed=declared.survey.seed
)
map_scenes(
    scenes,
    model,
    spec,
    class_map=work / "class_map.tif",
    probability=work / "probability.tif",
    crops=["poppy", "cannabis"],
)
pd.Series(model.card["users_accuracy"], name="user's accuracy on held-out plots")

# %% [markdown]
# The plots were chosen on purpose, so this is not the accuracy over the land. It never enters an
# area; the map only helps as a covariate.

# %%
hectares = class_hectares(work / "class_map.tif", inputs.frame, "segment_id")
segment_map = segment_map_table(hectares, model, declared.survey.crops)
frame, is_filled = segment_frame(inputs.frame, segment_map, Crop.POPPY)
sample = reference_sample(frame, inputs.reference, Crop.POPPY)
int(is_filled.sum()), sample.size

# %% [markdown]
# ## 4. Hectares with intervals
#
# The same sample, without and with the map. The interval shrinks because mapped and found
# hectares go together, not because pixels were counted.

# %%
for estimate in (expansion_total(frame, sample), regression_total(frame, sample)):
    print(
        f"{estimate.method}: {estimate.value_ha:.1f} ha "
        f"({estimate.ci_low_ha:.1f} to {estimate.ci_high_ha:.1f}), n = {estimate.n_segments}"
    )

# %% [markdown]
# ## 5. Districts, each with its method and the reason for it

# %%
ladder = estimate_ladder(frame, sample, estimator="regression", rule=LadderRule())
table = pd.DataFrame(
    {
        "domain": row.domain_id,
        "hectares": row.estimate.value_ha,
        "low": row.estimate.ci_low_ha,
        "high": row.estimate.ci_high_ha,
        "n": row.estimate.n_segments,
        "kind": row.estimate.estimate_type.value,
        "reliability": reliability_of(row.estimate, Thresholds()).value,
        "why": row.estimate.why,
    }
    for row in ladder
)
table

# %%
shutil.rmtree(work)
