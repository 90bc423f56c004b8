"""A run on two products, evaluated, and calibrated."""

import shutil
from pathlib import Path

import pytest

from clipada import calibrate, evaluate
from clipada.config import CalibrationConfig
from tiny import write_good_parts, write_products


@pytest.fixture(scope="package")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two products, to be read only."""
    return write_products(tmp_path_factory.mktemp("parts") / "products")


@pytest.fixture(scope="package")
def finished(finished_run: Path, parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run, evaluated."""
    folder = shutil.copytree(finished_run, tmp_path_factory.mktemp("evaluated") / "line3")
    evaluate(folder, parts, device="cpu")
    return folder


@pytest.fixture
def evaluated(finished: Path, tmp_path: Path) -> Path:
    """A copy of the evaluated run, to be changed."""
    return shutil.copytree(finished, tmp_path / "line3")


@pytest.fixture(scope="package")
def calibrated(finished: Path, parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evaluated run with thresholds of each product, from good parts that no test image is: to be read only."""
    folder = tmp_path_factory.mktemp("calibrated")
    run = shutil.copytree(finished, folder / "line3")
    held_out = [write_good_parts(folder / name / "good", 9) for name in ("disc", "plate")]
    settings = CalibrationConfig(false_alarm_rate=0.4, mode="marginal", per="product")
    calibrate(run, held_out, settings, force=True, device="cpu")
    return run
