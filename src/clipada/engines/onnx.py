"""Exported graphs in ONNX Runtime: what the base install inspects with."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort

from clipada.config import EngineOptions, cores
from clipada.engines.refinement import OUTPUTS, Look, Looked, LookInput
from clipada.errors import ConfigError, RunError

GRAPH = "graph.onnx"

_PROVIDERS = {"auto": "CPU", "cpu": "CPU", "cuda": "CUDA", "tensorrt": "Tensorrt"}


def onnx_look(path: Path, config: EngineOptions) -> Look:
    """A graph, ready to look.

    Args:
        path: The ONNX file.
        config: Device, threads and streams. Devices other than ``cpu``, ``cuda`` and ``tensorrt`` (each with ``:index``
            if wanted) name an execution provider, e.g. ``OpenVINOExecutionProvider``.

    Raises:
        ConfigError: This ONNX Runtime has no such device.
        RunError: The file is no graph that ONNX Runtime can run.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if config.threads or config.streams > 1:
        options.intra_op_num_threads = max(1, (config.threads or cores()) // config.streams)
    try:
        session = ort.InferenceSession(path, options, providers=[_provider(config.device)])
    except ConfigError:
        raise
    except Exception as error:  # ONNX Runtime's own errors share no base
        raise RunError(
            f"ONNX Runtime cannot run {path}", got=str(error).splitlines()[0], remedy="run `clipada export` again"
        ) from error

    def look(inputs: LookInput) -> Looked:
        maps, memory = session.run(OUTPUTS, inputs)
        return maps, memory

    return look


def _provider(device: str) -> tuple[str, dict[str, str]]:
    """The execution provider and its options for a device."""
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
