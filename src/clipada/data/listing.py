"""Files found by name, without opening one: images, subfolders, and the pairing of masks with images."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from clipada.errors import DatasetError, ImageError

_MASK_ENDINGS = ("_mask", "_gt")

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
"""File name endings, in lower case, that mark an image in a folder."""


def is_image(path: Path | str) -> bool:
    """Return True if the file name has an image suffix, in upper or lower case."""
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - a million Path objects would be slow


def find_images(paths: Iterable[Path]) -> list[Path]:
    """List the image files that ``paths`` name, each once.

    Folders are searched as in ``image_folders``. Files that are named directly are kept with any suffix.

    Raises:
        ImageError: A path does not exist or cannot be listed, or there is no image at all.
    """
    paths = list(paths)
    require_paths(paths)
    found: dict[Path, None] = {}
    for path in paths:
        found.update(dict.fromkeys(images_below(path) if path.is_dir() else [path]))
    if not found:
        raise no_images(paths)
    return list(found)


def require_paths(paths: Iterable[Path]) -> None:
    """Raise an ``ImageError`` that names the first of ``paths`` that does not exist, if any."""
    for path in paths:
        if not path.exists():
            raise ImageError(
                f"no such file or folder: {path}",
                expected="image files, or folders that hold some",
                remedy="check the name" + ("" if path.is_absolute() else f"; it is relative to {Path.cwd()}"),
            )


def no_images(paths: Sequence[Path]) -> ImageError:
    """Return the error for ``paths`` without an image."""
    return ImageError(
        "no images found",
        expected="files ending in " + ", ".join(sorted(IMAGE_SUFFIXES)),
        got="none in " + (", ".join(map(str, paths)) or "an empty list of paths"),
        remedy="name a folder with images at any depth; a file that is named directly may have any suffix",
    )


def images_below(folder: Path) -> Iterator[Path]:
    """Yield the image files at any depth below ``folder``, in the order of ``image_folders``."""
    return (Path(where, name) for where, names in image_folders(folder) for name in names)


def image_folders(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder from ``folder`` downward with the names of the image files directly inside.

    A folder comes before its subfolders; all are sorted by name. Hidden files and folders are skipped, and links to
    folders are not followed. Folders are listed lazily, one at a time.

    Raises:
        ImageError: A folder cannot be listed.
    """
    for where, folders, files in os.walk(folder, onerror=_cannot_list):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield where, sorted(name for name in files if not name.startswith(".") and is_image(name))


def subfolders(folder: Path) -> list[Path]:
    """List the folders directly inside, sorted, without hidden ones; none if ``folder`` does not exist."""
    return _entries(folder, folders=True)


def images_in(folder: Path) -> list[Path]:
    """List the image files directly inside, sorted, without hidden ones; none if ``folder`` does not exist."""
    return [path for path in _entries(folder, folders=False) if is_image(path)]


def pair_masks(images: Sequence[Path], masks: Iterable[Path]) -> tuple[dict[Path, Path], list[Path]]:
    """Match masks to images of one folder by name: ``000.png`` with ``000.png`` or ``000_mask.png``.

    Returns:
        The mask of each image, and the masks without an image.

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


def folder_name(folder: Path) -> str:
    """Return a folder's name, also if it is given as ``.`` or ``..``; a link keeps its own name."""
    return folder.name if folder.name.strip(".") else folder.resolve().name


def describe_contents(folder: Path) -> str:
    """Describe the content of a folder in a few words for an error message."""
    folders, files = subfolders(folder), _entries(folder, folders=False)
    parts = [
        f"{len(found)} {kind} ({_some(found)})" for found, kind in ((folders, "folders"), (files, "files")) if found
    ]
    return " and ".join(parts) or "an empty folder"


def _entries(folder: Path, *, folders: bool) -> list[Path]:
    """List the folders, or the files, directly inside."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir() == folders)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DatasetError(f"cannot list folder {folder}", expected="a folder", got=error.strerror) from error
    return [folder / name for name in names]


def _without_ending(stem: str) -> str:
    """Return the stem of the image that a mask belongs to."""
    ending = next((ending for ending in _MASK_ENDINGS if stem.endswith(ending)), "")
    return stem.removesuffix(ending)


def _ambiguous(images: Sequence[Path], masks: Sequence[Path]) -> DatasetError:
    """Return the error for masks that fit several images, or the reverse."""
    return DatasetError(
        f"masks are ambiguous in {masks[0].parent}",
        expected="one mask for each anomalous image",
        got=f"{_some(masks, 4)} for {_some(images, 4)}",
        remedy="remove or rename the one that is wrong",
    )


def _some(paths: Sequence[Path], limit: int = 6) -> str:
    """Join the first names of many."""
    return ", ".join(path.name for path in paths[:limit]) + (", ..." if len(paths) > limit else "")


def _cannot_list(error: OSError) -> NoReturn:
    """Raise an error for a folder without read permission, which ``os.walk`` would skip silently."""
    raise ImageError(f"cannot list folder {error.filename}", expected="a folder", got=error.strerror) from error
