"""Reconstruction of patch tokens by a small transformer: UniAD (You et al., NeurIPS 2022, arXiv 2206.03687)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from clipada.config import BackboneConfig, ReconstructionConfig
from clipada.data import Dataset
from clipada.devices import find_device
from clipada.errors import ConfigError
from clipada.models.backbones import FrozenClip, load_clip
from clipada.models.clip_ada import upsample
from clipada.randomness import derived_generator
from clipada.research.baselines.engine import BaselineEngine, Detector, Findings, to_unit
from clipada.research.baselines.fitting import Keep, Report, image_batches, lent_global_draws, train_network, unreported
from clipada.training import TrainingBatch

REFERENCE_SIDE = 224
"""The input side, in pixels, at which the paper averages its map over 16 x 16 pixels for the image score."""


class NeighbourMaskedAttention(nn.Module):
    """Attention that never looks at the tokens around a query's own place (section 3.3 of UniAD).

    Args:
        config: Width, heads and dropout.
        mask: ``(N, N)`` bool, true where a query must not look.
    """

    def __init__(self, config: ReconstructionConfig, mask: Tensor) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(config.width, config.heads, config.dropout, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.width)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, queries: Tensor, values: Tensor, positions: Tensor) -> Tensor:
        """Queries and values ``(B, N, C)``, with positions ``(N, C)`` added to ask and to be asked; ``(B, N, C)``."""
        seen, _ = self.attention(
            queries + positions, values + positions, values, attn_mask=self.mask, need_weights=False
        )
        output: Tensor = self.norm(queries + self.dropout(seen))
        return output


class Feedforward(nn.Module):
    """Two linear layers around the identity.

    Args:
        config: Widths and dropout.
    """

    def __init__(self, config: ReconstructionConfig) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(config.width, config.feedforward),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.feedforward, config.width),
            nn.Dropout(config.dropout),
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, N, C)`` to the same."""
        output: Tensor = self.norm(tokens + self.layers(tokens))
        return output


class EncoderLayer(nn.Module):
    """Tokens look at tokens."""

    def __init__(self, config: ReconstructionConfig, mask: Tensor) -> None:
        super().__init__()
        self.attention = NeighbourMaskedAttention(config, mask)
        self.feedforward = Feedforward(config)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """``(B, N, C)`` to the same."""
        output: Tensor = self.feedforward(self.attention(tokens, tokens, positions))
        return output


class DecoderLayer(nn.Module):
    """Queries of this layer's own, learned, look at the encoder's output, then at the last layer's (section 3.2).

    They stand in the place of the tokens, so that no token can pass a layer by itself.
    """

    def __init__(self, config: ReconstructionConfig, mask: Tensor) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(len(mask), config.width))
        self.to_memory = NeighbourMaskedAttention(config, mask)
        self.to_last = NeighbourMaskedAttention(config, mask)
        self.feedforward = Feedforward(config)

    def forward(self, last: Tensor, memory: Tensor, positions: Tensor) -> Tensor:
        """The last layer's output and the encoder's, ``(B, N, C)`` each, to ``(B, N, C)``."""
        queries = self.to_memory(self.queries.expand_as(memory), memory, positions)
        output: Tensor = self.feedforward(self.to_last(queries, last, positions))
        return output


