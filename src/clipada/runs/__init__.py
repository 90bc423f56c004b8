"""The run folder, the result of a training: its description, saving, loading and verification."""

from clipada.runs.calibration import load_calibration, require_same_model, usable_calibration
from clipada.runs.contents import (
    ADAPTER,
    CALIBRATION,
    CARD,
    CHECKPOINT,
    CONFIG,
    ENCODERS,
    EXPORTS,
    INPUT_CHECK,
    MANIFEST,
    MEMORY,
    METRICS,
    PLAN,
    PROTOTYPES,
    SCORES,
    TRAINED_ON,
)
from clipada.runs.description import Run, is_finished, read_run, require_readable
from clipada.runs.manifest import Manifest, SealedFile, find_manifest
from clipada.runs.sealing import changing, replace_folder, seal
from clipada.runs.storage import load_model, save_run, write_defect_sha256s, write_training_sha256s
from clipada.runs.training import Change, LearnedDefects, Training
from clipada.runs.verification import CheckedFile, check_files, require_all_sealed, require_complete, require_sealed
from clipada.runs.writing import writes_into_run, writing_into

__all__ = [
    "ADAPTER",
    "CALIBRATION",
    "CARD",
    "CHECKPOINT",
    "CONFIG",
    "ENCODERS",
    "EXPORTS",
    "INPUT_CHECK",
    "MANIFEST",
    "MEMORY",
    "METRICS",
    "PLAN",
    "PROTOTYPES",
    "SCORES",
    "TRAINED_ON",
    "Change",
    "CheckedFile",
    "LearnedDefects",
    "Manifest",
    "Run",
    "SealedFile",
    "Training",
    "changing",
    "check_files",
    "find_manifest",
    "is_finished",
    "load_calibration",
    "load_model",
    "read_run",
    "replace_folder",
    "require_all_sealed",
    "require_complete",
    "require_readable",
    "require_same_model",
    "require_sealed",
    "save_run",
    "seal",
    "usable_calibration",
    "write_defect_sha256s",
    "write_training_sha256s",
    "writes_into_run",
    "writing_into",
]
