"""Choice of the engine that serves a run on this machine."""

from __future__ import annotations

from clipada.config import EngineOptions
from clipada.engines.aligned import with_alignment
from clipada.engines.exports import find_export, installed, open_export
from clipada.engines.tiled import with_view
from clipada.errors import ConfigError
from clipada.runs import Run, load_model, require_complete
from clipada.runs.alignment import load_alignment
from clipada.runs.roi import load_roi
from clipada.types import Engine


def open_engine(run: Run, options: EngineOptions) -> tuple[Engine, str]:
    """Open the requested engine; by default PyTorch if it is installed, else an export of the run.

    Args:
        run: The run.
        options: Engine, backbone, precision, device, threads, streams, shortcut, cascade.

    Returns:
        The engine, and its description: name, precision, shortcut and cascade.

    Raises:
        RunError: There is no such export, it is damaged, or a file is not the one that the run was sealed with.
        BackboneError: The backbone is missing or is not the one that the run was trained on.
        ConfigError: There is no such device or precision, or the engine has no such setting.
        ModuleNotFoundError: The engine is not installed.
    """
    run = run.present()  # exports may have been added since it was read
    require_complete(run)
    if options.name == "torch" or (options.name is None and installed("torch") and installed("transformers")):
        from clipada.engines.torch import TorchEngine

        _refuse_export_settings(options)
        engine = TorchEngine(load_model(run, options.backbone), options.device, options.precision)
        engine.regions = load_roi(run)
        return _as_trained(engine, run), f"torch {engine.precision}"
    folder, export = find_export(run, options)
    name = f"{export.engine} {export.precision}{' shortcut' * options.shortcut}{' cascade' * options.cascade}"
    opened = open_export(folder, export, options, run.config.model.rules)
    opened.regions = load_roi(run)
    return _as_trained(opened, run), name


def _as_trained(engine: Engine, run: Run) -> Engine:
    """Return the engine that aligns images and reads them in the view of the run."""
    return with_alignment(with_view(engine, run.config.inspection), load_alignment(run))


def _refuse_export_settings(options: EngineOptions) -> None:
    """Raise a ``ConfigError`` if a setting is given that only exports have."""
    settings = {
        "threads": options.threads is not None,
        "streams": options.streams > 1,
        "shortcut": options.shortcut,
        "cascade": options.cascade,
    }
    asked = [name for name, given in settings.items() if given]
    if asked:
        raise ConfigError(
            f"the torch engine has no setting {', '.join(asked)}",
            expected="none of these, or the engine of an export",
            remedy="pass --engine onnx or --engine openvino",
        )
