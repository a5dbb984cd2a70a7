"""Submissions as they arrive: read without trusting them, each answer checked."""

from __future__ import annotations

from collections.abc import Iterable

from survey.errors import ConfigError, FormError
from survey.forms.decoders import read_csv, read_json, read_xlsx, read_xml
from survey.forms.mapping import TableMapping
from survey.forms.questionnaires import QUESTIONS, VERSIONS
from survey.forms.records import ParsedFile, Problem, Submission

__all__ = ["MAX_BYTES", "parse_submissions", "read_rows", "submission_problems"]

#: Larger files are refused before they are read.
MAX_BYTES = 50_000_000


def parse_submissions(
    name: str, data: bytes, *, mapping: TableMapping | None = None
) -> ParsedFile:
    """Read the submissions of one uploaded file.

    Parameters
    ----------
    name : str
        File name, for messages only; the content decides how it is read.
    data : bytes
        XForm XML (one submission), or CSV, XLSX (first sheet) or a JSON export of Kobo or
        ODK Central (one a row).
    mapping : TableMapping, optional
        Which column is which question, for CSV and XLSX that no form app made.

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
        found = read_rows(name, data, mapping)
    except (FormError, ConfigError) as error:
        problem, _, remedy = str(error).partition("; ")
        return refused(problem, remedy)
    problems = [
        fault for row, submission in found for fault in submission_problems(name, row, submission)
    ]
    problems += _repeated(name, found)
    return ParsedFile(submissions=tuple(s for _, s in found), problems=tuple(problems))


def read_rows(
    name: str, data: bytes, mapping: TableMapping | None
) -> list[tuple[int | None, Submission]]:
    """Submissions of a file and their rows, whatever their answers; None for XML.

    Raises
    ------
    FormError, ConfigError
        The file cannot be read, or is not what the mapping says.
    """
    start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:4]
    if start[:1] == b"<":
        return [(None, read_xml(name, data))]
    if start == b"PK\x03\x04":
        return list(read_xlsx(name, data, mapping))
    if start[:1] in (b"{", b"["):
        return list(read_json(name, data))
    return list(read_csv(name, data, mapping))


def submission_problems(name: str, row: int | None, submission: Submission) -> Iterable[Problem]:
    """What is wrong with the answers of one submission, by its questionnaire."""

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
        if question.repeat:
            places = [
                (f"{question.repeat}[{number}]/{question.name}", entry)
                for number, entry in enumerate(submission.repeats.get(question.repeat, ()), 1)
            ]
        else:
            places = [(question.name, submission.answers)]
        for place, answers in places:
            answer = answers.get(question.name, "")
            found = question.fault(answer, submission.answers)
            if found:
                yield fault(place, answer, *found)


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
