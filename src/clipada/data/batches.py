"""Batches of images decoded by a thread pool with bounded read-ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipada.config.image_rules import DEFAULT_RULES, ImageRules
from clipada.errors import ConfigError, ImageError
from clipada.images import image_sha256, read_header, read_rgb, resize
from clipada.images.alignment import Align
from clipada.types import Failure, Image, Placement


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Consecutive images at the model's input size. The first six attributes have one entry per image that was read.

    Attributes:
        images: ``(B, S, S, 3)`` uint8.
        paths: Image files.
        positions: Positions in the sequence of requested paths, from 0.
        sizes: Original ``(width, height)`` in pixels.
        originals: Original pixels, each ``(H, W, 3)`` uint8; empty unless requested.
        sha256s: Hashes of the files; empty unless the originals are requested.
        placements: Places of the parts before alignment; empty unless images are aligned.
        failures: Files of this batch that could not be read.
    """

    images: NDArray[np.uint8] = field(repr=False)
    paths: tuple[Path, ...]
    positions: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    originals: tuple[Image, ...] = field(default=(), repr=False)
    sha256s: tuple[str, ...] = ()
    placements: tuple[Placement, ...] = ()
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Read:
    """Image that was read and resized."""

    resized: Image
    size: tuple[int, int]
    original: Image | None
    sha256: str | None
    placement: Placement | None


_Pending = tuple[int, Path, int, "Future[_Read]"]
"""Position, file, pixels that count, and the image to come."""

MOST_PIXELS = 48_000_000
"""Most pixels of the originals of a batch."""


def read_batches(
    paths: Iterable[Path],
    size: tuple[int, int],
    batch_size: int,
    workers: int,
    *,
    rules: ImageRules = DEFAULT_RULES,
    keep_originals: bool = False,
    align: Align | None = None,
) -> Iterator[Batch]:
    """Read and resize images in order, ``batch_size`` paths to a batch.

    At most two batches exist at a time in addition to the one that was yielded: ``paths`` is consumed as needed and may
    be endless. Where the originals are kept, a batch has at most ``MOST_PIXELS`` of them, or one image, and so have
    those that are read ahead. A file that cannot be read is listed in its batch's ``failures`` and makes the batch
    smaller; a batch may contain failures only.

    Args:
        paths: The image files.
        size: Height and width to resize to, in pixels.
        batch_size: Number of paths in a batch.
        workers: Number of decoding threads.
        rules: Rules by which the files are read.
        keep_originals: True to add the original pixels and the hashes to the batches.
        align: Moves each image into the frame of a reference, the original too. One that does not fit is a failure.

    Raises:
        ConfigError: ``size``, ``batch_size`` or ``workers`` is less than 1.
    """
    for name, value in (("size", min(size)), ("batch_size", batch_size), ("workers", workers)):
        if value < 1:
            raise ConfigError(f"cannot read batches with {name} {value}", expected="1 or more", got=str(value))
    read = partial(_read, size=size, rules=rules, keep_original=keep_originals, align=align)
    return _batches(paths, read, size, batch_size, workers, _pixels if keep_originals else lambda _: 0)


def _batches(
    paths: Iterable[Path],
    read: Callable[[Path], _Read],
    size: tuple[int, int],
    batch_size: int,
    workers: int,
    weigh: Callable[[Path], int],
) -> Iterator[Batch]:
    """Yield batches; decoding of the next two batches is submitted before the first is awaited."""
    ahead: deque[_Pending] = deque()
    weighed = ((position, path, weigh(path)) for position, path in enumerate(paths))
    large: tuple[int, Path, int] | None = None
    with ThreadPoolExecutor(workers, thread_name_prefix="clipada-read") as pool:
        try:
            while True:
                while len(ahead) < 2 * batch_size and (following := large or next(weighed, None)) is not None:
                    large = None if _fits(following[2], ahead) else following
                    if large is not None:
                        break
                    ahead.append((*following, pool.submit(read, following[1])))
                if not ahead:
                    return
                yield _collect(_taken(ahead, batch_size), size)
        finally:
            for *_, future in ahead:
                future.cancel()


def _fits(pixels: int, pending: Collection[_Pending]) -> bool:
    """Return True if an image of so many pixels may be read beside others."""
    return not pending or pixels + sum(one[2] for one in pending) <= MOST_PIXELS


def _taken(ahead: deque[_Pending], batch_size: int) -> list[_Pending]:
    """Take the images of the next batch."""
    taken = [ahead.popleft()]
    while ahead and len(taken) < batch_size and _fits(ahead[0][2], taken):
        taken.append(ahead.popleft())
    return taken


def _pixels(path: Path) -> int:
    """Return the number of an image's pixels; 0 for a file that cannot be read, which fails later."""
    try:
        header = read_header(path)
    except ImageError:
        return 0
    return header.width * header.height


def _read(path: Path, size: tuple[int, int], rules: ImageRules, keep_original: bool, align: Align | None) -> _Read:
    """Read, align and resize one image, in a worker thread."""
    original, placement = read_rgb(path, rules), None
    if align is not None:
        original, placement = align(path, original)
    height, width, _ = original.shape
    return _Read(
        resized=resize(original, size),
        size=(width, height),
        original=original if keep_original else None,
        sha256=image_sha256(path) if keep_original else None,
        placement=placement,
    )


def _collect(pending: Sequence[_Pending], size: tuple[int, int]) -> Batch:
    """Wait for the images of one batch and collect them."""
    reads: list[tuple[int, Path, _Read]] = []
    failures = []
    for position, path, _, future in pending:
        try:
            reads.append((position, path, future.result()))
        except ImageError as error:
            failures.append(Failure(path=path, error=error))
    images = np.empty((len(reads), *size, 3), np.uint8)
    for place, (_, _, read) in enumerate(reads):
        images[place] = read.resized
    return Batch(
        images=images,
        paths=tuple(path for _, path, _ in reads),
        positions=tuple(position for position, _, _ in reads),
        sizes=tuple(read.size for _, _, read in reads),
        originals=tuple(read.original for _, _, read in reads if read.original is not None),
        sha256s=tuple(read.sha256 for _, _, read in reads if read.sha256 is not None),
        placements=tuple(read.placement for _, _, read in reads if read.placement is not None),
        failures=tuple(failures),
    )
