"""Encrypted forms, as ODK Collect makes them: a phone locks, only the office's private key opens.

A phone encrypts answers and files of a finished form with a random AES-256 key and that key with
the RSA public key of the form. What it sends is a manifest (`<data encrypted="yes">`) and files
that end in ``.enc``. The server keeps them as they are and cannot read them.

References
----------
https://getodk.github.io/xforms-spec/encrypted-forms : RSA-OAEP (SHA-256), AES-256-CFB with PKCS#5
padding; the vector of the n-th file is the MD5 of instanceID and key, of which byte
(i mod 16) is raised by one for i = 0 ... n.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from survey.errors import FormError

__all__ = [
    "Opened",
    "SealedSubmission",
    "check_public_key",
    "decrypt_file",
    "decrypt_key",
    "encrypted_version",
    "file_vectors",
    "make_keys",
    "open_private_key",
    "open_sealed",
    "plain_version",
    "read_sealed",
    "seal_form",
]

_RSA_BITS = 2048  # what Collect and Briefcase use; phones encrypt one small key with it
_SUFFIX = re.compile(r"\[encrypted:[0-9a-f]{8}\]$")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSubmission:
    """The manifest of an encrypted submission.

    Attributes
    ----------
    encrypted_key : bytes
        AES key, for the owner of the private key only.
    media : tuple of str
        Names of the encrypted files in the order in which the phone locked them.
    answers_file : str
        Name of the encrypted answers.
    signature : bytes
        Encrypted MD5 of names and contents.
    """

    form_id: str
    form_version: str
    instance_id: str
    encrypted_key: bytes
    media: tuple[str, ...]
    answers_file: str
    signature: bytes
    key_text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Answers and files of a submission, as the phone had them."""

    xml: bytes
    files: tuple[tuple[str, bytes], ...]


def make_keys(passphrase: bytes) -> tuple[bytes, bytes]:
    """A new private key, locked with a passphrase, and its public key, both PEM.

    Raises
    ------
    FormError
        The passphrase is too short to protect anything.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    if len(passphrase) < 12:
        raise FormError("the passphrase has fewer than 12 characters; take a longer one")
    key = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, public


def check_public_key(pem: bytes) -> str:
    """The public key as forms carry it: base64 of its DER.

    Raises
    ------
    FormError
        No RSA public key of at least 2048 bits, or a private one, which no server may have.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    if b"PRIVATE" in pem:
        raise FormError("this is the private key; keep it in the office and give the public one")
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError as error:
        raise FormError("this is no public key in PEM; adsurvey forms keys makes one") from error
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _RSA_BITS:
        raise FormError(f"the public key is no RSA key of at least {_RSA_BITS} bits")
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(der).decode()


def encrypted_version(version: str, key: str) -> str:
    """Version of a form with a key, so that a phone sees a new one when the key changes."""
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]
    return f"{plain_version(version)}[encrypted:{digest}]"


def plain_version(version: str) -> str:
    """Version of the questionnaire, whatever key the form carries."""
    return _SUFFIX.sub("", version)


def seal_form(xml: str, key: str) -> str:
    """A form whose answers phones encrypt for a key of `check_public_key`.

    Raises
    ------
    FormError
        The form has a submission element of its own, or none of the places that it needs.
    """
    if "<submission" in xml:
        raise FormError("the form names a key or an address of its own; take them out")
    instance = re.search(r"<instance>\s*<[^>]*?\bversion=\"([^\"]*)\"[^>]*>", xml)
    if instance is None:
        raise FormError("the form has no version; give it one")
    root = instance[0].replace(
        f'version="{instance[1]}"', f'version="{encrypted_version(instance[1], key)}"', 1
    )
    element = f'<submission method="post" base64RsaPublicKey="{key}"/>'
    return xml.replace(instance[0], element + root, 1)


