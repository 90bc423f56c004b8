"""Settings of the training: objective, optimizer, trained parts, and images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from clipada.config.schema import brief, require
from clipada.errors import ConfigError

LossResolution = Literal["image", "patch"]
Precision = Literal["auto", "32-true", "bf16-mixed"]
Tune = Literal["none", "text", "image", "both"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Objective and optimizer (section 4.4.1, equations 4 and 6; section 5.1.3)."""

    epochs: int = 800
    """An epoch draws as many samples as there are training images. 0: prompt and projections are not trained, and only
    a memory detects (``memory.rows``)."""

    batch_size: int = 16
    """Images per step, over all devices together."""

    learning_rate: float = 1e-3
    """AdamW's first learning rate. The paper's value is lost."""

    milestones: tuple[int, ...] = (400, 700)
    """Epochs after which the learning rate is multiplied by ``decay``."""

    decay: float = 0.2
    """The factor at each milestone."""

    tune: Tune = "none"
    """Encoders of the backbone that are trained too (table 5 of the paper); those of text need a text tower. With
    ``none`` the backbone stays frozen and a run contains nothing of it; otherwise the run also contains the tuned
    encoders, and still needs the backbone for the rest."""

    tune_learning_rate: float = 1e-5
    """First learning rate of the tuned encoders; it falls with the other. The paper names none."""

    weight_decay: float = 0.01
    """AdamW's weight decay. The paper names none."""

    refinement_weight: float = 1.0
    """Lambda of equation 6: the weight of the refinement passes' losses."""

    loss_resolution: LossResolution = "image"
    """``image``: logits upsampled bilinearly to the image, mean over pixels. ``patch``: the mask averaged over
    each patch instead."""

    precision: Precision = "32-true"
    """Arithmetic of the forward pass: float32, or bfloat16 autocast. ``auto``: bfloat16 where it is faster, on
    GPUs that have it and on CPUs with AMX, else float32; the run records which."""

    image_share: float = 1.0
    """Share of each category's training images that is used, drawn by the seed (figure 6 of the paper). Those of a
    smaller share are among those of a larger one. An epoch gets shorter along."""

    validation_fraction: float = 0.0
    """Share of the training images held out and scored with synthetic anomalies: the basis for choosing settings."""

    checkpoint_seconds: float = 60.0
    """A checkpoint is written when this much time has passed since the last."""

    seed: int = 0
    """Every random draw follows from this number."""

    @property
    def tunes_images(self) -> bool:
        """True if the image encoder is trained."""
        return self.tune in ("image", "both")

    __repr__ = brief

    def __post_init__(self) -> None:
        require(self.epochs >= 0, "training.epochs", "0 or more", self.epochs)
        require(self.batch_size >= 1, "training.batch_size", "1 or more", self.batch_size)
        require(self.learning_rate > 0, "training.learning_rate", "more than 0", self.learning_rate)
        require(self.decay > 0, "training.decay", "more than 0", self.decay)
        require(self.tune_learning_rate > 0, "training.tune_learning_rate", "more than 0", self.tune_learning_rate)
        require(0 < self.image_share <= 1, "training.image_share", "more than 0, at most 1", self.image_share)
        require(self.weight_decay >= 0, "training.weight_decay", "0 or more", self.weight_decay)
        require(self.refinement_weight >= 0, "training.refinement_weight", "0 or more", self.refinement_weight)
        require(
            list(self.milestones) == sorted(set(self.milestones)) and all(m >= 1 for m in self.milestones),
            "training.milestones",
            "epochs from 1 in rising order",
            self.milestones,
        )
        if self.milestones and self.milestones[-1] > self.epochs:
            raise ConfigError(
                "setting training.milestones contradicts training.epochs",
                expected=f"milestones up to {self.epochs}, the last epoch",
                got=repr(self.milestones),
                remedy="set both; or scale the milestones along by --epochs, in Python `training.lasting(epochs)`",
            )
        require(
            0 <= self.validation_fraction < 1, "training.validation_fraction", "0 to under 1", self.validation_fraction
        )
        require(self.seed >= 0, "training.seed", "0 or more", self.seed)

    def lasting(self, epochs: int) -> TrainingConfig:
        """Scale the schedule to another number of epochs: milestones keep their share of the training."""
        milestones = {max(1, round(milestone * epochs / self.epochs)) for milestone in self.milestones}
        return replace(self, epochs=epochs, milestones=tuple(sorted(milestones)) if epochs else ())
