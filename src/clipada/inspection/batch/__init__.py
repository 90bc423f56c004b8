"""Verdicts on folders of any size: listed, decoded, inspected, drawn and written at once; on one machine or many."""

from clipada.inspection.batch.job import Job, find_sources
from clipada.inspection.batch.journal import PREDICTIONS, find_predictions, forget_unfinished
from clipada.inspection.batch.pipeline import Outcome
from clipada.inspection.pictures import MAP, OVERLAY, is_picture, write_pictures
from clipada.inspection.record import Record, verdict_record

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
    "is_picture",
    "verdict_record",
    "write_pictures",
]
