"""Exported runs."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipada.cli import app
from run_folders import unseal
from tiny import write_good_parts


@pytest.fixture(scope="session")
def exported(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a float32 export for each runtime. Shared: to be read only."""
    folder = shutil.copytree(finished_run, tmp_path_factory.mktemp("exported") / "line3")
    for engine in ("onnx", "openvino"):
        result = CliRunner().invoke(app, ["export", str(folder), "--engine", engine])
        assert result.exit_code == 0, result.exception
        assert "20 images, largest differences from torch: maps pass 0" in result.stderr
        assert "same verdict on 20 of 20 images, by marked regions, as the run is not calibrated" in result.stderr
    return folder


@pytest.fixture
def changed(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported run that is not sealed, to be changed."""
    return unseal(shutil.copytree(exported, tmp_path / "line3"))


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Images of five good parts."""
    return sorted(write_good_parts(tmp_path / "photos", 5).iterdir())
