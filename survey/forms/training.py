"""Training: a store of its own with invented data, and marks that keep it apart from the survey.

A training store holds the file `TRAINING`. Its forms carry the mark in title and version, its
phones have secrets that no other store knows, a survey's store refuses what was filled in its
forms, and a training store refuses what phones filled in the survey's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID
from xml.sax.saxutils import escape

import numpy as np

from survey.errors import FormError
from survey.forms.durable import write_once
from survey.forms.questionnaires import QUESTIONS, VERSIONS
from survey.forms.questions import Question
from survey.forms.records import ParsedFile, Problem

__all__ = [
    "TRAINING_SUFFIX",
    "invented_submission",
    "is_training_store",
    "is_training_version",
    "make_training_store",
    "real_version",
    "store_mismatches",
    "training_xform",
]

MARKER = "TRAINING"
TRAINING_SUFFIX = "-training"


def is_training_store(folder: Path) -> bool:
    """Whether a submission store is for training."""
    return (folder / MARKER).exists()


def make_training_store(folder: Path) -> None:
    """Mark a store for training, before anything is in it.

    Raises
    ------
    FormError
        It holds something already.
    """
    if not is_training_store(folder) and folder.exists() and any(folder.iterdir()):
        raise FormError(f"{folder} holds something already; train in a folder of its own")
    write_once(folder / MARKER, b"invented data only\n", root=folder)


def is_training_version(version: str) -> bool:
    """Whether a form of this version was handed out for training."""
    return TRAINING_SUFFIX in version


def real_version(version: str) -> str:
    """The version of the survey's form from which a training form was made."""
    return version.replace(TRAINING_SUFFIX, "", 1)


def training_xform(xml: str) -> str:
    """A form as it is handed out for training: marked in its title and version."""
    marked = re.sub(r"<h:title>(?!TRAINING)", "<h:title>TRAINING: ", xml, count=1)
    return re.sub(
        rf'(<data\b[^>]*\bversion=")((?:(?!{TRAINING_SUFFIX})[^"])*)"',
        rf'\1\2{TRAINING_SUFFIX}"',
        marked,
        count=1,
    )


def store_mismatches(name: str, parsed: ParsedFile, *, is_training: bool) -> Iterator[Problem]:
    """Submissions of a file that belong to the other kind of store.

    A spreadsheet that names no version may go to either; a phone always names one.
    """
    places = parsed.places or (("", None),) * len(parsed.submissions)
    for number, submission in enumerate(parsed.submissions):
        sheet, row = places[number]
        from_training = is_training_version(submission.form_version)
        if from_training == is_training or (is_training and number in parsed.unversioned):
            continue
        yield Problem(
            file=name,
            sheet=sheet,
            row=row,
            field="form_version",
            value=submission.form_version,
            problem=(
                "was filled in a form for training"
                if from_training
                else "was filled in a form of the survey, and this is the training"
            ),
            remedy=(
                "it is invented and never joins the survey"
                if from_training
                else "send it to the survey's own address"
            ),
        )


def invented_submission(
    form_id: str, *, rng: np.random.Generator, today: date, segments: tuple[str, ...] = ()
) -> tuple[str, bytes]:
    """An instanceID and the XML of a form filled with invented answers.

    Parameters
    ----------
    segments : tuple of str
        Codes from which `segment_id` is drawn; TRAIN-0 to TRAIN-9 if empty.
    """
    instance = f"uuid:{UUID(bytes=rng.bytes(16), version=4)}"
    answers: dict[str, str] = {}
    entries: dict[str, dict[str, str]] = {}
    for question in QUESTIONS[form_id]:
        name, _, value = question.needs.partition("=")
        if name and answers.get(name) != value:
            continue
        answer = _invented(question, answers, rng=rng, today=today, segments=segments)
        into = entries.setdefault(question.repeat, {}) if question.repeat else answers
        into[question.name] = answer
    version = f"{max(VERSIONS[form_id])}{TRAINING_SUFFIX}"
    plot = _xml(entries.get("plot", {})) + _group("plot_crop", entries)
    groups = (f"<plot>{plot}</plot>" if "plot" in entries else "") + "".join(
        _group(repeat, entries) for repeat in entries if repeat not in ("plot", "plot_crop")
    )
    return instance, (
        f'<data id="{form_id}" version="{version}">{_xml(answers)}{groups}'
        f"<meta><instanceID>{instance}</instanceID></meta></data>"
    ).encode()


def _xml(answers: dict[str, str]) -> str:
    return "".join(f"<{name}>{escape(answer)}</{name}>" for name, answer in answers.items())


def _group(repeat: str, entries: dict[str, dict[str, str]]) -> str:
    return f"<{repeat}>{_xml(entries[repeat])}</{repeat}>" if repeat in entries else ""


def _invented(
    question: Question,
    answers: dict[str, str],
    *,
    rng: np.random.Generator,
    today: date,
    segments: tuple[str, ...],
) -> str:
    told = {
        "consent": "yes",
        "consent_version": "TRAINING",
        "consent_language": "en",
        "currency": "USD",
        "segment_id": "",
    }.get(question.name)
    if question.name == "segment_id":
        codes = segments or tuple(f"TRAIN-{number}" for number in range(10))
        return codes[int(rng.integers(len(codes)))]
    if told is not None:
        return told
    if question.kind == "choice":
        return question.choices[int(rng.integers(len(question.choices)))]
    if question.kind == "choices":
        return question.choices[-1]
    if question.kind == "code":
        return f"TRAIN-{int(rng.integers(1, 100)):02d}"
    if question.kind == "date":
        return (today - timedelta(days=int(rng.integers(0, 20)))).isoformat()
    if question.kind in ("integer", "decimal"):
        high = min(question.high, question.low + 40.0)
        if question.at_most in answers:
            high = min(high, float(answers[question.at_most]))
        return str(int(rng.integers(int(question.low), int(high) + 1)))
    return "" if question.kind in ("geopoint", "file") else "invented for training"
