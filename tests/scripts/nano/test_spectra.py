"""Spectra tell wave length, orientation and color of a texture, and not where its stripes lie."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nano.spectra import CHANNELS, TURNS, WAVES, log_spectra


def grating(wave: float, turn: int, phase: float = 0.0, contrast: float = 0.2) -> Tensor:
    """Stripes of an image of 64 pixels."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    angle = math.pi * turn / TURNS
    along = 2 * math.pi / wave * (x * math.cos(angle) + y * math.sin(angle))
    return (0.5 + contrast * (along + phase).sin()).expand(1, 3, -1, -1)


@pytest.mark.parametrize("patch", [8, 16])
def test_there_is_a_spectrum_for_every_patch(patch: int) -> None:
    assert log_spectra(torch.rand(2, 3, 64, 64), patch).shape == (2, (64 // patch) ** 2, CHANNELS)


@pytest.mark.parametrize("turn", range(TURNS))
@pytest.mark.parametrize("number", range(len(WAVES)))
def test_stripes_answer_in_their_own_channel(number: int, turn: int) -> None:
    spectra = log_spectra(grating(WAVES[number], turn), 8)[0, :, :-3]
    assert (spectra.argmax(1) == number * TURNS + turn).float().mean() > 0.8


@given(phase=st.floats(0, 2 * math.pi), turn=st.integers(0, TURNS - 1))
def test_stripes_may_lie_anywhere(phase: float, turn: int) -> None:
    one, other = (log_spectra(grating(4.6, turn, at), 8)[0, 27] for at in (0.0, phase))
    strong = one > one[:-3].max() - 1
    assert (one - other)[strong].abs().max() < 0.15  # of a logarithm


@given(gain=st.floats(0.3, 1))
def test_contrast_shifts_the_logarithm(gain: float) -> None:
    whole, less = (log_spectra(grating(4.6, 3, contrast=0.3 * share), 8)[0, :, :-3] for share in (1.0, gain))
    best = whole[27].argmax()
    torch.testing.assert_close((whole - less)[27, best].item(), -math.log(gain), rtol=0, atol=0.1)


def test_a_plain_image_has_its_color_and_no_texture() -> None:
    spectra = log_spectra(torch.tensor([0.9, 0.3, 0.3]).view(1, 3, 1, 1).expand(1, 3, 64, 64), 8)[0]
    assert (spectra[:, :-3] < -5).all()
    torch.testing.assert_close(spectra[:, -3:], torch.tensor([0.5, 0.3, 0.15]).expand(64, 3), rtol=0, atol=1e-5)
