"""Keeping images beside their verdicts: under their hashes, each whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

from clipada.files import sha256_of, written_aside
from clipada.images import read_header, write_png
from clipada.types import Verdict


def keep_image(folder: Path, verdict: Verdict, content: bytes | None) -> Path:
    """The image in ``folder``, put there if need be: its file as it came, or the pixels that were judged."""
    pixels = folder / f"{verdict.image_sha256}.png"
    if content is not None:
        place = pixels.with_suffix(read_header(content).suffix)
        if not place.exists():
            with written_aside(place) as aside:
                aside.write_bytes(content)
        return place
    place = pixels if verdict.path is None else pixels.with_suffix(verdict.path.suffix.lower())
    if place.exists() or (verdict.path is not None and _copied(verdict.path, place, verdict.image_sha256)):
        return place
    write_png(pixels, verdict.image)
    return pixels


def _copied(path: Path, place: Path, sha256: str) -> bool:
    """Copy an image file; whether it is still there, and still what was looked at."""
    if not path.is_file() or sha256_of(path) != sha256:
        return False
    with written_aside(place) as aside:
        shutil.copyfile(path, aside)
    return True
