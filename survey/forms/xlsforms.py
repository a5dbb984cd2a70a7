"""The XLSForms that ship with the project, and their XForm XML."""

from __future__ import annotations

from pathlib import Path

from survey.errors import FormError

__all__ = ["form_ids", "form_path", "xform_xml"]

_FOLDER = Path(__file__).parent


def form_ids() -> tuple[str, ...]:
    """Identifiers of the forms, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.xlsx")))


def form_path(form_id: str) -> Path:
    """Path of a form's XLSForm.

    Raises
    ------
    FormError
        No such form; the message lists those there are.
    """
    if form_id not in form_ids():
        raise FormError(f"form {form_id!r} does not exist; there are {', '.join(form_ids())}")
    return _FOLDER / f"{form_id}.xlsx"


def xform_xml(form_id: str) -> str:
    """A form as the XForm XML that ODK Collect and KoboCollect read."""
    from pyxform.xls2xform import convert  # slow to import, needed by few

    # Java's validator is run in the tests of forms, not wherever a form is asked for.
    return str(convert(str(form_path(form_id)), validate=False).xform)
