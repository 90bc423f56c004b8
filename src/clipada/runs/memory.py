"""Files of a run's memory of good parts and of its filter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from clipada.config import Config
from clipada.errors import RunError
from clipada.runs.description import COPY_AGAIN
from clipada.runs.tensors import load_parameters, read_metadata, read_tensors, write_parameters

if TYPE_CHECKING:
    from torch import Tensor

    from clipada.models.backbones import Backbone
    from clipada.models.memory_head import MemoryHead

DESCRIPTION = "memory"
"""Name in a memory's header under which its backbone and its products are, in one text: the file writes several in an
order that changes, and with it its hash."""


def write_head(memory: Path, filter_file: Path, head: MemoryHead, backbone_sha256: str) -> None:
    """Write the memory, its scale and the products' names; and the filter, if there is one."""
    description = {"backbone_sha256": backbone_sha256, "products": head.products}
    write_parameters(memory, head.memory_tensors(), **{DESCRIPTION: json.dumps(description)})
    if head.filter is not None:
        write_parameters(filter_file, head.filter.state_dict(), backbone_sha256=backbone_sha256)


def read_head(memory: Path, filter_file: Path | None, config: Config, backbone: Backbone) -> MemoryHead:
    """Read the detector over a memory.

    Args:
        memory: The memory's file.
        filter_file: The filter's file; ``None`` without a filter.
        config: All settings.
        backbone: The run's backbone.

    Raises:
        RunError: A file is damaged or does not fit the settings.
    """
    import torch

    from clipada.models.crops import Crops
    from clipada.models.filter import Filter
    from clipada.models.memory import PatchMemory
    from clipada.models.memory_head import MemoryHead

    tensors, settings = read_tensors(memory, COPY_AGAIN), config.memory
    products, blocks, width = _products(memory), len(backbone.blocks), backbone.block_width
    grid = backbone.grid(config.model.size)
    _require_shapes(memory, tensors, len(products), settings.neighbors, blocks, width)
    filter_net = None
    if filter_file is not None:
        first = torch.Generator().manual_seed(0)
        filter_net = Filter(blocks, settings.neighbors, config.filter.width, config.filter.logits, first)
        load_parameters(filter_file, dict(filter_net.named_parameters()), COPY_AGAIN)
        filter_net.requires_grad_(False)
    return MemoryHead(
        PatchMemory.from_tensors(products, tensors, settings.neighbors),
        filter_net,
        Crops(tensors["boxes"], config.model.size, grid),
        weight=settings.weight,
        share=settings.share,
        low=float(tensors["low"]),
        knee=float(tensors["knee"]),
    )


def _products(path: Path) -> list[str]:
    """Read the products' names from a memory's header."""
    text = read_metadata(path, COPY_AGAIN).get(DESCRIPTION, "")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    names = found.get("products") if isinstance(found, dict) else None
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise RunError(f"{path} is damaged", expected="the names of its products", got="none", remedy=COPY_AGAIN)
    return names


def _require_shapes(
    path: Path, tensors: Mapping[str, Tensor], products: int, neighbors: int, blocks: int, width: int
) -> None:
    """Raise ``RunError`` unless the tensors of a memory fit together and the settings."""
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    rows = found["rows"][2] if len(found.get("rows", ())) == 4 else 0
    descriptor = found["centers"][1] if len(found.get("centers", ())) == 2 else 0
    wanted: dict[str, tuple[int, ...]] = {
        "rows": (blocks, products, rows, width),
        "usual": (blocks, products, rows),
        "distance_mean": (blocks, products),
        "distance_std": (blocks, products),
        "centers": (products, descriptor),
        "boxes": (products, 4),
        "low": (),
        "knee": (),
    }
    boxes = tensors.get("boxes")
    inside = boxes is not None and bool((boxes >= 0).all() and (boxes <= 1).all())
    if found != wanted or not rows or rows % neighbors or not inside:
        what = f"{path.stem} {path} does not fit its config.json"
        raise RunError(what, expected=str(wanted), got=str(found), remedy=COPY_AGAIN)
