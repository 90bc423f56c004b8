"""Every setting of the method and its default, documented beneath it. Contradictions raise ``ConfigError``.

"The paper" is CLIP-ADA, arXiv 2403.09493. Where its text leaves a choice open, the setting's note says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from typing import Any, Literal, get_type_hints

from clipada.config.inspection import InspectionConfig
from clipada.config.memory import FilterConfig, MemoryConfig
from clipada.config.model import BackboneConfig, ModelConfig, PromptConfig
from clipada.config.presets import PRESETS, Preset
from clipada.config.schema import brief, build, checked, parse, require
from clipada.config.stress import AugmentConfig
from clipada.config.training import TrainingConfig
from clipada.errors import ConfigError, did_you_mean, nearest

Fusion = Literal["last", "mean"]

ComparedAt = Literal["model", "native"]
"""Size at which maps and masks are compared: that of the model's input, or that of each image."""


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

    __repr__ = brief

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

    __repr__ = brief

    def __post_init__(self) -> None:
        require(self.sigma >= 0, "scoring.sigma", "0 or more", self.sigma)
        require(self.top_pixels >= 1, "scoring.top_pixels", "1 or more", self.top_pixels)


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a run, saved with it as ``config.json``."""

    backbone: BackboneConfig = BackboneConfig()
    prompt: PromptConfig = PromptConfig()
    model: ModelConfig = ModelConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    training: TrainingConfig = TrainingConfig()
    scoring: ScoringConfig = ScoringConfig()
    memory: MemoryConfig = MemoryConfig()
    filter: FilterConfig = FilterConfig()
    augment: AugmentConfig = AugmentConfig()
    inspection: InspectionConfig = InspectionConfig()

    __repr__ = brief

    def __post_init__(self) -> None:
        together = self.model.prototypes_first and self.training.tunes_images
        require(not together, "model.prototypes_first", "an untuned image encoder", "true")
        if self.memory.rows:
            refined = self.model.refinements
            require(not refined, "model.refinements", "0 with a memory, whose map is the only one", refined)
            require(not self.model.prototypes, "model.prototypes", "0 with memory.rows", self.model.prototypes)
            require(self.training.tune == "none", "training.tune", "none with memory.rows", self.training.tune)
        for name, added in (("filter.images", self.filter.images), ("augment.copies", self.augment.copies)):
            require(bool(self.memory.rows) or not added, name, "0 without memory.rows", added)
        whole = bool(self.memory.rows) or not self.inspection.tiled
        require(whole, "inspection.view", "whole or auto without memory.rows", self.inspection.view)
        aligned = bool(self.memory.rows) or self.inspection.align == "none"
        require(aligned, "inspection.align", "none without memory.rows", self.inspection.align)
        learns = self.training.epochs or (self.memory.rows and not self.filter.logits)
        require(bool(learns), "training.epochs", "1 or more, unless only a memory detects", 0)

    @classmethod
    def preset(cls, name: Preset) -> Config:
        """Return the settings of a named preset.

        ``demo`` trains the embedded backbone within minutes on two CPU cores, for ``clipada demo``.
        ``quick`` keeps a memory of good parts and trains nothing; ``accurate`` also trains the memory's filter; both
        are beyond the paper. ``mvtec`` and ``visa`` are the paper's (section 5.1.3). ``prompt`` is the paper's method
        with few epochs, for a CPU; ``docs/results.md`` explains its similarity, attention and fusion.
        """
        if name not in PRESETS:
            raise ConfigError(
                f"no preset {name!r}", expected=" | ".join(PRESETS), remedy=did_you_mean(str(name), PRESETS)
            )
        return cls().updated(PRESETS[name])

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Rebuild a config from ``to_dict``'s result. Unknown names and wrong types raise ``ConfigError``."""
        built: Config = build(cls, _with_new_names(values), "")
        for name in setting_names():
            value = built.value(name)
            require(not isinstance(value, float) or isfinite(value), name, "a finite number", value)
        return built

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, ready for JSON."""
        plain: dict[str, Any] = asdict(self)
        return plain

    def fingerprint_settings(self) -> dict[str, Any]:
        """Return the settings that determine the adapter, by dotted name: not backbone path and checkpoint interval."""
        free = ("backbone.name", "backbone.revision", "training.checkpoint_seconds")
        settings = {name: self.value(name) for name in setting_names() if name not in free}
        return settings | {"backbone.blocks": self.backbone.read_blocks, "model.image_size": self.model.size}

    def value(self, name: str) -> Any:
        """Return the value of a setting by dotted name."""
        section, _, setting = name.partition(".")
        return getattr(getattr(self, section), setting)

    def updated(self, changes: Mapping[str, Any]) -> Config:
        """Return a copy with changes by dotted name, e.g. ``{"model.refinements": 2}``, all made at once.

        Values may be text, as from a command line; they are read as the setting's type.
        """
        parts: dict[str, dict[str, Any]] = defaultdict(dict)
        for given, value in changes.items():
            name = RENAMED.get(given, given)
            section, _, setting = name.partition(".")
            if name not in setting_names():
                expected = "section.setting, as `clipada settings` lists them"
                raise ConfigError(f"no setting {name!r}", expected=expected, remedy=_similar(name))
            hint = get_type_hints(type(getattr(self, section)))[setting]
            parsed = parse(value, hint, name) if isinstance(value, str) else value
            if name != given and isinstance(parsed, int):
                parsed = (parsed,)
            parts[section][setting] = checked(parsed, hint, name)
        changed: dict[str, Any] = {section: replace(getattr(self, section), **new) for section, new in parts.items()}
        return replace(self, **changed)


RENAMED = {"backbone.block": "backbone.blocks"}
"""Present names of settings by their former ones, which are still accepted."""


def _with_new_names(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values of a config with the former ``backbone.block`` as ``backbone.blocks``."""
    backbone = values.get("backbone") if isinstance(values, Mapping) else None
    if not isinstance(backbone, Mapping) or "block" not in backbone or "blocks" in backbone:
        return values
    others = {name: value for name, value in backbone.items() if name != "block"}
    block = backbone["block"]
    return {**values, "backbone": others | {"blocks": block if block is None else [block]}}


def _similar(name: str) -> str:
    """Return a remedy that names the most similar setting, or one of the same name in another section, if any."""
    names, (section, _, word) = setting_names(), name.rpartition(".")
    own = [known for known in names if known.rpartition(".")[2] == word]
    if own:
        return f"did you mean {' or '.join(own)}?"
    known = {one if section else one.rpartition(".")[2]: one for one in names}  # the section may be missing
    found = nearest(name, known)
    if found is None:
        return f"find it with `clipada settings {word or 'WORD'}`"
    return f"did you mean {known[found]}?"


def setting_names() -> list[str]:
    """List the dotted names of all settings, in order."""
    hints = get_type_hints(Config)
    return [f"{section}.{setting.name}" for section in hints for setting in fields(hints[section])]
