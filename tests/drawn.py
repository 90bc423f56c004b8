"""Scores, maps, images and tokens drawn at random."""

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

# Few distinct values make many ties; the free floats make nearly none.
TIED = st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0])
FREE = st.floats(0, 1, width=32)


@st.composite
def labeled_scores(draw, elements=TIED | FREE):
    """Scores, and labels of which at least one is true and one false."""
    size = draw(st.integers(2, 40))
    labels = draw(hnp.arrays(bool, size))
    labels[:2] = [True, False]
    return draw(hnp.arrays(np.float32, size, elements=elements)), labels


@st.composite
def maps_and_masks(draw):
    """Up to three maps of one odd or even size, with at least one normal and one anomalous pixel."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(2, 7), st.integers(1, 7)))
    masks = draw(hnp.arrays(bool, shape))
    masks[0, :2, 0] = [True, False]
    return draw(hnp.arrays(np.float32, shape, elements=TIED | FREE)), masks


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth_levels() -> np.ndarray:
    """Four images of 8-bit levels, dark and of low contrast, so that stretching and equalizing matter."""
    generator = np.random.default_rng(0)
    smooth = generator.normal(size=(4, 24, 31, 3)).cumsum(axis=1).cumsum(axis=2)
    smooth -= smooth.min(axis=(1, 2), keepdims=True)
    return (30 + 130 * smooth / smooth.max(axis=(1, 2), keepdims=True)).round().astype(np.uint8)


def as_images(levels: np.ndarray) -> torch.Tensor:
    """Levels 0..255 as float images ``(B, 3, H, W)``, values 0..1."""
    return torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 255


def clusters(count: int = 640) -> torch.Tensor:
    """Points around four far corners, in channels of very different scale and offset."""
    corners = torch.tensor([[-1.0, -1, -1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    points = corners[torch.arange(count) % 4] + 0.01 * torch.randn(count, 3, generator=seeded())
    return points * torch.tensor([1.0, 100, 1]) + torch.tensor([0.0, 5000, -3])
