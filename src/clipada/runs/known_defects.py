"""File of what a run has learned from photos of known defects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clipada.errors import RunError
from clipada.runs.description import COPY_AGAIN
from clipada.runs.tensors import read_metadata, read_tensors, write_parameters

if TYPE_CHECKING:
    from clipada.models.known_defects import KnownDefects

DESCRIPTION = "defects"
"""Name in the header under which the backbone and the products are."""


def write_known_defects(path: Path, known: KnownDefects, products: Sequence[str], backbone_sha256: str) -> None:
    """Write the directions and offsets of all products, with the products' names."""
    description = {"backbone_sha256": backbone_sha256, "products": list(products)}
    write_parameters(path, known.tensors(), **{DESCRIPTION: json.dumps(description)})


def read_known_defects(path: Path, products: Sequence[str], width: int, blocks: int) -> KnownDefects:
    """Read what is known of the defects of some products; products that are not in the file gain nothing.

    Args:
        path: The file.
        products: The products of the memory, in their order.
        width: Channels of a token, of all blocks together.
        blocks: Number of blocks.

    Raises:
        RunError: The file is damaged, or does not fit the run.
    """
    from clipada.models.known_defects import KnownDefects

    tensors, names = read_tensors(path, COPY_AGAIN), _products(path)
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    count = found["offsets"][1] if len(found.get("offsets", ())) == 2 else 0
    wanted = {"directions": (len(names), count, width), "offsets": (len(names), count)}
    if found != wanted or not count:
        what = f"{path.stem} {path} does not fit its config.json"
        raise RunError(what, expected=str(wanted), got=str(found), remedy=COPY_AGAIN)
    known = dict(zip(names, zip(tensors["directions"], tensors["offsets"], strict=True), strict=True))
    return KnownDefects.of_products(products, known, width, blocks)


def _products(path: Path) -> list[str]:
    """Read the products' names from the header."""
    try:
        found = json.loads(read_metadata(path, COPY_AGAIN).get(DESCRIPTION, ""))
        names = found["products"]
    except (ValueError, KeyError, TypeError, RecursionError):
        names = None
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise RunError(f"{path} is damaged", expected="the names of its products", got="none", remedy=COPY_AGAIN)
    return names
