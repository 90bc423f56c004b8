"""Inspection of folders of any size: listed, decoded, inspected, drawn and written at once; on one machine or many."""

from clipada.inspection.batch.job import DriftLog, OutcomeRecorder, find_sources, open_journal, run_job, unfinished
from clipada.inspection.batch.journal import PREDICTIONS, find_predictions, forget_unfinished, lock_name
from clipada.inspection.batch.pipeline import Outcome, outcomes

__all__ = [
    "PREDICTIONS",
    "DriftLog",
    "Outcome",
    "OutcomeRecorder",
    "find_predictions",
    "find_sources",
    "forget_unfinished",
    "lock_name",
    "open_journal",
    "outcomes",
    "run_job",
    "unfinished",
]
