"""Every setting of the method and its default, documented beneath it. Contradictions raise ``ConfigError``.

"The paper" is CLIP-ADA, arXiv 2403.09493. Where its text leaves a choice open, the setting's note says so.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_type_hints

from clipada.config.presets import PRESETS, Preset
from clipada.config.schema import build, checked, parse, require
from clipada.config.training import TrainingConfig
from clipada.errors import ConfigError

Similarity = Literal["dot", "cosine"]
Attention = Literal["product", "residual"]
AttentionSpace = Literal["normalised", "pixel"]
Fusion = Literal["last", "mean"]

EMBEDDED_BACKBONE = "nano"
"""The name of the small CLIP that comes with the package and needs no download."""

USUAL_BLOCK, EMBEDDED_BLOCK = 9, 4
"""The default vision block to read, and that of the embedded backbone."""


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """The frozen CLIP (section 4.1 of the paper)."""

    name: str = "openai/clip-vit-base-patch16"
    """A `transformers` CLIP by hub name or local folder, or ``nano``, the embedded one."""

    block: int | None = None
    """The vision block, counted from 1, whose raw output gives the patch tokens. Blocks above it are neither
    loaded nor run. The paper names no block; left out, it is the 9th, and of nano, which has 4, the last."""

    def __post_init__(self) -> None:
        require(bool(self.name), "backbone.name", "a hub name or a folder", self.name)
        require(self.block is None or self.block >= 1, "backbone.block", "1 or more", self.block)

    @property
    def patch_block(self) -> int:
        """The block that is read, counted from 1."""
        if self.block is not None:
            return self.block
        return EMBEDDED_BLOCK if self.name == EMBEDDED_BACKBONE else USUAL_BLOCK


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """The object-agnostic prompt (section 4.2, equations 1 and 2)."""

    prefix: str = "A photo of a"
    """The words before the learnable vectors."""

    suffix: str = "with defects for anomaly detection"
    """The words after the learnable vectors."""

    learnable: bool = True
    """True to learn vectors in the place of the class name; otherwise ``word`` is there."""

    length: int = 4
    """Number of learned vectors."""

    word: str = "object"
    """The class name of the fixed prompt."""

    init_std: float = 0.02
    """Standard deviation of the normal distribution the vectors start from. The paper names none."""

    def __post_init__(self) -> None:
        require(self.length >= 1, "prompt.length", "1 or more", self.length)
        require(self.init_std >= 0, "prompt.init_std", "0 or more", self.init_std)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Similarity and anomaly-region refinement (section 4.3, equations 3 and 5)."""

    image_size: int = 256
    """Side of the square that every image is resized to, in pixels."""

    refinements: int = 1
    """Number R of refinement passes after the coarse one."""

    similarity: Similarity = "dot"
    """``dot``: plain product with the unit text vector (equation 3). ``cosine``: both sides of unit length, with a
    learned scale and bias."""

    attention: Attention = "product"
    """Combination of the map ``A`` of one pass with the image ``X`` for the next. ``product``: ``X * A``, the literal
    reading of the paper. ``residual``: ``X * (1 + A)``, which keeps the whole image."""

    attention_space: AttentionSpace = "normalised"
    """Space of that product: the CLIP-normalized input, or pixel values (0..1) before the normalization."""

    detach_attention: bool = False
    """True to cut the gradient from a refinement pass into the map before it. The paper trains end to end."""

    prototypes: int = 0
    """Number of typical patches of normal images in the model's memory. Patches far from all of them count as more
    anomalous. Beyond the paper, which has none."""

    prototype_weight: float = 0.5
    """Weight of the memory offset: what a logit gains for each deviation from the usual distance to the memory."""

    prototypes_first: bool = False
    """True to find prototypes before the training, so that prompt and projections learn the remaining differences. The
    image encoder must stay frozen. Otherwise they are found in the trained model."""

    def __post_init__(self) -> None:
        require(self.image_size >= 32, "model.image_size", "32 or more", self.image_size)
        require(self.refinements >= 0, "model.refinements", "0 or more", self.refinements)
        require(self.prototypes >= 0, "model.prototypes", "0 or more", self.prototypes)
        require(self.prototype_weight >= 0, "model.prototype_weight", "0 or more", self.prototype_weight)


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    """Synthetic anomalies: the recipe of DRAEM (Zavrtanik et al., ICCV 2021)."""

    rotate_probability: float = 0.3
    """Chance that the normal image is rotated before anything else."""

    rotate_degrees: float = 90.0
    """Rotations are drawn uniformly from minus to plus this angle."""

    anomaly_probability: float = 0.5
    """Chance that an anomaly is drawn at all."""

    lattice_exponents: int = 6
    """Perlin lattices have ``2**k`` cells per axis, ``k`` drawn from 0 to this number less one."""

    noise_threshold: float = 0.5
    """The anomaly mask is where the Perlin noise exceeds this value."""

    blend_limit: float = 0.8
    """The share of the image that stays under the texture is drawn from 0 to this value."""

    augmenters: int = 3
    """Number of distinct augmenters, of ten, that change each texture."""

    textures: str | None = None
    """A folder of texture images, e.g. DTD as in the paper. ``None``: procedural textures."""

    patch_share: float = 0.25
    """With procedural textures, the share of anomalies whose texture is another training image, moved and turned."""

    def __post_init__(self) -> None:
        for name in ("rotate_probability", "anomaly_probability", "patch_share"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"synthesis.{name}", "0 to 1", value)
        require(1 <= self.lattice_exponents <= 8, "synthesis.lattice_exponents", "1 to 8", self.lattice_exponents)
        require(-1 < self.noise_threshold < 1, "synthesis.noise_threshold", "-1 to 1", self.noise_threshold)
        require(0 <= self.blend_limit < 1, "synthesis.blend_limit", "0 to less than 1", self.blend_limit)
        require(0 <= self.augmenters <= 10, "synthesis.augmenters", "0 to 10", self.augmenters)


