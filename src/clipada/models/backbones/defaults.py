"""Defaults of a backbone's family: the blocks to read and the input size, with the measurements that chose them."""

from __future__ import annotations

from clipada.config import DEFAULT_IMAGE_SIZE, Levels

BLOCKS: dict[tuple[str, int], tuple[int, ...]] = {
    ("dinov2", 12): (6,),  # mvtec-mini, plain memory of 60,000 rows, pixel AP: block 6 48.1, block 9 40.0, block 12 9.2
}
"""Blocks to read by family and number of blocks, where they were measured."""

SEVERAL: dict[tuple[str, int], tuple[int, ...]] = {
    ("dinov2", 12): (4, 6),  # mvtec-mini, memory of 13,000 rows and filter, mean pixel AP: 4, 6 53.1; 4, 6, 8 52.8
}
"""Several blocks to read, likewise."""

SEVERAL_DEPTHS = (1 / 3, 1 / 2)
"""Shares of a tower's blocks below those that are read, where none were measured."""

DEPTHS: dict[str, float] = {
    "dinov2": 0.5,  # as measured on the tower of 12 blocks
    "dinov2_with_registers": 0.5,
    "dinov3_vit": 0.5,
}
"""Share of a tower's blocks below the one that is read, where none was measured. The paper's relatives: 9 of 12."""

SIZES: dict[int, int] = {14: 322}
"""Side of the input square in pixels by patch size: a multiple of it. Of 16, it is the default of all settings."""


def default_blocks(family: str, depth: int, levels: Levels) -> tuple[int, ...]:
    """Return the block or blocks to read of a family's tower with ``depth`` blocks."""
    if levels == "several":
        found = {max(1, round(share * depth)) for share in SEVERAL_DEPTHS}
        return SEVERAL.get((family, depth), tuple(sorted(found)))
    if (family, depth) in BLOCKS:
        return BLOCKS[family, depth]
    return (max(1, round(DEPTHS.get(family, 0.75) * depth)),)


def default_image_size(patch: int) -> int:
    """Return the side of the input square, in pixels, for a patch size."""
    return SIZES.get(patch, max(1, round(DEFAULT_IMAGE_SIZE / patch)) * patch)
