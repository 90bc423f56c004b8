"""Settings of the guided start: how photos are shared out, and which preset is trained."""

from __future__ import annotations

from dataclasses import dataclass

from clipada.config.schema import require


@dataclass(frozen=True, kw_only=True)
class StartConfig:
    """Choices of ``clipada start`` that follow from the number of photos and from the machine."""

    held_out: float = 0.3
    """Share of each product's good photos, 0..1, that is not trained on and sets the threshold."""

    most_held_out: int = 320
    """Most photos of a product that are held out: 299 allow a guarantee of 1 % with 95 % confidence, also if a few are
    left out."""

    rates: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25)
    """False-alarm rates to guarantee, best first. With too few photos for the last one, no photo is held out: a weaker
    guarantee would be worth less than the photos are in the memory."""

    few: int = 20
    """Fewest training photos for the preset ``accurate``; with fewer it is ``quick``, a memory alone."""

    minutes: float = 20.0
    """Longest training of the preset ``accurate`` without a GPU, by the estimate; beyond it the preset is ``quick``."""

    core_seconds: float = 0.045
    """Processor time of the preset ``accurate`` for each image, photos and synthetic anomalies alike, and each billion
    multiplications of the backbone's forward pass; measured: 0.038 to 0.061, with three backbones of 7 to 31
    billion."""

    def __post_init__(self) -> None:
        require(0 < self.held_out < 1, "start.held_out", "more than 0 and less than 1", self.held_out)
        require(self.most_held_out >= 1, "start.most_held_out", "1 or more", self.most_held_out)
        rising = bool(self.rates) and list(self.rates) == sorted(set(self.rates))
        require(rising and self.rates[0] > 0 and self.rates[-1] < 1, "start.rates", "rising shares", self.rates)
        require(self.few >= 1, "start.few", "1 or more", self.few)
        for name in ("minutes", "core_seconds"):
            require(getattr(self, name) >= 0, f"start.{name}", "0 or more", getattr(self, name))
