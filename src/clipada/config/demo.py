"""Settings of the demo and of contact sheets."""

from __future__ import annotations

from dataclasses import dataclass

from clipada.config.schema import require


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Folder of the demo, and number of parts of each product."""

    out: str = "runs/demo"
    """The folder for images, run, pictures and report."""

    train: int = 100
    """Good parts to train on."""

    good: int = 20
    """Good parts to test on."""

    defective: int = 8
    """Defective parts to test on, of each kind of defect."""

    held_out: int = 60
    """More good parts of each product, to calibrate on: 59 allow a guarantee of 5 % with 95 % confidence."""

    false_alarm_rate: float = 0.05
    """The share of each product's good parts that may be called defective."""

    seed: int = 0
    """Another seed, other parts."""

    def __post_init__(self) -> None:
        for name in ("train", "good", "defective", "held_out"):
            require(getattr(self, name) >= 1, f"demo.{name}", "1 or more", getattr(self, name))
        require(self.seed >= 0, "demo.seed", "0 or more", self.seed)


@dataclass(frozen=True, kw_only=True)
class ContactSheetConfig:
    """Size of a contact sheet of synthetic training samples."""

    samples: int = 24
    """Samples on the sheet, spread over the categories."""
