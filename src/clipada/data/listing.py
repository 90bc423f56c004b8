"""What lies in a folder, by name alone, and which mask belongs to which image."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from clipada.errors import DatasetError
from clipada.listing import is_image

_MASK_ENDINGS = ("_mask", "_gt")


def subfolders(folder: Path) -> list[Path]:
    """The folders directly inside, sorted, hidden ones skipped; none if ``folder`` does not exist."""
    return _entries(folder, folders=True)


def images_in(folder: Path) -> list[Path]:
    """The image files directly inside, sorted, hidden ones skipped; none if ``folder`` does not exist."""
    return [path for path in _entries(folder, folders=False) if is_image(path)]


def pair_masks(images: Sequence[Path], masks: Iterable[Path]) -> tuple[dict[Path, Path], list[Path]]:
    """Match masks to images of one folder by name: ``000.png`` goes with ``000.png`` or ``000_mask.png``.

    Returns:
        Each image's mask, and the masks that belong to no image.

    Raises:
        DatasetError: Two masks fit one image, or two images one mask.
    """
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        by_stem[image.stem].append(image)
    paired: dict[Path, Path] = {}
    strays = []
    for mask in masks:
        owners = by_stem.get(mask.stem) or by_stem.get(_without_ending(mask.stem), [])
        if not owners:
            strays.append(mask)
        elif len(owners) > 1 or owners[0] in paired:
            raise _ambiguous(owners, [mask, *(paired[owner] for owner in owners if owner in paired)])
        else:
            paired[owners[0]] = mask
    return paired, strays


def name_of(folder: Path) -> str:
    """A folder's name, also where it is given as ``.`` or ``..``; a link keeps its own."""
    return folder.name if folder.name.strip(".") else folder.resolve().name


def contents(folder: Path) -> str:
    """What a folder holds, in a few words for an error."""
    folders, files = subfolders(folder), _entries(folder, folders=False)
    parts = [
        f"{len(found)} {kind} ({_some(found)})" for found, kind in ((folders, "folders"), (files, "files")) if found
    ]
    return " and ".join(parts) or "an empty folder"


def _entries(folder: Path, *, folders: bool) -> list[Path]:
    """The folders, or else the files, directly inside."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir() == folders)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DatasetError(f"cannot list folder {folder}", expected="a folder", got=error.strerror) from error
    return [folder / name for name in names]


def _without_ending(stem: str) -> str:
    """A mask's stem as its image has it."""
    ending = next((ending for ending in _MASK_ENDINGS if stem.endswith(ending)), "")
    return stem.removesuffix(ending)


def _ambiguous(images: Sequence[Path], masks: Sequence[Path]) -> DatasetError:
    """The error for masks whose image is in doubt."""
    return DatasetError(
        f"masks cannot be told apart in {masks[0].parent}",
        expected="one mask for each anomalous image",
        got=f"{_some(masks, 4)} for {_some(images, 4)}",
        remedy="remove or rename the one that is wrong",
    )


def _some(paths: Sequence[Path], limit: int = 6) -> str:
    """The first names of many."""
    return ", ".join(path.name for path in paths[:limit]) + (", ..." if len(paths) > limit else "")
