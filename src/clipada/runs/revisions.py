"""Revisions of a run: a memory that has grown, or shrunk, since the training.

The files of the training stay where they are. A revision has its own memory, input check and hashes of training images
in ``revisions/N/``, beside the parts that it added. ``config.json`` names the revision in force, so that replacing this
one file is the whole step from one revision to the next, and back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath

from clipada.config.schema import require
from clipada.runs.contents import REVISIONS


@dataclass(frozen=True, kw_only=True)
class AddedPart:
    """Good parts that were added to a memory.

    Attributes:
        product: The product.
        condition: Name of the light or camera in which they show it; empty for a new product.
        images: Number of images.
        revision: The revision that added them.
        file: The file in that revision's folder.
    """

    product: str
    condition: str
    images: int
    revision: int
    file: str

    def __post_init__(self) -> None:
        require(self.revision >= 1, "revision.parts.revision", "1 or more", self.revision, "field")
        plain = PurePath(self.file).name == self.file
        require(plain, "revision.parts.file", "a name without folders", self.file, "field")

    @property
    def name(self) -> str:
        """Name of its file relative to the run folder."""
        return f"{REVISIONS}/{self.revision}/{self.file}"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Records of the training's own memory, before any revision.

    Attributes:
        categories: As in ``Training``, and so are the others.
    """

    categories: dict[str, int]
    normal_levels: dict[str, float] = field(default_factory=dict)
    coverage: dict[str, float] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Revision:
    """The revision in force: the memory of the training without some products, and with parts that were added.

    Attributes:
        number: Its number, from 1.
        trained: Records of the training's own memory.
        parts: Parts that were added and are in the memory, in this order.
        removed: Products of the training that are not in the memory any more.
    """

    number: int
    trained: Trained
    parts: tuple[AddedPart, ...] = ()
    removed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(self.number >= 1, "revision.number", "1 or more", self.number, "field")

    @property
    def folder(self) -> str:
        """Name of its folder relative to the run folder."""
        return f"{REVISIONS}/{self.number}"
