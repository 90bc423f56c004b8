"""Exported graphs in ONNX Runtime, the engine of the base install."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from clipada.config import EngineOptions, cores
from clipada.engines.passes import GraphSizes, RuntimeGraph
from clipada.errors import ConfigError, RunError

GRAPH = "graph.onnx"

_PROVIDERS = {"auto": "CPU", "cpu": "CPU", "cuda": "CUDA", "tensorrt": "Tensorrt"}


def open_onnx(path: Path, config: EngineOptions) -> tuple[RuntimeGraph, GraphSizes]:
    """Open a graph, ready to run.

    Args:
        path: The ONNX file.
        config: Device, threads and streams. Devices other than ``cpu``, ``cuda`` and ``tensorrt`` (each optionally
            with ``:index``) name an execution provider, e.g. ``OpenVINOExecutionProvider``.

    Returns:
        The graph, which raises ``RunError`` if ONNX Runtime refuses them, and the shapes it declares.

    Raises:
        ConfigError: This ONNX Runtime has no such device.
        RunError: ONNX Runtime cannot run the file.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if config.threads or config.streams > 1:
        options.intra_op_num_threads = max(1, (config.threads or cores()) // config.streams)
    provider = _provider(config.device)
    with _naming(path):
        session = ort.InferenceSession(path, options, providers=[provider])
    outputs = [one.name for one in session.get_outputs()]

    def run(inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        with _naming(path):
            return dict(zip(outputs, session.run(outputs, inputs), strict=True))

    return run, {one.name: _sizes(one.shape) for one in (*session.get_inputs(), *session.get_outputs())}


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn any error of ONNX Runtime in the block, whose errors have no common base class, into a ``RunError``."""
    try:
        yield
    except Exception as error:
        got = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RunError(f"ONNX Runtime cannot run {path}", got=got, remedy="run `clipada export` again") from error


def _sizes(shape: Sequence[int | str | None]) -> tuple[int | None, ...]:
    """Return the axes of a shape; ``None`` for one that is named instead of fixed."""
    return tuple(size if isinstance(size, int) else None for size in shape)


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
