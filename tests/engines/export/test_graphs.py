"""Graph files that leave the machine: they name nothing of it."""

from pathlib import Path

import pytest
import torch

import clipada
from clipada.engines.export.graphs import write_graph
from clipada.models.backbones import load_clip
from clipada.models.clip_ada import build_model
from tiny import tiny_config


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_graph_names_no_source_file_of_this_machine(clip_folder: Path, tmp_path: Path, runtime: str) -> None:
    """The exporter notes paths and lines of source files beside every node; `push --exports` would upload them."""
    if runtime == "openvino":
        pytest.importorskip("openvino")
    config = tiny_config(clip_folder)
    write_graph(build_model(config, load_clip(config.backbone)), tmp_path, runtime, "fp32", [])
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".bin")
    assert written
    for module in (clipada, torch):
        assert str(Path(module.__file__).parents[1]).encode() not in written
