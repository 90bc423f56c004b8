"""Sources of textures for synthetic anomalies: procedural, or images of a folder such as DTD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Generator, Tensor

from clipada.config import SynthesisConfig
from clipada.data.listing import images_below
from clipada.errors import ClipAdaError, DatasetError, ImageError
from clipada.images import read_rgb, resize
from clipada.synthesis.draws import integers
from clipada.synthesis.palettes import color
from clipada.synthesis.patterns import FAMILIES
from clipada.types import Failure, Image


class TextureSource(Protocol):
    """Source of textures."""

    @property
    def failures(self) -> Mapping[Path, Failure]:
        """Files that could not be read so far; they were replaced by others."""
        ...

    def draw(self, count: int, size: tuple[int, int], generator: Generator) -> Tensor:
        """Draw textures.

        Args:
            count: Number of textures.
            size: Height and width in pixels.
            generator: Source of all randomness; the result is on its device.

        Returns:
            ``(count, 3, H, W)`` float32 of range 0..1.
        """
        ...


def texture_source(config: SynthesisConfig) -> TextureSource:
    """Return the source that ``config.textures`` selects. Raise ``DatasetError`` if its folder has no images."""
    return ProceduralTextures() if config.textures is None else FolderTextures(Path(config.textures))


@dataclass(frozen=True)
class ProceduralTextures:
    """Procedural textures: a pattern of one of the ``FAMILIES`` with random colors."""

    @property
    def failures(self) -> Mapping[Path, Failure]:
        """No failures: nothing is read."""
        return {}

    def draw(self, count: int, size: tuple[int, int], generator: Generator) -> Tensor:
        """Render textures; see ``TextureSource.draw``."""
        if not count:
            return torch.empty(0, 3, *size, device=generator.device)
        family = integers(0, len(FAMILIES) - 1, (count,), generator)
        patterns = torch.empty(count, *size, device=generator.device)
        for number, render in enumerate(FAMILIES.values()):
            chosen = (family == number).nonzero().flatten()
            if len(chosen):
                patterns[chosen] = render(len(chosen), size, generator)
        return color(patterns, generator)


@dataclass
class FolderTextures:
    """Images at any depth below a folder, decoded when drawn.

    Attributes:
        folder: Folder of the images.
        paths: Image files, sorted.
    """

    folder: Path
    paths: tuple[Path, ...] = field(init=False, repr=False)
    _failures: dict[Path, Failure] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.folder = Path(self.folder)
        self.paths = tuple(images_below(self.folder)) if self.folder.is_dir() else ()
        if not self.paths:
            got = "no images in it" if self.folder.is_dir() else "a file" if self.folder.exists() else "nothing there"
            raise self._unusable(got)

    @property
    def failures(self) -> Mapping[Path, Failure]:
        """Files that could not be read so far; they were replaced by others."""
        return self._failures

    def draw(self, count: int, size: tuple[int, int], generator: Generator) -> Tensor:
        """Read textures, resized to ``size``; see ``TextureSource.draw``.

        Raises:
            DatasetError: No file of the folder can be read.
        """
        starts = integers(0, len(self.paths) - 1, (count,), generator).tolist()
        textures = torch.empty(count, 3, *size)
        for place, start in enumerate(starts):
            textures[place] = torch.from_numpy(resize(self._readable(start), size)).permute(2, 0, 1)
        return textures.to(generator.device) / 255

    def _readable(self, start: int) -> Image:
        """Return the first readable image from position ``start`` on."""
        for path in (*self.paths[start:], *self.paths[:start]):
            if path in self._failures:
                continue
            try:
                return read_rgb(path)
            except ImageError as error:
                self._failures[path] = Failure(path=path, error=error)
        raise self._unusable(f"{len(self.paths)} images, none of which can be read")

    def _unusable(self, got: str) -> ClipAdaError:
        return DatasetError(
            f"no textures in {self.folder}",
            expected="a folder with images at any depth, e.g. DTD's images",
            got=got,
            remedy="name another folder, or none to use procedural textures",
        )
