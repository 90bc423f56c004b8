"""The index of a memory's rows: its candidates, against a search of all rows."""

import io

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clipada.models.backbones import Reading
from clipada.models.memory import PatchMemory, Retrieval, quantize
from clipada.models.memory_index import index_recall

PARTS = 4


def alike(count: int, width: int, seed: int) -> Tensor:
    """Vectors as tokens are: most of their differences are in few directions."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.logspace(0, -2, width)
    turned = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(0))).Q
    vectors: Tensor = 1.0 + 3 * (torch.randn(count, width, generator=generator) * spread) @ turned
    return vectors


def bank(width: int, rows: int, indexed: bool, times: int = 1) -> PatchMemory:
    """A memory of two products in one block, each part of whose rows is repeated ``times``."""
    own = alike(2 * rows, width, 1).reshape(1, 2, PARTS, -1, width).repeat(1, 1, 1, times, 1).flatten(2, 3)
    usual = torch.linspace(0.1, 0.2, rows).expand(1, 2, -1).unflatten(2, (PARTS, -1)).repeat(1, 1, 1, times)
    return PatchMemory(
        ["bolt", "nut"],
        rows=quantize(own),
        usual=usual.flatten(2),
        distance_mean=torch.tensor([[0.1, 0.2]]),
        distance_std=torch.tensor([[0.02, 0.03]]),
        centers=F.normalize(torch.randn(2, 8), dim=-1),
        neighbors=PARTS,
        indexed=indexed,
    )


def searched(memory: PatchMemory, width: int, patches: int = 400) -> Retrieval:
    tokens = alike(2 * patches, width, 2).reshape(2, patches, width)
    return memory(Reading(tokens, torch.zeros(2, 8)), torch.tensor([1, 0]))


@pytest.mark.parametrize("rows", [8, 40, 520])  # a part of 2, 10 and 130 rows: less than a group, and not a multiple
def test_an_index_of_all_channels_finds_every_nearest_row(rows: int) -> None:
    exact, found = (searched(bank(24, rows, indexed), 24) for indexed in (False, True))
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-4)


def test_an_index_of_a_quarter_of_the_channels_finds_nearly_every_nearest_row() -> None:
    rows, tokens = quantize(alike(4000, 384, 1)), F.normalize(alike(500, 384, 2), dim=-1)
    assert index_recall(rows, PARTS, tokens) > 0.98
    exact, found = (searched(bank(384, 2000, indexed), 384) for indexed in (False, True))
    missed = found.surprise[..., 0] - exact.surprise[..., 0]
    assert float(missed.min()) > -1e-3  # a distance is exact, or that of a row farther away
    assert float((missed > 1e-3).float().mean()) < 0.02


def test_recall_counts_patches_whose_nearest_row_is_missed() -> None:
    rows = quantize(torch.randn(4000, 384, generator=torch.Generator().manual_seed(0)))  # no direction is better
    tokens = F.normalize(torch.randn(300, 384, generator=torch.Generator().manual_seed(1)), dim=-1)
    assert index_recall(rows, PARTS, tokens) < 0.9


def test_repeated_rows_change_no_answer() -> None:
    once, often = (searched(bank(384, 520, indexed=True, times=times), 384) for times in (1, 3))
    for one, other in zip(once, often, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-4)


def test_rows_that_are_left_out_are_in_no_answer() -> None:
    out = torch.zeros(1, 2, 520, dtype=torch.bool)
    out[..., ::2] = True
    exact, indexed = bank(384, 520, indexed=False), bank(384, 520, indexed=True)
    whole = searched(indexed, 384)
    with exact.without(out), indexed.without(out):
        expected, found = searched(exact, 384), searched(indexed, 384)
    torch.testing.assert_close(found.surprise, expected.surprise, rtol=0, atol=0)
    assert float((found.surprise[..., 0] - whole.surprise[..., 0]).max()) > 1
    torch.testing.assert_close(searched(indexed, 384).surprise, whole.surprise, rtol=0, atol=0)


def test_exported_it_gives_the_same_answers_for_any_number_of_images() -> None:
    class Searching(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = bank(384, 520, indexed=True)

        def forward(self, tokens: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
            found = self.memory(Reading(tokens, tokens[:, 0]), products)
            return found.surprise, found.excess

    batch = torch.export.Dim("batch", min=1)
    model, example = Searching(), (alike(60, 384, 3).reshape(2, 30, 384), torch.tensor([0, 1]))
    program = torch.onnx.export(model, example, dynamic_shapes=({0: batch}, {0: batch}), dynamo=True, verbose=False)
    assert program is not None
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    for products in ([1], [1, 0, 1]):
        inputs = alike(30 * len(products), 384, 4).reshape(-1, 30, 384), torch.tensor(products)
        outputs = session.run(None, dict(zip(names, (one.numpy() for one in inputs), strict=True)))
        for found, expected in zip(outputs, model(*inputs), strict=True):
            np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=2e-3)
