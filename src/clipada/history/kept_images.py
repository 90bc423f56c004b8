"""The folder of kept images: files named by their hashes, each written atomically."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock

from clipada.config import HistoryConfig
from clipada.errors import HistoryError
from clipada.files import atomic_write, sha256_of
from clipada.images import read_header, write_png
from clipada.types import Verdict

PROBE_BYTES = 16_384
"""Bytes that ``check_writable`` writes."""

Keeper = Callable[[Verdict, bytes | None], str | None]
"""Keeps the image of a verdict, from the content of its file if available; returns its path, ``None`` if not kept."""


class ImageFolder:
    """The folder of kept images.

    Args:
        settings: The folder, and which images to keep.
    """

    def __init__(self, settings: HistoryConfig) -> None:
        self.settings = settings
        self.folder = Path(settings.images).absolute()
        self._lock = Lock()

    @contextmanager
    def keeping(self) -> Iterator[Keeper]:
        """Yield a function that keeps images; if the block raises, delete those that were not there before."""
        if self.settings.keep == "none":
            yield lambda _verdict, _content: None
            return
        new: list[Path] = []

        def keep(verdict: Verdict, content: bytes | None) -> str | None:
            if self.settings.keep == "defective" and verdict.decision in ("good", None):
                return None
            folder = self.folder / verdict.image_sha256[:2]
            before = set(folder.glob(f"{verdict.image_sha256}.*"))
            place = keep_image(folder, verdict, content)
            if place not in before:
                new.append(place)
            return str(place)

        with self._lock:  # until the verdicts are stored: another thread must not count on a file that is deleted again
            try:
                yield keep
            except BaseException:
                for place in new:
                    with suppress(OSError):
                        remove_image(place)
                raise

    def check_writable(self) -> None:
        """Write a temporary file, if images are kept.

        Raises:
            HistoryError: The folder cannot be written to.
        """
        if self.settings.keep == "none":
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=self.folder) as file:
                file.write(os.urandom(PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise HistoryError(f"no image can be kept in {self.folder}", got=error.strerror) from error


def remove_image(path: Path) -> None:
    """Delete a kept image, and its folder if that is empty."""
    path.unlink(missing_ok=True)
    with suppress(OSError):  # not empty: other images are still kept in it
        path.parent.rmdir()


def keep_image(folder: Path, verdict: Verdict, content: bytes | None) -> Path:
    """Store the image in ``folder`` unless it is there; return its path.

    The original file is kept if it is available, else the inspected pixels as PNG.
    """
    pixels = folder / f"{verdict.image_sha256}.png"
    if content is not None:
        place = pixels.with_suffix(read_header(content).suffix)
        if not place.exists():
            with atomic_write(place) as aside:
                aside.write_bytes(content)
        return place
    place = pixels if verdict.path is None else pixels.with_suffix(verdict.path.suffix.lower())
    if place.exists() or (verdict.path is not None and _copied(verdict.path, place, verdict.image_sha256)):
        return place
    write_png(pixels, verdict.image)
    return pixels


def _copied(path: Path, place: Path, sha256: str) -> bool:
    """Copy an image file; return False if it no longer exists or has changed since it was inspected."""
    if not path.is_file() or sha256_of(path) != sha256:
        return False
    with atomic_write(place) as aside:
        shutil.copyfile(path, aside)
    return True
