"""The pages in a real browser: nothing from elsewhere, usable by mouse, keyboard and phone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.postgis,
    pytest.mark.xdist_group("pipeline"),
]
ARGUMENTS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield made
        made.close()


class Watch:
    """Notes foreign requests and errors of a page."""

    def __init__(self, page: Page, own: str) -> None:
        self.foreign: list[str] = []
        self.errors: list[str] = []
        local = (own, "data:", "blob:", "file:")
        page.on(
            "request",
            lambda r: None if r.url.startswith(local) else self.foreign.append(r.url),
        )
        page.on("response", lambda r: self.errors.append(r.url) if r.status >= 400 else None)
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))


def open_map(browser: Browser, address: str, *, width: int, height: int) -> tuple[Page, Watch]:
    page = browser.new_page(viewport={"width": width, "height": height})
    watch = Watch(page, address)
    page.goto(address)
    page.wait_for_selector("body[data-ready=true]", timeout=60_000)
    return page, watch


def test_a_click_on_a_district_shows_its_figure(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    page, watch = open_map(browser, address, width=1280, height=800)
    box = page.locator("#map canvas").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    page.wait_for_selector("#detail h3")
    detail = page.inner_text("#detail")
    for word in ("Reliability", "Segments visited", "Method", "Reference date"):
        assert word in detail
    assert "hectares" in page.inner_text("#legend")
    assert page.locator("#districts tbody tr").count() == 8
    assert page.locator("#totals tbody tr").count() == 3
    page.click("#totals tbody tr:first-child button")
    assert "country" in page.inner_text("#detail")
    page.screenshot(path=tmp_path / "map.png")
    page.click("text=cannabis")
    assert "cannabis" in page.inner_text("#legend")
    page.click("#class-map-choice")
    page.wait_for_load_state("networkidle")
    assert "pixels, not an estimate" in page.inner_text("#legend")
    assert watch.foreign == []
    assert watch.errors == []
    page.close()


def test_table_and_projects_work_by_keyboard_on_a_phone(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    page, watch = open_map(browser, address, width=390, height=844)
    page.focus("#districts tbody tr:first-child button")
    page.keyboard.press("Enter")
    name = page.inner_text("#districts tbody tr:first-child button")
    assert name in page.inner_text("#detail")
    page.focus("#projects button")
    page.keyboard.press("Enter")
    assert "Baseline" in page.inner_text("#detail")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=tmp_path / "phone.png", full_page=True)
    assert watch.foreign == []
    assert watch.errors == []
    page.close()


def test_an_office_uploads_by_keyboard(browser: Browser, address: str, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    watch = Watch(page, address)
    page.goto(f"{address}/upload")
    bad = tmp_path / "bad <b>.csv"
    bad.write_text(
        "instanceID,segment_id,visit_date,observer_code,observed_percent,area_unit,poppy_area,"
        "cannabis_area\nuuid:page-1,S-1,2026-02-03,T1,95%,rai,<script>,0\n"
    )
    page.set_input_files("#files", [bad])
    page.focus("#upload button")
    page.keyboard.press("Enter")
    page.wait_for_selector("#reports article")
    report = page.inner_text("#reports")
    assert "refused" in report
    assert "without the % sign" in report
    assert "<script>" in report
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=tmp_path / "upload.png", full_page=True)
    assert watch.foreign == []
    # The refusal itself (422) is an answer of the upload, and the browser logs it.
    expected = ("422", "/forms/uploads/")
    assert [text for text in watch.errors if not any(part in text for part in expected)] == []
    page.close()


def test_no_html_route_asks_another_host(browser: Browser, address: str, finished) -> None:
    _, result = finished
    mailed = (result.folder / "publish" / "map.html").as_uri()
    for url in (f"{address}/docs", f"{address}/upload", mailed):
        page = browser.new_page()
        watch = Watch(page, address)
        page.goto(url)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(1000)
        assert watch.foreign == []
        assert watch.errors == []
        assert len(page.inner_text("body")) > 100
        page.close()


@pytest.mark.parametrize("size", [(1280, 800), (390, 780), (360, 640)])
def test_nothing_covers_the_words_of_the_mailed_map(
    browser: Browser, finished, size: tuple[int, int]
) -> None:
    _, result = finished
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.goto((result.folder / "publish" / "map.html").as_uri())
    page.wait_for_selector(".leaflet-interactive")
    boxes = []
    for name in ("#heading", "#legend", ".leaflet-control-layers", ".leaflet-control-scale"):
        box = page.locator(name).bounding_box()
        assert box is not None
        boxes.append((box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]))
    for (left, top, right, bottom), (west, north, east, south) in combinations(boxes, 2):
        assert right <= west or east <= left or bottom <= north or south <= top
    assert "grey is not zero" in page.inner_text("#heading")
    page.close()
