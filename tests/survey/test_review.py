"""Review: what may follow what, nothing overwritten, the original kept, only accepted used."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from api.reviewing import answers_by_place
from survey.checks import Check, Places, answers
from survey.errors import ConflictError, FormError
from survey.forms import PublishedForms, SubmissionStore, xform_xml
from survey.forms.durable import instance_key
from survey.privacy import withdraw
from survey.review import (
    TRANSITIONS,
    Action,
    FormReviews,
    Review,
    ReviewLog,
    ReviewState,
    accepted_submissions,
    count_states,
    flagged_reviews,
)

NOW = datetime(2026, 2, 20, tzinfo=UTC)
HEADER = (
    "instanceID,segment_id,visit_date,observer_code,observed_percent,area_unit,poppy_area,"
    "cannabis_area\n"
)


def visit(number: int, *, segment: str = "", poppy: str = "1.3", day: str = "2026-02-03") -> str:
    return f"uuid:{number},{segment or f'S-{number}'},{day},T1,80,rai,{poppy},0\n"


def filled(folder: Path, *rows: str) -> SubmissionStore:
    store = SubmissionStore(folder)
    report = store.import_file("v.csv", (HEADER + "".join(rows)).encode(), received_at=NOW)
    assert report.accepted, report.problems
    return store


def reviews(store: SubmissionStore, places: Places | None = None) -> list[Review]:
    return flagged_reviews(store, "segment_visit", places=places, today=date(2026, 2, 20))


def act(store: SubmissionStore, review: Review, action: Action, **more: object) -> Review:
    options = {"by": "reviewer", "reason": "seen", "now": NOW, **more}
    return ReviewLog(store).decide(review, action, **options)


@pytest.mark.parametrize("seed", range(3))
def test_a_second_look_says_what_a_first_one_would(tmp_path: Path, seed: int) -> None:
    """Whatever came, was decided, corrected or withdrawn in between, and by whomever."""
    rng, today = np.random.default_rng(seed), date(2026, 2, 20)
    households = [
        f"uuid:{n},yes,1,en,2026-02-0{n % 3 + 1},D1,V{n % 2},probability,{n % 4 + 1},rai,"
        f"{100 if n == 7 else n % 5 + 1},C{n}\n"
        for n in range(40)
    ]
    header = (
        "instanceID,consent,consent_version,consent_language,visit_date,district_pcode,"
        "village_id,sample_type,household_size,area_unit,land_area,withdrawal_code\n"
    )
    store = SubmissionStore(tmp_path / "inbox")
    kept = FormReviews(store, "farmer_survey")

    def take(*rows: str) -> None:
        data = (header + "".join(rows)).encode()
        assert store.import_file("h.csv", data, received_at=NOW).accepted

    take(*households[:25])
    for step in range(30):
        shown = kept.look(places=None, today=today)
        assert shown == flagged_reviews(store, "farmer_survey", places=None, today=today)
        each = shown[int(rng.integers(len(shown)))]
        if step % 3 == 0 and step // 3 < 10:
            take(households[25 + step // 3])
            take(households[0].replace("rai,1,", f"rai,{step + 2},"))  # a conflict
        elif step == 20:
            withdraw(store, each.instance_id, output_folder=tmp_path, now=NOW, by="r")
        else:
            options = sorted(TRANSITIONS[each.state])
            action = Action(options[int(rng.integers(len(options)))])
            size = {"household_size": str(rng.integers(10, 30))}
            act(store, each, action, changes=size if action is Action.EDIT else None)
    flags = {flag.check for each in shown for flag in each.flags}
    assert {Check.CONFLICT, Check.NEAR_DUPLICATE, Check.OUTLIER} <= flags


def test_a_second_look_reads_and_checks_only_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path / "inbox", *(visit(number) for number in range(20)))
    kept, today = FormReviews(store, "segment_visit"), date(2026, 2, 20)
    one, *_ = kept.look(places=None, today=today)
    read: list[str] = []
    checked: list[str] = []
    stored_at, single = SubmissionStore.stored_at, answers._single

    def reading(self: SubmissionStore, form_id: str, key: str):
        read.append(key)
        return stored_at(self, form_id, key)

    def checking(submission, *rest):
        checked.append(submission.instance_id)
        return single(submission, *rest)

    monkeypatch.setattr(SubmissionStore, "stored_at", reading)
    monkeypatch.setattr(answers, "_single", checking)
    act(store, one, Action.REJECT)
    assert kept.look(places=None, today=today)[0].state is ReviewState.REJECTED
    assert (read, checked) == ([], [])
    act(store, kept.look(places=None, today=today)[1], Action.EDIT, changes={"poppy_area": "2"})
    filled(store.folder, visit(90))
    kept.look(places=None, today=today)
    assert read == [instance_key("uuid:90")]
    assert sorted(checked) == ["uuid:1", "uuid:90"]


def test_a_version_that_the_round_published_is_known(tmp_path: Path) -> None:
    store, today = SubmissionStore(tmp_path / "inbox"), date(2026, 2, 20)
    own = xform_xml("segment_visit")
    version = re.search(r'id="segment_visit" version="(\d+)"', own)
    assert version
    (row,) = visit(1).splitlines()
    for name, told in (("uuid:1", "hill-3"), ("uuid:2", "hill-4")):
        header = HEADER.replace("instanceID", "instanceID,form_version")
        data = f"{header}{row.replace('uuid:1', f'{name},{told}')}\n"
        assert store.import_file("v.csv", data.encode(), received_at=NOW).accepted
    kept = FormReviews(store, "segment_visit")

    def unknown() -> list[str]:
        return [
            flag.instance_id
            for each in kept.look(places=None, today=today)
            for flag in each.flags
            if flag.check is Check.VERSION
        ]

    assert unknown() == ["uuid:1", "uuid:2"]
    PublishedForms(store.folder).publish(own.replace(version[1], "hill-3"), now=NOW)
    assert unknown() == ["uuid:2"]


def test_a_damaged_file_is_told_until_it_is_mended(tmp_path: Path) -> None:
    store = filled(tmp_path / "inbox", visit(1))
    kept, today = FormReviews(store, "segment_visit"), date(2026, 2, 20)
    (one,) = kept.look(places=None, today=today)
    filled(store.folder, visit(2))
    act(store, one, Action.ACCEPT)
    (path,) = (store.folder / "review" / "segment_visit").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:40])
    for _ in range(2):
        with pytest.raises(FormError, match="is no decision"):
            kept.look(places=None, today=today)
    path.write_bytes(whole)
    states = [each.state for each in kept.look(places=None, today=today)]
    assert states == [ReviewState.ACCEPTED, ReviewState.RECEIVED]


class AnyOrderOfDecisions(RuleBasedStateMachine):
    """Two reviewers with looks of different age decide in any order."""

    @initialize()
    def start(self) -> None:
        import tempfile

        self.temporary = tempfile.TemporaryDirectory()
        self.store = filled(Path(self.temporary.name) / "inbox", visit(1), visit(2))
        self.original = self.store.submissions("segment_visit")
        self.written = 0
        self.poppy = "1.3"
        self.looks: list[Review] = []

    def teardown(self) -> None:
        self.temporary.cleanup()

    @rule()
    def look(self) -> None:
        self.looks.append(reviews(self.store)[0])

    @rule(action=st.sampled_from(Action), which=st.integers(0, 3), value=st.integers(0, 9))
    def decide(self, action: Action, which: int, value: int) -> None:
        if not self.looks:
            return
        seen = self.looks[which % len(self.looks)]
        changes = {"poppy_area": str(value)} if action is Action.EDIT else None
        before = seen.submission.answers["poppy_area"]
        now = reviews(self.store)[0]
        try:
            after = act(self.store, seen, action, changes=changes)
        except ConflictError:
            assert seen.seen < now.seen
        except FormError:
            assert action not in TRANSITIONS[seen.state] or before == str(value)
        else:
            assert seen.seen == now.seen
            assert after.state is TRANSITIONS[seen.state][action]
            self.written += 1
            if changes:
                self.poppy = str(value)

    @invariant()
    def nothing_is_lost(self) -> None:
        if not hasattr(self, "store"):
            return
        one, other = reviews(self.store)
        assert [decision.number for decision in one.decisions] == list(range(1, self.written + 1))
        assert one.submission.answers["poppy_area"] == self.poppy
        assert one.original == self.original[0]
        assert (other.state, other.decisions) == (ReviewState.RECEIVED, ())
        accepted, left_out = accepted_submissions(self.store, "segment_visit")
        assert len(accepted) == (one.state is ReviewState.ACCEPTED)
        assert sum(left_out.values()) + len(accepted) == 2


AnyOrderOfDecisions.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestAnyOrderOfDecisions = AnyOrderOfDecisions.TestCase


def test_of_many_who_decide_at_once_one_is_written(tmp_path: Path) -> None:
    store = filled(tmp_path / "inbox", visit(1))
    (seen,) = reviews(store)

    def decide(action: Action) -> bool:
        try:
            act(store, seen, action)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(decide, [Action.ACCEPT, Action.REJECT] * 8))
    assert sum(done) == 1
    (after,) = reviews(store)
    assert after.seen == 1
    assert after.state in (ReviewState.ACCEPTED, ReviewState.REJECTED)


def test_many_are_accepted_at_once_and_what_others_decided_stands(tmp_path: Path) -> None:
    store = filled(tmp_path / "inbox", *(visit(n) for n in range(5)))
    seen = reviews(store)
    act(store, seen[1], Action.REJECT)
    store.tombstones.lay(
        "uuid:2", form_id="segment_visit", reason="withdrawn", code="", was_used=False, now=NOW,
        by="r",
    )  # fmt: skip
    assert ReviewLog(store).accept_all(seen, by="reviewer", now=NOW) == 3
    states = {review.instance_id: review.state for review in reviews(store)}
    assert states["uuid:1"] is ReviewState.REJECTED
    assert states["uuid:2"] is ReviewState.RECEIVED
    assert list(states.values()).count(ReviewState.ACCEPTED) == 3
    flagged = filled(tmp_path / "other", visit(1), visit(2, day="2026-02-21"))
    with pytest.raises(FormError, match="needs a reason"):
        ReviewLog(flagged).accept_all(reviews(flagged), by="reviewer", now=NOW)
    assert count_states(reviews(flagged)).get(ReviewState.ACCEPTED) is None


def test_an_edit_is_a_new_version_that_is_checked_and_accepted_again(tmp_path: Path) -> None:
    store = filled(tmp_path / "inbox", visit(1))
    raw = {path: path.read_bytes() for path in (tmp_path / "inbox" / "raw").iterdir()}
    (review,) = reviews(store)
    for changes, words in (
        ({"poppy_area": "-1"}, "out of range"),
        ({"colour": "red"}, "not a question"),
        ({"poppy_area": "1.3"}, "changes nothing"),
        ({"capsule[1]/height_mm": "3"}, "not a question"),
        ({"segment_id": ""}, "is empty"),
    ):
        with pytest.raises(FormError, match=words):
            act(store, review, Action.EDIT, changes=changes)
    assert reviews(store)[0].decisions == ()
    edited = act(store, review, Action.EDIT, changes={"poppy_area": "2"}, reason="unit was wrong")
    assert accepted_submissions(store, "segment_visit")[0] == []
    act(store, edited, Action.ACCEPT)
    (used,), _ = accepted_submissions(store, "segment_visit")
    assert used.answers["poppy_area"] == "2"
    assert used.sha256 != review.original.sha256
    (stored,) = store.submissions("segment_visit")
    assert stored == review.original
    assert {path: path.read_bytes() for path in raw} == raw
    change = reviews(store)[0].decisions[0].changes[0]
    assert (change.place, change.before, change.after) == ("poppy_area", "1.3", "2")
    # The file sent again is known, not a conflict with the edit.
    again = store.import_file("v.csv", (HEADER + visit(1)).encode(), received_at=NOW)
    assert (again.n_known, again.n_conflict) == (1, 0)


def interview(**answers: str) -> bytes:
    told = {
        "consent": "yes",
        "consent_version": "2026-01",
        "consent_language": "my",
        "visit_date": "2026-02-03",
        "district_pcode": "D1",
        "village_id": "V01",
        "sample_type": "probability",
        "household_size": "5",
        "area_unit": "rai",
        **answers,
    }
    row = {"instanceID": "uuid:1", **told}
    return (",".join(row) + "\n" + ",".join(row.values()) + "\n").encode()


def test_an_entry_within_an_entry_is_corrected_where_it_stands(tmp_path: Path) -> None:
    store = SubmissionStore(tmp_path / "inbox")
    crops = {
        "plot[1]/plot_area": "1",
        "plot[1]/plot_crop[1]/crop_name": "maize",
        "plot[2]/plot_area": "2",
        "plot[2]/plot_crop[1]/crop_name": "tea",
        "plot[2]/plot_crop[2]/crop_name": "paddy_rice",
    }
    report = store.import_file("f.csv", interview(**crops), received_at=NOW)
    assert report.accepted, report.problems
    (review,) = ReviewLog(store).reviews("farmer_survey")
    assert crops.items() <= answers_by_place(review.submission).items()
    assert not {p for p in answers_by_place(review.submission) if p.endswith("_of")}
    for place in ("plot_crop[3]/crop_name", "plot[1]/plot_crop[2]/crop_name", "plot[1]/_of"):
        with pytest.raises(FormError, match=r"no entry|not a question"):
            act(store, review, Action.EDIT, changes={place: "beans"})

    act(store, review, Action.EDIT, changes={"plot[2]/plot_crop[2]/crop_name": "beans"})

    (after,) = ReviewLog(store).reviews("farmer_survey")
    expected = crops | {"plot[2]/plot_crop[2]/crop_name": "beans"}
    assert expected.items() <= answers_by_place(after.submission).items()
    assert crops.items() <= answers_by_place(after.original).items()


def test_consent_is_the_respondents(tmp_path: Path) -> None:
    store = SubmissionStore(tmp_path / "inbox")
    refusal = dict.fromkeys(("household_size", "area_unit"), "")
    data = interview(consent="no", **refusal)
    assert store.import_file("f.csv", data, received_at=NOW).accepted
    (review,) = ReviewLog(store).reviews("farmer_survey")
    for changes, words in (
        ({"consent": "yes"}, "cannot be edited"),
        ({"household_size": "4"}, "was not given"),
    ):
        with pytest.raises(FormError, match=words):
            act(store, review, Action.EDIT, changes=changes)


@pytest.mark.parametrize(("by", "reason"), [("", "why"), ("me", "")])
def test_a_decision_says_who_and_why(tmp_path: Path, by: str, reason: str) -> None:
    store = filled(tmp_path / "inbox", visit(1))
    (review,) = reviews(store)
    with pytest.raises(FormError, match="needs"):
        act(store, review, Action.REJECT, by=by, reason=reason)
    assert act(store, review, Action.ACCEPT, reason="").state is ReviewState.ACCEPTED


DISTRICTS = gpd.GeoDataFrame(
    {"district_pcode": ["D1"]}, geometry=[shapely.box(97, 20, 98, 21)], crs="EPSG:4326"
)
FRAME = gpd.GeoDataFrame(
    {
        "segment_id": ["S-1", "S-2", "S-3"],
        "district_pcode": ["D1"] * 3,
        "is_sampled": [True, True, False],
    },
    # Some 11.6 hectares each.
    geometry=[shapely.box(97 + x, 20, 97 + x + 0.0033, 20.003) for x in (0.1, 0.2, 0.3)],
    crs="EPSG:4326",
)


def test_flags_of_the_whole_round(tmp_path: Path) -> None:
    store = filled(
        tmp_path / "inbox",
        visit(1),
        visit(2, poppy="100"),
        visit(3),
        visit(4),
        visit(5, segment="S-1", poppy="1"),
        visit(6, segment="S-1", day="2026-02-21"),
    )
    store.import_file("w.csv", (HEADER + visit(1, poppy="7")).encode(), received_at=NOW)
    places = Places(DISTRICTS, FRAME, pd.DataFrame({"project_id": ["P"]}))
    found = {r.instance_id: [f.check for f in r.flags] for r in reviews(store, places)}
    assert found == {
        "uuid:1": [Check.CONFLICT],
        "uuid:2": [Check.SUM],
        "uuid:3": [Check.PLACE],
        "uuid:4": [Check.PLACE],
        "uuid:5": [Check.NEAR_DUPLICATE],
        "uuid:6": [Check.DATE],
    }
    assert count_states(reviews(store, places)) == {ReviewState.FLAGGED: 6}
    # Once one of two is rejected the other is a double no more.
    act(store, reviews(store, places)[0], Action.REJECT)
    assert not reviews(store, places)[4].flags
    told = json.dumps([str(f) for r in reviews(store, places) for f in r.flags])
    assert "97." not in told
    assert "100" not in told


def test_a_flagged_submission_is_accepted_with_a_reason_and_new_flags_show(tmp_path: Path) -> None:
    store = filled(tmp_path / "inbox", visit(1, day="2026-02-21"))
    (review,) = reviews(store)
    with pytest.raises(FormError, match="needs a reason"):
        act(store, review, Action.ACCEPT, reason="")
    accepted = act(store, review, Action.ACCEPT, reason="clock of the phone was a day ahead")
    assert accepted.new_checks == ()
    store.import_file("w.csv", (HEADER + visit(1, poppy="7")).encode(), received_at=NOW)
    (now,) = reviews(store)
    assert now.state is ReviewState.ACCEPTED
    assert now.new_checks == ("conflict",)
