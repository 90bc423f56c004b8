"""Settings of a test protocol."""

from __future__ import annotations

from dataclasses import dataclass

from clipada.config.schema import require


@dataclass(frozen=True, kw_only=True)
class ProtocolConfig:
    """Criteria that a test protocol proposes, and the size of its record sheets."""

    detection: float = 0.95
    """Share of each kind of defect, 0..1, that must be found."""

    confidence: float = 0.95
    """Confidence of all criteria, 0..1."""

    false_alarm_rate: float | None = None
    """Share of good parts that may be called defective; ``None`` for that of the run's calibration, else 0.05."""

    rows: int = 20
    """Empty rows of a record sheet."""

    def __post_init__(self) -> None:
        for name in ("detection", "confidence"):
            require(0 < getattr(self, name) < 1, f"protocol.{name}", "more than 0 and less than 1", getattr(self, name))
        rate = self.false_alarm_rate
        require(rate is None or 0 < rate < 1, "protocol.false_alarm_rate", "more than 0 and less than 1", rate)
        require(self.rows >= 1, "protocol.rows", "1 or more", self.rows)
