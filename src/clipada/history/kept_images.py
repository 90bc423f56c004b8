"""The folder of kept images: files named by their hashes, each written atomically."""

from __future__ import annotations

import shutil
from pathlib import Path

from clipada.files import atomic_write, sha256_of
from clipada.images import read_header, write_png
from clipada.types import Verdict


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
