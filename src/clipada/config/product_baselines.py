"""Settings of the baselines that are a model for each product: AnomalyDINO and PatchCore at a run's budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from clipada.config.model import Tokens
from clipada.config.schema import require

ProductBaselineName = Literal["anomaly-dino", "patchcore"]

PRODUCT_BASELINE_NAMES: tuple[ProductBaselineName, ...] = get_args(ProductBaselineName)
"""Names of the baselines that are a model for each product, which is given for each image."""


@dataclass(frozen=True, kw_only=True)
class PatchcoreConfig:
    """Settings of a core-set for each product: PatchCore on the tokens, and with as many rows, as a run has."""

    rows: int = 13_000
    """Tokens that a product's core-set keeps."""

    neighborhood: int = 1
    """Side of the squares that tokens are averaged over, in tokens: 1 for the tokens as they are. The paper's 3, meant
    for a convolutional network, hurts with a transformer's tokens, which know their neighborhood."""

    projection: int = 128
    """Dimensions of the random projection for the choice of the core-set, as for the memory bank."""

    reweighting: int = 9
    """Number of neighbors that weight the image score, as for the memory bank."""

    sigma: float = 4.0
    """Standard deviation of the Gaussian on the map, in pixels of a 256-pixel input."""

    def __post_init__(self) -> None:
        require(self.rows >= 2, "patchcore.rows", "2 or more", self.rows)
        odd = self.neighborhood >= 1 and self.neighborhood % 2 == 1
        require(odd, "patchcore.neighborhood", "an odd number", self.neighborhood)
        require(self.projection >= 1, "patchcore.projection", "1 or more", self.projection)
        require(self.reweighting >= 2, "patchcore.reweighting", "2 or more", self.reweighting)
        require(self.sigma >= 0, "patchcore.sigma", "0 or more", self.sigma)


@dataclass(frozen=True, kw_only=True)
class AnomalyDinoConfig:
    """Settings of AnomalyDINO (Damm et al., WACV 2025, arXiv 2405.14529); the defaults are those of its code."""

    short_side: int = 448
    """Length that an image's short side is resized to, in pixels."""

    block: int | None = None
    """Block whose patch tokens are compared, counted from 1; ``None`` for the last one."""

    tokens: Tokens = "norm"
    """Output of that block: after the backbone's final LayerNorm, or as for ``backbone.tokens``."""

    shots: int = 16
    """Number of good images in a product's bank, of 1, 2, 4, 8 and 16 in the paper; 0 for all of them."""

    rotations: int = 8
    """Number of evenly spaced angles by which each of them is rotated; 1 for none."""

    masked: tuple[str, ...] = ("capsule", "hazelnut", "pill", "screw", "toothbrush")
    """Products whose background is masked: the code's choice for MVTec AD."""

    mask_threshold: float = 10.0
    """Value of the first principal component above which a token belongs to the part."""

    share: float = 0.01
    """The image score is the mean of this share of the largest distances."""

    sigma: float = 4.0
    """Standard deviation of the Gaussian on the map, in pixels of the image itself."""

    def __post_init__(self) -> None:
        require(self.short_side >= 32, "anomaly_dino.short_side", "32 or more", self.short_side)
        require(self.block is None or self.block >= 1, "anomaly_dino.block", "1 or more, or none", self.block)
        require(self.shots >= 0, "anomaly_dino.shots", "0 or more", self.shots)
        require(self.rotations >= 1, "anomaly_dino.rotations", "1 or more", self.rotations)
        require(0 < self.share <= 1, "anomaly_dino.share", "more than 0, at most 1", self.share)
        require(self.sigma >= 0, "anomaly_dino.sigma", "0 or more", self.sigma)
