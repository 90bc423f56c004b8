"""Defaults of a backbone's family: the blocks to read and the input size, with the measurements that chose them.

Few towers could be measured. A default of another depth is the measured share of the depth, and a family without any
measurement has the share of the measured family that it was trained most like; both are assumptions.
"""

from __future__ import annotations

from clipada.config import DEFAULT_IMAGE_SIZE, Levels

THREE_QUARTERS, HALF = 0.75, 0.5

DEPTHS: dict[str, float] = {
    # deit-tiny-clip, DeiT's tower in CLIP's layout, 12 blocks; mvtec-mini, coarse map after 8 epochs, mean pixel AP:
    # blocks 6 to 10 and 12 20.4, 22.4, 22.8, 22.5, 23.2, 22.1, image AUROC of bottle 94.6, 96.7, 97.0, 99.3, 98.8, 96.4
    "clip": THREE_QUARTERS,
    "vit": THREE_QUARTERS,
    "deit": THREE_QUARTERS,
    "siglip": THREE_QUARTERS,  # not measured; trained on images with texts, as CLIP is
    "siglip2": THREE_QUARTERS,  # likewise
    # dinov2-small-focus, 12 blocks; mvtec-mini, plain memory of 60,000 rows, mean pixel AP: blocks 6, 9, 12 48.1, 40.0,
    # 9.2; its last blocks were tuned for something else
    "dinov2": HALF,
    "dinov2_with_registers": HALF,  # not measured; trained as DINOv2 is
    "dinov3_vit": HALF,  # likewise
}
"""Share of a tower's blocks up to the one that is read, by family."""

BLOCKS: dict[tuple[str, int], tuple[int, ...]] = {
    # nano: linear probe of patches with a defect, AUROC of blocks 1 to 4: 66.2, 70.8, 82.6, 85.0
    ("clip", 4): (4,),
}
"""Blocks to read by family and number of blocks, where a tower was measured and its family's share is not the best."""

SEVERAL_DEPTHS = (1 / 3, 1 / 2)
"""The same shares for several blocks, of any family: dinov2-small-focus, 12 blocks; mvtec-mini, memory of 13,000 rows
and filter, mean pixel AP: blocks 4 and 6 53.1; 4, 6 and 8 52.8. Others were not measured."""

SIZES: dict[int, int] = {14: 322}
"""Side of the input square in pixels by patch size: a multiple of it. Others: the one next to the default of all
settings. A larger side finds smaller defects and takes more time; sides were not compared by family."""


def default_blocks(family: str, depth: int, levels: Levels) -> tuple[int, ...]:
    """Return the block or blocks to read of a family's tower with ``depth`` blocks, counted from 1."""
    if levels == "several":
        return tuple(sorted({max(1, round(share * depth)) for share in SEVERAL_DEPTHS}))
    if (family, depth) in BLOCKS:
        return BLOCKS[family, depth]
    return (max(1, round(DEPTHS.get(family, THREE_QUARTERS) * depth)),)


def default_image_size(patch: int) -> int:
    """Return the side of the input square, in pixels, for a patch size."""
    return SIZES.get(patch, max(1, round(DEFAULT_IMAGE_SIZE / patch)) * patch)
