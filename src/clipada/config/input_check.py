"""Settings of the input check."""

from __future__ import annotations

from dataclasses import dataclass

from clipada.config.schema import brief, require


@dataclass(frozen=True, kw_only=True)
class InputCheckConfig:
    """The input check: an image unlike all training images is not inspectable. It is no part of a run."""

    rate: float = 0.001
    """The share of good parts that the check may refuse; 0 switches it off."""

    __repr__ = brief

    def __post_init__(self) -> None:
        require(0 <= self.rate < 1, "input_check.rate", "0 or more and less than 1", self.rate)
