"""Pictures of accepted submissions for people outside: without position, time or camera."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from PIL import Image, ImageOps

from survey.errors import FormError
from survey.forms import SubmissionStore, form_ids
from survey.forms.durable import store_lock
from survey.forms.stored import readable_files
from survey.privacy.exports import ExportLog
from survey.review import accepted_submissions

__all__ = ["Release", "release_photos", "without_metadata"]

_FORMATS = ("JPEG", "PNG", "WEBP")
_MAX_PIXELS = 200_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Pictures that were written, and files that are none.

    Attributes
    ----------
    refused : tuple of str
        Form and problem of each file that was left out; no names of people.
    """

    n_written: int
    refused: tuple[str, ...]


def release_photos(
    store: SubmissionStore, folder: Path, *, now: datetime, forms: Sequence[str] = ()
) -> Release:
    """Write the pictures of accepted submissions without their metadata.

    Names are random-looking digests, so that a picture does not lead to its submission. The
    folder is recorded: a withdrawal takes its pictures out of it.

    Parameters
    ----------
    folder : Path
        Made with mode 0700; must be empty or not exist.
    forms : sequence of str
        Of these forms only; of all where empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FormError(f"{folder} is not empty; give a new folder")
    with store_lock(store.folder):  # nobody is withdrawn meanwhile
        return _release(store, folder, forms, now)


def _release(store: SubmissionStore, folder: Path, forms: Sequence[str], now: datetime) -> Release:
    found: list[tuple[str, Path]] = []
    for form_id in forms or form_ids():
        accepted, _ = accepted_submissions(store, form_id)
        for submission in accepted:
            for place in store.attachment_folders(submission.instance_id)[:1]:
                found += [(form_id, path) for path in readable_files(place)]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    written, refused = 0, []
    for form_id, path in found:
        try:
            content, suffix = without_metadata(path.read_bytes())
        except FormError as error:
            refused.append(f"{form_id}: a file {error}")
            continue
        name = f"{hashlib.sha256(content).hexdigest()[:16]}{suffix}"
        ExportLog(store.folder).record("photos", [folder / name], now=now, of=path.parent.name)
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
        written += 1
    return Release(n_written=written, refused=tuple(refused))


def without_metadata(data: bytes) -> tuple[bytes, str]:
    """The picture alone, upright as the camera held it, and the suffix of its format.

    Raises
    ------
    FormError
        No picture of a format that phones make, or one of too many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
                kind = str(picture.format)
                if picture.width * picture.height > _MAX_PIXELS:
                    raise FormError("has too many pixels; make it smaller")
                upright = ImageOps.exif_transpose(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise FormError("has too many pixels; make it smaller") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise FormError("is no picture (JPEG, PNG, WebP)") from error
    # Pixels alone are copied: no EXIF, XMP, comment, colour profile or thumbnail comes along.
    bare = Image.frombytes(upright.mode, upright.size, upright.tobytes())
    if upright.mode == "P":
        bare = upright.convert("RGBA" if "transparency" in upright.info else "RGB")
        bare = Image.frombytes(bare.mode, bare.size, bare.tobytes())
    out = io.BytesIO()
    options = {"quality": 90} if kind in ("JPEG", "WEBP") else {}
    bare.save(out, format=kind, **options)
    return out.getvalue(), {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}[kind]
