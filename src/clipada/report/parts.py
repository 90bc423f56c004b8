"""The parts of a report: the test images that ``evaluate`` scored, or the images that ``predict`` inspected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from clipada.evaluation.kinds import GOOD, decide
from clipada.types import Decision

Kind = Literal["good", "anomalous", "inspected"]

Outcome = Literal["found", "missed", "false alarm", "passed"]
"""A decision on a labeled part in the light of its label."""

_OUTCOMES: Mapping[tuple[Decision, bool], Outcome] = {
    ("defective", False): "found",
    ("good", False): "missed",
    ("defective", True): "false alarm",
    ("good", True): "passed",
}
"""Outcome of a decision on a part that is, or is not, good."""


@dataclass(frozen=True, kw_only=True)
class ScoredPart:
    """One scored image.

    Attributes:
        path: The image file; ``None`` for an image that was passed without one.
        category: The product it shows, or the group whose thresholds were applied; empty if unknown.
        score: Image score, 0..1.
        defect: The kind of defect, ``good`` for none, ``None`` if unknown.
        masks: The ground-truth mask files, which together are the ground truth.
        threshold: Map value above which a pixel belongs to a region; ``None`` for the run's own.
        regions: Number of regions; ``None`` if unknown.
        score_threshold: The image score above which it is defective; ``None`` without a calibration.
        shares: Further shares of its verdict, such as the p-value, by their symbols.
        calibration: Id of the calibration of its verdict.
        engine: Engine and precision of its verdict, if known.
        input_reason: The reason why its image is not inspectable, if it is unlike all training images.
        placement: Place of the part relative to its reference, in words; empty if the image was not aligned.
        image_sha256: Hash of the image file, if known.
        time: Time of its verdict, ISO 8601, if known.
    """

    path: Path | None
    category: str
    score: float
    defect: str | None = None
    masks: tuple[Path, ...] = ()
    threshold: float | None = None
    regions: int | None = None
    score_threshold: float | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    calibration: str | None = None
    engine: str | None = None
    input_reason: str | None = None
    placement: str = ""
    image_sha256: str | None = None
    time: str | None = None

    @property
    def counts(self) -> bool:
        """True if the score says something on the part: it is labeled, or its image was inspectable."""
        return self.input_reason is None or self.defect is not None

    @property
    def kind(self) -> Kind:
        """The label: good, anomalous, or inspected without a label."""
        if self.defect is None:
            return "inspected"
        return "good" if self.defect == GOOD else "anomalous"

    @property
    def decision(self) -> Decision | None:
        """The decision by score and threshold; ``None`` for an inspectable image without a threshold."""
        return decide(self.score, self.score_threshold, self.input_reason)

    @property
    def outcome(self) -> Outcome | None:
        """The decision in the light of the label; ``None`` if one of them is unknown."""
        if self.defect is None or self.decision is None:
            return None
        return _OUTCOMES.get((self.decision, self.kind == "good"))


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The scored parts, and the lines that do not count.

    Attributes:
        scored: The parts, in the file's order; each image once.
        left_out: For each other line, the reason.
    """

    scored: tuple[ScoredPart, ...]
    left_out: tuple[str, ...]

    @property
    def labeled(self) -> bool:
        """True if parts are known to be good or anomalous."""
        return any(part.kind != "inspected" for part in self.scored)

    @property
    def decided(self) -> bool:
        """True if every part has a decision."""
        return all(part.decision is not None for part in self.scored)
