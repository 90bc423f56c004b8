"""Visual inspection with CLIP-ADA: one small model over a frozen backbone for all of a plant's products.

The names below are the public interface: commands as functions, ``Inspector``, settings, results and errors.
Settings of single components are in ``clipada.config``. All other modules are internal.
"""

from contextlib import suppress
from importlib import import_module
from inspect import get_annotations
from typing import TYPE_CHECKING, Any, get_type_hints

from clipada import errors

if TYPE_CHECKING:
    from clipada.calibration import Calibration, DriftMonitor
    from clipada.commands.add import Revised, add_parts
    from clipada.commands.calibrate import CalibrationReport, calibrate, undo_calibration
    from clipada.commands.compare import Comparison, compare
    from clipada.commands.demo import Demo, demo
    from clipada.commands.evaluate import evaluate
    from clipada.commands.export import export
    from clipada.commands.history import open_history
    from clipada.commands.info import info
    from clipada.commands.predict import predict, predict_on_ray
    from clipada.commands.protocol import protocol
    from clipada.commands.push import push_to_hub, save_pretrained
    from clipada.commands.remove import remove_parts
    from clipada.commands.report import report_run
    from clipada.commands.reproduce import Reproduction, reproduce
    from clipada.commands.serve import serve
    from clipada.commands.settings import Setting, settings
    from clipada.commands.start import Started, start
    from clipada.commands.stress import StressFix, StressReport, stress
    from clipada.commands.synthesize import synthesize
    from clipada.commands.train import train
    from clipada.commands.verify import Verification, verify
    from clipada.commands.watch import watch
    from clipada.config import Config
    from clipada.engines.export.parity import Parity
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
    from clipada.history.store import History
    from clipada.inspection import Inspector
    from clipada.inspection.batch import Outcome
    from clipada.models.clip_ada import ClipAda
    from clipada.report import Report
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
    "Comparison",
    "Config",
    "ConfigError",
    "DatasetError",
    "Demo",
    "DriftMonitor",
    "Evaluation",
    "Failure",
    "History",
    "HistoryError",
    "ImageError",
    "ImageKindError",
    "ImageSizeError",
    "Inspector",
    "Outcome",
    "Parity",
    "Progress",
    "Region",
    "Report",
    "Reproduction",
    "Revised",
    "Run",
    "RunError",
    "Setting",
    "SinkError",
    "Started",
    "StressFix",
    "StressReport",
    "Verdict",
    "Verification",
    "__version__",
    "add_parts",
    "calibrate",
    "compare",
    "demo",
    "evaluate",
    "export",
    "info",
    "open_history",
    "predict",
    "predict_on_ray",
    "protocol",
    "push_to_hub",
    "remove_parts",
    "report_run",
    "reproduce",
    "save_pretrained",
    "serve",
    "settings",
    "start",
    "stress",
    "synthesize",
    "train",
    "undo_calibration",
    "verify",
    "watch",
]

_HOMES = {
    "Calibration": "calibration",
    "CalibrationReport": "commands.calibrate",
    "ClipAda": "models.clip_ada",
    "Comparison": "commands.compare",
    "Config": "config",
    "Demo": "commands.demo",
    "DriftMonitor": "calibration",
    "Evaluation": "evaluation.evaluate",
    "Failure": "types",
    "History": "history.store",
    "Inspector": "inspection",
    "Outcome": "inspection.batch",
    "Parity": "engines.export.parity",
    "Progress": "types",
    "Region": "types",
    "Report": "report",
    "Reproduction": "commands.reproduce",
    "Revised": "commands.add",
    "Run": "runs",
    "Started": "commands.start",
    "Setting": "commands.settings",
    "StressFix": "commands.stress",
    "StressReport": "commands.stress",
    "Verdict": "types",
    "Verification": "commands.verify",
    "add_parts": "commands.add",
    "calibrate": "commands.calibrate",
    "compare": "commands.compare",
    "demo": "commands.demo",
    "evaluate": "commands.evaluate",
    "export": "commands.export",
    "info": "commands.info",
    "open_history": "commands.history",
    "predict": "commands.predict",
    "predict_on_ray": "commands.predict",
    "protocol": "commands.protocol",
    "push_to_hub": "commands.push",
    "remove_parts": "commands.remove",
    "report_run": "commands.report",
    "reproduce": "commands.reproduce",
    "save_pretrained": "commands.push",
    "serve": "commands.serve",
    "settings": "commands.settings",
    "start": "commands.start",
    "stress": "commands.stress",
    "synthesize": "commands.synthesize",
    "train": "commands.train",
    "undo_calibration": "commands.calibrate",
    "verify": "commands.verify",
    "watch": "commands.watch",
}
"""The module below ``clipada`` that defines each name; it is imported when the name is first used."""

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
    _resolve_annotations(found)
    found.__module__ = __name__  # tracebacks and help() show the name that users import
    globals()[name] = found
    return found


def _resolve_annotations(found: Any) -> None:
    """Replace the text of a class's annotations by types, while its module says where their names are defined."""
    own = get_annotations(found) if isinstance(found, type) else {}
    if any(isinstance(annotation, str) for annotation in own.values()):
        with suppress(NameError):  # a type that only type checkers import
            resolved = get_type_hints(found, include_extras=True)
            found.__annotations__ = {name: resolved[name] for name in own}


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
