"""Watch of the share of images that are not inspectable: a camera that goes dark must not go unnoticed.

A test martingale as in ``drift``: before each image, a gambler bets on it being inspectable or not, at the odds of the
share ``EXPECTED``. As long as at most this share is not inspectable, the capital does not grow in expectation, and by
Ville's inequality it ever reaches ``1 / a`` with probability at most ``a``, over a stream of any length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

EXPECTED = 0.01
"""The share of images that may be not inspectable without an alarm."""

RATES = (0.02, 0.05, 0.2, 0.9)
"""Shares that the gambler bets on, with a part of the capital each."""


@dataclass(frozen=True, kw_only=True)
class InputReport:
    """Finding on the images of a stream.

    Attributes:
        images: Number of images.
        not_inspectable: Number of them that were not inspectable.
        evidence: The highest capital that the gambler reached.
        limit: The evidence from which there is an alarm.
        alarm_at: Position in the stream, from 1, of the image that reached the limit; ``None`` without an alarm.
    """

    images: int
    not_inspectable: int
    evidence: float
    limit: float
    alarm_at: int | None

    @property
    def alarming(self) -> bool:
        """True if too many images are not inspectable."""
        return self.alarm_at is not None

    def describe(self) -> str:
        """Describe the finding in words and, if there is an alarm, say what to do."""
        found = f"{self.not_inspectable} of {self.images} images not inspectable"
        if not self.alarming:
            return found
        return (
            f"{found}: since image {self.alarm_at} at the latest, more than {100 * EXPECTED:g} % are unlike all "
            "training images. Check camera, lens, light and product; the reason is in each verdict"
        )


class InputRate:
    """Test of a stream's share of images that are not inspectable.

    Args:
        chance: Probability that a stream with at most the share ``EXPECTED``, of any length, ever raises an alarm.
    """

    def __init__(self, chance: float) -> None:
        self.limit = 1 / chance
        self.images = self.not_inspectable = 0
        self.evidence = 1.0
        self.alarm_at: int | None = None
        self._capital = [0.0] * len(RATES)

    def add(self, inspectable: bool) -> None:
        """Add the next image."""
        self.images += 1
        self.not_inspectable += not inspectable
        if self.alarm_at is not None:
            return
        share = 1 / (self.images * (self.images + 1)) / len(RATES)  # invested bit by bit, as in JumperMartingale
        odds = [(1 - rate) / (1 - EXPECTED) if inspectable else rate / EXPECTED for rate in RATES]
        self._capital = [(capital + share) * odd for capital, odd in zip(self._capital, odds, strict=True)]
        self.evidence = max(self.evidence, sum(self._capital) + 1 / (self.images + 1))
        if self.evidence >= self.limit:
            self.alarm_at = self.images

    def report(self) -> InputReport:
        """Return the finding on all images so far."""
        return InputReport(
            images=self.images,
            not_inspectable=self.not_inspectable,
            evidence=self.evidence,
            limit=self.limit,
            alarm_at=self.alarm_at,
        )

    def state(self) -> dict[str, Any]:
        """Return the state as plain values for ``restore``."""
        names = ("images", "not_inspectable", "evidence", "alarm_at")
        return {name: getattr(self, name) for name in names} | {"capital": self._capital}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the state of another test."""
        self.images, self.not_inspectable = state["images"], state["not_inspectable"]
        self.evidence, self.alarm_at = state["evidence"], state["alarm_at"]
        self._capital = list(state["capital"])
