"""Files of a run's memory of good parts and of its filter."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clipada.config import Config, MemoryConfig
from clipada.errors import RunError
from clipada.images.roi import RegionsOfInterest
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
    write_memory(memory, head.memory_tensors(), head.products, backbone_sha256)
    if head.filter is not None:
        write_parameters(filter_file, head.filter.state_dict(), backbone_sha256=backbone_sha256)


def write_memory(path: Path, tensors: Mapping[str, Tensor], products: Sequence[str], backbone_sha256: str) -> None:
    """Write the tensors of a memory, as ``MemoryHead.memory_tensors`` names them, and its products' names."""
    description = {"backbone_sha256": backbone_sha256, "products": products}
    write_parameters(path, tensors, **{DESCRIPTION: json.dumps(description)})


def read_memory(path: Path) -> tuple[list[str], dict[str, Tensor]]:
    """Read the products' names of a memory, and its tensors as they are stored.

    Raises:
        RunError: The file is damaged.
    """
    import torch

    tensors = read_tensors(path, COPY_AGAIN)
    tensors.setdefault("calm", tensors.get("low", torch.zeros(())))  # versions before it
    return _products(path), tensors


def read_head(
    memory: Path,
    filter_file: Path | None,
    config: Config,
    backbone: Backbone,
    recall: Mapping[str, float],
    regions: RegionsOfInterest | None = None,
) -> MemoryHead:
    """Read the detector over a memory.

    Args:
        memory: The memory's file.
        filter_file: The filter's file; ``None`` without a filter.
        config: All settings.
        backbone: The run's backbone.
        recall: Recall of an index, as the training recorded it.
        regions: The products' regions of interest.

    Raises:
        RunError: A file is damaged or does not fit the settings.
    """
    import torch

    from clipada.models.crops import inside_tensor
    from clipada.models.filter import Filter
    from clipada.models.memory import PatchMemory
    from clipada.models.memory_head import SCALE_NAMES, WHOLE_PREFIX, MemoryHead, build_crops, glance_scale

    (products, tensors), settings = read_memory(memory), config.memory
    blocks, width = len(backbone.blocks), backbone.block_width
    _require_shapes(memory, tensors, len(products), settings, blocks, width)
    filter_net = None
    if filter_file is not None:
        first = torch.Generator().manual_seed(0)
        filter_net = Filter(blocks, settings.neighbors, config.filter.width, config.filter.logits, first)
        load_parameters(filter_file, dict(filter_net.named_parameters()), COPY_AGAIN)
        filter_net.requires_grad_(False)
    inside = inside_tensor(regions, products, config.model.size)
    crops = build_crops(tensors["boxes"], config, backbone, inside)
    whole = {name.removeprefix(WHOLE_PREFIX): value for name, value in tensors.items() if name.startswith(WHOLE_PREFIX)}
    whole["centers"] = tensors["centers"]
    indexed = settings.indexed(recall)
    return MemoryHead(
        PatchMemory.from_tensors(products, tensors, settings.neighbors, indexed, crops.shown()),
        filter_net,
        crops,
        whole=PatchMemory.from_tensors(products, whole, settings.neighbors, indexed, crops.shown(whole=True))
        if settings.whole
        else None,
        glance=glance_scale(config, crops),
        weight=settings.weight,
        share=settings.share,
        **{name: float(tensors[name]) for name in SCALE_NAMES},
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
    path: Path, tensors: Mapping[str, Tensor], products: int, settings: MemoryConfig, blocks: int, width: int
) -> None:
    """Raise ``RunError`` unless the tensors of a memory fit together and the settings."""
    from clipada.models.memory_head import SCALE_NAMES, WHOLE_PREFIX

    found = {name: tuple(value.shape) for name, value in tensors.items()}
    descriptor = found["centers"][1] if len(found.get("centers", ())) == 2 else 0
    wanted: dict[str, tuple[int, ...]] = {"centers": (products, descriptor), "boxes": (products, 4)}
    wanted |= dict.fromkeys(SCALE_NAMES, ())
    counts = []
    for prefix in ("", WHOLE_PREFIX)[: 1 + settings.whole]:
        shape = found.get(f"{prefix}rows", ())
        counts.append(shape[2] if len(shape) == 4 else 0)
        wanted |= {f"{prefix}rows": (blocks, products, counts[-1], width)}
        wanted |= {f"{prefix}usual": (blocks, products, counts[-1])}
        wanted |= {f"{prefix}distance_{name}": (blocks, products) for name in ("mean", "std")}
    boxes = tensors.get("boxes")
    inside = boxes is not None and bool((boxes >= 0).all() and (boxes <= 1).all())
    if found != wanted or not inside or any(count == 0 or count % settings.neighbors for count in counts):
        what = f"{path.stem} {path} does not fit its config.json"
        raise RunError(what, expected=str(wanted), got=str(found), remedy=COPY_AGAIN)
