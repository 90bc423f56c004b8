"""Write parts to choose the demo's settings by: the same products, another seed, other defects than its test set's.

PYTHONPATH=scripts python benchmarks/demo_validation.py OUT
clipada train OUT --preset demo --out RUN
clipada evaluate RUN OUT

In the MVTec AD layout: 100 good parts of each product to train on and 48 to test on, and those 48 with a small defect
(``small``) and with the wear that nano's views are drawn with (``wear``). What cannot be seen is left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from small_defects import Pixels, draw_small_defect, product

from clipada.data.demo import PRODUCTS
from clipada.types import Mask
from nano.defects import spoil
from nano.wear import WEAR_PAINTERS

SEED = 77
"""Of the parts; the demo's own is 0."""

TRAIN, TEST = 100, 48
"""Good parts of each product."""

SMALLEST = 24
"""Pixels that a defect must have."""

BEHIND = 0.15
"""Gray level of what shows through a hole."""


def main() -> None:
    """Draw and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    for made in PRODUCTS:
        folder = out / made.name
        for index in range(TRAIN):
            _write(folder / "train" / "good" / f"{index:03d}.png", made.part(SEED, "train", index=index).image)
        parts = [made.part(SEED, "test", index=index).image for index in range(TEST)]
        for index, part in enumerate(parts):
            _write(folder / "test" / "good" / f"{index:03d}.png", part)
        good = (np.stack(parts) / 255).astype(np.float32)
        for kind, drawn in (("small", _small(good)), ("wear", _wear(good))):
            for index, (image, mask) in enumerate(drawn):
                if mask.sum() >= SMALLEST:
                    name = folder / "test" / kind / f"{index:03d}.png"
                    _write(name, (255 * image).round().astype(np.uint8))
                    truth = folder / "ground_truth" / kind / f"{index:03d}_mask.png"
                    _write(truth, mask.astype(np.uint8) * 255)


def _small(good: Pixels) -> list[tuple[Pixels, Mask]]:
    """Parts ``(n, H, W, 3)`` with a small defect each, and its mask."""
    rng = np.random.default_rng(SEED)
    return [draw_small_defect(image, rng) for image in good]


def _wear(good: Pixels) -> list[tuple[Pixels, Mask]]:
    """Parts ``(n, H, W, 3)`` with wear, each kind in turn, and its mask."""
    images = torch.from_numpy(good).permute(0, 3, 1, 2)
    where = torch.from_numpy(np.stack([product(image) for image in good])).float()
    kinds = torch.arange(len(good)) % len(WEAR_PAINTERS)
    generator = torch.Generator().manual_seed(SEED)
    behind = torch.full_like(images, BEHIND)
    worn, masks = spoil(images, behind, kinds, where, generator, painters=WEAR_PAINTERS)
    return list(zip(worn.permute(0, 2, 3, 1).numpy(), masks.numpy(), strict=True))


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


if __name__ == "__main__":
    main()
