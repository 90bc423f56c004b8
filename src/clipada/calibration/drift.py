"""Do today's parts still look like those of the calibration? A test martingale on the stream of their p-values.

P-values against a FIXED calibration set are not independent of one another: a set that happens to lie high makes all of
them small, and a test that multiplies evidence would take that for drift. Here each part joins the pool after it was
judged, and ties are broken at random. Such p-values are independent and uniform for exchangeable scores (Vovk,
Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, chapter 7), so that a fair bet against them
keeps its expected capital, and by Ville's inequality the chance that it ever grows ``1 / a``-fold is at most ``a``.

Only parts that pass are watched: those below the threshold, against the calibration images below it, which are
exchangeable too. So defects that are found are no evidence of drift, however many there are.

Scores are rounded first (``Tally``), so that a stream without end needs bounded room. That costs no validity: rounded
scores are exchangeable too, and ties are broken at random.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clipada.calibration.record import Calibration
from clipada.calibration.tally import Tally
from clipada.config import DriftConfig
from clipada.types import Verdict

BETS = (-1.0, 0.0, 1.0)
"""A bet ``e`` multiplies its capital by ``1 + e (p - 1/2)``: ``-1`` gains by small p-values, ``1`` by large ones."""

QUANTILES = (0.1, 0.5, 0.9)
"""Levels at which the scores of the parts are compared with those of the calibration."""


class JumperMartingale:
    """The Simple Jumper of Vovk et al., "Retrain or not retrain" (COPA 2021), its capital invested bit by bit.

    Before part ``t`` the share ``1 / (t (t + 1))`` of the first capital is invested, and a share ``jump`` of what is
    invested moves evenly among the bets. So after ``t`` parts without drift at least ``1 / (t + 1)`` is left to
    detect one, where capital invested at once would have been lost to the bets long before.

    Args:
        jump: The share that moves, 0..1.
    """

    def __init__(self, jump: float) -> None:
        self.jump = jump
        self.steps = 0
        self.capital = [0.0] * len(BETS)

    @property
    def value(self) -> float:
        """Invested and uninvested capital; 1 at first, and 1 in expectation for as long as there is no drift."""
        return sum(self.capital) + 1 / (self.steps + 1)

    def add(self, p_value: float) -> None:
        """Bet on one p-value, 0..1."""
        self.steps += 1
        share = (sum(self.capital) * self.jump + 1 / (self.steps * (self.steps + 1))) / len(BETS)
        self.capital = [
            ((1 - self.jump) * capital + share) * (1 + bet * (p_value - 0.5))
            for capital, bet in zip(self.capital, BETS, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """What a stream of parts told.

    Attributes:
        group: The group whose thresholds counted; ``None`` for those of all calibration images pooled.
        parts: The number of parts judged.
        defective: How many of them were found defective; the others are watched for drift.
        evidence: The highest value that the martingale reached; with drift the betting ends.
        limit: The evidence from which there is drift.
        drift_at: Place among the group's parts, from 1, of the first with that evidence; ``None`` without drift.
        higher: Whether the parts' scores lie above those of the calibration.
        quantiles: At each level of ``QUANTILES``, the score at calibration and in the stream, of parts that pass;
            empty before the first part.
    """

    group: str | None
    parts: int
    defective: int
    evidence: float
    limit: float
    drift_at: int | None
    higher: bool
    quantiles: tuple[tuple[float, float], ...]

    @property
    def drifting(self) -> bool:
        """Whether there is drift."""
        return self.drift_at is not None

    def describe(self) -> str:
        """The finding in words, and where there is drift, what to do."""
        where = f"group {self.group}: " if self.group else ""
        found = f"{self.defective} of {self.parts} parts defective"
        if not self.drifting:
            return f"{where}{found}; no sign of drift (evidence {self.evidence:.3g} of {self.limit:.3g})"
        levels = ", ".join(
            f"{100 * level:g} % {stream:.3g} (was {calibrated:.3g})"
            for level, (calibrated, stream) in zip(QUANTILES, self.quantiles, strict=True)
        )
        side = "higher" if self.higher else "lower"
        danger = "more good parts will be called defective" if self.higher else "defects may pass unseen"
        return (
            f"{where}drift: since part {self.drift_at} at the latest, scores are {side} than at calibration, "
            f"and {danger}; {found}; score quantiles: {levels}. Look at camera, lens, light and "
            "some of the parts, and mend what changed. If the parts are good and will stay so, run `clipada calibrate` "
            "with new ones. Products one after another under one threshold look the same: `--per product`"
        )


class DriftMonitor:
    """Watches verdicts for drift, group by group.

    The chance that a stream without drift is ever called drifting is at most ``false_alarm_chance``, over all groups
    together, for good parts that come in an order exchangeable with the calibration's.

    Args:
        calibration: What the verdicts rest on.
        settings: The chance of a false alarm, and the seed that ties are broken by.
    """

    def __init__(self, calibration: Calibration, settings: DriftConfig | None = None) -> None:
        self.settings = settings or DriftConfig()
        generator = np.random.default_rng(self.settings.seed)
        limit = (1 + len(calibration.groups)) / self.settings.false_alarm_chance  # Bonferroni: one test a group
        self._streams = {
            group: _Stream(calibration, group, limit, self.settings.jump, generator)
            for group in (None, *calibration.groups)
        }

    @property
    def parts(self) -> int:
        """The number of parts judged, over all groups."""
        return sum(stream.parts for stream in self._streams.values())

    def watch(self, verdict: Verdict) -> None:
        """Take the next verdict into account; one without a calibration is passed over."""
        if verdict.calibration is not None:
            self.add(verdict.score, verdict.group)

    def add(self, score: float, group: str | None = None) -> None:
        """Take the next part's score into account; a group without thresholds of its own counts with the pooled."""
        self._streams[group if group in self._streams else None].add(score)

    def reports(self) -> tuple[DriftReport, ...]:
        """A report for each group that parts were seen of."""
        return tuple(stream.report() for stream in self._streams.values() if stream.parts)

    def drifting(self) -> tuple[DriftReport, ...]:
        """A report for each group with drift."""
        return tuple(stream.report() for stream in self._streams.values() if stream.drift_at is not None)

    def state(self) -> dict[str, Any]:
        """All that was learned of the stream, as plain values for ``restore``."""
        streams = [stream.state() for stream in self._streams.values() if stream.parts]
        return {"settings": asdict(self.settings), "streams": streams}

    def restore(self, state: dict[str, Any]) -> bool:
        """Go on where another monitor of the same calibration stood; whether its settings were the same.

        With other settings nothing is taken over. Ties are broken by new draws.
        """
        if state["settings"] != asdict(self.settings):
            return False
        for stream in state["streams"]:
            self._streams[stream["group"]].restore(stream)
        generator = np.random.default_rng((self.settings.seed, self.parts))
        for own in self._streams.values():
            own.generator = generator
        return True


