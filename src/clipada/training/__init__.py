"""Training the adapter: batches made again from a seed, the objective, and a loop that survives kills."""

from clipada.training.batches import TrainingBatch, TrainingBatches
from clipada.training.checkpoint import CHECKPOINT
from clipada.training.loop import Progress, fit, launch
from clipada.training.split import select_share, split_validation
from clipada.training.validation import validate

__all__ = [
    "CHECKPOINT",
    "Progress",
    "TrainingBatch",
    "TrainingBatches",
    "fit",
    "launch",
    "select_share",
    "split_validation",
    "validate",
]
