"""The field page on a phone with a bad line, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest_service import serving
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.postgis,
    pytest.mark.xdist_group("pipeline"),
]
#: 50 kbit/s and 400 ms, as on a hill.
SLOW = {
    "offline": False,
    "latency": 400,
    "downloadThroughput": 50_000 / 8,
    "uploadThroughput": 50_000 / 8,
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def field_address(
    settings, loaded, finished, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    survey = tmp_path_factory.mktemp("field") / "survey.toml"
    survey.write_bytes(finished[0].survey.read_bytes())
    environment = {
        "ADSURVEY_STATE_DIR": str(settings.state_dir),
        "ADSURVEY_DURABLE": "false",
        "ADSURVEY_COLLECT_URL": "https://phones.example.org",
    }
    with serving("--survey", survey, environment=environment) as url:
        yield url


def visits(n: int, *, poppy: str = "1.3") -> bytes:
    head = "instanceID,segment_id,visit_date,observer_code,observed_percent,area_unit,"
    rows = "".join(
        f"uuid:page-{poppy}-{number},S-{number},2026-02-03,T1,80,rai,{poppy},0\n"
        for number in range(n)
    )
    return f"{head}poppy_area,cannabis_area\n{rows}".encode()


def test_a_field_team_works_over_a_bad_line(
    browser: Browser, field_address: str, tmp_path: Path
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    line = page.context.new_cdp_session(page)
    line.send("Network.enable")
    line.send("Network.emulateNetworkConditions", SLOW)
    loaded: list[int] = []
    line.on("Network.loadingFinished", lambda event: loaded.append(event["encodedDataLength"]))
    foreign: list[str] = []
    page.on(
        "request",
        lambda r: None if r.url.startswith((field_address, "data:")) else foreign.append(r.url),
    )
    page.goto(f"{field_address}/upload")
    page.wait_for_selector("#standing p")
    assert "Nothing arrived from you yet" in page.inner_text("#standing")
    assert 0 < sum(loaded) < 100_000, sum(loaded)
    print(f"page and assets: {sum(loaded)} bytes")

    good = tmp_path / "visits.csv"
    good.write_bytes(visits(400))
    page.set_input_files("#files", [good])
    # The line is cut while the file is on its way, and comes back.
    with page.expect_request(lambda request: request.method == "PATCH"):
        page.click("#upload button")
    line.send("Network.emulateNetworkConditions", {**SLOW, "offline": True})
    page.wait_for_selector("text=The line dropped")
    line.send("Network.emulateNetworkConditions", SLOW)
    page.wait_for_selector("#reports article", timeout=90_000)
    assert "400 new, 0 known already" in page.inner_text("#reports")
    page.wait_for_selector("#standing table")
    assert "segment visit" in page.inner_text("#standing")

    bad = tmp_path / "bad <b>.csv"
    bad.write_bytes(visits(1, poppy="<i>lots</i>"))
    page.set_input_files("#files", [bad])
    page.click("#upload button")
    page.wait_for_selector("#reports .refused")
    with page.expect_download() as download:
        page.click("text=Sheet to correct and send back")
    assert download.value.suggested_filename == "to-correct.xlsx"
    page.wait_for_selector("text=Refused files")
    assert page.locator("i, #reports b").count() == 0

    page.click("#add-phone")
    page.wait_for_selector("#qr[src^='data:image/png']")
    assert page.get_attribute("#save", "href") == page.get_attribute("#qr", "src")
    page.wait_for_selector("#phones li")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=tmp_path / "field.png", full_page=True)
    page.click("#phones button")
    page.wait_for_selector("#phones li", state="detached")
    assert foreign == []
    page.close()
