"""Every setting of the baselines and its default: the paper's value where it states one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from clipada.config.method import SynthesisConfig
from clipada.config.presets import PRESETS, Preset
from clipada.config.schema import require
from clipada.config.training import Precision, TrainingConfig
from clipada.errors import ConfigError

BaselineName = Literal["memory-bank", "zero-shot", "reconstruction", "draem"]

BASELINE_NAMES: tuple[BaselineName, ...] = get_args(BaselineName)
"""What the baselines are called."""


@dataclass(frozen=True, kw_only=True)
class MemoryBankConfig:
    """A memory bank of normal patch tokens: PatchCore (Roth et al., CVPR 2022, arXiv 2106.08265)."""

    neighbourhood: int = 3
    """Tokens are averaged over squares of this side, in tokens: the paper's patch size p."""

    share: float = 0.1
    """The share of the candidates that the core-set keeps: PatchCore-10%."""

    candidates: int = 200_000
    """At most this many tokens, as many of each image, are drawn at random for the core-set to choose from; it bounds
    memory and time. The paper takes all."""

    projection: int = 128
    """The core-set is chosen after a random projection to this many dimensions (Johnson and Lindenstrauss); wider
    tokens only. The paper names none; this is its authors' code's."""

    reweighting: int = 9
    """b of equation 7: how many neighbours of the nearest bank token weigh the paper's image score. The paper
    names none."""

    def __post_init__(self) -> None:
        odd = self.neighbourhood >= 1 and self.neighbourhood % 2 == 1
        require(odd, "memory_bank.neighbourhood", "an odd number", self.neighbourhood)
        require(0 < self.share <= 1, "memory_bank.share", "more than 0, up to 1", self.share)
        require(self.candidates >= 1, "memory_bank.candidates", "1 or more", self.candidates)
        require(self.projection >= 1, "memory_bank.projection", "1 or more", self.projection)
        require(self.reweighting >= 2, "memory_bank.reweighting", "2 or more", self.reweighting)


@dataclass(frozen=True, kw_only=True)
class ZeroShotConfig:
    """Zero-shot text prompts: WinCLIP (Jeong et al., CVPR 2023, arXiv 2303.14814)."""

    windows: tuple[int, ...] = (2, 3)
    """Sides of the windows, in tokens: the paper's small and middle scale. The whole image is always the largest."""

    temperature: float = 0.07
    """What cosines are divided by before the softmax (equation 1)."""

    word: str = "object"
    """What the prompts call the product."""

    name_categories: bool = False
    """Whether prompts name the data set's categories instead, an ensemble for each. Which of them an image shows stays
    unknown; the paper, with a data set of one category, is the case in which it is known."""

    def __post_init__(self) -> None:
        require(all(side >= 1 for side in self.windows), "zero_shot.windows", "sides of 1 or more", self.windows)
        require(self.temperature > 0, "zero_shot.temperature", "more than 0", self.temperature)
        require(bool(self.word.strip()), "zero_shot.word", "a word", self.word)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How long and how fast a baseline's network learns."""

    epochs: int
    """An epoch draws as many samples as there are training images."""

    batch_size: int
    """Images per step."""

    learning_rate: float
    """AdamW's first learning rate; without weight decay AdamW is Adam."""

    milestones: tuple[int, ...]
    """Epochs after which the learning rate is multiplied by ``decay``."""

    decay: float
    """The factor at each milestone."""

    weight_decay: float = 0.0
    """AdamW's weight decay."""

    gradient_norm: float | None = None
    """Gradients of a greater norm than this are scaled down to it. ``None``: never."""

    precision: Precision = "32-true"
    """Arithmetic of the forward pass: float32, or bfloat16 autocast."""

    def __post_init__(self) -> None:
        self.training(seed=0)
        limit = self.gradient_norm
        require(limit is None or limit > 0, "schedule.gradient_norm", "more than 0, or none", limit)

    def training(self, seed: int) -> TrainingConfig:
        """The same schedule as the method's own training states it, which also checks it."""
        return TrainingConfig(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            milestones=self.milestones,
            decay=self.decay,
            weight_decay=self.weight_decay,
            precision=self.precision,
            seed=seed,
        )

    def lasting(self, epochs: int) -> ScheduleConfig:
        """The same schedule over another number of epochs: milestones keep their share of the training."""
        return replace(self, epochs=epochs, milestones=self.training(seed=0).lasting(epochs).milestones)


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig:
    """Reconstruction of patch tokens: UniAD (You et al., NeurIPS 2022, arXiv 2206.03687)."""

    width: int = 256
    """Channels that tokens are reduced to; a multiple of ``heads`` and even."""

    heads: int = 8
    """Heads of each attention."""

    feedforward: int = 1024
    """Width of the layers' hidden part. The paper names none; this is its authors' code's."""

    encoder_layers: int = 4
    """Number of encoder layers."""

    decoder_layers: int = 4
    """Number of decoder layers, each with queries of its own."""

    neighbourhood: int = 7
    """No token attends to the square of this side around it, in tokens."""

    jitter: float = 20.0
    """alpha of the feature jittering: noise of standard deviation ``alpha |f| / D`` is added to a token ``f`` of width
    ``D`` in training."""

    jitter_probability: float = 1.0
    """Chance that a batch is jittered."""

    dropout: float = 0.1
    """Dropout in training. The paper names none; this is its authors' code's."""

    schedule: ScheduleConfig = field(
        default_factory=lambda: ScheduleConfig(
            epochs=1000,
            batch_size=64,
            learning_rate=1e-4,
            milestones=(800,),
            decay=0.1,
            weight_decay=1e-4,
            gradient_norm=0.1,
        )
    )
    """The paper's: 1,000 epochs of batch 64. The gradient's norm is its authors' code's."""

    def __post_init__(self) -> None:
        for name in ("width", "heads", "feedforward", "encoder_layers", "decoder_layers", "neighbourhood"):
            require(getattr(self, name) >= 1, f"reconstruction.{name}", "1 or more", getattr(self, name))
        fits = self.width % self.heads == 0 and self.width % 2 == 0
        require(fits, "reconstruction.width", f"an even multiple of {self.heads} heads", self.width)
        require(self.neighbourhood % 2 == 1, "reconstruction.neighbourhood", "an odd number", self.neighbourhood)
        require(self.jitter >= 0, "reconstruction.jitter", "0 or more", self.jitter)
        chance = self.jitter_probability
        require(0 <= chance <= 1, "reconstruction.jitter_probability", "0 to 1", chance)
        require(0 <= self.dropout < 1, "reconstruction.dropout", "0 to less than 1", self.dropout)


