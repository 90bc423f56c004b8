"""The report on screens: desktop, phone, dark. Screenshots are kept in ``build/screenshots``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import CHROMIUM
from clipada import predict, report_run

pytest.importorskip("playwright.sync_api", reason="no browser driver: pip install playwright")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]

KEPT = Path(__file__).parents[2] / "build" / "screenshots"

OUTSIDE = """() => {
    const wide = document.documentElement.clientWidth;
    return [...document.body.querySelectorAll("*")]
        .filter((one) => !one.closest("svg, thead") && one.getBoundingClientRect().right > wide + 1)
        .map((one) => one.outerHTML.slice(0, 80));
}"""

OVERLAPS = """() => {
    const boxes = [...document.querySelectorAll("h4 > *, .figure > *, .contents a, td, tbody th")]
        .filter((one) => one.checkVisibility({contentVisibilityAuto: true}))
        .flatMap((one) => [...one.getClientRects()].map((box) => [one, box]));
    return boxes.flatMap(([one, a], index) => boxes.slice(index + 1, index + 40)
        .filter(([other, b]) => !one.contains(other) && !other.contains(one)
            && Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
            && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3)
        .map(([other]) => `${one.innerText} | ${other.innerText}`));
}"""


@pytest.fixture(scope="module")
def pages(calibrated: Path, parts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of an evaluation and of a prediction, with long names in them."""
    folder = tmp_path_factory.mktemp("pages")
    list(predict(calibrated, parts / "disc" / "test", folder / "predicted", device="cpu"))
    written = {
        "evaluation": report_run(calibrated, out=folder / "evaluation.html", device="cpu").path,
        "prediction": report_run(calibrated, folder / "predicted", folder / "prediction.html", device="cpu").path,
    }
    for page in written.values():
        page.write_text(page.read_text().replace("test/scratch", "x" * 300).replace("scratch/", f"{'y' * 300}/"))
    return written


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("report", ["evaluation", "prediction"])
@pytest.mark.parametrize(("screen", "width", "scheme"), [("desktop", 1280, "light"), ("phone", 390, "dark")])
def test_nothing_sticks_out_or_overlaps(
    chromium: Any, pages: dict[str, Path], report: str, screen: str, width: int, scheme: str
) -> None:
    requests: list[str] = []
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.on("request", lambda request: requests.append(request.url))
    page.goto(pages[report].as_uri())
    KEPT.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=KEPT / f"report-{report}-{screen}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate(OVERLAPS) == []
    assert page.evaluate("[...document.images].filter((image) => !image.naturalWidth).length") == 0
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    page.close()


def test_a_click_on_a_picture_opens_the_case_large_and_close_returns(chromium: Any, pages: dict[str, Path]) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.goto(pages["evaluation"].as_uri())
    picture = page.locator("#case-2 img").first
    small = picture.bounding_box()["width"]
    picture.click()
    large = picture.bounding_box()
    assert large["width"] > 2 * small
    assert 0 <= large["y"] < 900
    page.screenshot(path=KEPT / "report-large-view.png")
    page.click("#case-2 >> text=next")
    assert page.locator("#case-3 img").first.bounding_box()["width"] > 2 * small
    page.click("#case-3 >> text=close")
    assert page.locator("#case-3 img").first.bounding_box()["width"] == small
    assert 0 <= page.locator("#case-3").bounding_box()["y"] < 900
    page.close()


def test_bars_are_visible(chromium: Any, pages: dict[str, Path]) -> None:
    """Each is at least 5 pixels high and 4 wide, also on a phone."""
    page = chromium.new_page(viewport={"width": 390, "height": 900})
    page.goto(pages["evaluation"].as_uri())
    sides = "(bar) => [bar.width.baseVal.value, bar.height.baseVal.value]"
    boxes = page.evaluate(f"[...document.querySelectorAll('.histogram rect')].map({sides})")
    assert boxes
    assert all(width >= 4 and height >= 5 for width, height in boxes)
    page.close()
