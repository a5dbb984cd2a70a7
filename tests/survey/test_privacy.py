"""What people take back is gone everywhere, also after a crash; what has expired goes too."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import openpyxl
import pytest
from bare_round import SURVEY
from PIL import Image

from survey.errors import FormError
from survey.forms import DecryptionResult, SubmissionStore, decrypt_store, make_keys
from survey.forms.deliveries import Delivery
from survey.forms.encryption import read_sealed
from survey.forms.uploads import UploadError, Uploads
from survey.privacy import ExportLog, purge_round, release_photos, withdraw
from survey.privacy.photos import without_metadata
from survey.review import Action, ReviewLog, accepted_submissions
from survey.rounds import Round, read_round

THEN = datetime(2026, 2, 4, tzinfo=UTC)
NOW = datetime(2026, 3, 1, tzinfo=UTC)
COLUMNS = ("consent", "consent_version", "consent_language", "visit_date", "district_pcode")
COLUMNS += ("village_id", "sample_type", "household_size", "area_unit", "remarks")
COLUMNS += ("withdrawal_code",)
#: Every answer of this person that nobody else gave.
TRACES = ("uuid:gone", "GONEVILLAGE", "the widow by the ford", "XK42QP7T")


def answers(name: str, **more: str) -> dict[str, str]:
    told = dict.fromkeys(COLUMNS, "")
    told |= {
        "consent": "yes",
        "consent_version": "2026-01",
        "consent_language": "my",
        "visit_date": "2026-02-03",
        "district_pcode": "D1",
        "village_id": "GONEVILLAGE" if name == "gone" else f"V{name}",
        "sample_type": "probability",
        "household_size": "5",
        "area_unit": "rai",
        "remarks": "the widow by the ford" if name == "gone" else f"remark of {name}",
    }
    told["withdrawal_code"] = "XK42QP7T" if name == "gone" else f"CODE{name}"
    return told | more


def xml(name: str, **more: str) -> bytes:
    inside = "".join(f"<{n}>{a}</{n}>" for n, a in answers(name, **more).items())
    return (
        f'<data id="farmer_survey" version="2026011501">{inside}'
        f"<meta><instanceID>uuid:{name}</instanceID></meta></data>"
    ).encode()


def table(*names: str, **more: str) -> bytes:
    lines = [";".join(["instanceID", "form_id", *COLUMNS])]
    lines += [
        ";".join([f"uuid:{n}", "farmer_survey", *answers(n, **more).values()]) for n in names
    ]
    return "\n".join(lines).encode()


def workbook(*names: str) -> bytes:
    book = openpyxl.Workbook()
    book.active.append(["instanceID", *COLUMNS])
    for name in names:
        book.active.append([f"uuid:{name}", *answers(name).values()])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def photo() -> bytes:
    """A picture of 4 by 2 pixels that the camera held on its side, with a position."""
    picture = Image.new("RGB", (4, 2), (200, 30, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "GONECAMERA"
    exif.get_ifd(0x8825)[2] = (20.0, 30.0, 0.0)
    out = io.BytesIO()
    picture.save(out, format="JPEG", exif=exif, comment=b"GONECOMMENT")
    return out.getvalue()


@dataclass(frozen=True)
class Prepared:
    declared: Round
    store: SubmissionStore

    def texts(self) -> dict[Path, bytes]:
        """Everything readable below the round, packed or not."""
        found = {}
        for path in self.declared.path.parent.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                if data[:2] == b"PK":
                    book = openpyxl.load_workbook(io.BytesIO(data))
                    data = json.dumps([list(s.values) for s in book], default=str).encode()
                found[path] = data
        return found

    def traces(self) -> list[tuple[str, Path]]:
        return [
            (trace, path)
            for path, data in self.texts().items()
            for trace in TRACES
            if trace.encode() in data or trace.encode("utf-16-le") in data
        ]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A round in which one person's interview lies in every place it can."""
    folder = tmp_path_factory.mktemp("round") / "r"
    folder.mkdir()
    (folder / "survey.toml").write_text(SURVEY)
    store = SubmissionStore(folder / "inbox")
    incoming = store.receive("house.jpg")
    incoming.write(photo())
    incoming.finish()
    store.import_all(
        [
            Delivery(
                name="phone",
                data=xml("gone"),
                received_at=THEN,
                sender="phone 1",
                files=(incoming,),
            )
        ]
    )
    for name, data in (
        ("office.csv", table("gone", "b", "c")),
        ("office.xlsx", workbook("gone", "d")),
        ("utf16.csv", table("gone", "b").decode().encode("utf-16")),
        ("other.xml", xml("gone", household_size="6")),
        ("refused.csv", table("gone", "e", household_size="-1")),
        ("refused.xml", xml("gone", visit_date="2569-02-03")),
        ("broken.xml", xml("gone")[:-20]),
    ):
        store.import_file(name, data, received_at=THEN)
    log = ReviewLog(store)
    for review in log.reviews("farmer_survey"):
        if review.instance_id == "uuid:gone":
            review = log.decide(
                review,
                Action.EDIT,
                by="r",
                reason="asked the widow by the ford",
                now=THEN,
                changes={"household_size": "7"},
            )
        log.decide(review, Action.ACCEPT, by="r", reason="", now=THEN)
    publish, restricted = folder / "out" / "publish", folder / "out" / "restricted"
    publish.mkdir(parents=True)
    restricted.mkdir()
    record = {"run_id": "r1", "created_at": THEN.isoformat()}
    (publish / "run.json").write_text(json.dumps(record))
    (restricted / "rows.csv").write_text(
        "instance_id,village\nuuid:gone,GONEVILLAGE\nuuid:b,Vb\nuuid:gone/plots[1],x\n"
    )
    (restricted / "rows.json").write_text('{"uuid:gone": "GONEVILLAGE"}')
    (restricted / "class_map.tif").write_bytes(b"pixels")
    left = folder / ".out-partial-1"
    left.mkdir()
    (left / "rows.csv").write_text("instance_id\nuuid:gone\n")
    return folder


