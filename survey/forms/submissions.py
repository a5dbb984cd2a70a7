"""Submissions as they arrive: XForm XML and CSV, read without trusting them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from survey.errors import FormError
from survey.forms.questions import QUESTIONS, VERSIONS

__all__ = ["ParsedFile", "Problem", "Submission", "parse_submissions"]

#: Larger files are refused before they are read.
MAX_BYTES = 50_000_000
_MAX_ROWS = 200_000
_INSTANCE_COLUMNS = ("instanceID", "meta/instanceID", "meta-instanceID", "KEY", "_uuid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One filled form.

    Attributes
    ----------
    answers : mapping of question name to the text that was written
    sha256 : str
        Digest of form, version and answers that are not empty: equal for the same content in
        XML, which leaves out what was not asked, and CSV, which has an empty cell for it.
    source : str
        File it came in, and row where the file holds several.
    """

    instance_id: str
    form_id: str
    form_version: str
    answers: Mapping[str, str]
    source: str
    sha256: str = field(default="")

    def __post_init__(self) -> None:
        if not self.sha256:
            written = {name: answer for name, answer in sorted(self.answers.items()) if answer}
            content = json.dumps([self.form_id, self.form_version, written])
            object.__setattr__(self, "sha256", hashlib.sha256(content.encode()).hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong with one answer, and how to mend it.

    Attributes
    ----------
    row : int or None
        Row below the header, counted from 1; None where the whole file is meant.
    is_refused : bool
        False for a mere remark; the file is accepted all the same.
    """

    file: str
    row: int | None
    field: str
    value: str
    problem: str
    remedy: str
    is_refused: bool = True

    def __str__(self) -> str:
        place = f", row {self.row}" if self.row is not None else ""
        name = f": {self.field}" if self.field else ":"
        value = f" {self.value[:60]!r}" if self.value else ""
        return f"{self.file}{place}{name}{value} {self.problem}; {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFile:
    """Submissions of one file, and everything wrong with it."""

    submissions: tuple[Submission, ...]
    problems: tuple[Problem, ...]


def parse_submissions(name: str, data: bytes) -> ParsedFile:
    """Read the submissions of one uploaded file.

    Parameters
    ----------
    name : str
        File name, for messages only; the content decides how it is read.
    data : bytes
        XForm XML (one submission) or CSV (one a row).

    Returns
    -------
    ParsedFile
        Problems name row, field, value and remedy; with any refusing problem the file as a
        whole must not be taken.
    """

    def refused(problem: str, remedy: str) -> ParsedFile:
        fault = Problem(file=name, row=None, field="", value="", problem=problem, remedy=remedy)
        return ParsedFile(submissions=(), problems=(fault,))

    if len(data) > MAX_BYTES:
        return refused(
            f"has {len(data) / 1e6:.0f} MB", f"send files of at most {MAX_BYTES / 1e6:.0f} MB"
        )
    if not data.strip():
        return refused("is empty", "send it again")
    try:
        if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
            found: list[tuple[int | None, Submission]] = [(None, _read_xml(name, data))]
        else:
            found = list(_read_csv(name, data))
    except FormError as error:
        problem, _, remedy = str(error).partition("; ")
        return refused(problem, remedy)
    problems = [fault for row, submission in found for fault in _faults(name, row, submission)]
    problems += _repeated(name, found)
    return ParsedFile(submissions=tuple(s for _, s in found), problems=tuple(problems))


def _read_xml(name: str, data: bytes) -> Submission:
    try:
        root = fromstring(data, forbid_dtd=True)
    except ParseError as error:
        raise FormError(f"is not complete XML ({error}); send it again") from error
    except DefusedXmlException as error:
        raise FormError("declares a DTD or entities; send what the form app made") from error
    except (ValueError, LookupError) as error:
        raise FormError(f"cannot be read as XML ({error}); send it again") from error
    form_id = root.get("id", "")
    known = {question.name for question in QUESTIONS.get(form_id, ())}
    answers: dict[str, str] = {}
    instance_id = ""
    for element in root.iter():
        tag = _local(element.tag)
        if tag == "instanceID":
            instance_id = (element.text or "").strip()
        elif tag in known and not len(element):
            if tag in answers:
                raise FormError(f"holds {tag} twice; send it with the form it was made for")
            answers[tag] = (element.text or "").strip()
    return Submission(
        instance_id=instance_id,
        form_id=form_id,
        form_version=root.get("version", ""),
        answers=answers,  # calculated and technical leaves (start, deviceid ...) are none
        source=name,
    )


def _local(tag: Any) -> str:
    return str(tag).rsplit("}", 1)[-1]


def _read_csv(name: str, data: bytes) -> Iterable[tuple[int, Submission]]:
    text = _decode(data).lstrip("\r\n")
    if not text.strip():
        raise FormError("is empty; send it again")
    header_line = text.splitlines()[0]
    delimiter = max(",;\t", key=header_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [cell.strip() for cell in next(reader)]
        instance_column = next((c for c in _INSTANCE_COLUMNS if c in header), None)
        if instance_column is None:
            raise FormError(
                f"has no instanceID column (it has {', '.join(header)[:200]}); export it with the "
                "instanceID, or give every row one"
            )
        repeated = {column for column in header if header.count(column) > 1}
        if repeated:
            raise FormError(f"has column {', '.join(sorted(repeated))} twice; keep one of them")
        form_id = _guess_form(header)
        known = {question.name for question in QUESTIONS[form_id]}
        for row, cells in enumerate(reader, start=1):
            if row > _MAX_ROWS:
                raise FormError(f"has more than {_MAX_ROWS} rows; split it")
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise FormError(
                    f"row {row} has {len(cells)} cells, the header has {len(header)}; quote texts "
                    "that hold the separator"
                )
            values = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            yield (
                row,
                Submission(
                    instance_id=values[instance_column],
                    form_id=values.get("form_id") or form_id,
                    form_version=values.get("form_version") or max(VERSIONS[form_id]),
                    answers={k: v for k, v in values.items() if k in known},
                    source=f"{name}, row {row}",
                ),
            )
    except csv.Error as error:
        raise FormError(f"is not valid CSV ({error}); save it as 'CSV UTF-8'") from error


def _decode(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif b"\x00" in data:
        raise FormError("is neither XML nor text; send XForm XML or CSV")
    else:
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise FormError(
            f"is not UTF-8 text (byte {error.start}); save it as 'CSV UTF-8', a guess could "
            "change names"
        ) from error


def _guess_form(header: list[str]) -> str:
    """The form whose required questions are all columns."""
    missing: dict[str, list[str]] = {}
    for form_id, questions in QUESTIONS.items():
        missing[form_id] = [q.name for q in questions if q.is_required and q.name not in header]
        if not missing[form_id]:
            return form_id
    nearest = min(missing, key=lambda form_id: len(missing[form_id]))
    raise FormError(
        f"matches no form; the nearest is {nearest}, which also needs the columns "
        f"{', '.join(missing[nearest])}"
    )


def _faults(name: str, row: int | None, submission: Submission) -> Iterable[Problem]:
    def fault(
        field_name: str, value: str, problem: str, remedy: str, *, keep: bool = False
    ) -> Problem:
        return Problem(
            file=name,
            row=row,
            field=field_name,
            value=value,
            problem=problem,
            remedy=remedy,
            is_refused=not keep,
        )

    if submission.form_id not in QUESTIONS:
        yield fault(
            "form_id",
            submission.form_id,
            "is not a form of this survey",
            f"known forms: {', '.join(QUESTIONS)}",
        )
        return
    if not submission.instance_id or len(submission.instance_id) > 200:
        yield fault(
            "instanceID",
            submission.instance_id,
            "is empty or too long",
            "every submission needs the identifier that the form app gave it",
        )
    if submission.form_version not in VERSIONS[submission.form_id]:
        yield fault(
            "form_version",
            submission.form_version,
            "is not a known version",
            "kept and read as the newest one; check its answers",
            keep=True,
        )
    for question in QUESTIONS[submission.form_id]:
        answer = submission.answers.get(question.name, "")
        found = question.fault(answer, submission.answers)
        if found:
            yield fault(question.name, answer, *found)


def _repeated(name: str, found: list[tuple[int | None, Submission]]) -> Iterable[Problem]:
    first: dict[str, tuple[int | None, str]] = {}
    for row, submission in found:
        earlier = first.setdefault(submission.instance_id, (row, submission.sha256))
        if earlier != (row, submission.sha256) and submission.instance_id:
            yield Problem(
                file=name,
                row=row,
                field="instanceID",
                value=submission.instance_id,
                problem=f"was used in row {earlier[0]} already",
                remedy="keep one of the two rows",
            )
