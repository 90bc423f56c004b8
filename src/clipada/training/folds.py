"""Folds of a memory: what it has from the images of a fold can be left out of its answers.

The rows of a fold's images are left out of the search, and the distances of their patches out of the usual distances
that a filter compares with: an unusual patch of an image makes the row usual that it is nearest to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from clipada.errors import ImageError
from clipada.models.memory import PatchMemory
from clipada.training.answers import SearchedImages, repeated
from clipada.types import Failure, Verdict


@dataclass(frozen=True, kw_only=True)
class FoldedMemory:
    """A memory whose rows are divided into folds.

    Attributes:
        bank: The memory.
        rows: The fold of each row, ``(L, P, M)``.
        searched: Images of each divided product, by its number, in folds; a memory without a filter needs none.
    """

    bank: PatchMemory
    rows: Tensor
    searched: dict[int, SearchedImages] = field(default_factory=dict)

    @contextmanager
    def without(self, fold: int) -> Iterator[None]:
        """Leave the rows and distances of a fold out of every search meanwhile."""
        usual = self.bank.usual.clone()
        for number, images in self.searched.items():
            if (images.groups == fold).any():
                found = images.usual_without(fold, self.bank.distance_mean[:, number].cpu())
                usual[:, number] = repeated(found, usual.shape[2]).half()  # as the memory is stored
        with self.bank.without(self.rows == fold, usual):
            yield


@dataclass(frozen=True, kw_only=True)
class Folds:
    """Folds of a run's training images, and of the rows of its memory.

    Attributes:
        images: The fold of each image that is scored, by its file.
        copies: Images of the same content as another one: they are in its fold, and not scored.
        alone: Products with a single fold: nothing is left to compare their images with.
    """

    images: dict[Path, int] = field(repr=False)
    copies: tuple[Path, ...]
    alone: tuple[str, ...]
    memories: tuple[FoldedMemory, ...] = field(repr=False)

    @property
    def count(self) -> int:
        """Number of folds."""
        return len(set(self.images.values()))

    def inspect(self, path: Path, inspect: Callable[[Path], Verdict]) -> Verdict | Failure:
        """Inspect an image without the rows of its fold; an image that cannot be read is a failure."""
        with self.without(path):
            try:
                return inspect(path)
            except ImageError as error:
                return Failure(path=path, error=error)

    @contextmanager
    def without(self, path: Path) -> Iterator[None]:
        """Leave the rows and distances of an image's fold out of every search meanwhile."""
        with ExitStack() as stack:
            for memory in self.memories:
                stack.enter_context(memory.without(self.images[path]))
            yield