@pytest.fixture
def make(template: Path, tmp_path: Path) -> Callable[[], Prepared]:
    def prepare() -> Prepared:
        shutil.rmtree(tmp_path / "r", ignore_errors=True)
        declared = read_round(Path(shutil.copytree(template, tmp_path / "r")) / "survey.toml")
        return Prepared(declared, SubmissionStore(declared.submissions_folder))

    return prepare


CODE = "xk42-qp7t"


def take_out(prepared: Prepared, code: str = CODE):
    out = prepared.declared.output_folder
    return withdraw(prepared.store, code, output_folder=out, now=NOW, by="coordinator")


def check_gone(prepared: Prepared) -> None:
    assert prepared.traces() == []
    accepted, left_out = accepted_submissions(prepared.store, "farmer_survey")
    assert {s.instance_id for s in accepted} == {"uuid:b", "uuid:c", "uuid:d"}
    assert left_out == {"withdrawn": 1}
    for stored in prepared.store.iter_stored("farmer_survey"):
        assert (
            stored.submission.answers["village_id"].encode()
            in (prepared.texts()[prepared.store.folder / "raw" / _standing(prepared, stored)])
        )
    rows = prepared.declared.output_folder / "restricted" / "rows.csv"
    assert rows.read_text() == "instance_id,village\nuuid:b,Vb\n"
    recompute = json.loads((prepared.declared.output_folder / "recompute.json").read_text())
    assert recompute["run_id"] == "r1"


def _standing(prepared: Prepared, stored) -> str:
    import hashlib

    return hashlib.sha256(prepared.store.raw(stored.raw_sha256)).hexdigest()