def read_sealed(xml: bytes) -> SealedSubmission | None:
    """The manifest of an encrypted submission; None where the answers are not encrypted.

    Raises
    ------
    FormError
        It says that it is encrypted and lacks what opens it.
    """
    if b"encrypted" not in xml:
        return None
    try:
        root = fromstring(xml, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return None  # whoever reads it as answers says what is wrong
    if root.get("encrypted") != "yes":
        return None
    found: dict[str, list[str]] = {}
    for element in root.iter():
        name = str(element.tag).rsplit("}", 1)[-1]
        found.setdefault(name, []).append((element.text or "").strip())

    def only(name: str) -> str:
        texts = found.get(name, [])
        if len(texts) != 1 or not texts[0]:
            raise FormError(f"the encrypted submission has no {name}; send what the form app made")
        return texts[0]

    key_text = only("base64EncryptedKey")
    try:
        encrypted_key = base64.b64decode(key_text, validate=True)
        signature = base64.b64decode(only("base64EncryptedElementSignature"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormError("the encrypted submission has a key that is no base64") from error
    return SealedSubmission(
        form_id=root.get("id", ""),
        form_version=root.get("version", ""),
        instance_id=only("instanceID"),
        encrypted_key=encrypted_key,
        media=tuple(found.get("file", ())),
        answers_file=only("encryptedXmlFile"),
        signature=signature,
        key_text=key_text,
    )


def open_private_key(pem: bytes, passphrase: bytes | None) -> Any:
    """The private key, for `open_sealed`.

    Raises
    ------
    FormError
        Not a private RSA key, or the passphrase is wrong.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    try:
        key = serialization.load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError) as error:
        raise FormError("the private key cannot be opened; check file and passphrase") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise FormError(
            "the private key is no RSA key; take the one that adsurvey forms keys made"
        )
    return key


def open_sealed(sealed: SealedSubmission, read: Callable[[str], bytes], key: Any) -> Opened:
    """Answers and files of an encrypted submission.

    Parameters
    ----------
    read : callable
        Bytes of an encrypted file, by its name in the manifest.
    key : private key of `open_private_key`

    Raises
    ------
    FormError
        Another key, damaged files, or files that are not what the phone signed.
    """
    secret = decrypt_key(key, sealed.encrypted_key)
    if len(secret) != 32:
        raise FormError("holds no AES-256 key; send what the form app made")
    names = [*sealed.media, sealed.answers_file]
    plain = [
        decrypt_file(secret, vector, read(name), name)
        for name, vector in zip(
            names, file_vectors(sealed.instance_id, secret, len(names)), strict=True
        )
    ]
    titles = [name.removesuffix(".enc") for name in names]
    signed = [sealed.form_id, *([sealed.form_version] if sealed.form_version else [])]
    signed += [sealed.key_text, sealed.instance_id]
    signed += [
        f"{title}::{hashlib.md5(data, usedforsecurity=False).hexdigest()}"
        for title, data in zip(titles, plain, strict=True)
    ]
    text = "".join(f"{line}\n" for line in signed)
    expected = hashlib.md5(text.encode(), usedforsecurity=False).digest()
    if decrypt_key(key, sealed.signature) != expected:
        raise FormError("is not what the phone signed; its files were changed or mixed up")
    *media, answers = plain
    return Opened(xml=answers, files=tuple(zip(titles, media, strict=False)))


def file_vectors(instance_id: str, secret: bytes, count: int) -> Sequence[bytes]:
    """Initialisation vectors of the files of a submission, in the order of encryption."""
    seed = bytearray(hashlib.md5(instance_id.encode() + secret, usedforsecurity=False).digest())
    found = []
    for number in range(count):
        seed[number % 16] = (seed[number % 16] + 1) % 256
        found.append(bytes(seed))
    return found


def decrypt_key(key: Any, data: bytes) -> bytes:
    """What a phone encrypted with the public key.

    Raises
    ------
    FormError
        It was another key.
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    # Phones differ in the digest of the mask: Android's own library takes SHA-1.
    for mask in (hashes.SHA1(), hashes.SHA256()):  # noqa: S303
        oaep = padding.OAEP(mgf=padding.MGF1(mask), algorithm=hashes.SHA256(), label=None)
        try:
            return bytes(key.decrypt(data, oaep))
        except ValueError:
            continue
    raise FormError("was made for another key; give the private key of this form")


def decrypt_file(secret: bytes, vector: bytes, data: bytes, name: str) -> bytes:
    """One file of an encrypted submission.

    Raises
    ------
    FormError
        Its end is not that of an encrypted file.
    """
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
    from cryptography.hazmat.primitives import padding
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

    decryptor = Cipher(algorithms.AES(secret), CFB(vector)).decryptor()
    padded = decryptor.update(data) + decryptor.finalize()
    unpadder = padding.PKCS7(128).unpadder()
    try:
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError as error:
        raise FormError(
            f"has a damaged file {name[:80]!r}; ask the phone's team for it"
        ) from error
