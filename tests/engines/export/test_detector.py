"""Graphs of a memory's detector: an index and a glance in both runtimes, and int8 that is computed in int8."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from backbone_families import make_backbone
from clipada.config import Config, EngineOptions
from clipada.engines.detector import DetectorEngine
from clipada.engines.export.folding import graph_shape
from clipada.engines.export.graphs import write_graph
from clipada.engines.exports import open_graph
from clipada.engines.torch import TorchEngine
from clipada.models.backbones import load_backbone
from clipada.models.clip_ada import ClipAda, build_model
from clipada.models.memory import PatchMemory, quantize
from clipada.models.memory_head import MemoryHead, build_crops

BOXES = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.25, 0.25, 0.75, 0.75]])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ClipAda:
    """A model of two products, one of them read in a box, whose memory is searched by an index."""
    folder = make_backbone(tmp_path_factory.mktemp("dinov2"), "dinov2")
    config = Config.preset("accurate").updated(
        {"backbone.name": str(folder), "backbone.blocks": (1, 2), "model.image_size": 64, "memory.rows": 320}
    )
    generator = torch.Generator().manual_seed(0)
    built = build_model(config, load_backbone(config.backbone)).eval()
    bank = PatchMemory(
        ["bolt", "nut"],
        rows=quantize(torch.randn(2, 2, 320, 32, generator=generator)),
        usual=torch.rand(2, 2, 320, generator=generator) + 0.1,
        distance_mean=torch.full((2, 2), 0.5),
        distance_std=torch.full((2, 2), 0.1),
        centers=F.normalize(torch.randn(2, 64, generator=generator), dim=-1),
        neighbors=8,
        indexed=True,
    )
    crops = build_crops(BOXES, config, built.backbone)
    return built.with_head(MemoryHead(bank, None, crops, glance=0.5, weight=1.0, share=0.01, low=-3, calm=0, knee=4))


def drawn(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_graph_with_an_index_gives_pytorch_s_maps(model: ClipAda, tmp_path: Path, runtime: Any) -> None:
    pytest.importorskip("openvino" if runtime == "openvino" else "onnxruntime")
    write_graph(model, tmp_path, runtime, "fp32", [])
    graph, _ = open_graph(tmp_path, runtime, "fp32", EngineOptions(device="cpu"))
    exported, images = DetectorEngine(graph, graph_shape(model), ["bolt", "nut"]), drawn(3)
    for count in (1, 3):
        for products in (None, ["nut"] * count):
            expected = TorchEngine(model, "cpu").localize(images[:count], products)
            found = exported.localize(images[:count], products)
            np.testing.assert_array_equal(found.products, expected.products)
            np.testing.assert_allclose(found.maps, expected.maps, rtol=0, atol=1e-3)
            assert np.ptp(found.maps) > 0.05


def test_int8_is_computed_in_int8_in_both_views(model: ClipAda, tmp_path: Path) -> None:
    """OpenVINO leaves a layer in float32 whose weights two products use: slower, without an error."""
    pytest.importorskip("nncf")
    openvino = pytest.importorskip("openvino")
    inputs = [{"images": image[np.newaxis], "products": np.array([-1])} for image in drawn(4)]
    write_graph(model, tmp_path, "openvino", "int8", inputs)
    compiled = openvino.Core().compile_model(str(tmp_path / "graph.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    layers = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    linear = [one["runtimePrecision"].astype(str) for one in layers if one["layerType"].astype(str) == "FullyConnected"]
    assert sum(kind in ("i8", "u8") for kind in linear) >= 2 * 2 * 6, linear  # views, blocks, layers of a block