def test_a_withdrawal_leaves_no_trace_but_a_tombstone(make) -> None:
    prepared = make()
    assert {trace for trace, _ in prepared.traces()} == {*TRACES}
    done = take_out(prepared)
    assert (done.n_new, done.is_recompute_needed, done.erased.unread) == (1, True, ())
    assert done.erased.counts["raw files"] == 4
    assert done.erased.counts["raw files without some rows"] == 4
    check_gone(prepared)
    # The row of another household that was refused with it is still there to be mended.
    refused = [json.loads(p.read_text()) for p in prepared.store.folder.glob("refused/*.json")]
    assert [[p["row"] for p in one["problems"]] for one in refused] == [[1]]
    again = take_out(prepared)
    assert (again.n_new, again.erased.counts.total()) == (0, 0)
    for data in (xml("gone"), table("gone", "b"), xml("gone", household_size="9")):
        report = prepared.store.import_file("f", data, received_at=NOW)
        assert (report.accepted, report.n_withdrawn, report.n_new) == (True, 1, 0)
    check_gone(prepared)
    with pytest.raises(FormError, match="no submission has this code"):
        take_out(prepared, "WRONGCODE")


class Killed(BaseException):
    """The process ends here."""


@contextmanager
def killed_after(steps: int) -> Iterator[None]:
    """Let the process die before its next removal of a file."""
    unlink, count = Path.unlink, 0

    def dies(path: Path, missing_ok: bool = False) -> None:
        nonlocal count
        count += 1
        if count > steps:
            raise Killed
        unlink(path, missing_ok=missing_ok)

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        patch.setattr(Path, "unlink", dies)
        yield


def test_a_withdrawal_that_is_killed_anywhere_is_finished_later(make) -> None:
    for steps in (0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 60):
        prepared, is_done = make(), False
        with killed_after(steps):
            take_out(prepared)
            is_done = True
        # Whatever comes next finishes it: the same call, or the purge of the night.
        if steps % 2 or not prepared.store.tombstones.all():
            take_out(prepared)
        else:
            purge_round(prepared.declared, now=NOW, by="night")
        check_gone(prepared)
        assert not list(prepared.store.folder.glob("withdrawn/*.pending"))
    assert is_done


@pytest.mark.parametrize("steps", [0, 1])
def test_figures_are_marked_whoever_finishes_a_withdrawal(make, steps: int) -> None:
    prepared = make()
    with killed_after(steps):  # the tombstone is on its way, the mark is not there yet
        take_out(prepared)
    assert not (prepared.declared.output_folder / "recompute.json").exists()
    purge_round(prepared.declared, now=NOW, by="night")
    check_gone(prepared)


def test_two_people_with_one_code_are_not_confused(make) -> None:
    prepared = make()
    prepared.store.import_file("f", xml("z", withdrawal_code="CODEb"), received_at=NOW)
    with pytest.raises(FormError, match="2 submissions have this code"):
        take_out(prepared, "CODEb")
    assert take_out(prepared, "uuid:z").n_new == 1
    # What the other one told stays, and the bytes it came in.
    (other,) = (s for s in prepared.store.iter_stored("farmer_survey")
                if s.submission.instance_id == "uuid:b")  # fmt: skip
    assert b"uuid:b" in prepared.store.raw(other.raw_sha256)
    assert not any(b"uuid:z" in data for data in prepared.texts().values())


def test_a_code_that_comes_again_marks_no_figures_that_were_made_since(make) -> None:
    prepared = make()
    assert take_out(prepared).is_recompute_needed
    out = prepared.declared.output_folder
    again = take_out(prepared)  # nobody has made them again
    assert (again.n_new, again.is_recompute_needed) == (0, True)
    shutil.rmtree(out)  # a run replaces the folder as a whole
    (out / "publish").mkdir(parents=True)
    record = {"run_id": "r2", "created_at": NOW.isoformat()}
    (out / "publish" / "run.json").write_text(json.dumps(record))
    again = take_out(prepared)
    assert (again.n_new, again.is_recompute_needed) == (0, False)
    assert not (out / "recompute.json").exists()


