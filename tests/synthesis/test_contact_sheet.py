"""The contact sheet shows every sample with its mask."""

from __future__ import annotations

import numpy as np
import torch

from clipada.synthesis import contact_sheet


def test_sheet_holds_each_image_and_beside_it_the_mask():
    images = torch.linspace(0, 1, 5)[:, None, None, None].expand(5, 3, 20, 30)
    masks = torch.zeros(5, 1, 20, 30)
    masks[:, :, 5:10, 5:10] = 1
    sheet = contact_sheet(images, masks, columns=2)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (3 * 24 + 4, 2 * 64 + 4, 3)
    second = sheet[4:24, 68:128]
    assert (second[:, :30] == 64).all()
    marked = second[:, 30:]
    assert (marked[7, 7] == [140, 38, 38]).all()
    assert (marked[4, 7] == [255, 230, 0]).all()
    assert (marked[15, 20] == 64).all()


def test_sheet_without_masks_shows_images_alone():
    assert contact_sheet(torch.zeros(4, 3, 10, 10)).shape == (2 * 14 + 4, 2 * 14 + 4, 3)
