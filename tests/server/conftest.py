"""The page of a server with a calibrated run, in a browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser import CHROMIUM, opened
from clipada import calibrate
from clipada.config import CalibrationConfig
from processes import serving
from tiny import save


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Good parts of rising brightness."""
    rng = np.random.default_rng(7)
    folder = tmp_path_factory.mktemp("parts")
    paths = [folder / f"{index}.png" for index in range(9)]
    for index, path in enumerate(paths):
        save(path, rng.integers(0, 20 * (index + 2), (40, 48, 3), dtype=np.uint8))
    return paths


@pytest.fixture(scope="module")
def served(
    finished_run: Path, parts: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """The address of a server with a calibrated run, and its database."""
    folder = tmp_path_factory.mktemp("served")
    run = shutil.copytree(finished_run, folder / "line3")
    calibrate(run, parts[:8], CalibrationConfig(false_alarm_rate=0.4, confidence=0.9), force=True, device="cpu")
    database = f"sqlite:///{folder / 'history.db'}"
    words = ("--keep-images", "all", "--input-check", 0)  # parts of any brightness
    with serving(run, database, *words) as (_, address):
        yield address, database


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any, served: tuple[str, str]) -> Iterator[Any]:
    """The page, opened; errors in its console fail the test."""
    complaints: list[str] = []
    shown = chromium.new_page()
    shown.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    opened(shown, served[0])
    yield shown
    shown.close()
    assert complaints == []
