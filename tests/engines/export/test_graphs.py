"""Graph files that leave the machine: they name nothing of it."""

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import clipada
from clipada.engines.export.folding import graph_shape
from clipada.engines.export.graphs import write_graph
from clipada.engines.passes import full_pass_input
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


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_the_heads_of_an_int8_graph_stay_in_float32(clip_folder: Path, tmp_path: Path, similarity: str) -> None:
    """Maps are sensitive to the heads' arithmetic: their matrix products take float32 weights."""
    pytest.importorskip("nncf")
    config = tiny_config(clip_folder).updated({"model.similarity": similarity})
    model = build_model(config, load_clip(config.backbone))
    shape = graph_shape(model)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 1, *shape.size, 3), dtype=np.uint8)
    gain = np.ones((1, *shape.size), np.float32)
    levels = [handler.level for handler in logging.root.handlers]
    write_graph(model, tmp_path, "onnx", "int8", [full_pass_input(image, gain, shape) for image in pixels])
    assert [handler.level for handler in logging.root.handlers] == levels, "the caller's own log is left alone"
    graph = onnx.load(next(tmp_path.glob("*.onnx"))).graph
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type in ("MatMul", "Gemm")]
    exact = [node for node in products if node.input[1] in weights]  # the others take a dequantized weight
    assert exact
    assert all(weights[node.input[1]] == onnx.TensorProto.FLOAT for node in exact)
    assert len(exact) < len(products)
