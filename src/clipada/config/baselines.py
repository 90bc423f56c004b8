"""Settings of the baselines and their defaults: the paper's value if it states one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from clipada.config.method import SynthesisConfig
from clipada.config.presets import PRESETS, Preset
from clipada.config.product_baselines import AnomalyDinoConfig, PatchcoreConfig
from clipada.config.schema import require
from clipada.config.training import TrainingConfig
from clipada.errors import ConfigError

BaselineName = Literal["memory-bank", "zero-shot", "reconstruction", "draem"]

BASELINE_NAMES: tuple[BaselineName, ...] = get_args(BaselineName)
"""Names of the baselines that are one model for all products."""


@dataclass(frozen=True, kw_only=True)
class MemoryBankConfig:
    """Settings of the memory bank of normal patch tokens: PatchCore (Roth et al., CVPR 2022, arXiv 2106.08265)."""

    neighbourhood: int = 3
    """Side of the squares that tokens are averaged over, in tokens: the paper's patch size p."""

    share: float = 0.1
    """Share of the candidates that the core-set keeps: PatchCore-10%."""

    candidates: int = 200_000
    """Largest number of tokens to choose the core-set from, drawn at random, equally many from each image. It limits
    memory and time. The paper takes all tokens."""

    projection: int = 128
    """Dimensions of the random projection for the choice of the core-set (Johnson and Lindenstrauss); narrower tokens
    are not projected. The paper names no value; this is from its authors' code."""

    reweighting: int = 9
    """Number of neighbors of the nearest bank token that weight the paper's image score: b of equation 7. The paper
    names no value."""

    def __post_init__(self) -> None:
        odd = self.neighbourhood >= 1 and self.neighbourhood % 2 == 1
        require(odd, "memory_bank.neighbourhood", "an odd number", self.neighbourhood)
        require(0 < self.share <= 1, "memory_bank.share", "more than 0, up to 1", self.share)
        require(self.candidates >= 1, "memory_bank.candidates", "1 or more", self.candidates)
        require(self.projection >= 1, "memory_bank.projection", "1 or more", self.projection)
        require(self.reweighting >= 2, "memory_bank.reweighting", "2 or more", self.reweighting)


