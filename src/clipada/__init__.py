"""Visual inspection with CLIP-ADA: one small adapter over a frozen CLIP for all of a plant's products.

The names below are the public interface: commands as functions, ``Inspector``, settings, results and errors.
Settings of single components are in ``clipada.config``. All other modules are internal.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from clipada import errors

if TYPE_CHECKING:
    from clipada.calibration import Calibration, DriftMonitor
    from clipada.commands.calibrate import CalibrationReport, calibrate
    from clipada.commands.demo import demo
    from clipada.commands.evaluate import evaluate
    from clipada.commands.export import export
    from clipada.commands.history import open_history
    from clipada.commands.info import info
    from clipada.commands.predict import predict, predict_on_ray
    from clipada.commands.push import push_to_hub, save_pretrained
    from clipada.commands.report import report_run
    from clipada.commands.reproduce import reproduce
    from clipada.commands.serve import serve
    from clipada.commands.synthesize import synthesize
    from clipada.commands.train import train
    from clipada.commands.watch import watch
    from clipada.config import Config
    from clipada.errors import (
        BackboneError,
        CalibrationError,
        ClipAdaError,
        ConfigError,
        DatasetError,
        HistoryError,
        ImageError,
        ImageKindError,
        ImageSizeError,
        RunError,
        SinkError,
    )
    from clipada.evaluation.evaluate import Evaluation
    from clipada.inspection import Inspector
    from clipada.models.clip_ada import ClipAda
    from clipada.runs import Run
    from clipada.types import Failure, Progress, Region, Verdict

    __version__: str

__all__ = [
    "BackboneError",
    "Calibration",
    "CalibrationError",
    "CalibrationReport",
    "ClipAda",
    "ClipAdaError",
    "Config",
    "ConfigError",
    "DatasetError",
    "DriftMonitor",
    "Evaluation",
    "Failure",
    "HistoryError",
    "ImageError",
    "ImageKindError",
    "ImageSizeError",
    "Inspector",
    "Progress",
    "Region",
    "Run",
    "RunError",
    "SinkError",
    "Verdict",
    "__version__",
    "calibrate",
    "demo",
    "evaluate",
    "export",
    "info",
    "open_history",
    "predict",
    "predict_on_ray",
    "push_to_hub",
    "report_run",
    "reproduce",
    "save_pretrained",
    "serve",
    "synthesize",
    "train",
    "watch",
]

_HOMES = {
    "Calibration": "calibration",
    "CalibrationReport": "commands.calibrate",
    "ClipAda": "models.clip_ada",
    "Config": "config",
    "DriftMonitor": "calibration",
    "Evaluation": "evaluation.evaluate",
    "Failure": "types",
    "Inspector": "inspection",
    "Progress": "types",
    "Region": "types",
    "Run": "runs",
    "Verdict": "types",
    "calibrate": "commands.calibrate",
    "demo": "commands.demo",
    "evaluate": "commands.evaluate",
    "export": "commands.export",
    "info": "commands.info",
    "open_history": "commands.history",
    "predict": "commands.predict",
    "predict_on_ray": "commands.predict",
    "push_to_hub": "commands.push",
    "report_run": "commands.report",
    "reproduce": "commands.reproduce",
    "save_pretrained": "commands.push",
    "serve": "commands.serve",
    "synthesize": "commands.synthesize",
    "train": "commands.train",
    "watch": "commands.watch",
}
"""The module below ``clipada`` that defines each name; it is imported when the name is first used."""

_RESOLVED_BY_MODULE = {"Calibration", "Config"}
"""Classes built from JSON: their field types are resolved by the module that they name, so they keep it."""

for _name in __all__:
    if _name.endswith("Error"):
        globals()[_name] = getattr(errors, _name)
        globals()[_name].__module__ = __name__


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that inspection imports nothing of training."""
    if name == "__version__":
        from clipada.devices import package_version

        return package_version()
    if name not in _HOMES:
        raise AttributeError(f"module 'clipada' has no attribute {name!r}")
    found = getattr(import_module(f"clipada.{_HOMES[name]}"), name)
    if name not in _RESOLVED_BY_MODULE:
        found.__module__ = __name__  # tracebacks and help() show the name that users import
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
