"""AnomalyDINO (Damm et al., WACV 2025, arXiv 2405.14529): a bank of a few good images of each product."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import binary_dilation, binary_erosion
from torch import Tensor

from clipada.config import AnomalyDinoConfig, BackboneConfig
from clipada.devices import to_tensor
from clipada.errors import DatasetError, ImageError
from clipada.images import read_rgb, resize
from clipada.models.backbones import Backbone, load_backbone, read_configuration
from clipada.models.clip_ada import upsample
from clipada.models.coreset import nearest_neighbors
from clipada.research.baselines.engine import BaselineEngine, Detector, DetectorOutput
from clipada.research.baselines.fitting import FitContext, require_one_product
from clipada.scoring import REFERENCE_SIDE
from clipada.synthesis.affine import rotations, warp
from clipada.types import Image, Progress, Sample

log = logging.getLogger(__name__)

BORDER = 0.2
"""Share of each side of the grid that is outside of its center, where the part is expected."""

LEAST_PART = 0.35
"""Share of the center that the part covers at least; the other sign of the component is the part otherwise."""

SQUARE = np.ones((3, 3), np.bool_)
"""Neighborhood in which the part is dilated, and its holes are closed."""


class AnomalyDino(Detector):
    """Detector that scores a token by its cosine distance to the nearest token of the reference images.

    Args:
        backbone: The frozen backbone, read up to the compared block.
        bank: Tokens of the reference images, of unit length, ``(M, W)``.
        config: All settings.
        masked: True if the background of this product is masked.
    """

    bank: Tensor

    def __init__(self, backbone: Backbone, bank: Tensor, config: AnomalyDinoConfig, *, masked: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.config = config
        self.masked = masked
        self.register_buffer("bank", bank)

    def forward(self, images: Tensor) -> DetectorOutput:
        """Return half of the cosine distances, 0 in a masked background, and the mean of the largest of them."""
        grid = self.backbone.grid(images.shape[-2:])
        tokens = self.backbone(self.backbone.normalize(images))
        apart = nearest_neighbors(F.normalize(tokens, dim=-1).flatten(0, 1), self.bank)[0].view(tokens.shape[:2])
        distances = apart.square() / 4  # of unit vectors: |a - b|^2 = 2 (1 - cos), of range 0..4
        if self.masked:
            parts = [foreground(one, grid, self.config.mask_threshold) for one in tokens]
            distances = distances * torch.stack(parts).to(distances)
        largest = distances.topk(max(1, int(self.config.share * distances.shape[1])), dim=1).values
        maps = distances.view(-1, *grid)
        return DetectorOutput(upsample(maps, images.shape[-2:]), largest.mean(dim=1))


def foreground(tokens: Tensor, grid: tuple[int, int], threshold: float) -> Tensor:
    """Separate the part from the background by the first principal component of one image's tokens.

    The part is where the component is above the threshold, or below its negative if that leaves most of the center
    out, dilated and closed by squares of 3 x 3.

    Args:
        tokens: ``(N, W)``.
        grid: The tokens' grid ``(h, w)``.
        threshold: In units of the tokens.

    Returns:
        ``(N,)`` bool, true for the part.
    """
    centered = tokens - tokens.mean(dim=0)
    direction = torch.linalg.eigh(centered.T @ centered).eigenvectors[:, -1]
    sign = direction[direction.abs().argmax()].sign()
    component = (centered @ (sign * direction)).view(grid).cpu().numpy()
    part = component > threshold
    height, width = grid
    center = part[int(height * BORDER) : int(height * (1 - BORDER)), int(width * BORDER) : int(width * (1 - BORDER))]
    if center.sum() <= LEAST_PART * center.size:
        part = -component > threshold
    dilated = binary_dilation(binary_dilation(part, SQUARE), SQUARE)
    return torch.from_numpy(binary_erosion(dilated, SQUARE, border_value=1).ravel())


def rotated(image: Image, count: int) -> Iterator[Image]:
    """Yield an image ``(H, W, 3)`` rotated by ``count`` evenly spaced angles, itself first; its edges are mirrored."""
    yield image
    pixels = to_tensor(image[None])
    for index in range(1, count):
        degrees = torch.tensor([360.0 * index / count])
        turned = warp(pixels, rotations(degrees, (image.shape[0], image.shape[1])), outside="reflection")
        yield (255 * turned[0]).round().byte().permute(1, 2, 0).numpy()


def fit_anomaly_dino(context: FitContext, /, settings: AnomalyDinoConfig) -> BaselineEngine:
    """Fill a bank with all tokens of some of one product's good images, each rotated.

    The engine's size keeps the aspect ratio of the first image. The context's own blocks and size are not used.

    Raises:
        DatasetError: There is no training image, none can be read, or there are several products.
        BackboneError: The backbone cannot be loaded.
        ConfigError: It has no such block.
    """
    category, device = require_one_product(context.dataset), context.torch_device
    backbone = load_backbone(_read_block(context.backbone, settings)).to(device)
    references = _readable(_chosen(context.dataset.train, settings.shots, context.seed), context)
    height, width, _ = references[0].shape
    scale = settings.short_side / min(height, width)
    size = backbone.scaled_size((height, width), scale)
    parts = []
    with torch.inference_mode():
        for done, image in enumerate(references, start=1):
            turned = np.stack([resize(one, size) for one in rotated(image, settings.rotations)])
            pixels = to_tensor(turned, device)
            parts.append(F.normalize(backbone(backbone.normalize(pixels)), dim=-1).flatten(0, 1))
            context.report(Progress(stage="reading", done=done, total=len(references)))
    detector = AnomalyDino(backbone, torch.cat(parts), settings, masked=category in settings.masked)
    sigma = settings.sigma * REFERENCE_SIDE / (height * width) ** 0.5
    return BaselineEngine(detector, size, device, sigma=sigma)


def _read_block(config: BackboneConfig, settings: AnomalyDinoConfig) -> BackboneConfig:
    """Return the backbone that reads the compared block alone: by default its last."""
    block = settings.block
    if block is None:
        block = Backbone.vision_config(read_configuration(config.name, config.revision)).num_hidden_layers
    return replace(config, blocks=(block,), tokens=settings.tokens)


def _chosen(samples: Sequence[Sample], shots: int, seed: int) -> list[Sample]:
    """Return the references of a seed, as the code of the paper takes them: the next ``shots`` images in order."""
    if not shots or shots >= len(samples):
        return list(samples)
    return [samples[(seed * shots + index) % len(samples)] for index in range(shots)]


def _readable(samples: Sequence[Sample], context: FitContext) -> list[Image]:
    """Read images; unreadable ones are logged and left out. Raise ``DatasetError`` if none can be read."""
    images = []
    for sample in samples:
        try:
            images.append(read_rgb(sample.path, context.rules))
        except ImageError as error:
            log.warning("left out: %s", error)
    if not images:
        raise DatasetError(f"none of the {len(samples)} training images can be read", remedy="check the files")
    return images
