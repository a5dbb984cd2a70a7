"""Published figures and results of other programs (tests/golden), and how ours are read."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from survey.estimation.design import SurveyDesign, linearised_covariance
from survey.estimation.replication import jackknife_weights, replicate_covariance

GOLDEN = Path(__file__).resolve().parent / "golden"
REFERENCE = Path(__file__).resolve().parents[1].parent / "shared" / "reference"


def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def close(value, rel=1e-8):
    return pytest.approx(value, rel=rel, abs=1e-12)


def se(design, z):
    return math.sqrt(linearised_covariance(design, z)[0, 0])


def without_fpc(design):
    return SurveyDesign(weight=design.weight, stratum=design.stratum, cluster=design.cluster)


def jackknife(design, statistic, **centre):
    replicates = jackknife_weights(design)
    values = replicates.apply(statistic)
    return math.sqrt(replicate_covariance(values, replicates.scale, **centre)[0, 0])


def api_table(name):
    rows = list(csv.DictReader((GOLDEN / f"{name}.csv").read_text(encoding="utf-8").splitlines()))
    table = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return table, lambda key: table[key].astype(float)


def apistrat():
    table, number = api_table("apistrat")
    design = SurveyDesign(weight=number("pw"), stratum=table["stype"], n_frame=number("fpc"))
    return table, number, design
