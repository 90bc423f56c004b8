"""Reconstruction of patch tokens by a small transformer: UniAD (You et al., NeurIPS 2022, arXiv 2206.03687)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from clipada.config import ReconstructionConfig
from clipada.errors import ConfigError
from clipada.models.backbones import Backbone, load_backbone
from clipada.models.clip_ada import upsample
from clipada.randomness import derived_generator
from clipada.research.baselines.engine import BaselineEngine, Detector, DetectorOutput, to_unit
from clipada.research.baselines.fitting import FitContext, image_batches, seeded_global_rng, train_network
from clipada.training.batches import TrainingBatch

REFERENCE_SIDE = 224
"""Input side, in pixels, at which the paper averages its map over 16 x 16 pixels for the image score."""


class NeighborMaskedAttention(nn.Module):
    """Attention that excludes the tokens around the query's own position (section 3.3 of UniAD).

    Args:
        config: Width, heads and dropout.
        mask: ``(N, N)`` bool, true where a query must not attend.
    """

    def __init__(self, config: ReconstructionConfig, mask: Tensor) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(config.width, config.heads, config.dropout, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.width)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, queries: Tensor, values: Tensor, positions: Tensor) -> Tensor:
        """Attend from queries to values, ``(B, N, C)`` each; positions ``(N, C)`` are added to queries and keys."""
        attended, _ = self.attention(
            queries + positions, values + positions, values, attn_mask=self.mask, need_weights=False
        )
        output: Tensor = self.norm(queries + self.dropout(attended))
        return output


class Feedforward(nn.Module):
    """Two linear layers with a residual connection.

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
        """Transform tokens ``(B, N, C)`` into tokens of the same shape."""
        output: Tensor = self.norm(tokens + self.layers(tokens))
        return output


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward layers."""

    def __init__(self, config: ReconstructionConfig, mask: Tensor) -> None:
        super().__init__()
        self.attention = NeighborMaskedAttention(config, mask)
        self.feedforward = Feedforward(config)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Transform tokens ``(B, N, C)`` into tokens of the same shape."""
        output: Tensor = self.feedforward(self.attention(tokens, tokens, positions))
        return output


class DecoderLayer(nn.Module):
    """Layer with its own learned queries, which attend to the encoder's output, then to the previous layer's.

    The queries replace the tokens, so that no token can pass through a layer unchanged (section 3.2).
    """

    def __init__(self, config: ReconstructionConfig, mask: Tensor) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(len(mask), config.width))
        self.to_memory = NeighborMaskedAttention(config, mask)
        self.to_last = NeighborMaskedAttention(config, mask)
        self.feedforward = Feedforward(config)

    def forward(self, last: Tensor, memory: Tensor, positions: Tensor) -> Tensor:
        """Combine the previous layer's output and the encoder's, ``(B, N, C)`` each, into ``(B, N, C)``."""
        queries = self.to_memory(self.queries.expand_as(memory), memory, positions)
        output: Tensor = self.feedforward(self.to_last(queries, last, positions))
        return output


