"""Which engine serves a run on this machine."""

from __future__ import annotations

from clipada.config import EngineOptions
from clipada.engines.exports import find_export, installed, open_export
from clipada.errors import ConfigError
from clipada.runs import Run, load_model
from clipada.types import Engine


def open_engine(run: Run, config: EngineOptions, backbone: str | None = None) -> tuple[Engine, str]:
    """The engine asked for; PyTorch if none is and it is installed, else an export that is there.

    Args:
        run: The run.
        config: Engine, precision, device, threads, streams, shortcut, cascade.
        backbone: Where the backbone lies now, for PyTorch; an export holds its own part of it.

    Returns:
        The engine, and its name, precision, shortcut and cascade in words.

    Raises:
        RunError: There is no such export, or it is damaged.
        BackboneError: The backbone is missing or not the one the run was trained on.
        ConfigError: There is no such device or precision, or the engine has no such setting.
        ModuleNotFoundError: The engine is not installed.
    """
    if config.name == "torch" or (config.name is None and installed("torch") and installed("transformers")):
        from clipada.engines.torch import TorchEngine

        _refuse_export_settings(config)
        precision = config.precision or "fp32"
        return TorchEngine(load_model(run, backbone), config.device, precision), f"torch {precision}"
    folder, export = find_export(run, config)
    name = f"{export.engine} {export.precision}{' shortcut' * config.shortcut}{' cascade' * config.cascade}"
    return open_export(folder, export, config), name


def _refuse_export_settings(config: EngineOptions) -> None:
    """Say that PyTorch takes none of an export's settings."""
    settings = {
        "threads": config.threads is not None,
        "streams": config.streams > 1,
        "shortcut": config.shortcut,
        "cascade": config.cascade,
    }
    asked = [name for name, given in settings.items() if given]
    if asked:
        raise ConfigError(
            f"the torch engine has no setting {', '.join(asked)}",
            expected="none of these, or the engine of an export",
            remedy="pass --engine onnx or --engine openvino",
        )