@dataclass(frozen=True, kw_only=True)
class ZeroShotConfig:
    """Settings of the zero-shot text prompts: WinCLIP (Jeong et al., CVPR 2023, arXiv 2303.14814)."""

    windows: tuple[int, ...] = (2, 3)
    """Sides of the windows, in tokens: the paper's small and middle scale. The large scale is the whole image."""

    temperature: float = 0.07
    """Divisor of the cosines before the softmax (equation 1)."""

    word: str = "object"
    """Name of the product in the prompts."""

    name_categories: bool = False
    """True if the prompts name the data set's categories instead, with an ensemble for each. The category of an image
    remains unknown; it is known only with a data set of one category, as in the paper."""

    def __post_init__(self) -> None:
        require(all(side >= 1 for side in self.windows), "zero_shot.windows", "sides of 1 or more", self.windows)
        require(self.temperature > 0, "zero_shot.temperature", "more than 0", self.temperature)
        require(bool(self.word.strip()), "zero_shot.word", "a word", self.word)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Training schedule of a baseline's network."""

    epochs: int
    """Number of epochs; each draws as many samples as there are training images."""

    batch_size: int
    """Number of images per step."""

    learning_rate: float
    """AdamW's initial learning rate; without weight decay AdamW is Adam."""

    milestones: tuple[int, ...]
    """Epochs after which the learning rate is multiplied by ``decay``."""

    decay: float
    """Factor of the learning rate at each milestone."""

    weight_decay: float = 0.0
    """AdamW's weight decay."""

    gradient_norm: float | None = None
    """Largest norm of the gradient; larger gradients are scaled down to it. ``None``: no limit."""

    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Arithmetic of the forward pass: float32, or bfloat16 autocast."""

    def __post_init__(self) -> None:
        self.training(seed=0)
        limit = self.gradient_norm
        require(limit is None or limit > 0, "schedule.gradient_norm", "more than 0, or none", limit)

    def training(self, seed: int) -> TrainingConfig:
        """Convert the schedule to the settings of CLIP-ADA's own training, which also validates it."""
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
        """Return the schedule with another number of epochs; milestones keep their share of the training."""
        return replace(self, epochs=epochs, milestones=self.training(seed=0).lasting(epochs).milestones)


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig:
    """Settings of the reconstruction of patch tokens: UniAD (You et al., NeurIPS 2022, arXiv 2206.03687)."""

    width: int = 256
    """Channels of the transformer, to which tokens are projected; even, and a multiple of ``heads``."""

    heads: int = 8
    """Number of heads of each attention."""

    feedforward: int = 1024
    """Width of the layers' hidden part. The paper names no value; this is from its authors' code."""

    encoder_layers: int = 4
    """Number of encoder layers."""

    decoder_layers: int = 4
    """Number of decoder layers, each with its own queries."""

    neighbourhood: int = 7
    """Side of the square around a token that it does not attend to, in tokens."""

    jitter: float = 20.0
    """Scale alpha of the feature jittering: in training, noise of standard deviation ``alpha |f| / D`` is added to a
    token ``f`` of width ``D``."""

    jitter_probability: float = 1.0
    """Probability that a batch is jittered."""

    dropout: float = 0.1
    """Dropout in training. The paper names no value; this is from its authors' code."""

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
    """The paper's schedule: 1,000 epochs of batch 64. The limit of the gradient is from its authors' code."""

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
    """Settings of DRAEM's own two networks (Zavrtanik et al., ICCV 2021, arXiv 2108.07610)."""

    width: int = 128
    """Channels of the first block of the reconstructive network; the discriminative one has half as many. The paper's
    size, 97.4 million parameters, requires a GPU."""

    focal_gamma: float = 2.0
    """Exponent gamma of the focal loss: the larger it is, the less well-classified pixels count."""

    smoothing: int = 21
    """Side of the squares over which the map is averaged before its maximum is taken as the paper's image score, in
    pixels of a 256-pixel input; scales with the input's side."""

    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    """Settings of the synthetic anomalies; the paper's textures are a folder, DTD."""

    schedule: ScheduleConfig = field(
        default_factory=lambda: ScheduleConfig(
            epochs=700, batch_size=8, learning_rate=1e-4, milestones=(400, 600), decay=0.1
        )
    )
    """The paper's schedule: 700 epochs, rate 1e-4, x 0.1 after epochs 400 and 600. The batch size is from its authors'
    code."""

    def __post_init__(self) -> None:
        require(self.width >= 2 and self.width % 2 == 0, "draem.width", "an even number", self.width)
        require(self.focal_gamma >= 0, "draem.focal_gamma", "0 or more", self.focal_gamma)
        require(self.smoothing >= 1, "draem.smoothing", "1 or more", self.smoothing)


BaselineSettings = (
    MemoryBankConfig | ZeroShotConfig | ReconstructionConfig | DraemConfig | AnomalyDinoConfig | PatchcoreConfig
)
"""Settings of one baseline."""


@dataclass(frozen=True, kw_only=True)
class BaselinesConfig:
    """Names of the baselines to compare with, and the settings of all."""

    include: tuple[BaselineName, ...] = BASELINE_NAMES
    """Names of the baselines to include, of those that are one model for all products."""

    memory_bank: MemoryBankConfig = field(default_factory=MemoryBankConfig)
    zero_shot: ZeroShotConfig = field(default_factory=ZeroShotConfig)
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)
    draem: DraemConfig = field(default_factory=DraemConfig)
    anomaly_dino: AnomalyDinoConfig = field(default_factory=AnomalyDinoConfig)
    patchcore: PatchcoreConfig = field(default_factory=PatchcoreConfig)

    def __post_init__(self) -> None:
        known = all(name in BASELINE_NAMES for name in self.include)
        require(known, "baselines.include", "some of " + ", ".join(BASELINE_NAMES), ", ".join(self.include))

    @classmethod
    def preset(cls, name: Preset) -> BaselinesConfig:
        """Return the settings for a preset of CLIP-ADA: the papers', or small ones for ``prompt`` and ``demo``.

        The small ones train for minutes on two CPU cores, with learning rates for so few steps. They were not tuned
        for their scores.
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
        """Return the settings with a share of every schedule's epochs, at least one."""
        parts = {
            name: replace(part, schedule=part.schedule.lasting(max(1, round(share * part.schedule.epochs))))
            for name, part in (("reconstruction", self.reconstruction), ("draem", self.draem))
        }
        return replace(self, **parts)  # type: ignore[arg-type]

    def of(self, name: str) -> BaselineSettings:
        """Return the settings of one baseline by its name, e.g. ``"memory-bank"``."""
        settings: BaselineSettings = getattr(self, name.replace("-", "_"))
        return settings
