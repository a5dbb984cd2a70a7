"""Forms of field teams: XLSForms out, submissions in, rows for the estimators."""

from survey.forms.deliveries import Delivery, IncomingFile
from survey.forms.devices import Device, DeviceRegistry, collect_settings
from survey.forms.mapping import TableMapping, read_mapping
from survey.forms.nested import flatten_repeats, repeat_rows
from survey.forms.records import ParsedFile, Problem, Submission
from survey.forms.reports import report_json, report_workbook
from survey.forms.rows import farmer_rows, segment_visit_rows
from survey.forms.store import ImportReport, Stored, SubmissionStore
from survey.forms.submissions import parse_submissions
from survey.forms.xlsforms import form_ids, form_path, xform_xml

__all__ = [
    "Delivery",
    "Device",
    "DeviceRegistry",
    "ImportReport",
    "IncomingFile",
    "ParsedFile",
    "Problem",
    "Stored",
    "Submission",
    "SubmissionStore",
    "TableMapping",
    "collect_settings",
    "farmer_rows",
    "flatten_repeats",
    "form_ids",
    "form_path",
    "parse_submissions",
    "read_mapping",
    "repeat_rows",
    "report_json",
    "report_workbook",
    "segment_visit_rows",
    "xform_xml",
]
