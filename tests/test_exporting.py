"""Exports promise torch's own answer without torch; what does not keep the promise is not kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from clipada import Inspector, export
from clipada.config import EngineConfig, ExportConfig, RuntimeName
from tiny import save

FEW = ExportConfig(images=6, shortcut_images=6, calibration_images=4)


@pytest.fixture(scope="module")
def exported(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a float32 export for each runtime. Shared: to be read only."""
    folder = shutil.copytree(finished_run, tmp_path_factory.mktemp("exported") / "line3")
    for engine in ("onnx", "openvino"):
        export(folder, engine, config=FEW)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(3)
    paths = [tmp_path / "photos" / f"{index}.png" for index in range(5)]
    for index, path in enumerate(paths):
        save(path, rng.integers(0, 256, (40, 48, 3), dtype=np.uint8) // np.uint8(index + 1))
    return paths


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
@pytest.mark.parametrize("streams", [1, 2])
def test_an_export_says_what_torch_says(exported: Path, photos: list[Path], engine: RuntimeName, streams: int) -> None:
    torch_maps, maps = (
        [result.anomaly_map for result in Inspector.load(exported, engine=config).inspect_files(photos, batch_size=3)]
        for config in (EngineConfig(name="torch"), EngineConfig(name=engine, threads=2, streams=streams))
    )
    assert len(maps) == len(photos)
    assert np.ptp(torch_maps[0]) > 1e-3
    np.testing.assert_allclose(maps, torch_maps, rtol=0, atol=1e-5)
