"""The run folder, the result of a training: its description, saving, loading and verification."""

from clipada.runs.description import (
    ADAPTER,
    CALIBRATION,
    CARD,
    CONFIG,
    ENCODERS,
    INPUT_CHECK,
    METRICS,
    PLAN,
    PROTOTYPES,
    SCORES,
    TRAINED_ON,
    Run,
    Training,
    read_run,
)
from clipada.runs.storage import load_model, save_run, write_training_sha256s
from clipada.runs.writing import writes_into_run, writing_into

__all__ = [
    "ADAPTER",
    "CALIBRATION",
    "CARD",
    "CONFIG",
    "ENCODERS",
    "INPUT_CHECK",
    "METRICS",
    "PLAN",
    "PROTOTYPES",
    "SCORES",
    "TRAINED_ON",
    "Run",
    "Training",
    "load_model",
    "read_run",
    "save_run",
    "write_training_sha256s",
    "writes_into_run",
    "writing_into",
]
