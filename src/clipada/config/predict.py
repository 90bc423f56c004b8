"""Settings of one prediction: batches, workers, shard, resume. They are no part of a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from clipada.config.input_check import InputCheckConfig
from clipada.config.schema import require, shown
from clipada.errors import ConfigError

MOST_SHARDS = 1_000_000
"""Largest number of shards of a prediction."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One of several equal shares of the images, chosen by a hash of each image's name."""

    number: int = 1
    """Number of the share, from 1."""

    count: int = 1
    """Number of shares."""

    def __post_init__(self) -> None:
        require(1 <= self.count <= MOST_SHARDS, "shard", f"1 to {MOST_SHARDS:,} shares", self.count)
        require(1 <= self.number <= self.count, "shard", f"1/{self.count} to {self.count}/{self.count}", str(self))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"2/4"``, the second of four shares.

        Raises:
            ConfigError: The text is not of this form.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip(), re.ASCII)
        if match is None:
            expected = "NUMBER/COUNT, e.g. 1/4 for the first of 4"
            raise ConfigError("cannot read the shard", expected=expected, got=shown(text))
        return cls(number=int(match[1]), count=int(match[2]))


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """Size of batches of images, and threads that read them."""

    batch_size: int = 8
    """Images per forward pass."""

    workers: int = 2
    """Threads that decode, and as many that score, draw and write."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers"):
            require(getattr(self, name) >= 1, name, "1 or more", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class PredictConfig(BatchConfig):
    """Settings of one prediction. Only ``threshold`` and ``input_check`` change what is found."""

    threshold: float | None = None
    """Map value, 0..1, above which a pixel belongs to a region. ``None``: the calibration's, else the run's own."""

    input_check: InputCheckConfig = InputCheckConfig()
    """The check for images that are not inspectable."""

    skip_done: bool = False
    """True to continue an earlier prediction into the same folder: images with a verdict are skipped, files that could
    not be read are tried again."""

    shard: Shard = Shard()
    """The share of the images that is inspected. An image keeps its share when others are added."""