class TokenTransformer(nn.Module):
    """Rebuilds each token from those farther away.

    Args:
        width: ``D``, of the tokens.
        grid: ``(h, w)``, ``N = h w``.
        config: All settings.

    Raises:
        ConfigError: The neighbourhood leaves a token nothing to look at.
    """

    def __init__(self, width: int, grid: tuple[int, int], config: ReconstructionConfig) -> None:
        super().__init__()
        mask = neighbour_mask(grid, config.neighbourhood)
        self.rows = nn.Parameter(torch.rand(grid[0], 1, config.width // 2))
        self.columns = nn.Parameter(torch.rand(1, grid[1], config.width // 2))
        self.entry = nn.Linear(width, config.width)
        self.encoder = nn.ModuleList(EncoderLayer(config, mask) for _ in range(config.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(config, mask) for _ in range(config.decoder_layers))
        self.norm = nn.LayerNorm(config.width)
        self.exit = nn.Linear(config.width, width)
        self._draw_linear_layers()

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens ``(B, N, D)`` to their reconstruction, of the same shape."""
        grid = (len(self.rows), self.columns.shape[1], -1)
        positions = torch.cat([self.columns.expand(grid), self.rows.expand(grid)], dim=-1).flatten(0, 1)
        memory = self.entry(tokens)
        for layer in self.encoder:
            memory = layer(memory, positions)
        last = memory
        for layer in self.decoder:
            last = layer(last, memory, positions)
        rebuilt: Tensor = self.exit(self.norm(last))
        return rebuilt

    def _draw_linear_layers(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)


def neighbour_mask(grid: tuple[int, int], side: int) -> Tensor:
    """Which tokens lie in the square of ``side`` around each: ``(N, N)`` bool, row by row.

    Raises:
        ConfigError: The square covers the whole grid from somewhere, so that nothing would be left to look at.
    """
    rows, columns = torch.meshgrid(*(torch.arange(length) for length in grid), indexing="ij")
    places = torch.stack([rows, columns], dim=-1).flatten(0, 1)
    mask = (places.unsqueeze(0) - places.unsqueeze(1)).abs().amax(dim=-1) <= side // 2
    if mask.all(dim=1).any():
        raise ConfigError(
            "setting reconstruction.neighbourhood does not suit the image",
            expected=f"a square that leaves some of the {grid[0]} x {grid[1]} tokens to look at from everywhere",
            got=str(side),
            remedy="lower it, or take larger images",
        )
    return mask


class Reconstruction(Detector):
    """Scores a token by how far it lies from its reconstruction.

    Args:
        clip: The frozen backbone.
        mean: ``(D,)``, of each channel over normal tokens.
        std: ``(D,)``, the standard deviation.
        network: Rebuilds standardised tokens.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, clip: FrozenClip, mean: Tensor, std: Tensor, network: TokenTransformer) -> None:
        super().__init__()
        self.clip = clip
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, images: Tensor) -> Findings:
        """The norm of the residual (equation 4 of UniAD); as image score its maximum, averaged over 16 x 16 pixels.

        Both come to 0..1 by ``to_unit``, whose knee is twice the norm of a token that has the standard deviation in
        every channel.
        """
        tokens = self.tokens(images)
        residual = (self.network(tokens) - tokens).norm(dim=-1).unflatten(1, self.clip.grid(images.shape[-2:]))
        maps = to_unit(upsample(residual, images.shape[-2:]), 2 * len(self.mean) ** 0.5)
        side = max(1, round(16 * images.shape[-1] / REFERENCE_SIDE))
        return Findings(maps, F.avg_pool2d(maps.unsqueeze(1), side, stride=1).flatten(1).amax(dim=1))

    def tokens(self, images: Tensor) -> Tensor:
        """Standardised patch tokens ``(B, N, D)`` of images ``(B, 3, S, S)``, values 0..1."""
        tokens: Tensor = self.clip(self.clip.normalise(images))
        return (tokens - self.mean) / self.std


def jittered(tokens: Tensor, scale: float, generator: Generator) -> Tensor:
    """Add noise to tokens ``f``, ``(B, N, D)``: normal, of standard deviation ``scale |f| / D`` (section 3.4)."""
    spread = scale * tokens.norm(dim=-1, keepdim=True) / tokens.shape[-1]
    return torch.addcmul(tokens, spread, torch.randn(tokens.shape, generator=generator, device=tokens.device))


def channel_statistics(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, ``(D,)`` both, over batches of tokens ``(B, N, D)``.

    A channel that never varies has the standard deviation 1.
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for tokens in batches:
        flat = tokens.flatten(0, 1).double().cpu()
        count, total, squares = count + len(flat), total + flat.sum(dim=0), squares + flat.square().sum(dim=0)
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(std > 1e-6 * mean.abs(), std, 1.0).float()


def fit_reconstruction(
    dataset: Dataset,
    backbone: BackboneConfig,
    image_size: int,
    /,
    *,
    settings: ReconstructionConfig | None = None,
    seed: int = 0,
    device: str = "auto",
    workers: int = 0,
    report: Report = unreported,
    checkpoints: Path | None = None,
) -> BaselineEngine:
    """Train one transformer on the tokens of all categories; see ``Fit`` for the arguments.

    Raises:
        DatasetError: There is no training image, or none can be read.
        BackboneError: The backbone cannot be loaded.
        ConfigError: The neighbourhood does not suit the image.
        RunError: The training diverges.
    """
    dataset.require_training()
    config = ReconstructionConfig() if settings is None else settings
    place = find_device(device)
    clip = load_clip(backbone).to(place)
    with lent_global_draws(seed, torch.device("cpu")):
        network = TokenTransformer(clip.width, clip.grid((image_size, image_size)), config)
    with torch.inference_mode():
        images = image_batches(dataset.train, image_size, place, workers, report)
        mean, std = channel_statistics(clip(clip.normalise(batch)) for batch in images)
    detector = Reconstruction(clip, mean.clone(), std.clone(), network).to(place)

    def loss(batch: TrainingBatch) -> Tensor:
        generator = derived_generator(seed, "jitter", batch.step, device=place)
        with torch.no_grad():
            tokens = detector.tokens(batch.images)
        noisy = torch.rand((), generator=generator, device=place) < config.jitter_probability
        inputs = jittered(tokens, config.jitter, generator) if noisy else tokens
        return F.mse_loss(network(inputs), tokens)

    train_network(
        network,
        loss,
        dataset.train,
        image_size,
        config.schedule,
        seed=seed,
        device=place,
        workers=workers,
        report=report,
        keep=None if checkpoints is None else Keep(folder=checkpoints, deciding=[asdict(config), clip.sha256()]),
    )
    return BaselineEngine(detector, image_size, place)
