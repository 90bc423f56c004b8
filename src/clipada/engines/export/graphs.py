"""The folded model written as a graph of ONNX or OpenVINO, in float32, half precision or int8."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import Dim

from clipada.config import EnginePrecision, RuntimeName
from clipada.engines import detector
from clipada.engines.export.detector import FoldedDetector
from clipada.engines.export.folding import FoldedPass, FoldedTower
from clipada.engines.onnx import GRAPH as ONNX_GRAPH
from clipada.engines.passes import OUTPUTS, partial_pass_input
from clipada.errors import ConfigError
from clipada.models.clip_ada import ClipAda

OPSET = 20
"""Version of the ONNX operators, fixed so that a newer exporter writes the same graph."""

PRECISIONS: dict[RuntimeName, tuple[EnginePrecision, ...]] = {
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16", "bf16", "int8"),
}
"""Precisions that each runtime offers."""

NAME_SCOPES = "pkg.torch.onnx.name_scopes"
"""The exporter's note of a node's place in the model, e.g. ``heads.vectors``."""

_SINGLE_FILE_BYTES = 1_900_000_000
"""An ONNX file holds at most 2 GiB; larger weights go into a second file."""


def check_precision(engine: RuntimeName, precision: EnginePrecision) -> None:
    """Raise a ``ConfigError`` if the runtime does not offer the precision."""
    if precision not in PRECISIONS[engine]:
        raise ConfigError(f"no precision {precision!r} in {engine}", expected=" | ".join(PRECISIONS[engine]))


def write_graph(
    model: ClipAda,
    folder: Path,
    engine: RuntimeName,
    precision: EnginePrecision,
    calibration: Sequence[Mapping[str, Any]],
) -> None:
    """Fold the model and write its graph into ``folder``.

    Args:
        model: A trained model.
        folder: An empty folder.
        engine: The runtime the graph is for.
        precision: Its arithmetic.
        calibration: Inputs that calibrate int8, one image each; otherwise not used.
    """
    dtype = torch.float16 if engine == "onnx" and precision == "fp16" else torch.float32
    if model.head is None:
        write_onnx(FoldedPass(model, dtype), folder / ONNX_GRAPH)
    else:
        write_detector(FoldedDetector(model, dtype, shared=precision != "int8"), folder / ONNX_GRAPH)
    if engine == "openvino":
        _write_openvino(folder, precision, calibration)
    elif precision == "int8":
        _quantize_onnx(folder / ONNX_GRAPH, calibration)


def write_onnx(folded: FoldedPass, path: Path) -> None:
    """Write the folded model as ONNX with dynamic numbers of images, query tokens and cached tokens.

    The example has no size of 1, because the exporter would take that size as fixed.
    """
    shape, count = folded.shape, 2
    examples = partial_pass_input(
        np.zeros((count, *shape.size, 3), np.uint8),
        np.ones((count, *shape.size), np.float32),
        [np.arange(shape.tokens)] * count,
        np.zeros((2 * shape.blocks, count, shape.tokens, shape.width), np.float32),
        shape,
    )
    batch, queries, cached = Dim("batch", min=1), Dim("looking", min=1), Dim("known", min=1)  # names in the file
    shapes: dict[str, Any] = {
        "images": {0: batch},
        "gain": {0: batch},
        "tokens": {0: batch, 1: queries},
        "kv_cache": {1: batch, 2: cached},
        "bias": {0: batch, 1: Dim.DYNAMIC},
    }
    _write(folded, examples, OUTPUTS, shapes, path)


def write_detector(folded: FoldedDetector, path: Path) -> None:
    """Write the folded model with a memory as ONNX with a dynamic number of images."""
    images = np.zeros((2, *folded.shape.size, 3), np.uint8)
    examples = detector.detector_inputs(images, np.array([-1, 0], np.int64))
    if folded.given_inside:
        examples |= detector.inside_input(images, None)
    batch = Dim("batch", min=1)
    _write(folded, examples, detector.OUTPUTS, {name: {0: batch} for name in examples}, path)


def _write(
    folded: FoldedTower, examples: Mapping[str, Any], outputs: list[str], shapes: dict[str, Any], path: Path
) -> None:
    """Write a folded model as ONNX."""
    with _quiet():
        program: Any = torch.onnx.export(
            folded.eval(),
            tuple(map(torch.from_numpy, examples.values())),
            input_names=list(examples),
            output_names=outputs,
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    _remove_source_notes(program.model)
    size = sum(tensor.nbytes for tensor in folded.state_dict().values())
    program.save(path, external_data=size > _SINGLE_FILE_BYTES)


def _remove_source_notes(model: Any) -> None:
    """Remove what the exporter notes of each node but its place in the model: class names, source paths and lines."""
    from onnx_ir.traversal import RecursiveGraphIterator

    model.metadata_props.clear()
    for graph in (model.graph, *model.functions.values()):
        graph.metadata_props.clear()
        for node in RecursiveGraphIterator(graph):
            place = node.metadata_props.get(NAME_SCOPES)
            for part in (node, *node.inputs, *node.outputs):
                if part is not None:
                    part.metadata_props.clear()
            if place is not None:
                node.metadata_props[NAME_SCOPES] = place


def _write_openvino(folder: Path, precision: EnginePrecision, calibration: Sequence[Mapping[str, Any]]) -> None:
    """Convert the ONNX graph in ``folder`` to OpenVINO's own files."""
    import openvino as ov

    from clipada.engines.openvino import GRAPH, core

    source = folder / ONNX_GRAPH
    model = core().read_model(source)
    if precision == "int8":
        model = _quantized(model, source, calibration)
    ov.save_model(model, folder / GRAPH, compress_to_fp16=precision == "fp16")
    for file in folder.glob(f"{ONNX_GRAPH}*"):
        file.unlink()


def _quantize_onnx(path: Path, calibration: Sequence[Mapping[str, Any]]) -> None:
    """Replace the ONNX graph by its int8 version."""
    import onnx

    onnx.save(_quantized(onnx.load(path), path, calibration), path)


def _quantized(model: Any, source: Path, calibration: Sequence[Mapping[str, Any]]) -> Any:
    """Convert the graph to int8 by NNCF's post-training quantization.

    The patch embedding and all that follows the blocks stay in float32: they cost little time, and the maps are
    sensitive to them.
    Outliers are divided evenly between activations and weights, as in the SmoothQuant paper (alpha 0.5).
    """
    os.environ.setdefault("NNCF_CI", "1")  # otherwise NNCF sends usage statistics
    import nncf

    with _quiet(), redirect_stdout(StringIO()):  # its progress bars
        return nncf.quantize(
            model,
            nncf.Dataset(calibration),
            subset_size=len(calibration),
            model_type=nncf.ModelType.TRANSFORMER,
            # a runtime may have joined some of them with others on reading the graph
            ignored_scope=nncf.IgnoredScope(names=_exact_nodes(source), validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=0.5)
            ),
        )


def _exact_nodes(path: Path) -> list[str]:
    """List the names of all nodes of an ONNX file outside of the blocks; OpenVINO names that of an output after it."""
    import onnx

    nodes = onnx.load(path, load_external_data=False).graph.node
    scopes = {node.name: entry.value for node in nodes for entry in node.metadata_props if entry.key == NAME_SCOPES}
    exact = [node for node in nodes if "blocks." not in scopes.get(node.name, "")]
    return [name for node in exact for name in (node.name, *node.output)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' logs and warnings, which do not concern the user."""
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