@dataclass(frozen=True, kw_only=True)
class ScoringConfig:
    """Scoring: from raw map to anomaly map and image score (section 4.4.2)."""

    fusion: Fusion = "last"
    """The final map: ``last``, the last pass's (the paper), or ``mean``, the mean of all passes' maps."""

    sigma: float = 4.0
    """Standard deviation of the Gaussian over the map, in pixels at a 256-pixel input; scales with the input's side."""

    top_pixels: int = 500
    """The image score is the mean of this many highest pixels at a 256-pixel input; scales with the input's area."""

    def __post_init__(self) -> None:
        require(self.sigma >= 0, "scoring.sigma", "0 or more", self.sigma)
        require(self.top_pixels >= 1, "scoring.top_pixels", "1 or more", self.top_pixels)


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a run, saved with it as ``config.json``."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)

    def __post_init__(self) -> None:
        together = self.model.prototypes_first and self.training.tunes_images
        require(not together, "model.prototypes_first", "an untuned image encoder", "true")

    @classmethod
    def preset(cls, name: Preset) -> Config:
        """Return the settings of a named preset.

        ``demo`` trains the embedded backbone within minutes on two CPU cores, for ``clipada demo``.
        ``mvtec`` and ``visa`` are the paper's (section 5.1.3). ``quick`` takes minutes on a CPU; ``docs/results.md``
        explains its similarity, attention and fusion.
        """
        if name not in PRESETS:
            raise ConfigError(f"no preset {name!r}", expected=" | ".join(PRESETS))
        return cls().updated(PRESETS[name])

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Rebuild a config from ``to_dict``'s result. Unknown names and wrong types raise ``ConfigError``."""
        built: Config = build(cls, values, "")
        return built

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, ready for JSON."""
        plain: dict[str, Any] = asdict(self)
        return plain

    def fingerprint_settings(self) -> dict[str, Any]:
        """Return the settings that determine the adapter, by dotted name: not backbone path and checkpoint interval."""
        free = ("backbone.name", "training.checkpoint_seconds")
        settings = {name: self.value(name) for name in setting_names() if name not in free}
        return settings | {"backbone.block": self.backbone.patch_block}

    def value(self, name: str) -> Any:
        """Return the value of a setting by dotted name."""
        section, _, setting = name.partition(".")
        return getattr(getattr(self, section), setting)

    def updated(self, changes: Mapping[str, Any]) -> Config:
        """Return a copy with changes by dotted name, e.g. ``{"model.refinements": 2}``, all made at once.

        Values may be text, as from a command line; they are read as the setting's type.
        """
        parts: dict[str, dict[str, Any]] = defaultdict(dict)
        for name, value in changes.items():
            section, _, setting = name.partition(".")
            if name not in setting_names():
                expected = "section.setting, one of: " + ", ".join(setting_names())
                raise ConfigError(f"no setting {name!r}", expected=expected, remedy=_similar(name))
            hint = get_type_hints(type(getattr(self, section)))[setting]
            parsed = parse(value, hint, name) if isinstance(value, str) else value
            parts[section][setting] = checked(parsed, hint, name)
        changed: dict[str, Any] = {section: replace(getattr(self, section), **new) for section, new in parts.items()}
        return replace(self, **changed)


def _similar(name: str) -> str | None:
    """Return a remedy that names the most similar setting, or one of the same name in another section, if any."""
    names = setting_names()
    own = [known for known in names if known.rpartition(".")[2] == name.rpartition(".")[2]]
    found = difflib.get_close_matches(name, names, n=1) if len(own) != 1 else own
    if not found:  # the section may be missing
        last = {known.rpartition(".")[2]: known for known in names}
        found = [last[word] for word in difflib.get_close_matches(name.rpartition(".")[2], list(last), n=1)]
    return f"did you mean {found[0]}?" if found else None


def setting_names() -> list[str]:
    """List the dotted names of all settings, in order."""
    hints = get_type_hints(Config)
    return [f"{section}.{setting.name}" for section in hints for setting in fields(hints[section])]
