"""Whether the figures in the database still stand."""

from __future__ import annotations

import json

from api.db.reading import Database
from api.db.store import loaded_runs
from survey.privacy import RECOMPUTE
from survey.rounds import Round

__all__ = ["outdated_figures"]


def outdated_figures(engine: Database, declared: Round) -> str:
    """Why figures of the served round are to be taken with care; empty where they stand."""
    out = declared.output_folder
    record = out / "publish" / "run.json"
    if not record.is_file():
        return ""
    loaded = loaded_runs(engine)
    run_id = json.loads(record.read_text("utf-8")).get("run_id")
    if run_id in loaded and (out / RECOMPUTE).is_file():
        return "To be recomputed: interviews that these figures rest on were withdrawn."
    if loaded and run_id not in loaded:
        return "A newer run of this round is not loaded yet."
    return ""