class TokenTransformer(nn.Module):
    """Transformer that reconstructs each token from those outside its neighborhood.

    Args:
        width: ``D``, width of the tokens.
        grid: ``(h, w)``, ``N = h w``.
        config: All settings.

    Raises:
        ConfigError: The neighborhood leaves a token nothing to attend to.
    """

    def __init__(self, width: int, grid: tuple[int, int], config: ReconstructionConfig) -> None:
        super().__init__()
        mask = neighbor_mask(grid, config.neighbourhood)
        self.rows = nn.Parameter(torch.rand(grid[0], 1, config.width // 2))
        self.columns = nn.Parameter(torch.rand(1, grid[1], config.width // 2))
        self.entry = nn.Linear(width, config.width)
        self.encoder = nn.ModuleList(EncoderLayer(config, mask) for _ in range(config.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(config, mask) for _ in range(config.decoder_layers))
        self.norm = nn.LayerNorm(config.width)
        self.exit = nn.Linear(config.width, width)
        self._initialize_linear_layers()

    def forward(self, tokens: Tensor) -> Tensor:
        """Reconstruct tokens ``(B, N, D)``; same shape."""
        grid = (len(self.rows), self.columns.shape[1], -1)
        positions = torch.cat([self.columns.expand(grid), self.rows.expand(grid)], dim=-1).flatten(0, 1)
        memory = self.entry(tokens)
        for layer in self.encoder:
            memory = layer(memory, positions)
        last = memory
        for layer in self.decoder:
            last = layer(last, memory, positions)
        reconstructed: Tensor = self.exit(self.norm(last))
        return reconstructed

    def _initialize_linear_layers(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)


def neighbor_mask(grid: tuple[int, int], side: int) -> Tensor:
    """Mark the tokens in the square of ``side`` around each token: ``(N, N)`` bool, row by row.

    Raises:
        ConfigError: The square around some token covers the whole grid, so nothing would be left to attend to.
    """
    rows, columns = torch.meshgrid(*(torch.arange(length) for length in grid), indexing="ij")
    places = torch.stack([rows, columns], dim=-1).flatten(0, 1)
    mask = (places.unsqueeze(0) - places.unsqueeze(1)).abs().amax(dim=-1) <= side // 2
    if mask.all(dim=1).any():
        raise ConfigError(
            "setting reconstruction.neighbourhood does not suit the image",
            expected=f"a square that leaves every token some of the {grid[0]} x {grid[1]} tokens to attend to",
            got=str(side),
            remedy="lower it, or use larger images",
        )
    return mask


class Reconstruction(Detector):
    """Detector that scores a token by its distance to its reconstruction.

    Args:
        clip: The frozen backbone.
        mean: ``(D,)``, mean of each channel over normal tokens.
        std: ``(D,)``, its standard deviation.
        network: Reconstructs standardized tokens.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, clip: Backbone, mean: Tensor, std: Tensor, network: TokenTransformer) -> None:
        super().__init__()
        self.clip = clip
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, images: Tensor) -> DetectorOutput:
        """Return the norm of the residual (equation 4 of UniAD), and as image score its maximum.

        The maximum is taken after averaging over 16 x 16 pixels. Both are mapped to 0..1 by ``to_unit``, whose knee is
        twice the norm of a token that equals the standard deviation in every channel.
        """
        tokens = self.tokens(images)
        residual = (self.network(tokens) - tokens).norm(dim=-1).unflatten(1, self.clip.grid(images.shape[-2:]))
        maps = to_unit(upsample(residual, images.shape[-2:]), 2 * len(self.mean) ** 0.5)
        side = max(1, round(16 * images.shape[-1] / REFERENCE_SIDE))
        return DetectorOutput(maps, F.avg_pool2d(maps.unsqueeze(1), side, stride=1).flatten(1).amax(dim=1))

    def tokens(self, images: Tensor) -> Tensor:
        """Compute standardized patch tokens ``(B, N, D)`` of images ``(B, 3, S, S)``, values 0..1."""
        tokens: Tensor = self.clip(self.clip.normalize(images))
        return (tokens - self.mean) / self.std


def jittered(tokens: Tensor, scale: float, generator: Generator) -> Tensor:
    """Add normal noise of standard deviation ``scale |f| / D`` to tokens ``f``, ``(B, N, D)`` (section 3.4)."""
    spread = scale * tokens.norm(dim=-1, keepdim=True) / tokens.shape[-1]
    return torch.addcmul(tokens, spread, torch.randn(tokens.shape, generator=generator, device=tokens.device))


def channel_statistics(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Compute mean and standard deviation of each channel, ``(D,)`` each, over batches of tokens ``(B, N, D)``.

    The standard deviation of a constant channel is set to 1.
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for tokens in batches:
        flat = tokens.flatten(0, 1).double().cpu()
        count, total, squares = count + len(flat), total + flat.sum(dim=0), squares + flat.square().sum(dim=0)
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(std > 1e-6 * mean.abs(), std, 1.0).float()


def fit_reconstruction(context: FitContext, /, settings: ReconstructionConfig) -> BaselineEngine:
    """Train one transformer on the tokens of all categories.

    Raises:
        DatasetError: There is no training image, or none can be read.
        BackboneError: The backbone cannot be loaded.
        ConfigError: The neighborhood does not suit the image.
        RunError: The training diverges.
    """
    context.dataset.require_training()
    size, device = context.image_size, context.torch_device
    clip = load_backbone(context.backbone).to(device)
    with seeded_global_rng(context.seed, torch.device("cpu")):
        network = TokenTransformer(clip.width, clip.grid((size, size)), settings)
    with torch.inference_mode():
        mean, std = channel_statistics(clip(clip.normalize(batch)) for batch in image_batches(context))
    detector = Reconstruction(clip, mean.clone(), std.clone(), network).to(device)

    def loss(batch: TrainingBatch) -> Tensor:
        generator = derived_generator(context.seed, "jitter", batch.step, device=device)
        with torch.no_grad():
            tokens = detector.tokens(batch.images)
        noisy = torch.rand((), generator=generator, device=device) < settings.jitter_probability
        inputs = jittered(tokens, settings.jitter, generator) if noisy else tokens
        return F.mse_loss(network(inputs), tokens)

    train_network(network, loss, context, settings.schedule, [asdict(settings), clip.sha256()])
    return BaselineEngine(detector, size, device)