class _Stream:
    """One group's parts."""

    def __init__(
        self, calibration: Calibration, group: str | None, limit: float, jump: float, generator: np.random.Generator
    ) -> None:
        self.group = group
        self.threshold = calibration.limits(group).score
        passing = [score for score in calibration.scores(group).tolist() if score < self.threshold]
        self.calibrated, self.pool, self.seen = Tally(passing), Tally(passing), Tally()
        self.parts = self.defective = 0
        self.martingale = JumperMartingale(jump)
        self.generator = generator
        self.limit, self.evidence = limit, 1.0
        self.drift_at: int | None = None

    def add(self, score: float) -> None:
        self.parts += 1
        self.defective += score > self.threshold
        if score >= self.threshold:
            return
        p_value = self._p_value(score)
        self.pool.add(score)
        self.seen.add(score)
        if self.drift_at is None:
            self._bet(p_value)

    def _bet(self, p_value: float) -> None:
        self.martingale.add(p_value)
        self.evidence = max(self.evidence, self.martingale.value)
        if self.evidence >= self.limit:
            self.drift_at = self.parts

    def _p_value(self, score: float) -> float:
        """``(#{Z > s} + U (1 + #{Z = s})) / (n + 1)`` over all that came before: smoothed, hence exactly uniform."""
        ties, above = self.pool.ties_and_above(score)
        return float((above + self.generator.uniform() * (1 + ties)) / (self.pool.size + 1))

    def _higher(self) -> bool:
        """Whether a part's score lies above a calibration score more often than below."""
        excess = 0
        for value, count in zip(self.seen.values, self.seen.counts, strict=True):
            ties, above = self.calibrated.ties_and_above(value)
            excess += count * (self.calibrated.size - ties - 2 * above)
        return excess > 0

    def state(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "parts": self.parts,
            "defective": self.defective,
            "evidence": self.evidence,
            "drift_at": self.drift_at,
            "steps": self.martingale.steps,
            "capital": self.martingale.capital,
            "values": self.seen.values,
            "counts": self.seen.counts,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.parts, self.defective = state["parts"], state["defective"]
        self.evidence, self.drift_at = state["evidence"], state["drift_at"]
        self.martingale.steps, self.martingale.capital = state["steps"], list(state["capital"])
        for value, count in zip(state["values"], state["counts"], strict=True):
            self.seen.add(value, count)
            self.pool.add(value, count)

    def report(self) -> DriftReport:
        both = (self.calibrated, self.seen) if self.calibrated.values and self.seen.values else ()
        quantiles = (tally.quantiles(QUANTILES) for tally in both)
        return DriftReport(
            group=self.group,
            parts=self.parts,
            defective=self.defective,
            evidence=self.evidence,
            limit=self.limit,
            drift_at=self.drift_at,
            higher=self._higher(),
            quantiles=tuple(zip(*quantiles, strict=True)),
        )
