"""Exported graphs in OpenVINO: the fastest on Intel's and AMD's processors, and on Intel's GPUs."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import local

import openvino as ov

from clipada.config import EngineOptions, EnginePrecision
from clipada.engines.refinement import OUTPUTS, Look, Looked, LookInput
from clipada.errors import ConfigError, RunError

GRAPH = "graph.xml"

_HINTS: dict[EnginePrecision, tuple[str, str]] = {"fp16": ("FP16", "f16"), "bf16": ("BF16", "bf16")}
"""The capability a device must name, and the hint that asks for it. Elsewhere float32 is computed."""


@cache
def core() -> ov.Core:
    """The process's one OpenVINO, its processor's plugin loaded.

    Two at once are not safe: each plugin gives the thread an alternate signal stack of its own, and when the first goes
    before the second, the second gives back a stack that is gone. The next signal with a handler then ends the process.
    """
    shared = ov.Core()
    shared.get_property("CPU", "FULL_DEVICE_NAME")
    return shared


def openvino_look(path: Path, precision: EnginePrecision, config: EngineOptions) -> Look:
    """A graph, ready to look.

    Args:
        path: The graph's XML file, its weights beside it.
        precision: Arithmetic that the export was made for. Float16 and bfloat16 are used where the device has them,
            else float32.
        config: Device, threads and streams. Devices are OpenVINO's: ``cpu``, ``gpu``, ``gpu.1``, ``npu``, ...

    Raises:
        ConfigError: There is no such device.
        RunError: The files are no graph that OpenVINO can run.
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
    try:
        model = core().compile_model(str(path), device, settings)
    except RuntimeError as error:
        raise RunError(
            f"OpenVINO cannot run {path}", got=str(error).splitlines()[0], remedy="run `clipada export` again"
        ) from error
    requests = local()

    def look(inputs: LookInput) -> Looked:
        if not hasattr(requests, "own"):
            requests.own = model.create_infer_request()  # a request serves one thread
        found = requests.own.infer(inputs, share_inputs=True, share_outputs=True)
        maps, memory = (found[name].copy() for name in OUTPUTS)
        return maps, memory

    return look
