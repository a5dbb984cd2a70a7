"""Forms that a team made itself: kept, shown, written out, and taken over by a mapping."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from bare_round import SURVEY

from survey.checks import Check
from survey.errors import ConfigError, FormError
from survey.forms import SubmissionStore, answers_table, take_over
from survey.forms.training import make_training_store
from survey.privacy import purge_round, withdraw
from survey.review import Action, ReviewLog, flagged_reviews
from survey.rounds import read_round

NOW = datetime(2026, 2, 4, tzinfo=UTC)
MAPPING = """
form_id = "segment_visit"
[columns]
segment_id = "place/plot_no"
poppy_area = "area_seen"
[constants]
area_unit = "rai"
cannabis_area = "0"
[values.observed_percent]
"half" = "50"
"""


def visit(name: str = "a", seen: str = "half", extra: str = "", version: str = "7") -> bytes:
    return (
        f'<data id="hill_visit" version="{version}"><place><plot_no>S-1</plot_no></place>'
        "<visit_date>2026-02-03</visit_date><observer_code>T1</observer_code>"
        f"<observed_percent>{seen}</observed_percent><area_seen>1.3</area_seen>"
        f"<slope>=steep</slope>{extra}"
        "<meta><instanceID>uuid:" + name + "</instanceID><instanceName>Mr X</instanceName></meta>"
        "</data>"
    ).encode()


@pytest.fixture
def store(tmp_path: Path) -> SubmissionStore:
    return SubmissionStore(tmp_path / "inbox")


def take(store: SubmissionStore, data: bytes) -> None:
    report = store.import_file("f.xml", data, received_at=NOW, sender="phone 1")
    assert report.accepted
    assert not any(problem.is_refused for problem in report.problems)


def test_a_form_of_a_team_is_kept_and_flagged_and_in_no_table(store: SubmissionStore) -> None:
    take(store, visit())
    assert store.form_ids()[-1] == "hill_visit"
    (review,) = flagged_reviews(store, "hill_visit", places=None, today=date(2026, 3, 1))
    assert [flag.check for flag in review.flags] == [Check.FORM]
    assert review.submission.answers["place/plot_no"] == "S-1"
    assert review.submission.answers["visit_date"] == "2026-02-03"
    assert "Mr X" not in str(review.submission.answers)
    assert len(review.submission.answers) == 6
    log = ReviewLog(store)
    for useless in (Action.ACCEPT, Action.EDIT):
        with pytest.raises(FormError, match=r"hill_visit; .* not possible, reject is"):
            log.decide(review, useless, by="r", reason="fine", now=NOW)
    assert store.submissions("segment_visit") == []


def test_a_mapping_takes_it_over_once_with_sender_and_arrival(store: SubmissionStore) -> None:
    take(store, visit())
    take(store, visit("b", seen="nearly all"))
    trial = take_over(store, "hill_visit", MAPPING, is_trial=True)
    assert (trial.n_taken, store.submissions("segment_visit")) == (1, [])
    done = take_over(store, "hill_visit", MAPPING)
    refused = [str(problem) for problem in done.problems]
    assert refused == [
        "uuid:b: observed_percent 'nearly all' is not a number; write digits only, like 12.5"
    ]
    (stored,) = store.stored("segment_visit")
    assert (stored.received_at, stored.sender) == (NOW.isoformat(), "phone 1")
    assert stored.submission.instance_id == "uuid:a"
    assert stored.submission.answers["poppy_area"] == "1.3"
    assert stored.submission.answers["observed_percent"] == "50"
    assert store.raw(stored.raw_sha256) == visit()
    waiting = flagged_reviews(store, "hill_visit", places=None, today=date(2026, 3, 1))
    assert [each.instance_id for each in waiting] == ["uuid:b"]
    wider = MAPPING + '"nearly all" = "95"\n'
    again = take_over(store, "hill_visit", wider)
    assert (again.n_taken, again.problems) == (1, ())
    assert len(store.submissions("segment_visit")) == 2
    assert take_over(store, "hill_visit", wider).n_taken == 0
    assert store.kept_for_review() == (0, 0)


def test_what_was_rejected_is_left_out(store: SubmissionStore) -> None:
    take(store, visit())
    done = take_over(store, "hill_visit", MAPPING, without={"uuid:a"})
    assert (done.n_taken, done.n_left_out) == (0, 1)
    for form_id, told in (("segment_visit", "needs no mapping"), ("x", "other forms: hill_visit")):
        with pytest.raises(FormError, match=told):
            take_over(store, form_id, MAPPING)
    with pytest.raises(ConfigError, match="choose form_id"):
        take_over(store, "hill_visit", 'form_id = "hill_visit"')


def test_a_mapping_with_a_name_that_no_submission_has_takes_nothing(
    store: SubmissionStore,
) -> None:
    take(store, visit(extra="<remark_2/>"))
    wrong = MAPPING.replace('"area_seen"', '"area_sen"')
    with pytest.raises(ConfigError, match="has area_sen, which the mapping names; they have area"):
        take_over(store, "hill_visit", wrong)
    assert store.submissions("segment_visit") == []
    # A question that nobody answered is there all the same.
    unanswered = MAPPING.replace("[constants]", 'remarks = "remark_2"\n[constants]')
    assert take_over(store, "hill_visit", unanswered).n_taken == 1


def test_repeats_are_taken_over_with_their_nesting(store: SubmissionStore) -> None:
    plots = (
        "<field><size>2</size><grown><what>maize</what></grown><grown><what>tea</what></grown>"
        "</field><field><size>1</size><grown><what>maize</what></grown></field>"
    )
    answers = {
        "consent": "yes", "consent_version": "1", "consent_language": "en",
        "visit_date": "2026-02-03", "district_pcode": "D1", "village_id": "V1",
        "sample_type": "probability", "observer_code": "T1", "household_size": "4",
        "area_unit": "rai",
    }  # fmt: skip
    inside = "".join(f"<{name}>{answer}</{name}>" for name, answer in answers.items())
    xml = f'<data id="hill_farm" version="1">{inside}{plots}<meta><instanceID>uuid:f</instanceID>'
    take(store, (xml + "</meta></data>").encode())
    mapping = (
        'form_id = "farmer_survey"\n[columns]\nplot_area = "size"\ncrop_name = "what"\n'
        '[repeats]\nplot = "field"\nplot_crop = "grown"\n'
    )
    assert take_over(store, "hill_farm", mapping).problems == ()
    (submission,) = store.submissions("farmer_survey")
    assert [entry["plot_area"] for entry in submission.repeats["plot"]] == ["2", "1"]
    crops = [(entry["_of"], entry["crop_name"]) for entry in submission.repeats["plot_crop"]]
    assert crops == [("1", "maize"), ("1", "tea"), ("2", "maize")]
    (row,) = csv.DictReader(io.StringIO(answers_table(store, "hill_farm", states={})))
    assert row["field[1]/grown[2]/what"] == "tea"
    assert row["field[2]/grown[1]/what"] == "maize"


def test_the_table_holds_everything_that_was_asked(store: SubmissionStore) -> None:
    take(store, visit())
    take(store, visit("b", extra="<slope_m>-4.5</slope_m>"))
    ours = visit("c", seen="80").replace(b"hill_visit", b"segment_visit")
    ours = ours.replace(b"plot_no", b"segment_id").replace(b"area_seen", b"poppy_area")
    take(store, ours.replace(b"<slope>", b"<area_unit>rai</area_unit>"
                             b"<cannabis_area>0</cannabis_area><slope>"))  # fmt: skip
    one, two = csv.DictReader(io.StringIO(answers_table(store, "hill_visit", states={})))
    assert (one["instanceID"], one["slope"], one["slope_m"]) == ("uuid:a", "'=steep", "")
    assert two["slope_m"] == "-4.5"
    (own,) = csv.DictReader(
        io.StringIO(answers_table(store, "segment_visit", states={"uuid:c": "received"}))
    )
    assert (own["slope"], own["segment_id"]) == ("'=steep", "S-1")  # beyond our questions
    assert own["review_state"] == "received"
    with pytest.raises(FormError, match="nothing of form 'none' is stored"):
        answers_table(store, "none", states={})


def test_a_withdrawal_takes_both_and_marks_the_figures(
    store: SubmissionStore, tmp_path: Path
) -> None:
    take(store, visit(extra="<card><withdrawal_code>XK42-QP7T</withdrawal_code></card>"))
    assert take_over(store, "hill_visit", MAPPING).n_taken == 1
    (review,) = flagged_reviews(store, "segment_visit", places=None, today=date(2026, 3, 1))
    ReviewLog(store).decide(review, Action.ACCEPT, by="r", reason="seen", now=NOW)
    done = withdraw(store, "xk42qp7t", output_folder=tmp_path / "out", now=NOW, by="r")
    assert done.n_new == 1
    assert store.tombstones.all()[0].was_used
    left = [path for path in store.folder.rglob("*") if path.is_file()]
    assert not any(b"S-1" in path.read_bytes() for path in left)
    assert store.submissions("hill_visit") == store.submissions("segment_visit") == []
    assert store.import_file("f.xml", visit(), received_at=NOW).n_withdrawn == 1


def test_training_and_survey_stay_apart(tmp_path: Path, store: SubmissionStore) -> None:
    training = SubmissionStore(tmp_path / "training")
    make_training_store(training.folder)
    report = store.import_file("f.xml", visit(version="7-training"), received_at=NOW)
    assert not report.accepted
    assert not training.import_file("f.xml", visit(), received_at=NOW).accepted
    take(training, visit(version="7-training"))
    assert take_over(training, "hill_visit", MAPPING).n_taken == 1
    (submission,) = training.submissions("segment_visit")
    assert submission.form_version.endswith("-training")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'<data id="x"><meta/></data>', "empty or too long"),
        (b'<data id="x">' + b"<g>" * 60 + b"1" + b"</g>" * 60 + b"</data>", "nested more than"),
        (b'<data id="segment_visit">' + b"<g>" * 3000 + b"</g>" * 3000 + b"</data>", "nested"),
        (b'<data id="x">' + b"<g>1</g>" * 20_001 + b"</data>", "more than 20000 answers"),
    ],
)
def test_what_no_form_makes_is_refused(store: SubmissionStore, data: bytes, told: str) -> None:
    report = store.import_file("f.xml", data, received_at=NOW)
    assert not report.accepted
    assert any(told in str(problem) for problem in report.problems)


def test_what_was_taken_over_expires_once(tmp_path: Path) -> None:
    (tmp_path / "survey.toml").write_text(SURVEY)
    declared = read_round(tmp_path / "survey.toml")
    store = SubmissionStore(declared.submissions_folder)
    take(store, visit())
    assert take_over(store, "hill_visit", MAPPING).n_taken == 1
    purge = purge_round(declared, now=datetime(2046, 1, 1, tzinfo=UTC), by="night")
    assert purge.counts == {"submissions": 1}
    assert store.submissions("hill_visit") == store.submissions("segment_visit") == []
