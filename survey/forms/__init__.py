"""Forms of field teams: XLSForms out, submissions in, rows for the estimators."""

from survey.forms.rows import farmer_rows, segment_visit_rows
from survey.forms.store import ImportReport, SubmissionStore
from survey.forms.submissions import ParsedFile, Problem, Submission, parse_submissions
from survey.forms.xlsforms import form_ids, form_path, xform_xml

__all__ = [
    "ImportReport",
    "ParsedFile",
    "Problem",
    "Submission",
    "SubmissionStore",
    "farmer_rows",
    "form_ids",
    "form_path",
    "parse_submissions",
    "segment_visit_rows",
    "xform_xml",
]
