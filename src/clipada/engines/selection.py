"""Choice of the engine that serves a run on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipada.config import EngineOptions, InspectionConfig
from clipada.engines.aligned import with_alignment
from clipada.engines.exports import find_export, installed, open_export
from clipada.engines.tiled import with_view
from clipada.errors import ConfigError
from clipada.images.alignment import Alignment
from clipada.images.roi import RegionsOfInterest
from clipada.runs import Run, load_model, require_complete
from clipada.runs.alignment import load_alignment
from clipada.runs.roi import load_roi
from clipada.types import Engine

if TYPE_CHECKING:
    from clipada.engines.detector import DetectorEngine
    from clipada.engines.refinement import GraphEngine
    from clipada.engines.torch import TorchEngine

    PlainEngine = TorchEngine | GraphEngine | DetectorEngine


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
        return _as_trained(engine, run), f"torch {engine.precision}"
    folder, export = find_export(run, options)
    name = f"{export.engine} {export.precision}{' shortcut' * options.shortcut}{' cascade' * options.cascade}"
    opened = open_export(folder, export, options, run.config.model.rules)
    return _as_trained(opened, run), name


def as_inspecting(
    engine: PlainEngine, settings: InspectionConfig, regions: RegionsOfInterest | None, alignment: Alignment | None
) -> Engine:
    """Return the engine that inspects as a run does: in its regions of interest and view, aligned if it aligns."""
    engine.regions = regions
    return with_alignment(with_view(engine, settings), alignment)


def _as_trained(engine: PlainEngine, run: Run) -> Engine:
    return as_inspecting(engine, run.config.inspection, load_roi(run), load_alignment(run))


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
