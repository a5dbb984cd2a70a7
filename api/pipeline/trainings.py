"""A training round: the declaration of a round with a store of its own and invented data."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path

import numpy as np

from survey.errors import ConfigError
from survey.forms import Delivery, SubmissionStore, form_ids
from survey.forms.training import invented_submission, make_training_store
from survey.readers import read_districts, read_frame
from survey.rounds import Round, read_round

__all__ = ["make_training"]

_SECTION = re.compile(r"\s*\[(?P<name>[\w.]+)\]")
_VALUE = re.compile(r"\s*(?P<key>\w+)\s*=")


def make_training(declared: Round, folder: Path, *, n_submissions: int, now: datetime) -> Round:
    """Write a training round into a new folder.

    It reads the districts, frame and scenes of the round it is made from and has a submission
    store and results of its own.

    Parameters
    ----------
    n_submissions : int
        Invented ones of each form to begin with; the same for the same seed of the round.

    Raises
    ------
    ConfigError
        The folder exists and holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} holds something already; name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    make_training_store(folder / "inbox")
    path = folder / "survey.toml"
    path.write_text(_declaration(declared), encoding="utf-8")
    made = read_round(path)
    where = made.locate
    districts = read_districts(where(made.inputs.districts), made.columns.districts)
    frame = read_frame(where(made.inputs.frame), districts)
    segments = tuple(frame.loc[frame["is_sampled"], "segment_id"])
    rng = np.random.default_rng(declared.survey.seed)
    store = SubmissionStore(made.submissions_folder)
    deliveries = []
    for form_id in form_ids():
        for _ in range(n_submissions):
            instance, xml = invented_submission(
                form_id, rng=rng, today=now.date(), segments=segments
            )
            name = f"{instance.removeprefix('uuid:')}.xml"
            deliveries.append(
                Delivery(name=name, data=xml, received_at=now, sender="user training")
            )
    for report in store.import_all(deliveries):
        if not report.accepted:
            raise ConfigError(f"the invented data are refused: {report.problems[0]}")
    return made


def _declaration(declared: Round) -> str:
    """The text of survey.toml: inputs by their absolute paths, an own store, own results."""
    lines, section = [], ""
    for line in declared.path.read_text(encoding="utf-8").splitlines():
        heading, value = _SECTION.match(line), _VALUE.match(line)
        if heading:
            section = heading["name"]
            lines.append(line)
            if section == "survey":
                lines.append("training = true")
        elif section == "survey" and value and value["key"] == "training":
            continue
        elif section == "inputs" and value:
            relative = getattr(declared.inputs, value["key"])
            place = "inbox" if value["key"] == "submissions" else str(declared.locate(relative))
            lines.append(f"{value['key']} = {json.dumps(place)}")
        elif section == "output" and value and value["key"] == "folder":
            lines.append('folder = "out"')
        else:
            lines.append(line)
    return "\n".join([*lines, ""])
