"""Calibration behind the decisions of a report, and the reasons why its guarantee does not hold for them."""

from __future__ import annotations

from dataclasses import dataclass

from clipada.calibration import Calibration
from clipada.evaluation.kinds import describe_calibrated, find_calibrated
from clipada.report.guarantee import guarantee
from clipada.report.parts import Parts
from clipada.runs import Run, load_calibration


@dataclass(frozen=True, kw_only=True)
class Basis:
    """The calibration that decided on the parts of a report, and its caveats.

    Attributes:
        calibration: The run's present calibration, if it decided.
        caveats: Reasons why its guarantee is not shown or does not hold, a sentence each.
    """

    calibration: Calibration | None = None
    caveats: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """The guarantee in words, if there is one, and the caveats."""
        if self.calibration is None:
            return self.caveats
        return (f"The guarantee: {guarantee(self.calibration)}.", *self.caveats)


def find_basis(run: Run, parts: Parts, engine: str | None) -> Basis:
    """Find what decided on the parts.

    Args:
        run: The run that scored them.
        parts: The parts. Labeled ones are decided on by the run's calibration, others by that of their verdicts.
        engine: Engine and precision that scored labeled parts, if known.
    """
    present, _ = load_calibration(run)
    if parts.labeled:
        return _of_evaluation(run, present, parts, engine)
    calibrations = {part.calibration for part in parts.scored}
    if calibrations == {None}:
        return Basis(caveats=(f"The parts have no decision: {_calibrate(run, present)}",))
    if present is None or calibrations != {present.id}:
        named = ", ".join(sorted(one or "none" for one in calibrations))
        caveat = f"The parts were inspected with {named}, not the run's present one; no guarantee is shown."
        return Basis(caveats=(caveat.replace("with", "with calibration", 1),))
    engines = {part.engine for part in parts.scored if part.engine}
    return Basis(calibration=present, caveats=_of_engines(present, engines))


def _of_evaluation(run: Run, present: Calibration | None, parts: Parts, engine: str | None) -> Basis:
    if present is None:
        return Basis() if parts.decided else Basis(caveats=(f"No part has a decision yet: {_calibrate(run, None)}",))
    good = (part.path for part in parts.scored if part.kind == "good" and part.path is not None)
    shared = len(find_calibrated(good, present))
    engines = {engine} if engine else set()
    return Basis(
        calibration=present,
        caveats=(*_of_engines(present, engines), *([f"{describe_calibrated(shared)}."] if shared else [])),
    )


def _calibrate(run: Run, present: Calibration | None) -> str:
    """Return the way to decisions."""
    if present is not None:
        return "the run was calibrated later; run `clipada predict` again."
    return f"set thresholds with `clipada calibrate {run.folder} GOOD_PARTS`."


def _of_engines(calibration: Calibration, engines: set[str]) -> tuple[str, ...]:
    """Return the caveats of the engines that scored the parts."""
    caveats = filter(None, map(calibration.caveat, sorted(engines)))
    return tuple(f"{caveat[0].upper()}{caveat[1:]}." for caveat in caveats)
