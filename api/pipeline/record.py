"""The record that makes a run recomputable."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import api
import imagery
import survey
from api.pipeline.estimates import method_version_of
from api.pipeline.inputs import Inputs
from survey.rounds import Round

__all__ = ["run_record"]

_LIBRARIES = ("numpy", "scipy", "pandas", "geopandas", "rasterio", "exactextract", "lightgbm")


def run_record(declared: Round, inputs: Inputs) -> dict[str, Any]:
    """What makes the run recomputable; its digest is the run's id."""
    record: dict[str, Any] = {
        "title": declared.title,
        "country": declared.survey.country,
        "harvest_year": declared.survey.harvest_year,
        "reference_date": declared.survey.reference_date.isoformat(),
        "release_date": declared.survey.release_date.isoformat(),
        "crops": [crop.value for crop in declared.survey.crops],
        "seed": declared.survey.seed,
        "training": declared.survey.training,
        # Two seasons are compared only where these agree (survey.estimation.change_between).
        "method_version": {
            crop.value: method_version_of(declared, crop) for crop in declared.survey.crops
        },
        "parameters": declared.parameters(),
        "inputs": inputs.digests,
        "versions": {
            "ad-survey": version("ad-survey"),
            "source": _source_digest(),
            **{name: version(name) for name in _LIBRARIES},
        },
    }
    canonical = json.dumps(record, sort_keys=True).encode()
    return {"run_id": hashlib.sha256(canonical).hexdigest()[:16], **record}


def _source_digest() -> str:
    """Digest of the code itself: a version number alone does not pin a checkout."""
    digest = hashlib.sha256()
    for package in (survey, imagery, api):
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root.parent).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
