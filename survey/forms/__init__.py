"""Forms of field teams: XLSForms out, submissions in, rows for the estimators."""

from survey.forms.adapted import TakenOver, answers_table, is_taken_over, take_over
from survey.forms.decryption import DecryptionResult, decrypt_store
from survey.forms.deliveries import Delivery, IncomingFile
from survey.forms.devices import Device, DeviceRegistry, collect_settings
from survey.forms.encryption import (
    Opened,
    SealedSubmission,
    make_keys,
    open_private_key,
    open_sealed,
    read_sealed,
)
from survey.forms.intake import ImportReport
from survey.forms.mapping import TableMapping, read_mapping
from survey.forms.nested import flatten_repeats, repeat_rows
from survey.forms.publication import MediaFile, PublishedForm, PublishedForms
from survey.forms.records import ParsedFile, Problem, Submission
from survey.forms.reports import report_json, report_workbook
from survey.forms.rows import farmer_rows, segment_visit_rows
from survey.forms.store import SubmissionStore
from survey.forms.stored import Stored, StoredSealed
from survey.forms.submissions import parse_submissions
from survey.forms.xlsforms import form_ids, form_path, xform_of, xform_xml

__all__ = [
    "DecryptionResult",
    "Delivery",
    "Device",
    "DeviceRegistry",
    "ImportReport",
    "IncomingFile",
    "MediaFile",
    "Opened",
    "ParsedFile",
    "Problem",
    "PublishedForm",
    "PublishedForms",
    "SealedSubmission",
    "Stored",
    "StoredSealed",
    "Submission",
    "SubmissionStore",
    "TableMapping",
    "TakenOver",
    "answers_table",
    "collect_settings",
    "decrypt_store",
    "farmer_rows",
    "flatten_repeats",
    "form_ids",
    "form_path",
    "is_taken_over",
    "make_keys",
    "open_private_key",
    "open_sealed",
    "parse_submissions",
    "read_mapping",
    "read_sealed",
    "repeat_rows",
    "report_json",
    "report_workbook",
    "segment_visit_rows",
    "take_over",
    "xform_of",
    "xform_xml",
]