def reads_of_raw(prepared: Prepared, code: str) -> set[bytes]:
    """Contents of raw files that were read whole for a withdrawal."""
    read, real = set(), Path.read_bytes

    def noted(path: Path) -> bytes:
        data = real(path)
        if path.parent.name == "raw":
            read.add(data)
        return data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", noted)
        take_out(prepared, code)
    return read


@pytest.mark.parametrize("notes", ["as they are", "missing", "damaged"])
def test_a_withdrawal_reads_the_raw_files_that_may_hold_it(make, notes: str) -> None:
    prepared = make()
    theirs, others = table("m", "n"), table("n", "o")
    for data in (theirs, others, xml("p")):
        prepared.store.import_file("f", data, received_at=THEN)
    folder = prepared.store.folder / "contents"
    assert len(list(folder.iterdir())) == 5
    for note in folder.iterdir():
        if notes == "missing":
            note.unlink()
        if notes == "damaged":
            note.write_text("[")
    read = reads_of_raw(prepared, "CODEm")
    assert theirs in read
    assert xml("p") not in read
    assert (others in read) == (notes != "as they are")
    assert table("n") in {path.read_bytes() for path in (prepared.store.folder / "raw").iterdir()}
    assert not any(b"uuid:m" in data for data in prepared.texts().values())
    # Of what had to be read it is on record now what is in it, unless that was refused.
    assert others not in reads_of_raw(prepared, "CODEp")
    for code in ("CODEn", "CODEo", CODE):  # n and gone are in several files
        take_out(prepared, code)
    texts = prepared.texts()
    assert not any(b"uuid:n" in data or b"uuid:o" in data for data in texts.values())
    assert prepared.traces() == []
    raw = {path.name for path in (prepared.store.folder / "raw").iterdir()}
    assert {path.name[:64] for path in folder.glob("*")} <= raw


SHUT = (
    b'<data id="farmer_survey" version="1" encrypted="yes"><base64EncryptedKey>QUJD'
    b"</base64EncryptedKey><meta><instanceID>uuid:shut</instanceID></meta>"
    b"<media><file>house.jpg.enc</file></media>"
    b"<encryptedXmlFile>submission.xml.enc</encryptedXmlFile>"
    b"<base64EncryptedElementSignature>QUJD</base64EncryptedElementSignature></data>"
)


def send_encrypted(store: SubmissionStore) -> Delivery:
    """An encrypted submission with a photo, as a phone sends it; nobody decrypts it."""
    files = []
    for name, content in (("house.jpg.enc", b"SHUTPHOTO"), ("submission.xml.enc", b"SHUTANSWERS")):
        files.append(store.receive(name))
        files[-1].write(content)
        files[-1].finish()
    delivery = Delivery(
        name="phone",
        data=SHUT,
        received_at=THEN,
        sender="phone 2",
        files=files,
        sealed=read_sealed(SHUT),
    )
    store.import_all([delivery])
    assert len(list(store.iter_sealed())) == 1
    return delivery


def test_what_is_encrypted_goes_by_its_identifier(make) -> None:
    prepared = make()
    delivery = send_encrypted(prepared.store)
    with pytest.raises(FormError, match="1 are encrypted: decrypt them first"):
        take_out(prepared, "WRONGCODE")
    assert take_out(prepared, "uuid:shut").n_new == 1
    assert list(prepared.store.iter_sealed()) == []
    for path, data in prepared.texts().items():
        assert b"uuid:shut" not in data, path
        assert b"SHUT" not in data, path
    assert prepared.store.import_all([delivery])[0].n_withdrawn == 1
    assert list(prepared.store.iter_sealed()) == []


