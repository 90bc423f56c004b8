"""Tokens of images at the model's input size, kept on disk: a frozen backbone computes the same ones for ever.

The name of an entry is a hash of the pixels and of everything that decides their tokens, so that a second training, a
changed setting or a row of an ablation reads them instead of computing them. Entries are float16 with and without the
cache, so that results are the same.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clipada.devices import to_tensor
from clipada.files import atomic_write
from clipada.models.backbones import Backbone, Reading, resized

GIGABYTE = 10**9

AT_ONCE = 8
"""Images of a forward pass."""

ENTRIES = "*/*.npy"
"""Files of the cache."""


class TokenReader:
    """Tokens of a frozen backbone, read from a cache where they are known.

    Args:
        backbone: The frozen backbone.
        gigabytes: Size of the cache; the entries used least recently are removed. 0 for no cache.
        folder: Folder of the cache; by default ``token_cache()``.
    """

    def __init__(self, backbone: Backbone, gigabytes: float, folder: Path | None = None) -> None:
        self.backbone = backbone
        self.limit = int(gigabytes * GIGABYTE)
        self.folder = token_cache() if folder is None else folder
        self.computed = 0
        identity = f"{backbone.sha256()} {backbone.blocks} {backbone.tokens}"
        self._identity = identity.encode()
        self._new_bytes = 0

    @torch.inference_mode()
    def read(self, images: NDArray[np.uint8], scale: float = 1.0) -> Reading:
        """Return the tokens of images ``(B, H, W, 3)`` at a scale, as float16 on the CPU, and their descriptors."""
        size = self.backbone.scaled_size(images.shape[1:3], scale) if scale != 1 else None
        names = [self._name(image, size) for image in images]
        found = [self._load(name) for name in names]
        missing = [index for index, entry in enumerate(found) if entry is None]
        for start in range(0, len(missing), AT_ONCE):
            places = missing[start : start + AT_ONCE]
            for place, entry in zip(places, self._compute(images[places], size), strict=True):
                found[place] = entry
                self._store(names[place], entry)
        whole = torch.from_numpy(np.stack([entry for entry in found if entry is not None]))
        end = whole.shape[1] - 2 * self.backbone.block_width
        return Reading(whole[:, :end].reshape(len(images), -1, self.backbone.width), whole[:, end:].float())

    def _compute(self, images: NDArray[np.uint8], size: tuple[int, int] | None) -> list[NDArray[np.float16]]:
        """Compute the entries of images: the patch tokens, row by row, and then the descriptor."""
        pixels = to_tensor(images, self.backbone.mean.device)
        pixels = pixels if size is None else resized(pixels, size)
        reading = self.backbone.read(self.backbone.normalize(pixels))
        self.computed += len(images)
        parts = (reading.patches.flatten(1), reading.descriptors)
        return list(torch.cat(parts, dim=1).half().cpu().numpy())

    def _name(self, image: NDArray[np.uint8], size: tuple[int, int] | None) -> str:
        digest = hashlib.sha256(self._identity)
        digest.update(f"{image.shape} {size}".encode())
        digest.update(np.ascontiguousarray(image).data)
        return digest.hexdigest()

    def _load(self, name: str) -> NDArray[np.float16] | None:
        """Read an entry; ``None`` if there is none or it is damaged."""
        path = self.folder / name[:2] / f"{name}.npy"
        if not self.limit or not path.exists():
            return None
        try:
            entry: NDArray[np.float16] = np.load(path, allow_pickle=False)
            os.utime(path)
        except (OSError, ValueError, EOFError):
            return None
        return entry if entry.dtype == np.float16 and entry.ndim == 1 else None

    def _store(self, name: str, entry: NDArray[np.float16]) -> None:
        """Write an entry; a full or read-only disk costs the cache and nothing else."""
        if not self.limit:
            return
        path = self.folder / name[:2] / f"{name}.npy"
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as aside, aside.open("wb") as file:
                np.save(file, entry)
            self._new_bytes += entry.nbytes
            if self._new_bytes > self.limit // 10:
                self._new_bytes = 0
                shrink(self.folder, self.limit)


def shrink(folder: Path, limit: int) -> None:
    """Remove the entries used least recently until the cache has at most ``limit`` bytes."""
    entries = []
    for path in folder.glob(ENTRIES):
        with suppress(OSError):
            status = path.stat()
            entries.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size


def token_cache() -> Path:
    """Return the folder of the cache: ``CLIPADA_CACHE``, else ``clipada/tokens`` in the user's cache folder."""
    given = os.environ.get("CLIPADA_CACHE")
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) / "tokens" if given else Path(user) / "clipada" / "tokens"
