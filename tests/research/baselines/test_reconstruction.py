"""UniAD's properties: no decoder layer passes a token through to its own position; each has its own queries."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from brief_baselines import RECONSTRUCTION
from clipada.errors import ConfigError
from clipada.research.baselines.reconstruction import (
    DecoderLayer,
    NeighborMaskedAttention,
    TokenTransformer,
    channel_statistics,
    jittered,
    neighbor_mask,
)

GRID = (5, 6)
TOKENS = torch.randn(1, 30, 16, generator=torch.Generator().manual_seed(0))


def dependencies(output: torch.Tensor, inputs: torch.Tensor, place: int) -> set[int]:
    """The tokens of ``inputs`` that the output at a place depends on."""
    (gradient,) = torch.autograd.grad(output[0, place].square().sum(), inputs, retain_graph=True)
    return set(gradient[0].abs().sum(dim=1).nonzero().flatten().tolist())


def far(place: int, side: int) -> set[int]:
    """All tokens but those in the square around a place."""
    row, column = divmod(place, GRID[1])
    rows, columns = (range(max(0, at - side // 2), at + side // 2 + 1) for at in (row, column))
    near = {i * GRID[1] + j for i in rows for j in columns if i < GRID[0] and j < GRID[1]}
    return set(range(30)) - near


@pytest.mark.parametrize("side", [1, 3, 5])
@pytest.mark.parametrize("place", [0, 8, 14, 29])
def test_attention_covers_all_but_the_neighborhood(side: int, place: int) -> None:
    attention = NeighborMaskedAttention(RECONSTRUCTION, neighbor_mask(GRID, side)).eval()
    values = TOKENS.clone().requires_grad_()
    output = attention(torch.zeros_like(TOKENS), values, torch.zeros(30, 16))
    assert dependencies(output, values, place) == far(place, side)


@pytest.mark.parametrize("place", [0, 14])
def test_no_decoder_layer_attends_to_the_neighborhood_of_its_own_position(place: int) -> None:
    """Neither in the encoder's output nor in the previous layer's: a token cannot be copied."""
    layer = DecoderLayer(RECONSTRUCTION, neighbor_mask(GRID, 3)).eval()
    last, memory = TOKENS.clone().requires_grad_(), TOKENS.flip(1).clone().requires_grad_()
    output = layer(last, memory, torch.zeros(30, 16))
    assert dependencies(output, last, place) == far(place, 3)
    assert dependencies(output, memory, place) == far(place, 3)


def test_every_decoder_layer_has_its_own_query_for_every_place() -> None:
    network = TokenTransformer(32, GRID, replace(RECONSTRUCTION, decoder_layers=3))
    queries = [parameter for name, parameter in network.named_parameters() if name.endswith("queries")]
    assert [query.shape for query in queries] == [(30, 16)] * 3
    network.eval()(torch.randn(2, 30, 32)).square().sum().backward()
    assert all(query.grad is not None and bool(query.grad.abs().sum() > 0) for query in queries)
    assert not torch.equal(queries[0], queries[1])


def test_positions_differ_by_row_and_column() -> None:
    """The input is the same token everywhere: without positions and queries all outputs would be equal."""
    network = TokenTransformer(32, GRID, RECONSTRUCTION).eval()
    with torch.no_grad():
        rebuilt = network(torch.ones(1, 30, 32))[0]
    assert torch.pdist(rebuilt).min() > 1e-3


def test_a_neighborhood_that_leaves_nothing_is_refused() -> None:
    neighbor_mask((7, 7), 5)
    with pytest.raises(ConfigError, match="7 x 7"):
        neighbor_mask((7, 7), 7)


def test_jitter_has_the_papers_spread() -> None:
    """Standard deviation alpha |f| / D, of each token by itself."""
    tokens = torch.full((1, 2, 400), 0.5)
    tokens[0, 1] *= 3
    noise = (jittered(tokens, 20.0, torch.Generator().manual_seed(0)) - tokens)[0]
    expected = 20 * tokens[0].norm(dim=1) / 400
    np.testing.assert_allclose(noise.std(dim=1), expected, rtol=0.15)


def test_channels_are_standardised_over_all_batches_and_a_constant_one_survives() -> None:
    tokens = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 50.0, 0.0]) + 7
    mean, std = channel_statistics([tokens[:1], tokens[1:]])
    flat = tokens.flatten(0, 1)
    torch.testing.assert_close(mean, flat.mean(dim=0))
    torch.testing.assert_close(std[:2], flat.std(dim=0, correction=0)[:2])
    assert std[2] == 1
