"""Exported graphs in OpenVINO, the fastest engine on Intel's and AMD's processors and on Intel's GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import local
from typing import Any

import openvino as ov
from numpy.typing import NDArray

from clipada.config import EngineOptions, EnginePrecision
from clipada.engines.passes import GraphSizes, RuntimeGraph
from clipada.errors import ConfigError, RunError

GRAPH = "graph.xml"

_HINTS: dict[EnginePrecision, tuple[str, str]] = {"fp16": ("FP16", "f16"), "bf16": ("BF16", "bf16")}
"""Capability that a device must report, and the hint that requests it. Devices without it compute in float32."""


@cache
def core() -> ov.Core:
    """Return the process's only OpenVINO core, with the CPU plugin loaded.

    Two cores at once are not safe: each loads its own plugin, and each plugin gives the thread an alternate signal
    stack. If the first is destroyed before the second, the second restores a stack that was freed, and the next signal
    with a handler crashes the process.
    """
    shared = ov.Core()
    shared.get_property("CPU", "FULL_DEVICE_NAME")
    return shared


def open_openvino(path: Path, precision: EnginePrecision, config: EngineOptions) -> tuple[RuntimeGraph, GraphSizes]:
    """Open a graph, ready to run a pass.

    Args:
        path: The graph's XML file; its weights are in the same folder.
        precision: Arithmetic of the export. Float16 and bfloat16 are used if the device has them, else float32.
        config: Device, threads and streams. Devices are OpenVINO's: ``cpu``, ``gpu``, ``gpu.1``, ``npu``, ...

    Returns:
        The graph, which raises ``RunError`` if OpenVINO refuses them, and the shapes it declares.

    Raises:
        ConfigError: There is no such device.
        RunError: OpenVINO cannot run the files.
    """
    device = "CPU" if config.device == "auto" else config.device.upper()
    try:
        capabilities = core().get_property(device, "OPTIMIZATION_CAPABILITIES")
    except RuntimeError as error:
        raise ConfigError(
            f"no device {config.device!r} in OpenVINO", expected="auto, " + ", ".join(core().available_devices).lower()
        ) from error
    capability, hint = _HINTS.get(precision, ("FP32", "f32"))
    settings = {"INFERENCE_PRECISION_HINT": hint if capability in capabilities else "f32"}
    if device == "CPU":
        settings["NUM_STREAMS"] = str(config.streams)
        settings |= {"INFERENCE_NUM_THREADS": str(config.threads)} if config.threads else {}
    with _naming(path):
        model = core().compile_model(str(path), device, settings)
    names = [port.any_name for port in model.outputs]
    requests = local()

    def run(inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        if not hasattr(requests, "own"):
            requests.own = model.create_infer_request()  # an infer request is not thread-safe
        with _naming(path):
            found = requests.own.infer(inputs, share_inputs=True, share_outputs=True)
        return {name: found[name].copy() for name in names}  # the next request overwrites its buffers

    return run, {port.any_name: _sizes(port.partial_shape) for port in (*model.inputs, *model.outputs)}


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn an error of OpenVINO in the block into a ``RunError``."""
    try:
        yield
    except RuntimeError as error:
        got = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RunError(f"OpenVINO cannot run {path}", got=got, remedy="run `clipada export` again") from error


def _sizes(shape: ov.PartialShape) -> tuple[int | None, ...]:
    """Return the axes of a shape; ``None`` for one of any size."""
    return tuple(None if size.is_dynamic else size.get_length() for size in shape)
