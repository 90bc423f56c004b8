"""Exported graphs in ONNX Runtime, the engine of the base install."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort

from clipada.config import EngineOptions, cores
from clipada.engines.passes import OUTPUTS, PassInput, PassOutput, RuntimePass
from clipada.errors import ConfigError, RunError

GRAPH = "graph.onnx"

_PROVIDERS = {"auto": "CPU", "cpu": "CPU", "cuda": "CUDA", "tensorrt": "Tensorrt"}


def open_onnx(path: Path, config: EngineOptions) -> RuntimePass:
    """Open a graph, ready to run a pass.

    Args:
        path: The ONNX file.
        config: Device, threads and streams. Devices other than ``cpu``, ``cuda`` and ``tensorrt`` (each optionally
            with ``:index``) name an execution provider, e.g. ``OpenVINOExecutionProvider``.

    Raises:
        ConfigError: This ONNX Runtime has no such device.
        RunError: ONNX Runtime cannot run the file.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if config.threads or config.streams > 1:
        options.intra_op_num_threads = max(1, (config.threads or cores()) // config.streams)
    try:
        session = ort.InferenceSession(path, options, providers=[_provider(config.device)])
    except ConfigError:
        raise
    except Exception as error:  # ONNX Runtime's own errors have no common base class
        raise RunError(
            f"ONNX Runtime cannot run {path}", got=str(error).splitlines()[0], remedy="run `clipada export` again"
        ) from error

    def run_pass(inputs: PassInput) -> PassOutput:
        return PassOutput(*session.run(OUTPUTS, inputs))

    return run_pass


def _provider(device: str) -> tuple[str, dict[str, str]]:
    """Find the execution provider and its options for a device."""
    kind, _, index = device.partition(":")
    name = f"{_PROVIDERS[kind]}ExecutionProvider" if kind in _PROVIDERS else device
    available = ort.get_available_providers()
    if name not in available:
        raise ConfigError(
            f"no device {device!r} in ONNX Runtime",
            expected="auto, cpu, cuda, tensorrt or one of " + ", ".join(available),
            got=f"{name} is not in this build",
            remedy="install the ONNX Runtime built for it, e.g. onnxruntime-gpu",
        )
    return name, {"device_id": index} if index else {}
