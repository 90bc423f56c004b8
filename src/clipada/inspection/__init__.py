"""Inspection: images in, verdicts out."""

from clipada.inspection.inspector import DEFAULT_THRESHOLD, Inspector

__all__ = ["DEFAULT_THRESHOLD", "Inspector"]
