"""Settings of one prediction: how many hands, which share of the images, whether it goes on. No part of a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from clipada.config.schema import require
from clipada.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One of several equal shares of the images, chosen by a hash of each image's name."""

    number: int = 1
    """Which share, from 1."""

    count: int = 1
    """How many shares there are."""

    def __post_init__(self) -> None:
        require(self.count >= 1, "shard", "1 or more shares", self.count)
        require(1 <= self.number <= self.count, "shard", f"1/{self.count} to {self.count}/{self.count}", str(self))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"2/4"``, the second of four shares.

        Raises:
            ConfigError: It is nothing of the kind.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip(), re.ASCII)
        if match is None:
            raise ConfigError("cannot read the shard", expected="NUMBER/COUNT, e.g. 1/4 for the first of 4", got=text)
        return cls(number=int(match[1]), count=int(match[2]))


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """How images are inspected. Only ``threshold`` changes what is found."""

    threshold: float | None = None
    """Map value, 0..1, above which a pixel belongs to a region. ``None``: the calibration's, else the run's own."""

    batch_size: int = 8
    """Images at a time."""

    workers: int = 2
    """Threads that decode, and as many that judge, draw and write."""

    skip_done: bool = False
    """Whether to go on where an earlier prediction into the same folder stopped: images with a verdict are passed over,
    files that could not be read are tried again."""

    shard: Shard = Shard()
    """The share of the images that is inspected. An image keeps its share when others are added."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers"):
            require(getattr(self, name) >= 1, name, "1 or more", getattr(self, name))
