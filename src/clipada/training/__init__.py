"""Training the adapter: batches made again from a seed, the objective, and a loop that survives kills."""

from clipada.training.batches import TrainingBatch, TrainingBatches
from clipada.training.checkpoint import CHECKPOINT
from clipada.training.loop import Progress, fit, launch
from clipada.training.validation import split_validation, validate

__all__ = [
    "CHECKPOINT",
    "Progress",
    "TrainingBatch",
    "TrainingBatches",
    "fit",
    "launch",
    "split_validation",
    "validate",
]
