"""Rows that join a memory: what was there answers as before, and statistics are those of all images together."""

import pytest
import torch

from clipada.models.growth import Rows, Statistics, join_parts, joined, last_of_parts, pooled
from clipada.models.memory import nearest_rows

PARTS = 4


def rows(count: int, seed: int) -> Rows:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-127, 128, (2, count, 16), generator=generator, dtype=torch.int8)
    return Rows(values, torch.rand(2, count, generator=generator))


def answers(found: Rows, block: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return distances and the usual distance of the nearest row, for some tokens."""
    tokens = torch.nn.functional.normalize(torch.randn(1, 9, 16, generator=torch.Generator().manual_seed(7)), dim=-1)
    units = torch.nn.functional.normalize(found.rows[block].float(), dim=-1)
    distances, nearest = nearest_rows(tokens @ units.T, PARTS)
    return distances, found.usual[block][nearest]


@pytest.mark.parametrize("count", [24, 28, 60])
def test_repeated_rows_answer_as_before(count: int) -> None:
    own = rows(20, 1)
    for before, after in zip(answers(own), answers(own.repeated(count, PARTS)), strict=True):
        torch.testing.assert_close(after, before, atol=1e-6, rtol=0)


def test_repeated_rows_are_dropped_where_all_parts_have_some() -> None:
    own = rows(20, 1)
    again = own.repeated(48, PARTS).distinct(PARTS)
    assert all(torch.equal(found, expected) for found, expected in zip(again, own, strict=True))
    assert all(torch.equal(found, expected) for found, expected in zip(own.distinct(PARTS), own, strict=True))


def test_joined_rows_find_the_nearest_of_both() -> None:
    first, second = rows(20, 1), rows(12, 2)
    both = joined([first, second], PARTS)
    (near, _), (far, _) = answers(first), answers(second)
    torch.testing.assert_close(answers(both)[0][..., 0], torch.minimum(near, far)[..., 0], atol=1e-6, rtol=0)
    assert torch.equal(last_of_parts(both.rows, 12, PARTS), second.rows)
    assert torch.equal(join_parts([first.usual, second.usual], PARTS), both.usual)


def test_thinned_rows_are_some_of_the_rows_with_their_usual_distance() -> None:
    own = rows(40, 3)
    few = own.thinned(16, "sampled", torch.Generator().manual_seed(0))
    assert few.rows.shape == (2, 16, 16)
    for block in range(2):
        places = torch.stack([(own.rows[block] == row).all(dim=1).nonzero()[0, 0] for row in few.rows[block]])
        assert torch.equal(own.usual[block][places], few.usual[block])


def test_pooled_statistics_are_those_of_all_images_together() -> None:
    values = [
        torch.randn(images, 500, 2, generator=torch.Generator().manual_seed(images)) + images for images in (2, 5)
    ]
    groups = [Statistics(len(one), one.mean(dim=(0, 1)), one.flatten(0, 1).std(dim=0, correction=0)) for one in values]
    images, mean, std = pooled(groups)
    together = torch.cat(values).flatten(0, 1)
    assert images == 7
    torch.testing.assert_close(mean, together.mean(dim=0))
    torch.testing.assert_close(std, together.std(dim=0, correction=0))
