"""The page in a browser, as people use it: drop, look, move the threshold, judge; dark, and on a phone."""

import json
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import PIL.Image
import pytest

from browser import CHROMIUM, appearance, inspected, opened
from clipada.config import HistoryConfig
from clipada.history.store import History
from clipada.images.roi import RegionOfInterest
from processes import serving
from tiny import save

pytest.importorskip("playwright.sync_api", reason="no browser driver: pip install playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")


def mixed_parts(folder: Path) -> list[Path]:
    """Three parts of different sizes, formats and pictures, and an unreadable file, not in the order of their names."""
    rng = np.random.default_rng(3)
    for name, height, width, top in (("a.png", 64, 32, 250), ("b.tif", 30, 90, 90), ("c.jpg", 48, 48, 30)):
        pixels = rng.integers(0, top, (height, width, 3), dtype=np.uint8)
        pixels[height // 2 :, : width // 2] = 255 - top
        PIL.Image.fromarray(pixels).save(folder / name)
    (folder / "b-bad.png").write_bytes(b"no image")
    return [folder / name for name in ("a.png", "b-bad.png", "b.tif", "c.jpg")]


def percent(rate: float) -> str:
    """A bound on the false-alarm rate as the page shows it."""
    return f"at most {float(f'{100 * rate:.2g}'):g} %"


def test_an_image_gets_a_verdict_heat_and_a_place_in_the_history(page: Any, parts: list[Path]) -> None:
    inspected(page, parts[8])
    assert page.inner_text("#verdict") in ("good: 8.png", "defective: 8.png")
    assert "look at least as anomalous" in page.inner_text("#words")
    drawn = "() => [heat.width, heat.height, image.naturalWidth, image.naturalHeight]"
    assert page.evaluate(drawn) == [48, 40, 48, 40]
    alpha = "() => Math.max(...heat.getContext('2d').getImageData(0, 0, 48, 40).data.filter((_, at) => at % 4 == 3))"
    assert page.evaluate(alpha) > 0
    page.fill("#opacity", "0")
    seen = "(layer) => getComputedStyle(document.getElementById(layer)).opacity"
    assert (page.evaluate(seen, "heat"), page.evaluate(seen, "contours")) == ("0", "1")
    page.wait_for_selector("#history button >> text=8.png")


def test_a_region_of_interest_is_drawn_and_saved_for_a_training(page: Any, parts: list[Path], tmp_path: Path) -> None:
    inspected(page, parts[8])
    page.click("#roi summary")
    layer = page.locator("#roi-layer")
    layer.scroll_into_view_if_needed()
    box = layer.bounding_box()
    assert box is not None

    def at(x: float, y: float) -> tuple[float, float]:
        """A place in pixels of the image, which has 48 x 40, on the screen."""
        return box["x"] + x * box["width"] / 48, box["y"] + y * box["height"] / 40

    assert page.is_disabled("#roi-form [name=save]")
    page.mouse.move(*at(4, 5))
    page.mouse.down()
    page.mouse.move(*at(20, 30))
    page.mouse.up()
    page.check("#roi-form [value=polygon]")
    for corner in ((30, 5), (44, 5), (44, 20), (30, 5)):
        page.mouse.click(*at(*corner))
    page.mouse.click(*at(10, 38))
    page.click("#roi-form [name=undo]")  # the corner that was begun
    with page.expect_download() as waiting:
        page.click("#roi-form [name=save]")
    saved = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(saved)
    assert saved.suffix == ".json"
    region = RegionOfInterest.from_dict(json.loads(saved.read_text()))
    assert region.size == (48, 40)
    rectangle, polygon = region.polygons
    np.testing.assert_allclose(rectangle, [(4, 5), (20, 5), (20, 30), (4, 30)], atol=0.2)
    np.testing.assert_allclose(polygon, [(30, 5), (44, 5), (44, 20)], atol=0.2)
    assert f"clipada train DATA --roi {saved.name}" in page.inner_text("#roi-form output")
    page.click("#roi-form [name=undo]")
    page.click("#roi-form [name=undo]")
    assert page.is_disabled("#roi-form [name=save]")


def test_contours_are_where_the_map_is_above_the_threshold(page: Any, tmp_path: Path) -> None:
    """On values that differ in the last of 16 bits; and a large map keeps what is a single pixel of it."""
    values = np.full((1100, 1300), 32768, np.uint16)
    values[:40, :50] = 32769
    values[900, 1200] = 32769
    channels = np.stack([values >> 8, values & 255, 0 * values], axis=-1).astype(np.uint8)
    save(tmp_path / "map.png", channels)
    drawn = page.evaluate(
        """async (bytes) => {
            const { drawMap, readMap } = await import("./picture.js");
            const map = await readMap(new Blob([new Uint8Array(bytes)], { type: "image/png" }));
            const [heat, contours] = [new OffscreenCanvas(1, 1), new OffscreenCanvas(1, 1)];
            drawMap(heat, contours, map, 32768.5 / 65535);
            const { data } = contours.getContext("2d").getImageData(0, 0, map.width, map.height);
            const marked = [];
            for (let at = 0; at < data.length / 4; at++)
              if (data[4 * at + 3]) marked.push([at % map.width, Math.floor(at / map.width)]);
            return { width: map.width, height: map.height, marked };
        }""",
        list((tmp_path / "map.png").read_bytes()),
    )
    assert (drawn["width"], drawn["height"]) == (650, 550)  # two pixels a point
    marked = {tuple(point) for point in drawn["marked"]}
    assert (600, 450) in marked
    box = {(x, y) for x in range(25) for y in range(20)}
    assert marked - box == {(600, 450)}
    assert {(24, 10), (10, 19), (0, 0)} <= marked
    assert (12, 10) not in marked


def test_charts_show_the_rate_and_the_drift(page: Any, parts: list[Path]) -> None:
    inspected(page, *parts[:3])
    page.wait_for_function("() => document.querySelector('#rates rect') && document.querySelector('#bands svg')")
    assert "parts defective in the last two days" in page.inner_text("#rate")
    assert "guaranteed for good parts, 40 %" in page.inner_text("#rate")
    page.select_option("#by", "minute")
    page.wait_for_function("() => rate.innerText.includes('in the last hour')")
    assert "no sign of drift" in page.inner_text("#drift")


def test_a_dropped_file_is_inspected(page: Any, parts: list[Path]) -> None:
    transfer = page.evaluate_handle(
        """async (bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
            return transfer;
        }""",
        list(parts[0].read_bytes()),
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    page.wait_for_selector("#verdict:has-text('dropped.png')")


def test_the_slider_shows_the_rate_that_a_threshold_implies(page: Any, served: tuple[str, str]) -> None:
    calibration = httpx2.get(f"{served[0]}/v1/models/line3").json()["calibration"]
    own, curve = calibration["pooled"]["thresholds"]["rate_bound"], calibration["pooled"]["curve"]
    assert percent(own) in page.inner_text("#implied")
    page.fill("#threshold", "1000")
    strictest = min(point["rate_bound"] for point in curve)
    assert percent(strictest) in page.inner_text("#implied")
    page.fill("#threshold", "0")
    assert "any good part may be called defective" in page.inner_text("#implied")
    page.click("#reset")
    assert percent(own) in page.inner_text("#implied")


def test_an_operators_feedback_is_in_the_database(page: Any, served: tuple[str, str], parts: list[Path]) -> None:
    inspected(page, parts[3])
    page.fill("#reason", "only dust")
    page.focus("#feedback button[value=false]")
    page.keyboard.press("Enter")
    page.wait_for_selector("#said:has-text('rejected')")
    with History(HistoryConfig(database=served[1])) as history:
        newest = next(iter(history.entries(limit=1)))
    assert (newest.path, newest.confirmed, newest.reason) == ("3.png", False, "only dust")
    for name, other in (("word", "confirmed"), ("until", "2020-01-01T00:00")):
        for value, listed in ((other, False), ("", True)):
            page.eval_on_selector(f"#{name}", "(one, to) => one.value = to", value)
            page.dispatch_event(f"#{name}", "change")
            seen = "(listed) => document.querySelector('#history').innerText.includes('3.png') == listed"
            page.wait_for_function(seen, arg=listed)


def test_an_entry_of_the_history_comes_back_with_its_picture(page: Any, parts: list[Path]) -> None:
    inspected(page, parts[1], parts[2])
    page.click("#history button >> text=1.png >> nth=0")
    page.wait_for_selector("#verdict:has-text('1.png')")
    page.wait_for_function("() => image.naturalWidth == 48 && heat.width == 48 && !heat.hidden")


def test_each_entry_of_the_history_shows_its_own_part(page: Any, tmp_path: Path) -> None:
    """Parts of different size and kind: overlays, words and form are those of the chosen part, pixel by pixel."""
    paths = [path for path in mixed_parts(tmp_path) if path.name != "b-bad.png"]
    fresh = {}
    for path in paths:
        inspected(page, path)
        fresh[path.name] = appearance(page)
    assert [fresh[path.name]["picture"] for path in paths] == [[32, 64], [90, 30], [48, 48]]
    assert [len(fresh[path.name]["heat"]) for path in paths] == [4 * 32 * 64, 4 * 90 * 30, 4 * 48 * 48]
    assert len({str(one["heat"]) for one in fresh.values()}) == 3
    for name in ("a.png", "c.jpg", "b.tif", "a.png"):
        page.fill("#reason", "about another part")
        page.click(f"#history button >> text={name} >> nth=0")
        page.wait_for_selector(f"#verdict:has-text('{name}')")
        recalled = appearance(page)
        assert recalled == fresh[name] | {"reason": ""}
        assert (recalled["problem"], recalled["problem_visible"], recalled["missing"]) == ("", False, "")


def test_only_the_last_of_two_quick_choices_is_shown(page: Any, tmp_path: Path) -> None:
    """The answer to the first click arrives last."""
    first, second = [
        path for path in mixed_parts(tmp_path) if path.suffix in (".png", ".jpg") and "bad" not in path.name
    ]
    inspected(page, first)
    inspected(page, second)
    entries = {
        entry["path"]: entry["id"]
        for entry in page.evaluate("() => fetch('v1/verdicts').then((a) => a.json())")["verdicts"]
    }

    def late(route: Any) -> None:
        page.wait_for_timeout(300)
        route.continue_()

    page.route(f"**/v1/verdicts/{entries[first.name]}", late)
    page.evaluate(
        "(names) => names.forEach((id) => document.querySelector(`#history [data-id='${id}']`).click())",
        [entries[first.name], entries[second.name]],
    )
    page.wait_for_selector(f"#verdict:has-text('{second.name}')")
    page.wait_for_timeout(800)
    assert second.name in page.inner_text("#verdict")
    assert appearance(page)["picture"] == [48, 48]


def test_an_unreadable_file_is_named_and_the_rest_is_inspected(
    chromium: Any, served: tuple[str, str], tmp_path: Path
) -> None:
    page = chromium.new_page()  # its console reports the 415
    opened(page, served[0])
    first, bad, third, last = mixed_parts(tmp_path)
    page.set_input_files("#files", [first, bad, third, last])
    page.wait_for_selector("#problem:not([hidden])")
    assert appearance(page)["verdict"].endswith(last.name)
    assert page.inner_text("#problem").startswith("b-bad.png: ")
    listed = page.inner_text("#history").splitlines()
    assert [name for name in listed if name in ("a.png", "b.tif", "c.jpg")][:3] == ["c.jpg", "b.tif", "a.png"]
    page.set_input_files("#files", [bad])  # alone: no verdict of another part stays beside the error
    page.wait_for_selector("#shown", state="hidden")
    page.wait_for_selector("#problem:not([hidden])")
    assert appearance(page)["verdict"] is None
    assert page.get_attribute("#image", "src") is None
    inspected(page, first)
    page.wait_for_selector("#problem", state="hidden")
    assert appearance(page)["problem"] == ""
    page.close()


def test_an_entry_whose_image_was_not_kept_shows_no_other_picture(
    chromium: Any, finished_run: Path, tmp_path: Path
) -> None:
    first, _, tiff, last = mixed_parts(tmp_path)
    with serving(finished_run, f"sqlite:///{tmp_path / 'history.db'}") as (_, address):
        page = chromium.new_page()
        opened(page, address)
        inspected(page, first)
        inspected(page, last)
        page.click("#history button >> text=a.png")
        page.wait_for_selector("#verdict:has-text('a.png')")
        seen = appearance(page)
        assert (seen["picture"], seen["heat"], seen["problem_visible"]) == (None, None, False)
        assert "not kept" in seen["missing"]
        inspected(page, tiff)  # which the browser cannot display, and the server has not kept
        seen = appearance(page)
        assert (seen["picture"], len(seen["heat"])) == (None, 4 * 90 * 30)
        assert "cannot display" in seen["missing"]
        assert page.evaluate("() => heat.getBoundingClientRect().width") > 90
        page.close()


def test_percentages_have_two_digits_and_no_exponent(page: Any) -> None:
    shares = [1, 0.999, 0.99, 0.5, 0.123456, 0.01, 0.0004, 0]
    shown = page.evaluate("async (shares) => shares.map((await import('./charts.js')).percent)", shares)
    assert shown == ["100 %", "99.9 %", "99 %", "50 %", "12 %", "1 %", "0.04 %", "0 %"]


def test_a_file_that_is_not_an_image_is_reported(chromium: Any, served: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no image")
    page = chromium.new_page()
    opened(page, served[0])
    page.set_input_files("#files", tmp_path / "notes.png")
    page.wait_for_selector("#problem:not([hidden])")
    assert "notes.png" in page.inner_text("#problem") or "image" in page.inner_text("#problem")
    page.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_fits_and_can_be_read(
    chromium: Any, served: tuple[str, str], parts: list[Path], width: int, scheme: str
) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    opened(page, served[0])
    inspected(page, parts[5])
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    light = "() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((a, b) => a + +b, 0) > 382"
    assert page.evaluate(light) == (scheme == "light")
    page.close()


def test_a_server_with_a_token_asks_for_it(
    chromium: Any, finished_run: Path, tmp_path: Path, parts: list[Path]
) -> None:
    (tmp_path / "token").write_text("a-long-enough-token-for-the-test-1234")
    words = ("--auth", "--token", tmp_path / "token", "--input-check", 0)
    with serving(finished_run, f"sqlite:///{tmp_path / 'history.db'}", *words) as (_, address):
        page = chromium.new_page()
        page.goto(address)
        page.wait_for_selector("#login:not([hidden])")
        page.fill("#token", "a-long-enough-token-for-the-test-1234")
        page.keyboard.press("Enter")
        page.wait_for_selector("#state:has-text('waiting')")
        assert page.is_hidden("#login")
        inspected(page, parts[0])
        assert "not calibrated" in page.inner_text("#verdict")
        page.close()


def test_an_image_that_is_not_inspectable_is_neither_green_nor_red(
    chromium: Any, finished_run: Path, tmp_path: Path
) -> None:
    PIL.Image.new("RGB", (48, 40)).save(tmp_path / "black.png")
    with serving(finished_run, f"sqlite:///{tmp_path / 'history.db'}") as (_, address):
        page = chromium.new_page()
        opened(page, address)
        inspected(page, tmp_path / "black.png")
        assert page.inner_text("#verdict") == "not inspectable: black.png"
        assert page.get_attribute("#verdict", "class") == "unknown"
        assert "This image says nothing on a part: dark: black pixels 100 %" in page.inner_text("#words")
        page.wait_for_selector("#history button >> text=not inspectable")
        page.select_option("#decision", "good")
        page.wait_for_function("() => !document.querySelector('#history li')")
        page.select_option("#decision", "not_inspectable")
        page.wait_for_selector("#history button >> text=black.png")
        assert "1 more images not inspectable" in page.inner_text("#rate")
        page.close()
