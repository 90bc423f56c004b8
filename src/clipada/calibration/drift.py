"""Drift detection: a test martingale on the stream of the parts' p-values.

A gambler starts with a capital of 1 and, before each part, bets on its p-value. As long as the parts are exchangeable
with those of the calibration, p-values are independent and uniform over 0..1, every bet is fair, and the expected
capital stays 1: the capital is a test martingale. If scores shift, p-values pile up at one end of 0..1, a bet on that
end gains, and the capital grows. By Ville's inequality a nonnegative martingale that starts at 1 ever reaches ``1 / a``
with probability at most ``a``. So "there is drift once the capital reaches ``1 / a``" raises a false alarm with
probability at most ``a`` over a stream of any length, although the test is repeated after every part.

The calibration set grows with the stream. P-values against a FIXED calibration set are not independent of one another:
if the set happens to score high, all of them are small, and the gambler would take that for drift. Therefore each part
joins the set after its p-value was computed, and ties are broken at random. Such p-values are independent and exactly
uniform for exchangeable scores (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, chapter 7).

Only parts that pass are tested: those below the threshold, against the calibration images below it, which are
exchangeable too. So detected defects are no evidence of drift, however many there are.

Scores are rounded first (``Tally``), so that an endless stream needs bounded memory. The guarantee holds nevertheless:
rounded scores are exchangeable too, and ties are broken at random.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clipada.calibration.input_rate import InputRate
from clipada.calibration.record import Calibration
from clipada.calibration.tally import Tally
from clipada.config import DriftConfig
from clipada.types import Verdict

BETS = (-1.0, 0.0, 1.0)
"""Bets ``e`` that share the capital: each multiplies its part by ``1 + e (p - 1/2)``, with mean 1 for a uniform ``p``.
``-1`` gains from small p-values, ``1`` from large ones, and ``0`` keeps its part."""

QUANTILES = (0.1, 0.5, 0.9)
"""Levels of the score quantiles that a report compares between calibration and stream."""


class JumperMartingale:
    """Test martingale that finds the right bet: the Simple Jumper of Vovk et al., "Retrain or not retrain" (COPA 2021).

    Nobody knows beforehand which bet will gain, nor when. So the capital is spread over ``BETS``, and before every part
    a share ``jump`` of each bet's capital moves to all bets evenly ("jumps"). A bet that has lost nearly everything is
    thus refilled and gains again when the drift turns. Moving capital before the p-value is known keeps every bet fair.

    Unlike in the paper, the first capital is invested bit by bit: the share ``1 / (t (t + 1))`` of it before part
    ``t``. These shares sum to 1, so the total is still a martingale. After ``t`` parts without drift at least
    ``1 / (t + 1)`` is not yet invested and can detect a later drift, whereas the bets would have lost most
    of a capital that was invested at once.

    Args:
        jump: Share of the capital that moves, 0..1.
    """

    def __init__(self, jump: float) -> None:
        self.jump = jump
        self.steps = 0
        self.capital = [0.0] * len(BETS)

    @property
    def value(self) -> float:
        """Capital, invested and not yet invested: 1 at first, and 1 in expectation as long as there is no drift."""
        return sum(self.capital) + 1 / (self.steps + 1)

    def add(self, p: float) -> None:
        """Bet on one p-value, 0..1."""
        self.steps += 1
        share = (sum(self.capital) * self.jump + 1 / (self.steps * (self.steps + 1))) / len(BETS)
        self.capital = [
            ((1 - self.jump) * capital + share) * (1 + bet * (p - 0.5))
            for capital, bet in zip(self.capital, BETS, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """Finding of a drift test over a stream of parts.

    Attributes:
        group: The group whose thresholds were applied; ``None`` for those of all calibration images pooled.
        parts: Number of parts inspected.
        defective: Number of them that were called defective; the others are tested for drift.
        evidence: The highest capital that the martingale reached; the betting ends when drift is detected.
        limit: The evidence from which there is drift.
        drift_at: Position in the group's stream, from 1, of the part that reached the limit; ``None`` without drift.
        higher: True if the parts' scores are higher than those of the calibration, false if they are lower.
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
        """True if drift was detected."""
        return self.drift_at is not None

    def describe(self) -> str:
        """Describe the finding in words and, if there is drift, say what to do."""
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
            f"and {danger}; {found}; score quantiles: {levels}. Check camera, lens, light and "
            "some of the parts, and fix what changed. If the parts are good and will stay so, run `clipada calibrate` "
            "with new ones. A switch of products under one threshold has the same effect: use `--per product`"
        )


