"""Make the README's pictures from the drawn demo products, so that nobody has to believe a picture.

    python scripts/readme_pictures.py --demo runs/demo --out docs/images

It runs the demo first, unless its folder is finished, and needs a Chromium (`apt-get install chromium`) and playwright.
Each picture is written for light and for dark pages.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

import numpy as np
import PIL.Image
from playwright.sync_api import Browser, sync_playwright

from clipada import Inspector, Verdict, demo, report_run
from clipada.commands.demo import DATA, PAGE, RUN
from clipada.inspection.overlays import views
from clipada.types import Image

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
SIZE = (400, 400)
"""Height and width of each picture of the overview, before the page shrinks it."""

SERVED = re.compile(r"http://127\.0\.0\.1:\d+")


class ShownPart(NamedTuple):
    """A part of the overview, by its product and the folder of its test images."""

    product: str
    kind: str


PARTS = (ShownPart("metal", "scratch"), ShownPart("tablets", "chipped"), ShownPart("fabric", "good"))
"""The three parts of the overview: two with defects, and a good one."""


def main() -> None:
    """Parse, run the demo if needed, and write all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"))
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    given = parser.parse_args()
    if not (given.demo / PAGE).is_file():
        demo(given.demo)
    write_pictures(given.demo, given.out)


def write_pictures(demo_folder: Path, out: Path) -> list[Path]:
    """Write the overview, the report and the server's page in both color schemes; return the files."""
    out.mkdir(parents=True, exist_ok=True)
    report = report_run(demo_folder / RUN, out=demo_folder / PAGE).path
    inspector = Inspector.load(demo_folder / RUN)
    verdicts = [_first(inspector, demo_folder / DATA, part) for part in PARTS]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
        written = [_overview(browser, verdicts, scheme, out) for scheme in SCHEMES]
        written += [_report(browser, report, scheme, out) for scheme in SCHEMES]
        with _serving(demo_folder / RUN) as address:
            written += [_page(browser, address, verdicts[0].path, scheme, out) for scheme in SCHEMES]
        browser.close()
    return written


def _chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "no Chromium: apt-get install chromium"
    return found


def _first(inspector: Inspector, data: Path, part: ShownPart) -> Verdict:
    """Inspect the first test image of a kind: the first one, so that none is picked for its looks."""
    return inspector.inspect(min((data / part.product / "test" / part.kind).glob("*.png")))


def _overview(browser: Browser, verdicts: list[Verdict], scheme: Scheme, out: Path) -> Path:
    rows = "".join(_row(part, verdict) for part, verdict in zip(PARTS, verdicts, strict=True))
    heads = "".join(f"<th>{name}</th>" for name in ("photo", "heat", "contours", "verdict"))
    content = f"<!doctype html><style>{_STYLE}</style><table><tr>{heads}</tr>{rows}</table>"
    page = browser.new_page(viewport={"width": 960, "height": 700}, color_scheme=scheme, device_scale_factor=1.5)
    page.set_content(content)
    return _save(page.locator("table").screenshot(), out / f"overview-{scheme}.webp")


_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --good: #1a7f37; --bad: #cf222e }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f0f6fc; --soft: #9198a1; --line: #3d444d; --good: #3fb950; --bad: #f85149 }
}
body { margin: 0; background: light-dark(#fff, #0d1117); color: var(--ink); font: 16px/1.45 system-ui, sans-serif }
table { border-collapse: collapse; padding: 8px; width: 940px }
th { color: var(--soft); font-weight: 500; text-align: left; padding: 6px 8px }
td { padding: 6px 8px; border-top: 1px solid var(--line); vertical-align: middle }
img { display: block; width: 200px; height: 200px; border-radius: 6px }
.verdict { font-size: 22px; font-weight: 650 } .good { color: var(--good) } .defective { color: var(--bad) }
dl { display: grid; grid-template-columns: auto 1fr; gap: 0 12px; margin: 8px 0 0 }
dd { margin: 0; font-variant-numeric: tabular-nums }
dt { color: var(--soft) }
"""


def _row(part: ShownPart, verdict: Verdict) -> str:
    pictures = views(verdict.image, verdict.anomaly_map, verdict.threshold, SIZE)
    cells = "".join(f'<td><img src="{_embedded(picture)}" alt=""></td>' for picture in pictures)
    decision = verdict.decision or "no decision"
    truth = "good" if part.kind == "good" else f"with a defect: {part.kind.replace('_', ' ')}"
    facts = {
        "score": f"{verdict.score:.3f}",
        "threshold": f"{verdict.score_threshold:.3f}" if verdict.score_threshold is not None else "none",
        "p-value": f"{verdict.p_value:.3f}" if verdict.p_value is not None else "none",
        "regions": str(len(verdict.regions)),
        "the part": f"{part.product}, {truth}",
    }
    listed = "".join(f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in facts.items())
    return f'<tr>{cells}<td><span class="verdict {decision}">{decision}</span><dl>{listed}</dl></td></tr>'


def _embedded(picture: Image) -> str:
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.asarray(picture)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _report(browser: Browser, report: Path, scheme: Scheme, out: Path) -> Path:
    page = browser.new_page(viewport={"width": 1100, "height": 900}, color_scheme=scheme)
    page.goto(report.resolve().as_uri())
    return _save(page.screenshot(), out / f"report-{scheme}.webp")


def _page(browser: Browser, address: str, part: Path | None, scheme: Scheme, out: Path) -> Path:
    page = browser.new_page(viewport={"width": 1100, "height": 900}, color_scheme=scheme)
    page.goto(address)
    page.select_option("#group", PARTS[0].product)  # the thresholds of the part that is shown
    page.set_input_files("#files", [str(part)])
    page.wait_for_selector(f"#verdict:has-text('{Path(str(part)).name}')")
    page.wait_for_timeout(500)  # pictures fade in
    return _save(page.screenshot(), out / f"page-{scheme}.webp")


@contextmanager
def _serving(run: Path) -> Iterator[str]:
    """Serve a run on a free port, with a history that is thrown away, and yield the address."""
    history = TemporaryDirectory()
    database = f"sqlite:///{history.name}/history.db"
    command = [sys.executable, "-m", "clipada", "serve", str(run.resolve()), "--port", "0", "--database", database]
    wide = os.environ | {"COLUMNS": "200"}
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=wide, cwd=history.name)  # noqa: S603
    try:
        assert server.stderr is not None
        said = ""
        while not (found := SERVED.search(said)):
            line = server.stderr.readline()
            assert line, said
            said += line
        yield found[0]
    finally:
        server.terminate()
        server.wait(300)
        history.cleanup()


def _save(screenshot: bytes, path: Path) -> Path:
    with PIL.Image.open(io.BytesIO(screenshot)) as picture:
        picture.convert("RGB").save(path, "WEBP", quality=86, method=6)
    return path


if __name__ == "__main__":
    main()
