"""DRAEM's own two networks (Zavrtanik et al., ICCV 2021, arXiv 2108.07610), trained from scratch."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise

import torch
import torch.nn.functional as F
from kornia.metrics import ssim
from torch import Tensor, nn

from clipada.config import DraemConfig
from clipada.errors import ConfigError
from clipada.randomness import derived_generator
from clipada.research.baselines.engine import BaselineEngine, Detector, DetectorOutput
from clipada.research.baselines.fitting import FitContext, seeded_global_rng, train_network
from clipada.scoring import REFERENCE_SIDE
from clipada.synthesis import AnomalySynthesizer, texture_source
from clipada.synthesis.draem import draw_masks, rotate_some
from clipada.training.batches import TrainingBatch

SIDE_DIVISOR = 32
"""Divisor of the input's side, in pixels: the discriminative network halves the image five times."""


class Convolutions(nn.Sequential):
    """3 x 3 convolutions, each with batch normalization and ReLU, through the given numbers of channels."""

    def __init__(self, *channels: int) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(channels):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class Upsampling(nn.Sequential):
    """Bilinear upsampling by 2, followed by a convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.UpsamplingBilinear2d(scale_factor=2), Convolutions(inputs, outputs))


class ReconstructiveNetwork(nn.Sequential):
    """Autoencoder without skip connections, from images ``(B, 3, H, W)`` to anomaly-free images (section 3.1).

    Args:
        width: Channels of the first block.
    """

    def __init__(self, width: int) -> None:
        w = width
        down = [(3, w, w), (w, 2 * w, 2 * w), (2 * w, 4 * w, 4 * w), (4 * w, 8 * w, 8 * w)]
        up = [(8 * w, 4 * w), (4 * w, 2 * w), (2 * w, w), (w, w)]
        super().__init__(
            *(nn.Sequential(Convolutions(*channels), nn.MaxPool2d(2)) for channels in down),
            Convolutions(8 * w, 8 * w, 8 * w),
            *(nn.Sequential(Upsampling(first, first), Convolutions(first, first, last)) for first, last in up),
            nn.Conv2d(w, 3, 3, padding=1),
        )


class DiscriminativeNetwork(nn.Module):
    """U-Net from image and reconstruction, ``(B, 6, H, W)``, to logits of normal and anomalous, ``(B, 2, H, W)``.

    Args:
        width: Channels of the first block.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        w = width
        self.down = nn.ModuleList(
            Convolutions(first, last, last)
            for first, last in [(6, w), (w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w), (8 * w, 8 * w), (8 * w, 8 * w)]
        )
        steps = [(8 * w, 8 * w, 8 * w), (8 * w, 4 * w, 8 * w), (4 * w, 2 * w, 4 * w), (2 * w, w, 2 * w), (w, w, w)]
        self.up = nn.ModuleList(Upsampling(first, last) for first, last, _ in steps)
        self.merge = nn.ModuleList(Convolutions(last + skip, last, last) for _, last, skip in steps)
        self.exit = nn.Conv2d(w, 2, 3, padding=1)

    def forward(self, pairs: Tensor) -> Tensor:
        """Compute the logits (section 3.2 of DRAEM)."""
        skips: list[Tensor] = []
        hidden = pairs
        for block in self.down:
            hidden = block(F.max_pool2d(hidden, 2) if skips else hidden)
            skips.append(hidden)
        skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            hidden = merge(torch.cat([up(hidden), skips.pop()], dim=1))
        logits: Tensor = self.exit(hidden)
        return logits


class Draem(Detector):
    """Detector that restores an image and segments the anomalies from both images.

    Args:
        config: All settings.
    """

    def __init__(self, config: DraemConfig) -> None:
        super().__init__()
        self.config = config
        self.reconstructive = ReconstructiveNetwork(config.width)
        self.discriminative = DiscriminativeNetwork(config.width // 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, images: Tensor) -> DetectorOutput:
        """Return the probability of anomalous, and as image score its maximum after averaging (section 3.4)."""
        _, logits = self.restore_and_segment(images)
        maps = logits.softmax(dim=1)[:, 1]
        side = max(1, round(self.config.smoothing * images.shape[-1] / REFERENCE_SIDE))
        return DetectorOutput(maps, F.avg_pool2d(maps.unsqueeze(1), side, stride=1).flatten(1).amax(dim=1))

    def restore_and_segment(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the restored images and the logits ``(B, 2, H, W)`` of images ``(B, 3, H, W)``, values 0..1."""
        restored = self.reconstructive(images)
        return restored, self.discriminative(torch.cat([restored, images], dim=1))


def objective(restored: Tensor, clean: Tensor, logits: Tensor, masks: Tensor, gamma: float) -> Tensor:
    """Compute the loss ``L = L2 + (1 - SSIM) + focal`` (equations 2 to 5, lambda 1).

    Args:
        restored: ``(B, 3, H, W)``: output of the reconstructive network.
        clean: ``(B, 3, H, W)``, values 0..1: the image before the anomaly was added.
        logits: ``(B, 2, H, W)``.
        masks: ``(B, 1, H, W)``, 1 where anomalous.
        gamma: Exponent of the focal loss.

    Returns:
        A scalar.
    """
    return F.mse_loss(restored, clean) + 1 - ssim(restored, clean, 11).mean() + focal_loss(logits, masks, gamma)


def focal_loss(logits: Tensor, masks: Tensor, gamma: float) -> Tensor:
    """Compute ``-(1 - p)^gamma log p``, ``p`` the probability of the true class, averaged over pixels.

    Lin et al., ICCV 2017.
    """
    true = logits.log_softmax(dim=1).gather(1, masks.long())
    return -((1 - true.exp()) ** gamma * true).mean()


def require_halving(image_size: int) -> None:
    """Raise ``ConfigError`` unless the networks can halve an image of this side five times."""
    if image_size % SIDE_DIVISOR:
        raise ConfigError(
            "DRAEM's networks cannot process images of this size",
            expected=f"a multiple of {SIDE_DIVISOR} pixels",
            got=str(image_size),
            remedy="set model.image_size, or leave this baseline out",
        )


def fit_draem(context: FitContext, /, settings: DraemConfig) -> BaselineEngine:
    """Train both networks on the images of all categories. No backbone is used.

    Raises:
        DatasetError: There is no training image, none can be read, or the textures' folder contains none.
        ConfigError: The networks cannot halve the image five times.
        RunError: The training diverges.
    """
    context.dataset.require_training()
    size, device = context.image_size, context.torch_device
    require_halving(size)
    synthesizer = AnomalySynthesizer(settings.synthesis, texture_source(settings.synthesis))
    with seeded_global_rng(context.seed, torch.device("cpu")):
        detector = Draem(settings)
    if device.type != "cpu":
        detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(batch: TrainingBatch) -> Tensor:
        generator = derived_generator(context.seed, "synthesis", batch.step, device=device)
        clean = rotate_some(batch.images, settings.synthesis, generator)
        masks = draw_masks(len(clean), (size, size), settings.synthesis, generator)
        images, masks = synthesizer.draw_anomalies(clean, masks, batch.images, generator)
        restored, logits = detector.restore_and_segment(images)
        return objective(restored, clean, logits, masks, settings.focal_gamma)

    train_network(detector, loss, context, settings.schedule, [asdict(settings)])
    return BaselineEngine(detector, size, device)
