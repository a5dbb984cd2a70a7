"""Submissions as they arrive: read without trusting them, each answer checked."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from survey.errors import ConfigError, FormError
from survey.forms.decoders import read_json, read_xml
from survey.forms.encryption import plain_version
from survey.forms.mapping import TableMapping
from survey.forms.questionnaires import QUESTIONS, VERSIONS
from survey.forms.questions import is_cell_error
from survey.forms.records import ParsedFile, Problem, Submission, entry_places, repeat_of
from survey.forms.sheets import archive_remarks
from survey.forms.tables import Found, read_sheets, sheets_of
from survey.forms.training import real_version

__all__ = ["FORM_ID", "MAX_BYTES", "parse_submissions", "read_rows", "submission_problems"]

#: What may name a form; it names folders of the store, too.
FORM_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
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
        XForm XML (one submission), or CSV, XLSX, a ZIP of CSV or JSON as Kobo and ODK Central
        export them (one a row, repeats in their own sheets, files or lists).
    mapping : TableMapping, optional
        Which column is which question, for tables and JSON of another form.

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
    remarks: list[str] = []
    try:
        found = read_rows(name, data, mapping, remarks)
    except (FormError, ConfigError) as error:
        problem, _, remedy = str(error).partition("; ")
        return refused(problem, remedy)
    if not found:
        return refused("holds no row", "send the file that was filled")
    has_sheets = len({each.sheet for each in found}) > 1 or any(each.within for each in found)
    places = tuple((each.sheet if has_sheets else "", each.row) for each in found)
    submissions = tuple(each.submission for each in found)
    problems = [
        fault
        for (sheet, row), submission in zip(places, submissions, strict=True)
        for fault in submission_problems(name, row, submission, sheet=sheet)
    ]
    problems += _repeated(name, places, submissions)
    for remark in remarks:
        problem, _, remedy = remark.partition("; ")
        problems.append(
            Problem(
                file=name,
                row=None,
                field="",
                value="",
                problem=problem,
                remedy=remedy,
                is_refused=False,
            )
        )
    return ParsedFile(
        submissions=submissions,
        problems=tuple(problems),
        places=places,
        unversioned=frozenset(n for n, each in enumerate(found) if not each.is_versioned),
    )


_OLD_OFFICE = b"\xd0\xcf\x11\xe0"
_LOCKED = "EncryptedPackage".encode("utf-16-le")
#: What some files are by their first bytes, and what to do instead.
_STRANGE = (
    (_OLD_OFFICE, "is an old Excel workbook (.xls)", "save it as .xlsx"),
    (b"%PDF", "is a PDF", "send the table from which it was printed"),
    (b"\xff\xd8\xff", "is a photo", "photos come with the phone's submission"),
    (b"\x89PNG", "is a picture", "send the table, not a picture of it"),
    (b"\x1f\x8b", "is packed with gzip", "unpack it first"),
    (b"Rar!", "is a RAR archive", "unpack it first"),
    (b"7z\xbc\xaf", "is a 7z archive", "unpack it first"),
    (b"SQLite format 3", "is a database", "export the table as CSV"),
)


def read_rows(
    name: str, data: bytes, mapping: TableMapping | None, remarks: list[str] | None = None
) -> list[Found]:
    """Submissions of a file and their places, whatever their answers.

    The content decides how it is read, not the name.

    Parameters
    ----------
    remarks : list of str, optional
        Sheets that were left out are named here, as ``problem; remedy``.

    Raises
    ------
    FormError, ConfigError
        The file cannot be read, or is not what the mapping says.
    """
    if data.startswith(_OLD_OFFICE) and _LOCKED in data:
        raise FormError("is protected by a password; save it without one")
    for mark, problem, remedy in _STRANGE:
        if data.startswith(mark):
            raise FormError(f"{problem}; {remedy}")
    start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:4]
    if start[:1] == b"<":
        return [Found(sheet="", row=None, submission=read_xml(name, data, mapping))]
    if start[:1] in (b"{", b"["):
        return list(read_json(name, data, mapping))
    told = [] if remarks is None else remarks
    found = list(read_sheets(name, sheets_of(data, mapping), mapping, told))
    if remarks is not None and start == b"PK\x03\x04":
        told += archive_remarks(data)
    return found


def submission_problems(
    name: str, row: int | None, submission: Submission, *, sheet: str = ""
) -> Iterator[Problem]:
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
            sheet=sheet,
        )

    is_known = submission.form_id in QUESTIONS
    if not is_known:
        # What a phone sends is kept: nobody there could mend it. A table has its sender at hand.
        is_kept = row is None and bool(FORM_ID.fullmatch(submission.form_id))
        yield fault(
            "form_id",
            submission.form_id,
            "is a form that this program does not know" if is_kept else "is no form",
            "kept as it came; adsurvey forms map takes it over into one of ours"
            if is_kept
            else f"known forms: {', '.join(QUESTIONS)}; for another one give a mapping",
            keep=is_kept,
        )
    if not submission.instance_id or len(submission.instance_id) > 200:
        yield fault(
            "instanceID",
            submission.instance_id,
            "is empty or too long",
            "every submission needs the identifier that the form app gave it",
        )
    elif is_cell_error(submission.instance_id):
        yield fault(
            "instanceID",
            submission.instance_id,
            "is the error of a formula",
            "correct the sheet and paste the values",
        )
    if not is_known:
        return
    if real_version(plain_version(submission.form_version)) not in VERSIONS[submission.form_id]:
        yield fault(
            "form_version",
            submission.form_version,
            "is not a known version",
            "kept and read as the newest one; check its answers",
            keep=True,
        )
    places: dict[str, list[tuple[str, Mapping[str, str]]]] = defaultdict(list)
    places[""] = [("", submission.answers)]
    for place, answers in entry_places(submission):
        places[repeat_of(place)].append((place, answers))
    for question in QUESTIONS[submission.form_id]:
        for place, answers in places[question.repeat]:
            answer = answers.get(question.name, "")
            found = question.fault(answer, {**submission.answers, **answers})
            if found:
                yield fault(f"{place}{question.name}", answer, *found)


def _repeated(
    name: str, places: Sequence[tuple[str, int | None]], submissions: Sequence[Submission]
) -> Iterator[Problem]:
    first: dict[str, tuple[str, int | None, str]] = {}
    for (sheet, row), submission in zip(places, submissions, strict=True):
        key = (sheet, row, submission.sha256)
        earlier = first.setdefault(submission.instance_id, key)
        if earlier != key and submission.instance_id:
            where = f" of sheet {earlier[0]}" if earlier[0] != sheet else ""
            yield Problem(
                file=name,
                sheet=sheet,
                row=row,
                field="instanceID",
                value=submission.instance_id,
                problem=f"was used in row {earlier[1]}{where} already",
                remedy="keep one of the two rows",
            )
