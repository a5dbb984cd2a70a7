"""Forms as phones get them: every version that was ever published stays, with its media.

```
forms/<form_id>/<number>/form.xml     as phones hold it
forms/<form_id>/<number>/media/<name> files of the form: lists, pictures
forms/<form_id>/<number>/form.json    title, version, when; written last
forms/public_key.pem                  with it, phones encrypt what they fill from now on
```

A phone that holds an old version finds it as long as the round lasts. A version is published
once: other content needs another version, or phones could not tell what was asked.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from survey.errors import ConfigError, FormError
from survey.forms.durable import to_json, write_all, write_once
from survey.forms.encryption import check_public_key, encrypted_version, seal_form
from survey.forms.training import TRAINING_SUFFIX, is_training_store, training_xform
from survey.forms.xlsforms import form_ids, xform_xml

__all__ = ["MediaFile", "PublishedForm", "PublishedForms"]

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_MEDIA = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,99}")
_XHTML = "{http://www.w3.org/1999/xhtml}"
_XFORMS = "{http://www.w3.org/2002/xforms}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFile:
    """A file that a form shows or reads."""

    name: str
    path: Path
    md5: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedForm:
    """One version of a form.

    Attributes
    ----------
    number : int
        Order of publication within the form, from 1.
    md5 : str
        Digest by which a phone knows that it holds this very form; no protection.
    is_encrypted : bool
        Phones encrypt what they fill in it.
    """

    form_id: str
    number: int
    version: str
    title: str
    md5: str
    is_encrypted: bool
    published_at: str
    path: Path
    media: tuple[MediaFile, ...]


class PublishedForms:
    """Forms of one round.

    Parameters
    ----------
    store_folder : Path
        Folder of the submission store.
    """

    def __init__(self, store_folder: Path) -> None:
        self._root = store_folder
        self._folder = store_folder / "forms"

    def all(self) -> list[PublishedForm]:
        """Every version of every form, in order of form and publication."""
        return [
            _read(path.parent)
            for path in sorted(self._folder.glob("*/*/form.json"), key=lambda p: p.parts[-3:])
        ]

    def versions(self, form_id: str) -> frozenset[str]:
        """Versions of a form that were published in this round."""
        return frozenset(
            _read(path.parent).version for path in self._folder.glob(f"{form_id}/*/form.json")
        )

    def newest(self, *, only_encrypted: bool = False) -> list[PublishedForm]:
        """The version of each form that phones should fill now."""
        return list(
            {
                form.form_id: form
                for form in self.all()
                if form.is_encrypted or not only_encrypted
            }.values()
        )

    def set_public_key(self, pem: bytes) -> None:
        """Let phones encrypt what they fill in forms that are published from now on.

        Raises
        ------
        FormError
            No public RSA key.
        ConfigError
            The round has another key.
        """
        check_public_key(pem)
        path = self._folder / "public_key.pem"
        if not write_once(path, pem, root=self._root) and path.read_bytes() != pem:
            raise ConfigError(
                "the round has another public key; who holds the old private key opens what was "
                f"sent so far, and a new key is set by removing {path.name} of its forms"
            )

    def public_key(self) -> str | None:
        """The key for which phones encrypt, as forms carry it; None without one."""
        path = self._folder / "public_key.pem"
        return check_public_key(path.read_bytes()) if path.exists() else None

    def publish(
        self, xml: str, *, now: datetime, media: Mapping[str, bytes] | None = None
    ) -> PublishedForm:
        """Publish a version; the same again changes nothing.

        Parameters
        ----------
        xml : str
            XForm; it is encrypted if the round has a public key.
        media : mapping of name to content, optional

        Raises
        ------
        FormError
            No XForm with an identifier and a version, or a name of media that no phone takes.
        ConfigError
            This version was published with other content.
        """
        if is_training_store(self._root):
            xml = training_xform(xml)
        key = self.public_key()
        content = (xml if key is None else seal_form(xml, key)).encode()
        form_id, version, title = _describe(content)
        files = dict(media or {})
        for name in files:
            if not _MEDIA.fullmatch(name):
                raise FormError(f"media file {name!r}: use letters, digits, blank, . - and _")
        digests = {name: _md5(data) for name, data in sorted(files.items())}
        earlier = [form for form in self.all() if form.form_id == form_id]
        for form in earlier:
            if form.version == version:
                same = form.md5 == _md5(content)
                if same and {each.name: each.md5 for each in form.media} == digests:
                    return form
                raise ConfigError(
                    f"form {form_id!r} is published in version {version!r} with other content; "
                    "give it a new version, so that phones see that it changed"
                )
        number = max((form.number for form in earlier), default=0) + 1
        folder = self._folder / form_id / f"{number:04d}"
        write_all(
            [
                (folder / "form.xml", content),
                *((folder / "media" / name, data) for name, data in files.items()),
            ],
            root=self._root,
        )
        about = {
            "form_id": form_id,
            "version": version,
            "title": title,
            "md5": _md5(content),
            "is_encrypted": b"base64RsaPublicKey" in content,
            "published_at": now.isoformat(timespec="seconds"),
            "media": digests,
        }
        write_once(folder / "form.json", to_json(about), root=self._root)
        return _read(folder)

    def publish_own(self, *, now: datetime, only: Iterable[str] | None = None) -> list[str]:
        """Publish the forms that ship with this program, as far as their version is new here.

        A version that phones hold is left as it is, even if it would be converted otherwise now.

        Returns
        -------
        list of str
            Forms that are new, or have a new version or key.
        """
        from survey.forms.questionnaires import VERSIONS

        is_training = is_training_store(self._root)
        key = self.public_key()
        known = {(form.form_id, form.version) for form in self.all()}
        published = []
        for form_id in form_ids() if only is None else only:
            newest = max(VERSIONS[form_id]) + (TRAINING_SUFFIX if is_training else "")
            version = newest if key is None else encrypted_version(newest, key)
            if (form_id, version) not in known:
                published.append(self.publish(xform_xml(form_id), now=now).form_id)
        return published


def _describe(content: bytes) -> tuple[str, str, str]:
    """Identifier, version and title of an XForm."""
    try:
        root = fromstring(content, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise FormError(f"the form is no XForm ({error}); convert it from XLSForm") from error
    instance = root.find(f"{_XHTML}head/{_XFORMS}model/{_XFORMS}instance")
    data = next(iter(instance), None) if instance is not None else None
    form_id = "" if data is None else data.get("id", "")
    version = "" if data is None else data.get("version", "")
    if not _ID.fullmatch(form_id):
        raise FormError(f"form_id {form_id!r}: use letters, digits, . - and _, at most 64")
    if not version or len(version) > 80:
        raise FormError(f"form {form_id!r} has no version; give it one, such as 2026011501")
    return form_id, version, root.findtext(f"{_XHTML}head/{_XHTML}title") or form_id


def _read(folder: Path) -> PublishedForm:
    try:
        about = json.loads((folder / "form.json").read_bytes())
        return PublishedForm(
            form_id=about["form_id"],
            number=int(folder.name),
            version=about["version"],
            title=about["title"],
            md5=about["md5"],
            is_encrypted=about["is_encrypted"],
            published_at=about["published_at"],
            path=folder / "form.xml",
            media=tuple(
                MediaFile(name=name, path=folder / "media" / name, md5=digest)
                for name, digest in sorted(about["media"].items())
            ),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise FormError(f"{folder} is damaged ({error}); restore it from a backup") from error


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