def test_what_is_encrypted_expires_as_what_is_not(make) -> None:
    prepared = make()
    send_encrypted(prepared.store)
    in_three, in_eleven = (NOW + timedelta(days=365 * n + 9) for n in (3, 11))
    photos = purge_round(prepared.declared, now=in_three, by="night")
    assert photos.counts["photos and other files"] == 1  # of the person whose answers are open
    assert photos.counts["encrypted files"] == 1  # the photo, not the answers
    assert [p.read_bytes() for p in prepared.store.folder.rglob("*.enc")] == [b"SHUTANSWERS"]
    # A file of it is missing, so it waits; whoever decrypts is not stopped by it.
    (left,) = prepared.store.iter_sealed()
    assert {name for name, path in left.files.items() if path is None} == {"house.jpg.enc"}
    _, public = make_keys(b"a long passphrase")
    assert decrypt_store(prepared.store, public) == DecryptionResult(reports=(), n_waiting=1)
    everything = purge_round(prepared.declared, now=in_eleven, by="night")
    assert everything.counts["submissions"] == 5
    assert list(prepared.store.iter_sealed()) == []
    for path, data in prepared.texts().items():
        assert b"uuid:shut" not in data, path
        assert b"SHUT" not in data, path


def test_files_that_a_phone_encrypted_are_no_photos(make, tmp_path: Path) -> None:
    prepared = make()
    (place,) = prepared.store.attachment_folders("uuid:gone")
    (place / "0123456789abcdef-house.jpg.enc").write_bytes(b"encrypted")
    done = release_photos(prepared.store, tmp_path / "pictures", now=NOW)
    assert (done.n_written, done.refused) == (1, ())


