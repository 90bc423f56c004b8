"""A browser, and what it shows of the server's page."""

import shutil
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def opened(page: Any, address: str) -> None:
    """Open the server's page and wait until it shows the models, their thresholds, the history and the status."""
    page.goto(address)
    page.wait_for_selector("#state:has-text('waiting')")


def appearance(page: Any) -> dict[str, Any]:
    """All that the page shows of a part: verdict, words, regions, error box, picture and the pixels of its overlays."""
    page.wait_for_function(
        "() => shown.hidden || picture.hidden || image.hidden || image.complete && image.naturalWidth"
    )
    shown: dict[str, Any] = page.evaluate(
        """() => {
            const pixels = (canvas) => canvas.hidden || !canvas.width ? null :
                [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
            const visible = (element) => element.checkVisibility();
            return {
                verdict: visible(verdict) ? verdict.innerText : null,
                words: visible(words) ? words.innerText : null,
                regions: [...regions.children].map((item) => item.innerText),
                problem: problem.innerText,
                problem_visible: visible(problem),
                missing: missing.innerText,
                picture: visible(image) ? [image.naturalWidth, image.naturalHeight] : null,
                heat: pixels(heat),
                contours: pixels(contours),
                reason: reason.value,
            };
        }"""
    )
    return shown


def inspected(page: Any, *paths: Path) -> None:
    page.set_input_files("#files", paths)
    page.wait_for_selector(f"#verdict:has-text('{paths[-1].name}')")
