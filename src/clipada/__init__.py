"""Visual inspection with CLIP-ADA: one small adapter over a frozen CLIP for all of a plant's products."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from clipada.errors import ClipAdaError

if TYPE_CHECKING:
    from clipada.calibrating import calibrate
    from clipada.calibration import DriftMonitor
    from clipada.config import Config
    from clipada.demonstration import demo
    from clipada.experiments import reproduce
    from clipada.exporting import export
    from clipada.inspector import Inspector
    from clipada.model import ClipAda
    from clipada.predicting import predict
    from clipada.publishing import push_to_hub, save_pretrained
    from clipada.workflows import evaluate, info, report_run, synthesize, train

__all__ = [
    "ClipAda",
    "ClipAdaError",
    "Config",
    "DriftMonitor",
    "Inspector",
    "calibrate",
    "demo",
    "evaluate",
    "export",
    "info",
    "predict",
    "push_to_hub",
    "report_run",
    "reproduce",
    "save_pretrained",
    "synthesize",
    "train",
]

_HOMES = {
    "ClipAda": "clipada.model",
    "Config": "clipada.config",
    "DriftMonitor": "clipada.calibration",
    "Inspector": "clipada.inspector",
    "calibrate": "clipada.calibrating",
    "demo": "clipada.demonstration",
    "evaluate": "clipada.workflows",
    "export": "clipada.exporting",
    "info": "clipada.workflows",
    "predict": "clipada.predicting",
    "push_to_hub": "clipada.publishing",
    "report_run": "clipada.workflows",
    "reproduce": "clipada.experiments",
    "save_pretrained": "clipada.publishing",
    "synthesize": "clipada.workflows",
    "train": "clipada.workflows",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that inspecting needs nothing of training."""
    if name not in _HOMES:
        raise AttributeError(f"module 'clipada' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
