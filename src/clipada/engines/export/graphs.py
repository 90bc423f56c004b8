"""The folded model written as a graph: ONNX, OpenVINO, in float32, half precision or int8."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import Dim

from clipada.config import EnginePrecision, RuntimeName
from clipada.engines.export.folding import FoldedLook
from clipada.engines.onnx import GRAPH as ONNX_GRAPH
from clipada.engines.refinement import OUTPUTS, LookInput, hot_look
from clipada.errors import ConfigError
from clipada.models.clip_ada import ClipAda

OPSET = 20
"""ONNX operators' version, written out so that a newer exporter writes the same graph."""

PRECISIONS: dict[RuntimeName, tuple[EnginePrecision, ...]] = {
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16", "bf16", "int8"),
}
"""What each runtime has."""

_SINGLE_FILE_BYTES = 1_900_000_000
"""ONNX keeps at most 2 GiB in one file; weights beyond that lie beside it."""


def check_precision(engine: RuntimeName, precision: EnginePrecision) -> None:
    """Raise a ``ConfigError`` if the runtime has no such arithmetic."""
    if precision not in PRECISIONS[engine]:
        raise ConfigError(f"no precision {precision!r} in {engine}", expected=" | ".join(PRECISIONS[engine]))


def write_graph(
    model: ClipAda, folder: Path, engine: RuntimeName, precision: EnginePrecision, looks: Sequence[LookInput]
) -> None:
    """Fold the model and write its graph into ``folder``.

    Args:
        model: A trained model.
        folder: An empty folder.
        engine: The runtime the graph is for.
        precision: Its arithmetic.
        looks: What calibrates int8, a batch of one each; not used otherwise.
    """
    half = engine == "onnx" and precision == "fp16"
    look = FoldedLook(model, torch.float16 if half else torch.float32)
    write_onnx(look, folder / ONNX_GRAPH)
    if engine == "openvino":
        _write_openvino(folder, precision, looks)
    elif precision == "int8":
        _quantise_onnx(folder / ONNX_GRAPH, looks)


def write_onnx(look: FoldedLook, path: Path) -> None:
    """Write the folded model as ONNX, for any number of images, of tokens that look and of those remembered."""
    side, every = look.shape.image_size, [np.arange(look.shape.tokens)] * 2
    memory = np.zeros((2 * look.shape.blocks, 2, look.shape.tokens, look.shape.width), np.float32)
    pixels, ones = np.zeros((2, side, side, 3), np.uint8), np.ones((2, side, side), np.float32)
    examples = hot_look(
        pixels, ones, every, memory, look.shape
    )  # no size of 1, which the exporter would take for fixed
    batch, looking, known = Dim("batch", min=1), Dim("looking", min=1), Dim("known", min=1)
    with _quiet():
        program: Any = torch.onnx.export(
            look.eval(),
            tuple(map(torch.from_numpy, examples.values())),
            input_names=list(examples),
            output_names=OUTPUTS,
            dynamic_shapes={
                "images": {0: batch},
                "gain": {0: batch},
                "tokens": {0: batch, 1: looking},
                "memory": {1: batch, 2: known},
                "bias": {0: batch, 1: Dim.DYNAMIC},
            },
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    size = sum(tensor.nbytes for tensor in look.state_dict().values())
    program.save(path, external_data=size > _SINGLE_FILE_BYTES)


def _write_openvino(folder: Path, precision: EnginePrecision, looks: Sequence[LookInput]) -> None:
    """Turn the ONNX graph in ``folder`` into OpenVINO's own files."""
    import openvino as ov

    from clipada.engines.openvino import GRAPH, core

    source = folder / ONNX_GRAPH
    model = core().read_model(source)
    if precision == "int8":
        model = _quantised(model, source, looks)
    ov.save_model(model, folder / GRAPH, compress_to_fp16=precision == "fp16")
    for file in folder.glob(f"{ONNX_GRAPH}*"):
        file.unlink()


def _quantise_onnx(path: Path, looks: Sequence[LookInput]) -> None:
    import onnx

    onnx.save(_quantised(onnx.load(path), path, looks), path)


def _quantised(model: Any, source: Path, looks: Sequence[LookInput]) -> Any:
    """The graph in int8 by NNCF's post-training quantisation.

    What costs little and matters much stays in float32: the pixels' convolution and the heads. Outliers are shared
    between activations and weights evenly, as SmoothQuant's paper does (alpha 0.5).
    """
    os.environ.setdefault("NNCF_CI", "1")  # or NNCF reports to its makers
    import nncf

    nncf.set_log_level(logging.ERROR)
    with _quiet(), redirect_stdout(sys.stderr):  # its progress bars
        return nncf.quantize(
            model,
            nncf.Dataset(looks),
            subset_size=len(looks),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=_exact_nodes(source)),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=0.5)
            ),
        )


def _exact_nodes(path: Path) -> list[str]:
    """The names, in an ONNX file, of the convolution and of the heads' matrix products."""
    import onnx

    nodes = onnx.load(path, load_external_data=False).graph.node
    scopes = {node.name: "".join(entry.value for entry in node.metadata_props) for node in nodes}
    heads = [node.name for node in nodes if node.op_type in ("MatMul", "Gemm") and "heads." in scopes[node.name]]
    return heads + [node.name for node in nodes if node.op_type == "Conv"]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' notes on their own workings from the user."""
    noisy = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "nncf")]
    levels = [logger.level for logger in noisy]
    for logger in noisy:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(noisy, levels, strict=True):
            logger.setLevel(level)
