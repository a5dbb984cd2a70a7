"""Pages of coordinators: list, one submission, progress; areas, audit trail, two at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from conftest_service import serving
from fastapi.testclient import TestClient
from playwright.sync_api import sync_playwright

from api.app import create_app
from api.auth import current_reader
from api.db.audit import audit_events
from api.db.store import LoadReport, connect
from api.disclosure import Reader, Role
from api.reviewing import ReviewDesk, RoundReviews, round_reviews
from api.settings import Settings
from survey.forms import SubmissionStore
from survey.forms.durable import instance_key
from survey.privacy import withdraw
from survey.review import Action, ReviewLog
from survey.rounds import read_round

pytestmark = [pytest.mark.postgis, pytest.mark.xdist_group("pipeline")]

CHROMIUM = Path("/usr/bin/chromium")
NAMES = "instanceID,consent,consent_version,consent_language,visit_date,district_pcode,village_id,"
NAMES += "sample_type,observer_code,household_size,area_unit,land_area,poppy_area,remarks\n"
ROWS = (
    "uuid:fine,yes,1,en,2026-02-03,MR0101,V91,probability,T1,5,rai,9,1,<b>bold</b>\n"
    "uuid:odd,yes,1,en,2026-02-03,MR0101,V92,probability,T1,4,rai,2,3,=1+1\n"
    "uuid:away,yes,1,en,2026-02-04,MR0201,V93,probability,T2,4,rai,2,1,\n"
    "uuid:lost,yes,1,en,2026-02-04,XX9999,V94,probability,T2,3,rai,2,1,\n"
)


class Desk:
    """A service on a round of its own, as one reader after another."""

    def __init__(self, client: TestClient, survey: Path) -> None:
        self.client, self.survey = client, survey
        self.store = SubmissionStore(read_round(survey).submissions_folder)

    def become(self, role: Role, *areas: str) -> None:
        reader = Reader(
            name=f"the.{role}", role=role, areas=frozenset(areas), session_id="s", in_person=True
        )
        self.client.app.dependency_overrides[current_reader] = lambda: reader

    def page(self, instance: str) -> str:
        return f"/review/submissions/{instance_key(instance)}"

    def decide(self, instance: str, action: str, *, seen: int, **form: str):
        data = {"action": action, "seen": str(seen), "reason": "asked the team", **form}
        return self.client.post(self.page(instance), data=data, follow_redirects=False)


@pytest.fixture
def desk(settings: Settings, loaded: LoadReport, fresh: Callable) -> Iterator[Desk]:
    survey = fresh().survey
    with TestClient(create_app(settings.model_copy(update={"survey": survey}))) as client:
        made = Desk(client, survey)
        data = (NAMES + ROWS).encode()
        assert made.store.import_file("f.csv", data, received_at=datetime.now(UTC)).accepted
        made.become(Role.ADMIN, "*")
        yield made


def test_a_reviewer_filters_looks_and_decides(desk: Desk, settings: Settings) -> None:
    listed = desk.client.get("/review?state=flagged&district=MR0101").text
    assert "1 submission<" in listed
    assert "poppy_area is more than land_area" in listed
    assert "V92" not in listed  # no answers in a list
    shown = desk.client.get(desk.page("uuid:fine"))
    assert "&lt;b&gt;bold&lt;/b&gt;" in shown.text
    assert "other answers" not in shown.text
    again = (NAMES + ROWS.splitlines()[0].replace(",9,1,", ",8,1,")).encode()
    assert desk.store.import_file("g.csv", again, received_at=datetime.now(UTC)).n_conflict == 1
    shown = desk.client.get(desk.page("uuid:fine"))
    assert "It came again with other answers" in shown.text
    assert re.search(r"land area</th><td>8</td>", shown.text)
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    assert shown.headers["cache-control"] == "private, no-store"
    assert desk.decide("uuid:odd", "accept", seen=0, reason="").status_code == 422
    refused = desk.decide("uuid:odd", "edit", seen=0, **{"answer:poppy_area": "-2"})
    assert refused.status_code == 422
    assert "poppy_area is out of range" in refused.text
    assert desk.decide("uuid:odd", "edit", seen=0, **{"answer:poppy_area": "0.3"}).is_redirect
    # Who looked before the edit is told, and nothing is overwritten.
    assert desk.decide("uuid:odd", "reject", seen=0).status_code == 409
    assert desk.decide("uuid:odd", "accept", seen=1, reason="").is_redirect
    after = desk.client.get(desk.page("uuid:odd")).text
    assert 'class="state accepted"' in after
    assert "<del>3</del>" in after
    assert desk.decide("uuid:odd", "accept", seen=2).status_code == 422
    assert desk.decide("uuid:odd", "reopen", seen=2).is_redirect
    engine = connect(settings)
    told = [(event.action, event.object) for event in audit_events(engine, limit=40)]
    engine.dispose()
    assert ("submissions_read", "uuid:fine") in told
    assert ("review_decision", "edit uuid:odd") in told
    assert not any("V92" in about for _, about in told)


def test_answers_of_another_area_stay_there_in_a_conflict_too(desk: Desk) -> None:
    """Two households under one identifier: the analyst of one district sees one of them."""
    again = NAMES + ROWS.splitlines()[0].replace("MR0101,V91", "MR0201,V77")
    inside = NAMES + ROWS.splitlines()[0].replace(",9,1,", ",8,1,")
    for text in (again, inside):
        report = desk.store.import_file("g.csv", text.encode(), received_at=datetime.now(UTC))
        assert report.n_conflict == 1
    assert "V77" in desk.client.get(desk.page("uuid:fine")).text
    desk.become(Role.ANALYST, "MR0101")
    shown = desk.client.get(desk.page("uuid:fine")).text
    assert "V77" not in shown
    assert "MR0201" not in shown
    assert "outside your areas: an administrator" in shown
    assert re.search(r"land area</th><td>8</td>", shown)


def test_the_progress_names_what_is_missing_and_leads_to_a_day(desk: Desk) -> None:
    row = "uuid:myanmar,yes,1,my,၂၀၂၆-၀၂-၀၃,MR0101,V95,probability,T1,4,rai,2,1,\n"
    assert desk.store.import_file(
        "m.csv", (NAMES + row).encode(), received_at=datetime.now(UTC)
    ).accepted
    page = desk.client.get("/review/progress").text
    assert "Drawn segments without a visit" in page
    assert "Belkora: MR0101-0005" in page
    assert "Pelun: " in page
    link = re.search(r'href="(/review\?day=2026-02-03)"', page)
    assert link
    listed = desk.client.get(link[1] + "&team=T1").text
    assert "uuid:fine" in listed
    assert "uuid:myanmar" in listed  # its day is written in Burmese digits
    assert "uuid:away" not in listed
    desk.become(Role.ANALYST, "MR0101")
    page = desk.client.get("/review/progress").text
    assert "Belkora: MR0101-0005" in page
    assert "Pelun" not in page
    assert "0005" not in desk.client.get("/review/progress.json").text


def test_an_adapted_form_is_listed_shown_and_not_accepted(desk: Desk) -> None:
    xml = (
        '<data id="hill_farm" version="1"><district_pcode>MR0101</district_pcode><house>'
        "<rooms>3</rooms></house><plot><crop>tea</crop></plot><plot><crop>maize</crop></plot><meta><instanceID>uuid:hill</instanceID></meta></data>"
    )
    assert desk.store.import_file("h.xml", xml.encode(), received_at=datetime.now(UTC)).accepted
    desk.become(Role.ANALYST, "MR0101")
    listed = desk.client.get("/review?form_id=hill_farm&flag=form").text
    assert "1 submission<" in listed
    page = desk.client.get(desk.page("uuid:hill")).text
    assert re.search(r"house/rooms</th><td>3</td>", page)
    assert re.search(r"plot\[1\]/crop</th><td>tea</td>", page)
    assert re.search(r"plot\[2\]/crop</th><td>maize</td>", page)
    assert 'value="accept"' not in page
    assert "Correct answers" not in page
    assert desk.decide("uuid:hill", "accept", seen=0).status_code == 422
    rows = desk.client.get("/review/progress.json").json()["forms"]
    assert {row["form_id"]: row["flagged"] for row in rows}["hill_farm"] == 1
    assert desk.decide("uuid:hill", "reject", seen=0).is_redirect
    desk.become(Role.ANALYST, "MR0201")
    assert desk.client.get(desk.page("uuid:hill")).status_code == 404


def test_what_no_check_speaks_about_is_accepted_together(desk: Desk) -> None:
    page = desk.client.get("/review?district=MR0101").text
    assert "Accept 1 without a flag" in page
    done = desk.client.post("/review/accept", data={"district": "MR0101"})
    assert "1 accepted." in done.text
    states = {
        row["district"]: row
        for row in desk.client.get("/review/progress.json").json()["districts"]
    }
    assert states["MR0101"]["flagged"] == 1
    assert states["MR0201"]["received"] == 1  # outside the filter


def test_the_desk_shows_what_is_in_the_store_whoever_wrote_it(fresh: Callable) -> None:
    declared = read_round(fresh().survey)
    desk, today = ReviewDesk(declared), date(2026, 7, 1)

    def states(reviewed: RoundReviews) -> dict[str, str]:
        return {each.instance_id: each.state for each in reviewed.reviews}

    one, other = desk.look(today=today).reviews[:2]
    log, told = ReviewLog(desk.store), {"by": "r", "reason": "again", "now": datetime.now(UTC)}
    kept = desk.look(today=today)
    log.decide(one, Action.REOPEN, **told)
    assert desk.look(today=today).places is kept.places
    assert states(desk.look(today=today))[one.instance_id] == "received"
    again = desk.look(today=today).reviews[0]
    log.decide(other, Action.REOPEN, **told)
    log.decide(again, Action.ACCEPT, **told)
    shown = states(desk.look(today=today))
    assert (shown[one.instance_id], shown[other.instance_id]) == ("accepted", "received")
    assert shown == states(round_reviews(declared, today=today))


def test_analysts_see_their_areas(desk: Desk) -> None:
    everything = desk.client.get("/review/progress.json").json()
    assert {"forms", "districts", "teams", "days", "sample"} == everything.keys()
    assert all(isinstance(row["missing"], int) for row in everything["sample"])
    assert desk.client.get(desk.page("uuid:lost")).status_code == 200
    desk.become(Role.ANALYST, "MR01")  # a province
    progress = desk.client.get("/review/progress.json").json()
    assert {row["district"][:4] for row in progress["districts"]} == {"MR01"}
    assert {row["district_pcode"][:4] for row in progress["sample"]} == {"MR01"}
    assert desk.client.get(desk.page("uuid:fine")).status_code == 200
    for instance in ("uuid:away", "uuid:lost", "uuid:none"):
        assert desk.client.get(desk.page(instance)).status_code == 404
        assert desk.decide(instance, "reject", seen=0).status_code == 404
    desk.client.post("/review/accept", data={})
    desk.become(Role.ADMIN, "*")
    assert 'class="state received"' in desk.client.get(desk.page("uuid:away")).text


def test_what_is_withdrawn_is_gone_from_the_page_at_once(desk: Desk) -> None:
    assert desk.client.get(desk.page("uuid:fine")).status_code == 200
    out = read_round(desk.survey).output_folder
    withdraw(desk.store, "uuid:fine", output_folder=out, now=datetime.now(UTC), by="t")
    assert desk.client.get(desk.page("uuid:fine")).status_code == 404
    assert desk.decide("uuid:fine", "accept", seen=0).status_code == 404


def test_without_a_round_there_is_nothing_to_review(settings: Settings, loaded) -> None:
    bare = settings.model_copy(update={"survey": None})
    with TestClient(create_app(bare)) as client:
        assert client.get("/review").status_code == 409


@pytest.mark.browser
def test_review_on_a_phone_and_by_keyboard(
    settings: Settings, loaded: LoadReport, fresh: Callable, tmp_path: Path
) -> None:
    survey = fresh().survey
    store = SubmissionStore(read_round(survey).submissions_folder)
    store.import_file("f.csv", (NAMES + ROWS).encode(), received_at=datetime.now(UTC))
    environment = {"ADSURVEY_STATE_DIR": str(settings.state_dir), "ADSURVEY_DURABLE": "false"}
    with (
        serving("--survey", survey, environment=environment) as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        foreign, errors = [], []
        page.on("request", lambda r: r.url.startswith((url, "data:")) or foreign.append(r.url))
        page.on("console", lambda m: m.type == "error" and errors.append(m.text))

        def narrow(name: str) -> None:
            page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390

        page.goto(f"{url}/review")
        page.get_by_label("State").select_option("flagged")
        page.get_by_role("button", name="Show").click()
        narrow("list")
        page.get_by_role("link", name=re.compile("uuid:odd")).focus()
        page.keyboard.press("Enter")
        page.get_by_text("Correct answers").focus()
        page.keyboard.press("Enter")
        narrow("edit")
        page.get_by_label("poppy area").fill("0.3")
        page.get_by_label("Reason (needed): no names").last.fill("a comma was lost")
        page.keyboard.press("Enter")
        page.wait_for_selector(".edited")
        page.get_by_role("button", name="Accept").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector(".state.accepted")
        narrow("detail")
        page.goto(f"{url}/review/progress")
        narrow("progress")
        page.goto(f"{url}/review?district=MR0201")
        page.get_by_label("I want them in the estimates").check()
        page.get_by_role("button", name="Accept 1 without a flag").click()
        page.wait_for_selector(".done")
        assert foreign == []
        assert errors == []
        browser.close()