class DriftMonitor:
    """Monitor that tests verdicts for drift, group by group.

    The probability that drift is ever reported in a stream without drift is at most ``false_alarm_chance``, over all
    groups together, if good parts are exchangeable with those of the calibration. Images that are not inspectable are
    no part of it: ``inputs`` watches their share, with a false-alarm chance of its own.

    Args:
        calibration: The calibration that the verdicts used.
        settings: The probability of a false alarm, and the seed of the random tie-breaking.
    """

    def __init__(self, calibration: Calibration, settings: DriftConfig | None = None) -> None:
        self.settings = settings or DriftConfig()
        self.inputs = InputRate(self.settings.false_alarm_chance)
        generator = np.random.default_rng(self.settings.seed)
        limit = (1 + len(calibration.groups)) / self.settings.false_alarm_chance  # Bonferroni: one test per group
        self._streams = {
            group: _Stream(calibration, group, limit, self.settings.jump, generator)
            for group in (None, *calibration.groups)
        }

    @property
    def parts(self) -> int:
        """Number of parts inspected, over all groups."""
        return sum(stream.parts for stream in self._streams.values())

    def watch(self, verdict: Verdict) -> None:
        """Add the next verdict; one without a calibration is ignored."""
        if verdict.calibration is not None:
            self.add(verdict.score, verdict.group, inspectable=verdict.inspectable is not False)

    def add(self, score: float, group: str | None = None, *, inspectable: bool = True) -> None:
        """Add the next part's score; a group without its own thresholds counts as part of the pooled stream."""
        self.inputs.add(inspectable)
        if inspectable:
            self._streams[group if group in self._streams else None].add(score)

    def reports(self) -> tuple[DriftReport, ...]:
        """Return a report for each group with at least one part."""
        return tuple(stream.report() for stream in self._streams.values() if stream.parts)

    def drifting(self) -> tuple[DriftReport, ...]:
        """Return a report for each group with drift."""
        return tuple(stream.report() for stream in self._streams.values() if stream.drift_at is not None)

    def state(self) -> dict[str, Any]:
        """Return the state of all streams as plain values for ``restore``."""
        streams = [stream.state() for stream in self._streams.values() if stream.parts]
        return {"settings": asdict(self.settings), "streams": streams, "inputs": self.inputs.state()}

    def restore(self, state: dict[str, Any]) -> bool:
        """Continue from the state of another monitor of the same calibration.

        Random tie-breaking continues with new draws.

        Returns:
            False, and nothing is restored, if the other monitor had other settings.
        """
        if state["settings"] != asdict(self.settings):
            return False
        for stream in state["streams"]:
            self._streams[stream["group"]].restore(stream)
        if "inputs" in state:  # absent in states of versions without an input check
            self.inputs.restore(state["inputs"])
        generator = np.random.default_rng((self.settings.seed, self.parts))
        for own in self._streams.values():
            own.generator = generator
        return True


class _Stream:
    """Stream of one group's parts."""

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
        p = self._p_value(score)
        self.pool.add(score)
        self.seen.add(score)
        if self.drift_at is None:
            self._bet(p)

    def _bet(self, p: float) -> None:
        self.martingale.add(p)
        self.evidence = max(self.evidence, self.martingale.value)
        if self.evidence >= self.limit:
            self.drift_at = self.parts

    def _p_value(self, score: float) -> float:
        """Return the smoothed p-value ``(#{Z > s} + U (1 + #{Z = s})) / (n + 1)`` over all scores that came before.

        ``U`` is uniform over 0..1. Counting ties by a random share makes the p-value exactly uniform.
        """
        ties, above = self.pool.ties_and_above(score)
        return float((above + self.generator.uniform() * (1 + ties)) / (self.pool.size + 1))

    def _higher(self) -> bool:
        """Return True if a part's score is above a calibration score more often than below (Mann-Whitney)."""
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
