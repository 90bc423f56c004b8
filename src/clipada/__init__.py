"""Visual inspection with CLIP-ADA: one small adapter over a frozen CLIP for all of a plant's products."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from clipada.errors import ClipAdaError

if TYPE_CHECKING:
    from clipada.calibration import DriftMonitor
    from clipada.commands.calibrate import calibrate
    from clipada.commands.demo import demo
    from clipada.commands.evaluate import evaluate
    from clipada.commands.export import export
    from clipada.commands.info import info
    from clipada.commands.predict import predict
    from clipada.commands.push import push_to_hub, save_pretrained
    from clipada.commands.report import report_run
    from clipada.commands.reproduce import reproduce
    from clipada.commands.synthesize import synthesize
    from clipada.commands.train import train
    from clipada.config import Config
    from clipada.inspection import Inspector
    from clipada.models.clip_ada import ClipAda

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
    "ClipAda": "clipada.models.clip_ada",
    "Config": "clipada.config",
    "DriftMonitor": "clipada.calibration",
    "Inspector": "clipada.inspection",
    "calibrate": "clipada.commands.calibrate",
    "demo": "clipada.commands.demo",
    "evaluate": "clipada.commands.evaluate",
    "export": "clipada.commands.export",
    "info": "clipada.commands.info",
    "predict": "clipada.commands.predict",
    "push_to_hub": "clipada.commands.push",
    "report_run": "clipada.commands.report",
    "reproduce": "clipada.commands.reproduce",
    "save_pretrained": "clipada.commands.push",
    "synthesize": "clipada.commands.synthesize",
    "train": "clipada.commands.train",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that inspecting needs nothing of training."""
    if name not in _HOMES:
        raise AttributeError(f"module 'clipada' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
