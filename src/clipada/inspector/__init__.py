"""The facade: images in, verdicts out."""

from clipada.inspector.facade import DEFAULT_THRESHOLD, Inspector

__all__ = ["DEFAULT_THRESHOLD", "Inspector"]
