"""Runs whose memory grows: products that differ in their gray level and grain, and a backbone of a few kilobytes."""

from pathlib import Path

import numpy as np

from backbone_families import make_backbone
from clipada.config import Config, RuntimeConfig
from tiny import save

RUNTIME = RuntimeConfig(device="cpu", workers=0, cache_gigabytes=0)

PRODUCTS = {"plate": 90, "disc": 170, "ring": 130}
"""Gray level of each product."""


def write_parts(folder: Path, product: str, count: int, *, seed: int = 0, light: float = 1.0, defects: int = 0) -> Path:
    """Write good parts of a product; of the last ones, some show a scratch."""
    rng = np.random.default_rng([seed, *product.encode()])
    rows = np.arange(48)[:, np.newaxis] * np.ones(48)
    for index in range(count):
        grain = 12 * np.sin(rows / (2 + PRODUCTS[product] % 7)) + rng.normal(0, 4, (48, 48))
        image = np.repeat(light * (PRODUCTS[product] + grain)[..., np.newaxis], 3, axis=2)
        if index >= count - defects:
            image[10:26, 12:30] = 255 - image[10:26, 12:30]
        save(folder / f"{seed}-{index:03}.png", np.clip(image, 0, 255).astype(np.uint8))
    return folder


def write_product(root: Path, product: str, count: int = 8) -> Path:
    """Write a product in the MVTec AD layout: good parts to train on, four good and four scratched test parts."""
    write_parts(root / product / "train" / "good", product, count)
    write_parts(root / product / "test" / "good", product, 4, seed=1)
    write_parts(root / product / "test" / "scratch", product, 4, seed=2, defects=4)
    mask = np.zeros((48, 48), bool)
    mask[10:26, 12:30] = True
    for index in range(4):
        save(root / product / "ground_truth" / "scratch" / f"2-{index:03}_mask.png", mask)
    return root / product


def memory_config(folder: Path, **settings: object) -> Config:
    """Return the settings of a training of seconds with a memory; ``folder`` gets the backbone."""
    plain = {
        "backbone.name": str(make_backbone(folder, "dinov2")),
        "backbone.blocks": (1, 2),
        "model.image_size": 64,
        "filter.scale": 0.75,
        "memory.rows": 96,
        "memory.copies": "none",
        "filter.images": 20,
        "filter.steps": 20,
        "filter.batch_size": 8,
        "filter.least_images": 2,
    }
    return Config.preset("accurate").updated(
        plain | {name.replace("__", "."): value for name, value in settings.items()}
    )