@dataclass(frozen=True, kw_only=True)
class DraemConfig:
    """DRAEM's own two networks (Zavrtanik et al., ICCV 2021, arXiv 2108.07610)."""

    width: int = 128
    """First channels of the reconstructive network; the discriminative one has half as many. The paper's size, 97.4
    million parameters, wants a GPU."""

    focal_gamma: float = 2.0
    """gamma of the focal loss: how little pixels count that are already told apart."""

    smoothing: int = 21
    """The paper's image score is the map's maximum after averaging over squares of this side, in pixels at a
    256-pixel input; scales with the input's side."""

    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    """The anomalies it learns from; the paper's textures are a folder, DTD."""

    schedule: ScheduleConfig = field(
        default_factory=lambda: ScheduleConfig(
            epochs=700, batch_size=8, learning_rate=1e-4, milestones=(400, 600), decay=0.1
        )
    )
    """The paper's: 700 epochs, rate 1e-4, x 0.1 after epochs 400 and 600. The batch is its authors' code's."""

    def __post_init__(self) -> None:
        require(self.width >= 2 and self.width % 2 == 0, "draem.width", "an even number", self.width)
        require(self.focal_gamma >= 0, "draem.focal_gamma", "0 or more", self.focal_gamma)
        require(self.smoothing >= 1, "draem.smoothing", "1 or more", self.smoothing)


@dataclass(frozen=True, kw_only=True)
class BaselinesConfig:
    """Which baselines are compared with, and all their settings."""

    include: tuple[BaselineName, ...] = BASELINE_NAMES
    """Their names."""

    memory_bank: MemoryBankConfig = field(default_factory=MemoryBankConfig)
    zero_shot: ZeroShotConfig = field(default_factory=ZeroShotConfig)
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)
    draem: DraemConfig = field(default_factory=DraemConfig)

    def __post_init__(self) -> None:
        known = all(name in BASELINE_NAMES for name in self.include)
        require(known, "baselines.include", "some of " + ", ".join(BASELINE_NAMES), ", ".join(self.include))

    @classmethod
    def preset(cls, name: Preset) -> BaselinesConfig:
        """The settings that go with a preset of the method: the papers', or for ``quick`` and ``demo`` small ones.

        The small ones learn for minutes on two CPU cores, with rates for so few steps. Nothing of them was chosen by
        what they score.
        """
        papers = cls()
        if name in ("mvtec", "visa"):
            return papers
        if name not in PRESETS:
            raise ConfigError(f"no preset {name!r}", expected=" | ".join(PRESETS))
        return cls(
            reconstruction=ReconstructionConfig(
                width=128,
                feedforward=512,
                schedule=replace(
                    papers.reconstruction.schedule, epochs=12, batch_size=16, learning_rate=1e-3, milestones=(10,)
                ),
            ),
            draem=DraemConfig(
                width=16,
                schedule=replace(papers.draem.schedule, epochs=4, learning_rate=1e-3, milestones=(3,)),
            ),
        )

    def scaled(self, share: float) -> BaselinesConfig:
        """The same with a share of every schedule's epochs, one at least."""
        parts = {
            name: replace(part, schedule=part.schedule.lasting(max(1, round(share * part.schedule.epochs))))
            for name, part in (("reconstruction", self.reconstruction), ("draem", self.draem))
        }
        return replace(self, **parts)  # type: ignore[arg-type]

    def of(self, name: str) -> MemoryBankConfig | ZeroShotConfig | ReconstructionConfig | DraemConfig:
        """The settings of one baseline by its name, e.g. ``"memory-bank"``."""
        settings: MemoryBankConfig | ZeroShotConfig | ReconstructionConfig | DraemConfig
        settings = getattr(self, name.replace("-", "_"))
        return settings
