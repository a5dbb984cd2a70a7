"""Encrypted submissions, against what ODK Collect made and against tampering."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from phones import seal

from survey.errors import FormError
from survey.forms import (
    Delivery,
    SubmissionStore,
    decrypt_store,
    make_keys,
    open_private_key,
    read_sealed,
)
from survey.forms.encryption import (
    check_public_key,
    decrypt_file,
    decrypt_key,
    file_vectors,
    seal_form,
)
from survey.forms.xlsforms import xform_xml

NOW = datetime(2026, 2, 4, 10, tzinfo=UTC)
GOLDEN = json.loads(
    (Path(__file__).resolve().parents[2] / "golden" / "odk_encryption.json").read_text()
)["values"]
ANSWERS = (
    '<data id="segment_visit" version="{version}"><segment_id>S-1</segment_id>'
    "<visit_date>2026-02-03</visit_date><observer_code>T1</observer_code>"
    "<observed_percent>80</observed_percent><area_unit>rai</area_unit>"
    "<poppy_area>1.3</poppy_area><cannabis_area>0</cannabis_area>"
    "<meta><instanceID>{instance}</instanceID></meta></data>"
)


@pytest.fixture(scope="module")
def keys() -> tuple[bytes, bytes]:
    return make_keys(b"a long passphrase")


def test_what_collect_encrypted_is_opened() -> None:
    key = open_private_key(GOLDEN["private_key"].encode(), None)
    secret = base64.b64decode(GOLDEN["key"])
    assert decrypt_key(key, base64.b64decode(GOLDEN["encrypted_key"])) == secret
    vectors = file_vectors(GOLDEN["instance_id"], secret, 32)
    assert {n: vectors[int(n)].hex() for n in GOLDEN["vectors"]} == GOLDEN["vectors"]
    sent = GOLDEN["submission"]
    secret = decrypt_key(key, base64.b64decode(sent["encrypted_key"]))
    vector = file_vectors(sent["instance_id"], secret, 2)[sent["position"]]
    data = base64.b64decode(sent["ciphertext"])
    assert decrypt_file(secret, vector, data, "submission.xml.enc").decode() == sent["plaintext"]
    with pytest.raises(FormError, match="damaged file"):
        decrypt_file(secret, vector, data[:-16], "submission.xml.enc")


def send(store: SubmissionStore, manifest: bytes, files: dict[str, bytes], sender: str) -> None:
    received = []
    for name, data in files.items():
        received.append(store.receive(name))
        received[-1].write(data)
        received[-1].finish()
    delivery = Delivery(
        name="x",
        data=manifest,
        received_at=NOW,
        sender=sender,
        sealed=read_sealed(manifest),
        files=received,
    )
    store.import_all([delivery])


def test_opened_submissions_keep_sender_arrival_and_files(
    tmp_path: Path, keys: tuple[bytes, bytes]
) -> None:
    private, public = keys
    store = SubmissionStore(tmp_path)
    version = "2026011501[encrypted:0123abcd]"
    for number in (1, 2):
        xml = ANSWERS.format(version=version, instance=f"uuid:{number}").encode()
        manifest, files = seal(xml, {"a.jpg": b"photo", "b.jpg": b""}, check_public_key(public))
        if number == 2:
            files.pop("b.jpg.enc")
        send(store, manifest, files, "phone ab")
        send(store, manifest, files, "phone ab")
    assert store.submissions("segment_visit") == []
    assert not any(b"S-1" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    key = open_private_key(private, b"a long passphrase")
    result = decrypt_store(store, key)
    assert [report.n_new for report in result.reports] == [1]
    assert result.n_waiting == 1
    (stored,) = store.iter_stored("segment_visit")
    assert (stored.sender, stored.received_at) == ("phone ab", NOW.isoformat())
    assert stored.remarks == ()
    (folder,) = store.attachment_folders("uuid:1")
    found = {path.name[17:]: path.read_bytes() for path in folder.glob("*.jpg")}
    assert found == {"a.jpg": b"photo", "b.jpg": b""}
    assert decrypt_store(store, key).reports == ()


def test_nothing_is_imported_if_one_was_changed(tmp_path: Path, keys: tuple[bytes, bytes]) -> None:
    private, public = keys
    store = SubmissionStore(tmp_path)
    base64_key = check_public_key(public)
    xml = [ANSWERS.format(version="2026011501", instance=f"uuid:{n}").encode() for n in (1, 2)]
    sealed = [seal(each, {"a.jpg": b"photo"}, base64_key) for each in xml]
    send(store, *sealed[0], "phone ab")
    # Bytes of CFB can be changed unseen; what the phone signed cannot.
    manifest, files = sealed[1]
    photo = bytearray(files["a.jpg.enc"])
    photo[0] ^= 1
    send(store, manifest, {**files, "a.jpg.enc": bytes(photo)}, "phone ab")
    with pytest.raises(FormError, match="uuid:2 is not what the phone signed"):
        decrypt_store(store, open_private_key(private, b"a long passphrase"))
    assert store.submissions("segment_visit") == []
    other = open_private_key(make_keys(b"another passphrase")[0], b"another passphrase")
    with pytest.raises(FormError, match="another key"):
        decrypt_store(store, other)


def test_two_encryptions_under_one_identifier_are_both_kept(
    tmp_path: Path, keys: tuple[bytes, bytes]
) -> None:
    store = SubmissionStore(tmp_path)
    xml = ANSWERS.format(version="2026011501", instance="uuid:1").encode()
    for _ in range(2):
        send(store, *seal(xml, {}, check_public_key(keys[1])), "phone ab")
    assert store.kept_for_review() == (1, 0)
    assert list(store.iter_conflicts()) == []


def test_keys_are_refused_with_a_remedy(keys: tuple[bytes, bytes]) -> None:
    with pytest.raises(FormError, match="fewer than 12"):
        make_keys(b"short")
    with pytest.raises(FormError, match="this is the private key"):
        check_public_key(keys[0])
    with pytest.raises(FormError, match="no public key"):
        check_public_key(b"x")
    with pytest.raises(FormError, match="check file and passphrase"):
        open_private_key(keys[0], b"wrong wrong wrong")
    with pytest.raises(FormError, match="has no base64EncryptedKey"):
        read_sealed(b'<data id="a" encrypted="yes"/>')


def test_a_form_is_sealed_once(keys: tuple[bytes, bytes]) -> None:
    form = seal_form(xform_xml("segment_visit"), check_public_key(keys[1]))
    assert 'version="2026112601[encrypted:' in form
    with pytest.raises(FormError, match="of its own"):
        seal_form(form, check_public_key(keys[1]))
