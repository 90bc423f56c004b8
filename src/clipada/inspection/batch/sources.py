"""Images to inspect, listed as they are needed, and the name of each one's outputs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipada.config import Shard
from clipada.data.listing import image_folders, no_images, require_paths


@dataclass(frozen=True, slots=True)
class Source:
    """An image to be inspected.

    Attributes:
        path: The file, as it was given or found.
        name: Its path below the folder that all inputs share, with ``/`` between names.
    """

    path: Path
    name: str


class Sources:
    """The images of some files and folders, each once, in a stable order. They can be listed again.

    For a folder with a million images, only the names are in memory, while it is listed.

    Args:
        given: Files and folders. Files given by name are kept whatever their suffix.
        shard: The share to inspect.
        left_out: Returns True for the name of a file that is no input.

    Raises:
        ImageError: A path does not exist, or none holds an image.
    """

    def __init__(self, given: Sequence[Path], shard: Shard, left_out: Callable[[str], bool] = lambda _: False) -> None:
        require_paths(given)
        self._given, self._shard, self._left_out = given, shard, left_out
        self._folders = [(path if path.is_dir() else path.parent).resolve() for path in given]
        if next(self._all(), None) is None:
            raise no_images(given)

    def __iter__(self) -> Iterator[Source]:
        """List the images.

        Raises:
            ImageError: A folder cannot be listed.
        """
        count, number = self._shard.count, self._shard.number - 1
        return (source for source in self._all() if count == 1 or stable_hash(source.name) % count == number)

    def _all(self) -> Iterator[Source]:
        """Yield the images of all shards."""
        shared = os.path.commonpath(self._folders)
        seen: set[int] = set()
        for path, folder in zip(self._given, self._folders, strict=True):
            for source in _found(path, os.path.relpath(folder, shared)):
                key = stable_hash(source.name)
                if self._left_out(source.path.name) or key in seen:
                    continue
                if len(self._given) > 1:  # one folder holds no file twice
                    seen.add(key)
                yield source


def stable_hash(text: str) -> int:
    """Hash a file's name to 64 bits, the same in every process and on every machine."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(text), digest_size=8).digest(), "big")


def _found(path: Path, place: str) -> Iterator[Source]:
    """Yield the file, or the images of the folder, with names below ``place``."""
    if not path.is_dir():
        yield Source(path, _name(place, path.name))
        return
    for where, names in image_folders(path):
        folder = os.path.normpath(os.path.join(place, os.path.relpath(where, path)))  # noqa: PTH118
        for name in names:
            yield Source(Path(where, name), _name(folder, name))


def _name(folder: str, name: str) -> str:
    """Name outputs: the folder below the shared one, then the file's name."""
    return name if folder == os.curdir else f"{Path(folder).as_posix()}/{name}"