def test_exports_are_found(make, tmp_path: Path) -> None:
    prepared = make()
    to = tmp_path / "pictures"
    done = release_photos(prepared.store, to, now=NOW)
    assert (done.n_written, done.refused) == (1, ())
    (picture,) = to.iterdir()
    assert b"GONE" not in picture.read_bytes()
    with Image.open(picture) as shown:
        assert shown.size == (2, 4)  # upright now
        assert not shown.getexif()
        assert set(shown.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    rows = tmp_path / "rows.csv"
    ExportLog(prepared.store.folder).record("rows", [rows], now=NOW)
    rows.write_text("instance_id\nuuid:gone\nuuid:b\n")
    take_out(prepared)
    assert list(to.iterdir()) == []
    assert rows.read_text() == "instance_id\nuuid:b\n"
    with pytest.raises(FormError, match="not empty"):
        release_photos(prepared.store, prepared.store.folder, now=NOW)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_pictures_keep_their_pixels(kind: str, mode: str) -> None:
    if kind != "PNG" and mode == "P":
        return
    picture = Image.new(mode, (5, 3), 7)
    out = io.BytesIO()
    picture.save(out, format=kind, xmp=b"GONE") if kind == "WEBP" else picture.save(out, kind)
    content, _ = without_metadata(out.getvalue())
    assert b"GONE" not in content
    with Image.open(io.BytesIO(content)) as shown:
        assert (shown.format, shown.size) == (kind, (5, 3))


@pytest.mark.parametrize("data", [b"", b"<svg/>", b"GIF89a", b"\x89PNG\r\n\x1a\nbroken", xml("b")])
def test_what_is_no_picture_does_not_leave(data: bytes) -> None:
    with pytest.raises(FormError, match="is no picture"):
        without_metadata(data)


def test_what_has_expired_goes_with_a_record(make) -> None:
    prepared = make()
    in_a_year, in_three, in_eleven = (NOW + timedelta(days=365 * n + 9) for n in (1, 3, 11))
    nothing = purge_round(prepared.declared, now=NOW, by="night")
    assert (nothing.counts.total(), nothing.record) == (0, None)
    before = prepared.texts()
    dry = purge_round(prepared.declared, now=in_eleven, by="night", dry_run=True)
    assert set(dry.counts) == {
        "submissions", "refused files", "photos and other files", "files of runs",
    }  # fmt: skip
    assert prepared.texts() == before
    first = purge_round(prepared.declared, now=in_a_year, by="night")
    assert dict(first.counts) == {"refused files": 3}
    assert not list(prepared.store.folder.glob("refused/*"))
    second = purge_round(prepared.declared, now=in_three, by="night")
    assert dict(second.counts) == {"photos and other files": 1}
    third = purge_round(prepared.declared, now=in_eleven, by="night")
    assert third.counts["submissions"] == 4
    assert third.folders == (prepared.declared.output_folder / "restricted",)
    assert prepared.traces() == []
    assert list(prepared.store.folder.glob("raw/*")) == []
    assert (prepared.declared.output_folder / "publish" / "run.json").exists()
    record = json.loads(third.record.read_text())
    assert record["counts"]["submissions"] == 4
    assert len(record["raw_sha256"]) >= 3
    assert "uuid" not in third.record.read_text()
    assert purge_round(prepared.declared, now=in_eleven, by="night").counts.total() == 0
    # A phone that comes back after years brings nothing back.
    assert prepared.store.import_file("f", xml("b"), received_at=in_eleven).n_withdrawn == 1
    _, left_out = accepted_submissions(prepared.store, "farmer_survey")
    assert left_out == {}


MAPPING = """
form_id = "farmer_survey"
identity = ["village_id"]
[columns]
village_id = "Village"
"""


def test_a_table_that_was_refused_before_it_was_taken_keeps_its_bytes(make) -> None:
    prepared = make()
    store, declared = prepared.store, prepared.declared
    told = [answers(name, withdrawal_code=f"OWN{name}") for name in ("p", "q")]
    lines = [";".join(told[0]).replace("village_id", "Village")]
    data = "\n".join([*lines, *(";".join(each.values()) for each in told)]).encode()
    assert not store.import_file("t.csv", data, received_at=THEN).accepted
    taken = store.import_file("t.csv", data, received_at=THEN, mapping=MAPPING)
    assert taken.n_new == 2
    purge = purge_round(declared, now=NOW + timedelta(days=374), by="night")
    assert purge.counts["refused files"] == 4
    assert store.raw(taken.sha256) == data
    assert taken.sha256 not in json.loads(purge.record.read_text())["raw_sha256"]
    assert not list(store.folder.glob("refused/*"))
    # Also what stands for it after a withdrawal.
    assert not store.import_file("t.csv", data, received_at=NOW).accepted
    assert withdraw(
        store, "OWNp", output_folder=declared.output_folder, now=NOW, by="office"
    ).n_new
    purge_round(declared, now=NOW + timedelta(days=374), by="night")
    assert b"OWNq" in store.raw(taken.sha256)
    assert b"OWNp" not in store.raw(taken.sha256)


def test_a_purge_that_is_killed_goes_on(make) -> None:
    later = NOW + timedelta(days=4000)
    for steps in (0, 1, 3, 6, 12, 20, 28):
        prepared = make()
        with killed_after(steps):
            purge_round(prepared.declared, now=later, by="night")
        purge_round(prepared.declared, now=later, by="night")
        assert prepared.traces() == [], steps
        assert list(prepared.store.folder.glob("submissions/*/*.json")) == []
        purges = prepared.store.folder / "purges"
        plans = list(purges.glob("*.json"))
        assert {path.stem for path in plans} == {path.stem for path in purges.glob("*.done")}
        counted = [json.loads(path.read_text())["counts"].get("submissions", 0) for path in plans]
        assert sum(counted) >= 4
        for name in ("gone", "b", "c", "d"):
            assert prepared.store.tombstones.stands_for(f"uuid:{name}")


def test_uploads_in_pieces_go_with_a_withdrawal(make) -> None:
    prepared = make()
    uploads = Uploads(prepared.store.folder)
    upload = uploads.begin(owner="user a", name="v.xml", n_bytes=10_000, now=NOW)
    with uploads.appending(upload, 0) as out:
        out.write(xml("gone"))
    assert uploads.offset(upload) > 0
    take_out(prepared)
    with pytest.raises(UploadError, match="begin again"):
        uploads.find(upload.upload_id, owner="user a")
    check_gone(prepared)
