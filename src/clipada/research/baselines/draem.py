"""DRAEM's own two networks (Zavrtanik et al., ICCV 2021, arXiv 2108.07610), trained from nothing."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from kornia.metrics import ssim
from torch import Tensor, nn

from clipada.config import BackboneConfig, DraemConfig
from clipada.data import Dataset
from clipada.devices import find_device
from clipada.errors import ConfigError
from clipada.randomness import derived_generator
from clipada.research.baselines.engine import BaselineEngine, Detector, DetectorOutput
from clipada.research.baselines.fitting import Keep, Report, lent_global_draws, train_network, unreported
from clipada.scoring import REFERENCE_SIDE
from clipada.synthesis import AnomalySynthesizer, texture_source
from clipada.synthesis.draem import draw_masks, rotate_some
from clipada.training import TrainingBatch

SMALLEST_STEP = 32
"""The discriminative network halves the image five times, so its sides must be a multiple of this."""


class Convolutions(nn.Sequential):
    """3 x 3 convolutions, each with batch normalisation and ReLU, through the given numbers of channels."""

    def __init__(self, *channels: int) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(channels):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class Upwards(nn.Sequential):
    """To twice the size, and a convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.UpsamplingBilinear2d(scale_factor=2), Convolutions(inputs, outputs))


class ReconstructiveNetwork(nn.Sequential):
    """An autoencoder without shortcuts: images ``(B, 3, H, W)`` to what they would be without anomaly (section 3.1).

    Args:
        width: Channels of its first block.
    """

    def __init__(self, width: int) -> None:
        w = width
        down = [(3, w, w), (w, 2 * w, 2 * w), (2 * w, 4 * w, 4 * w), (4 * w, 8 * w, 8 * w)]
        up = [(8 * w, 4 * w), (4 * w, 2 * w), (2 * w, w), (w, w)]
        super().__init__(
            *(nn.Sequential(Convolutions(*channels), nn.MaxPool2d(2)) for channels in down),
            Convolutions(8 * w, 8 * w, 8 * w),
            *(nn.Sequential(Upwards(first, first), Convolutions(first, first, last)) for first, last in up),
            nn.Conv2d(w, 3, 3, padding=1),
        )


class DiscriminativeNetwork(nn.Module):
    """A U-Net: image and reconstruction ``(B, 6, H, W)`` to logits of normal and anomalous, ``(B, 2, H, W)``.

    Args:
        width: Channels of its first block.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        w = width
        self.down = nn.ModuleList(
            Convolutions(first, last, last)
            for first, last in [(6, w), (w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w), (8 * w, 8 * w), (8 * w, 8 * w)]
        )
        steps = [(8 * w, 8 * w, 8 * w), (8 * w, 4 * w, 8 * w), (4 * w, 2 * w, 4 * w), (2 * w, w, 2 * w), (w, w, w)]
        self.up = nn.ModuleList(Upwards(first, last) for first, last, _ in steps)
        self.merge = nn.ModuleList(Convolutions(last + beside, last, last) for _, last, beside in steps)
        self.exit = nn.Conv2d(w, 2, 3, padding=1)

    def forward(self, pairs: Tensor) -> Tensor:
        """Section 3.2 of DRAEM."""
        beside: list[Tensor] = []
        hidden = pairs
        for block in self.down:
            hidden = block(F.max_pool2d(hidden, 2) if beside else hidden)
            beside.append(hidden)
        beside.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            hidden = merge(torch.cat([up(hidden), beside.pop()], dim=1))
        logits: Tensor = self.exit(hidden)
        return logits


class Draem(Detector):
    """Restores an image and tells from both where it was anomalous.

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
        """The probability of anomalous; as image score its maximum after averaging (section 3.4)."""
        _, logits = self.look(images)
        maps = logits.softmax(dim=1)[:, 1]
        side = max(1, round(self.config.smoothing * images.shape[-1] / REFERENCE_SIDE))
        return DetectorOutput(maps, F.avg_pool2d(maps.unsqueeze(1), side, stride=1).flatten(1).amax(dim=1))

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images ``(B, 3, H, W)``, values 0..1, to the restored ones and the logits ``(B, 2, H, W)``."""
        restored = self.reconstructive(images)
        return restored, self.discriminative(torch.cat([restored, images], dim=1))


def objective(restored: Tensor, clean: Tensor, logits: Tensor, masks: Tensor, gamma: float) -> Tensor:
    """``L = L2 + (1 - SSIM) + focal`` (equations 2 to 5, lambda 1).

    Args:
        restored: ``(B, 3, H, W)``: what the reconstructive network gives.
        clean: ``(B, 3, H, W)``, values 0..1: the image before the anomaly was drawn.
        logits: ``(B, 2, H, W)``.
        masks: ``(B, 1, H, W)``, 1 where anomalous.
        gamma: Of the focal loss.

    Returns:
        A scalar.
    """
    return F.mse_loss(restored, clean) + 1 - ssim(restored, clean, 11).mean() + focal_loss(logits, masks, gamma)


def focal_loss(logits: Tensor, masks: Tensor, gamma: float) -> Tensor:
    """``-(1 - p)^gamma log p``, ``p`` the probability of what is true, mean over pixels (Lin et al., ICCV 2017)."""
    true = logits.log_softmax(dim=1).gather(1, masks.long())
    return -((1 - true.exp()) ** gamma * true).mean()


def require_halving(image_size: int) -> None:
    """Raise ``ConfigError`` unless the networks can halve an image of this side as often as they must."""
    if image_size % SMALLEST_STEP:
        raise ConfigError(
            "DRAEM's networks cannot take the image",
            expected=f"a multiple of {SMALLEST_STEP} pixels",
            got=str(image_size),
            remedy="set model.image_size, or leave this baseline out",
        )


def fit_draem(
    dataset: Dataset,
    _backbone: BackboneConfig,
    image_size: int,
    /,
    *,
    settings: DraemConfig | None = None,
    seed: int = 0,
    device: str = "auto",
    workers: int = 0,
    report: Report = unreported,
    checkpoints: Path | None = None,
) -> BaselineEngine:
    """Train both networks on the images of all categories; see ``Fit`` for the arguments. No backbone is used.

    Raises:
        DatasetError: There is no training image, none can be read, or the textures' folder holds none.
        ConfigError: The networks cannot halve the image as often as they must.
        RunError: The training diverges.
    """
    dataset.require_training()
    config = DraemConfig() if settings is None else settings
    require_halving(image_size)
    place = find_device(device)
    synthesizer = AnomalySynthesizer(config.synthesis, texture_source(config.synthesis))
    with lent_global_draws(seed, torch.device("cpu")):
        detector = Draem(config)
    if place.type != "cpu":
        detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(batch: TrainingBatch) -> Tensor:
        generator = derived_generator(seed, "synthesis", batch.step, device=place)
        clean = rotate_some(batch.images, config.synthesis, generator)
        masks = draw_masks(len(clean), (image_size, image_size), config.synthesis, generator)
        images, masks = synthesizer.draw_anomalies(clean, masks, batch.images, generator)
        restored, logits = detector.look(images)
        return objective(restored, clean, logits, masks, config.focal_gamma)

    train_network(
        detector,
        loss,
        dataset.train,
        image_size,
        config.schedule,
        seed=seed,
        device=place,
        workers=workers,
        report=report,
        keep=None if checkpoints is None else Keep(folder=checkpoints, deciding=[asdict(config)]),
    )
    return BaselineEngine(detector, image_size, place)
