"""Settings of the model: backbone, prompt, similarity, refinement and memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from clipada.config.image_rules import ImageRules
from clipada.config.schema import brief, require

Similarity = Literal["dot", "cosine"]
Attention = Literal["product", "residual"]
AttentionSpace = Literal["normalised", "pixel"]
Tokens = Literal["raw", "norm", "unit"]
Levels = Literal["one", "several"]
Direction = Literal["text", "vector"]
ImageSize = int | tuple[int, int]
"""Side of a square, or height and width, in pixels."""

EMBEDDED_BACKBONE = "nano"
"""The name of the small CLIP that comes with the package and needs no download."""

DEFAULT_IMAGE_SIZE = 256
"""Side of the input square in pixels, unless the settings or the backbone's patches ask for another."""


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """The frozen backbone: the paper's (section 4.1), or any other vision transformer."""

    name: str = "openai/clip-vit-base-patch16"
    """A `transformers` checkpoint by hub name or local folder, or ``EMBEDDED_BACKBONE``."""

    revision: str | None = None
    """Revision of a checkpoint on the hub: a branch, a tag or a commit; ``None`` for the newest. A run records the
    commit that it was trained on, and loads that one."""

    blocks: tuple[int, ...] | None = None
    """Vision blocks, counted from 1, whose patch tokens are read and concatenated. Blocks above the last one are
    neither loaded nor run. The paper names no block; left out, the backbone's family and depth decide
    (``models.backbones.defaults``), and a run records them. ``backbone.block`` sets a single one."""

    levels: Levels = "one"
    """Number of blocks where ``blocks`` is left open: one, or several of different depth, as suits the backbone."""

    tokens: Tokens = "raw"
    """Output of each block that is read. ``raw``: as the block computes it (the paper). ``norm``: after the backbone's
    final LayerNorm. ``unit``: the raw output at length ``sqrt(W)`` for a block of width ``W``, so that blocks of
    different magnitude count alike."""

    __repr__ = brief

    def __post_init__(self) -> None:
        require(bool(self.name), "backbone.name", "a hub name or a folder", self.name)
        if self.blocks is not None:
            rising = list(self.blocks) == sorted(set(self.blocks)) and all(block >= 1 for block in self.blocks)
            require(bool(self.blocks) and rising, "backbone.blocks", "blocks from 1 in rising order", self.blocks)

    @property
    def read_blocks(self) -> tuple[int, ...]:
        """The blocks that are read, counted from 1; none while they are left open."""
        return self.blocks or ()

    @property
    def blocks_label(self) -> str:
        """The blocks in words, e.g. ``"block 9"`` or ``"blocks 6, 9"``."""
        numbers = ", ".join(map(str, self.read_blocks))
        return f"block {numbers}" if len(self.read_blocks) == 1 else f"blocks {numbers}"


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """The object-agnostic prompt (section 4.2, equations 1 and 2)."""

    prefix: str = "A photo of a"
    """The words before the learnable vectors."""

    suffix: str = "with defects for anomaly detection"
    """The words after the learnable vectors."""

    learnable: bool = True
    """True to learn vectors in the place of the class name; otherwise ``word`` is there. Without words, true to learn
    the direction itself; otherwise it is the same in all channels."""

    length: int = 4
    """Number of learned vectors."""

    word: str = "object"
    """The class name of the fixed prompt."""

    init_std: float = 0.02
    """Standard deviation of the normal distribution the vectors start from. The paper names none."""

    direction: Direction | None = None
    """Source of the vector that anomalies are aligned with. ``text``: the embedded prompt (the paper). ``vector``: a
    vector of the same role and width, without words; beyond the paper. ``None``: ``text`` if the backbone has a
    text tower, else ``vector``."""

    __repr__ = brief

    def __post_init__(self) -> None:
        require(self.length >= 1, "prompt.length", "1 or more", self.length)
        require(self.init_std >= 0, "prompt.init_std", "0 or more", self.init_std)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Similarity and anomaly-region refinement (section 4.3, equations 3 and 5)."""

    image_size: ImageSize | None = None
    """Side of the square that every image is resized to, or height and width, in pixels. ``None``: as many patches as
    ``image_patches`` says, and a run records it."""

    image_patches: int | None = None
    """Patches of the backbone along a side of the square, where ``image_size`` is left open: time and memory depend on
    their number. ``None``: the number that ``models.backbones.defaults`` names for the patch size."""

    image_depth: int | None = None
    """Bits of the camera's values in 16-bit files, 8 to 16: many cameras write 10, 12 or 14. ``None``: a training finds
    it in its images and records it; without one, all 16."""

    image_channels: str = "rgb"
    """Channels of image files that become red, green and blue. ``rgb``: the file's colors, or gray in all three.
    ``gray``: the luminance. ``2``: that channel alone, counted from 1. ``3,2,1``: those three. ``bayer-rggb``,
    ``bayer-bggr``, ``bayer-grbg``, ``bayer-gbrg``: the colors of a sensor's raw values, by its pattern."""

    image_page: int | None = None
    """Page of TIFF files, counted from 1. ``None``: the largest; files with several of that size are refused."""

    refinements: int = 1
    """Number R of refinement passes after the coarse one."""

    similarity: Similarity = "dot"
    """``dot``: plain product with the unit text vector (equation 3). ``cosine``: both sides of unit length, with a
    learned scale and bias."""

    attention: Attention = "product"
    """Combination of the map ``A`` of one pass with the image ``X`` for the next. ``product``: ``X * A``, the literal
    reading of the paper. ``residual``: ``X * (1 + A)``, which keeps the whole image."""

    attention_space: AttentionSpace = "normalised"
    """Space of that product: the backbone's normalized input, or pixel values (0..1) before the normalization."""

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

    __repr__ = brief

    def __post_init__(self) -> None:
        require(min(self.size) >= 32, "model.image_size", "32 or more", self.image_size)
        patches = self.image_patches
        require(patches is None or patches >= 4, "model.image_patches", "4 or more", patches)
        _ = self.rules  # refuses values out of range
        require(self.refinements >= 0, "model.refinements", "0 or more", self.refinements)
        require(self.prototypes >= 0, "model.prototypes", "0 or more", self.prototypes)
        require(self.prototype_weight >= 0, "model.prototype_weight", "0 or more", self.prototype_weight)

    @property
    def rules(self) -> ImageRules:
        """Rules by which image files are read."""
        return ImageRules(channels=self.image_channels, depth=self.image_depth, page=self.image_page)

    def reading(self, rules: ImageRules) -> ModelConfig:
        """Return the same settings with other rules by which image files are read."""
        return replace(self, image_channels=rules.channels, image_depth=rules.depth, image_page=rules.page)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the model's input, in pixels; ``DEFAULT_IMAGE_SIZE`` while they are left open."""
        found = DEFAULT_IMAGE_SIZE if self.image_size is None else self.image_size
        return (found, found) if isinstance(found, int) else found
