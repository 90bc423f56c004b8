"""Verdicts on folders of any size: listed, decoded, inspected, drawn and written at once; on one machine or many."""

from clipada.predicting.job import Job, find_sources, predict
from clipada.predicting.journal import PREDICTIONS, find_predictions, forget_unfinished
from clipada.predicting.records import MAP, OVERLAY, Outcome, Record, prediction_record

__all__ = [
    "MAP",
    "OVERLAY",
    "PREDICTIONS",
    "Job",
    "Outcome",
    "Record",
    "find_predictions",
    "find_sources",
    "forget_unfinished",
    "predict",
    "prediction_record",
]
