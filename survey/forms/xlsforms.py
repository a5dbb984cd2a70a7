"""The XLSForms that ship with the project, and their XForm XML."""

from __future__ import annotations

from pathlib import Path

from survey.errors import FormError

__all__ = ["form_ids", "form_path", "xform_of", "xform_xml"]

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
    return xform_of(form_path(form_id))


def xform_of(path: Path) -> str:
    """The XForm XML of an XLSForm; an .xml file is one already.

    Raises
    ------
    FormError
        The file cannot be read, or is no XLSForm.
    """
    from pyxform.errors import PyXFormError  # slow to import, needed by few
    from pyxform.xls2xform import convert

    try:
        if path.suffix.lower() == ".xml":
            return path.read_text("utf-8")
        # Java's validator is run in the tests of forms, not wherever a form is asked for.
        return str(convert(str(path), validate=False).xform)
    except OSError as error:
        raise FormError(f"form {path} cannot be read: {error.strerror}") from error
    except (PyXFormError, UnicodeDecodeError) as error:
        raise FormError(f"form {path.name} cannot be converted: {error}") from error
