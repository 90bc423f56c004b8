"""Measure the share of the machine's matrix throughput that a forward pass reaches, and the time of other operators.

python benchmarks/arithmetic.py [--rounds 15] [--work FOLDER]

CLIP ViT-B/16 shapes with random weights at 256 pixels, 9 blocks, one image, as in ``benchmarks/inference.py``.

- The machine's throughput is the best of matrix products of several shapes in PyTorch, OpenVINO and ONNX Runtime, in
  float32 and with 8-bit integers. They and the forward passes take turns in every round; the median call is reported.
- The FLOPs of a forward pass are those of its matrix products (two for each multiplication and addition), including
  convolution and attention; everything else adds time only.
- The table shows OpenVINO's own profile of one forward pass, by type of operator.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino.opset13 as ops
import torch
from inference import SHAPE, calibration_inputs, exported, random_models
from measuring import conditions
from rich.console import Console
from rich.table import Table

from clipada.config import cores
from clipada.engines.openvino import GRAPH, core
from clipada.engines.passes import PassInput, full_pass_input
from clipada.engines.refinement import GraphEngine

PRODUCTS = ((257, 768, 3072), (1024, 768, 3072), (1024, 1024, 1024), (2048, 2048, 2048))
"""Rows, inner size and columns."""

FACTORS = 512
"""Rows of a head's triangular factor: the embedding width."""


def flops(tokens: int) -> int:
    """Count the FLOPs of a forward pass with all tokens."""
    width, patch = SHAPE.width, 3 * 16 * 16
    blocks = SHAPE.blocks * (24 * tokens * width**2 + 4 * tokens**2 * width)
    heads = 2 * tokens * width * SHAPE.passes * (1 + FACTORS)
    return blocks + heads + 2 * (tokens - 1) * patch * width


def products(rng: np.random.Generator) -> Iterator[tuple[str, int, Callable[[int], object]]]:
    """List matrix products of each precision: name, FLOPs, call."""
    for rows, inner, columns in PRODUCTS:
        count, size = 2 * rows * inner * columns, f"{rows} x {inner} x {columns}"
        left, right = torch.randn(rows, inner), torch.randn(inner, columns)
        yield f"fp32, torch, {size}", count, partial(_torch_product, left, right)
        yield f"fp32, OpenVINO, {size}", count, _openvino_product(rows, inner, columns, rng, integers=False)
        yield f"int8, OpenVINO, {size}", count, _openvino_product(rows, inner, columns, rng, integers=True)
        yield f"int8, ONNX Runtime, {size}", count, _onnx_product(rows, inner, columns, rng)


def _torch_product(left: torch.Tensor, right: torch.Tensor, _: int) -> torch.Tensor:
    return left @ right


def _openvino_product(
    rows: int, inner: int, columns: int, rng: np.random.Generator, *, integers: bool
) -> Callable[[int], object]:
    """Build a fully connected layer; with integers, its input is quantized first."""
    given = ops.parameter([rows, inner], np.float32)
    values: Any = given
    weights: Any = ops.constant(rng.standard_normal((columns, inner), np.float32))
    if integers:
        low, high = np.float32(-4), np.float32(4)
        values = ops.fake_quantize(given, low, high, low, high, 256)
        levels = rng.integers(-127, 128, (columns, inner), np.int8)
        weights = ops.multiply(ops.convert(ops.constant(levels), "f32"), ops.constant(np.full((columns, 1), 0.1, "f4")))
    model = ov.Model([ops.matmul(values, weights, False, True)], [given])
    request = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    inputs = {0: rng.standard_normal((rows, inner), np.float32)}
    return lambda _: request.infer(inputs, share_inputs=True, share_outputs=True)


def _onnx_product(rows: int, inner: int, columns: int, rng: np.random.Generator) -> Callable[[int], object]:
    """Build ``MatMulInteger``: 8-bit inputs, 32-bit sums."""
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(rng.integers(-127, 128, (inner, columns), np.int8), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["values", "weights"], ["sums"])],
        "product",
        [helper.make_tensor_value_info("values", TensorProto.UINT8, [rows, inner])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [rows, columns])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = ort.InferenceSession(model.SerializeToString())
    values = rng.integers(0, 256, (rows, inner), np.uint8)
    return lambda _: session.run(None, {"values": values})


def measured(candidates: dict[str, Callable[[int], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of a call. The first two of each turn are ignored: other threads still spin."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            for call in range(5):
                started = time.perf_counter()
                candidate(call)
                if call > 1:
                    seconds[name].append(time.perf_counter() - started)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def _run_pass(engine: GraphEngine, inputs: PassInput, _: int) -> object:
    return engine.runtime_pass(inputs)


def profile(folder: Path, inputs: PassInput) -> dict[str, float]:
    """Profile one forward pass: milliseconds by type of operator, the median of ten runs."""
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": "YES"}
    request = core().compile_model(folder / GRAPH, "CPU", settings).create_infer_request()
    spent: dict[str, list[float]] = defaultdict(lambda: [0.0] * 10)
    for index in range(-2, 10):
        request.infer(inputs, share_inputs=True)
        for node in request.profiling_info if index >= 0 else ():
            spent[f"{node.node_type} ({node.exec_type})"][index] += 1000 * node.real_time.total_seconds()
    medians = {kind: float(np.median(times)) for kind, times in spent.items()}
    return dict(sorted(medians.items(), key=lambda item: -item[1]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--work", type=Path, help="keeps the graphs; a temporary folder by default")
    options = parser.parse_args()
    console, rng = Console(width=110), np.random.default_rng(0)
    torch.set_num_threads(cores())
    console.print(conditions(cores(), "torch", "onnxruntime", "openvino"), highlight=False)
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        inputs = full_pass_input(
            rng.integers(0, 256, (1, 256, 256, 3), np.uint8), np.ones((1, 256, 256), np.float32), SHAPE
        )
        candidates, counts = {}, {}
        for name, count, call in products(rng):
            candidates[name], counts[name] = call, count
        _, model = random_models()
        for name in ("openvino-fp32", "onnx-fp32", "openvino-int8", "onnx-int8"):
            engine = exported(model, name, work, cores(), calibration_inputs())
            label = f"{name.split('-')[1]}, forward pass, {name}"
            candidates[label], counts[label] = partial(_run_pass, engine, inputs), flops(SHAPE.tokens)
        medians = measured(candidates, options.rounds)
        rates = {name: counts[name] / seconds / 1e9 for name, seconds in medians.items()}
        for precision in ("fp32", "int8"):
            of = {name: rate for name, rate in rates.items() if name.startswith(precision)}
            best = max((name for name in of if ", forward pass, " not in name), key=lambda name: of[name])
            table = Table("", "ms", "Gop/s", "of the best", title=precision, title_justify="left")
            for name, rate in of.items():
                cells = f"{1000 * medians[name]:.1f}", f"{rate:.0f}", f"{100 * rate / of[best]:.0f} %"
                table.add_row(name + " (best)" * (name == best), *cells)
            console.print(table)
            spent = profile(work / f"openvino-{precision}", inputs)
            total = sum(spent.values())
            for kind, milliseconds in spent.items():
                if milliseconds >= 0.005 * total:
                    console.print(
                        f"{milliseconds:8.2f} ms {100 * milliseconds / total:5.1f} %  {kind}", highlight=False
                    )


if __name__ == "__main__":
    main()
