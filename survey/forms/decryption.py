"""Encrypted submissions of a store, opened and imported like all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from survey.errors import FormError
from survey.forms.deliveries import Delivery
from survey.forms.encryption import open_sealed, read_sealed
from survey.forms.intake import ImportReport
from survey.forms.store import SubmissionStore
from survey.forms.stored import StoredSealed

__all__ = ["DecryptionResult", "decrypt_store"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecryptionResult:
    """What became of the encrypted submissions that were not decrypted before.

    Attributes
    ----------
    reports : tuple of ImportReport
        Of each that was opened.
    n_waiting : int
        Those of which a file has not arrived.
    """

    reports: tuple[ImportReport, ...]
    n_waiting: int


def decrypt_store(store: SubmissionStore, key: Any) -> DecryptionResult:
    """Open what is encrypted in a store, and import it with its sender and time of arrival.

    Two passes: all are opened before the first is imported.

    Parameters
    ----------
    key : private key of `open_private_key`

    Raises
    ------
    FormError
        One is damaged or made for another key; then nothing is imported.
    """
    found = list(store.iter_sealed())
    whole = [each for each in found if all(each.files.values())]
    for each in whole:
        _open(store, each, key)
    reports = [_import(store, each, key) for each in whole]
    return DecryptionResult(reports=tuple(reports), n_waiting=len(found) - len(whole))


def _open(store: SubmissionStore, each: StoredSealed, key: Any) -> Any:
    sealed = read_sealed(store.raw(each.raw_sha256))
    if sealed is None:
        raise FormError(f"submission {each.instance_id} is not encrypted; restore the store")

    def read(name: str) -> bytes:
        path = each.files[name]
        return b"" if path is None else path.read_bytes()

    try:
        return open_sealed(sealed, read, key)
    except FormError as error:
        raise FormError(f"submission {each.instance_id} {error}; nothing was imported") from error


def _import(store: SubmissionStore, each: StoredSealed, key: Any) -> ImportReport:
    opened = _open(store, each, key)
    received = []
    try:
        for name, data in opened.files:
            received.append(store.receive(name))
            received[-1].write(data)
            received[-1].finish()
        delivery = Delivery(
            name=each.instance_id,
            data=opened.xml,
            received_at=each.received_at,
            sender=each.sender,
            files=received,
        )
        (report,) = store.import_all([delivery])
    finally:
        for file in received:
            file.discard()
    return report
